//! What was found hidden in an interpreter's folder, for as long as nothing in it has changed.
//!
//! Such a folder may hold ten thousand others, and to list them takes longer than all else with which a run begins. Who
//! makes, removes or renames something in a folder changes that folder: while none of them has changed since they were
//! listed, the names are the same. What a file holds may have changed all the same, and is read each time where it decides.
//!
//! When that is not so, and what is asked before a look counts, is in `docs/adr/0043-hidden-names-are-remembered.md`.
//! Losing the file costs time and nothing else.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, FsWord, Statx, StatxAttributes, StatxFlags};
use serde::{Deserialize, Serialize};

use super::super::beneath::{self, Name};
use super::super::error::WorkspaceError;
use super::super::hidden::Hidden;
use super::super::manifest::Digest;
use super::super::path::RelPath;
use super::super::store::blob::{Nanos, nanos};
use super::super::store::{Store, kept};
use super::search::{is_secret, looked_through};

/// The file systems that change a folder's time with it, by the numbers of statfs(2): ext4, XFS, Btrfs, tmpfs, F2FS,
/// bcachefs, ZFS. Not overlayfs: of a folder that it merges it tells the topmost layer's time alone.
const KEEP_TIMES: [FsWord; 7] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0xCA45_1A4E, 0x2FC1_2FC1];
/// Another each time that the system begins.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A folder as it was, or the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    mount: u64,
    inode: u64,
    changed: Nanos,
}

impl Stamp {
    /// Of what is `path` at `at`; of `at` itself where that is empty.
    fn of(at: impl AsFd, path: &[u8]) -> Option<Stamp> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        Stamp::from(&rustix::fs::statx(at, path, flags, wanted()).ok()?)
    }

    /// `None` where that does not say when it was another one. Of a folder whose names are encrypted others are seen once
    /// its key is there.
    fn from(stat: &Statx) -> Option<Stamp> {
        let told = stat.stx_mask & wanted().bits() == wanted().bits();
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let changed = nanos(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into());
        (told && !stat.stx_attributes.contains(StatxAttributes::ENCRYPTED)).then_some(Stamp {
            device,
            mount: stat.stx_mnt_id,
            inode: stat.stx_ino,
            changed,
        })
    }
}

fn wanted() -> StatxFlags {
    StatxFlags::INO | StatxFlags::CTIME | StatxFlags::SIZE | StatxFlags::MNT_ID
}

/// What one look saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Look {
    /// The folder itself.
    root: Option<Stamp>,
    /// Every folder in it that was listed, each behind the one that it is in.
    folders: Vec<(RelPath, Stamp)>,
    /// Hidden by their names.
    named: Vec<RelPath>,
    /// Files that are hidden or not by what they hold.
    undecided: Vec<RelPath>,
}

impl Look {
    /// The folder `path`, open at `dir`, is about to be listed; false where what is seen in it is not to be remembered.
    pub(super) fn folder(&mut self, path: &RelPath, dir: &OwnedFd) -> bool {
        let stamp = Stamp::of(dir, b"");
        match (path.as_bytes(), stamp) {
            (b"", _) => self.root = stamp,
            (_, Some(stamp)) => self.folders.push((path.clone(), stamp)),
            (_, None) => {}
        }
        stamp.is_some()
    }

    /// Something is hidden, whatever it holds.
    pub(super) fn named(&mut self, path: &RelPath) {
        self.named.push(path.clone());
    }

    /// A file is hidden or not by what it holds.
    pub(super) fn undecided(&mut self, path: &RelPath) {
        self.undecided.push(path.clone());
    }

    /// Whether no folder has changed.
    fn holds(&self, root: &OwnedFd) -> bool {
        self.root.is_some()
            && Stamp::of(root, b"") == self.root
            && self.folders.iter().all(|(path, then)| {
                // A link on the way would have come in the place of a folder that was looked at before.
                Stamp::of(root, path.as_bytes()) == Some(*then)
            })
    }

    /// What is hidden now.
    fn hidden(self, root: &OwnedFd) -> Vec<RelPath> {
        let is_hidden = |path: &RelPath| {
            let secret = |(dir, name): (OwnedFd, &[u8])| {
                is_secret(dir, &Name { name: name.to_vec(), kind: FileType::RegularFile, inode: 0 })
            };
            beneath::open_parent(root, path).map_or(true, secret)
        };
        self.named.into_iter().chain(self.undecided.into_iter().filter(is_hidden)).collect()
    }

    /// Whether nothing had changed too shortly before `now` for a change after it to show.
    fn is_settled(&self, now: Nanos) -> bool {
        let stamps = self.folders.iter().map(|(_, stamp)| stamp).chain(&self.root);
        self.root.is_some()
            && stamps.into_iter().all(|stamp| stamp.changed.saturating_add(kept::SETTLED) < now)
    }
}

/// By what, and in which life of the system, something was seen.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// wflo's own file, whose rules they are.
    program: Stamp,
    size: u64,
    version: String,
    boot: String,
}

impl Origin {
    fn here() -> Option<Origin> {
        let own = rustix::fs::statx(CWD, "/proc/self/exe", AtFlags::empty(), wanted()).ok()?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let boot = fs::read_to_string(BOOT).ok()?;
        Some(Origin { program: Stamp::from(&own)?, size: own.stx_size, version, boot })
    }
}

/// A look as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    origin: Origin,
    folder: PathBuf,
    look: Look,
}

/// Where the look at a folder is kept.
struct Place {
    file: PathBuf,
    origin: Origin,
}

impl Place {
    /// `None` where something else than names and contents decides, or where a change may not show.
    fn of(folder: &Path, root: &OwnedFd, hidden: &Hidden, store: &Store) -> Option<Place> {
        let stamp = Stamp::of(root, b"")?;
        let keeps_times = rustix::fs::fstatfs(root).is_ok_and(|fs| KEEP_TIMES.contains(&fs.f_type));
        if !keeps_times || !hidden.is_by_names_alone((stamp.device, stamp.mount)) {
            return None;
        }
        let name = Digest::of(&[b"hidden in ", folder.as_os_str().as_bytes()].concat());
        Some(Place { file: store.folder("cache").join(name.to_string()), origin: Origin::here()? })
    }

    fn read(&self, folder: &Path) -> Option<Look> {
        let kept: Kept = serde_json::from_slice(&kept::read(&self.file)?).ok()?;
        (kept.origin == self.origin && kept.folder == folder).then_some(kept.look)
    }

    fn write(self, folder: &Path, look: Look) {
        let kept = Kept { origin: self.origin, folder: folder.to_owned(), look };
        let bytes = serde_json::to_vec(&kept).map_err(std::io::Error::from);
        if let Err(error) = bytes.and_then(|bytes| kept::write(&self.file, bytes)) {
            tracing::debug!(%error, "what was found in an interpreter's folder could not be kept");
        }
    }
}

/// The hidden paths in `folder`, which is open at `root`: none of them in another.
///
/// # Errors
/// As the search's.
pub(super) fn hidden_in(
    folder: &Path,
    root: &OwnedFd,
    hidden: &Hidden,
    store: &Store,
) -> Result<Vec<RelPath>, WorkspaceError> {
    hidden_by(folder, root, hidden, store, || kept::clock(store).ok())
}

fn hidden_by(
    folder: &Path,
    root: &OwnedFd,
    hidden: &Hidden,
    store: &Store,
    clock: impl FnOnce() -> Option<Nanos>,
) -> Result<Vec<RelPath>, WorkspaceError> {
    let place = Place::of(folder, root, hidden, store);
    let known = place.as_ref().and_then(|place| place.read(folder)).filter(|look| look.holds(root));
    if let Some(known) = known {
        return Ok(known.hidden(root));
    }
    let place = place.zip(clock());
    let (found, look) = looked_through(folder, root, hidden)?;
    if let (Some((place, now)), Some(look)) = (place, look)
        && look.is_settled(now)
    {
        place.write(folder, look);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
