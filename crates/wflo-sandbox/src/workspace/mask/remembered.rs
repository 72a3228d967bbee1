//! What was found hidden in an interpreter's folder, for as long as nothing in it has changed.
//!
//! Such a folder may hold ten thousand others, and to list them takes longer than all else with which a run begins. Who
//! makes, removes or renames something in a folder changes that folder: while none of them has changed since they were
//! listed, the names are the same. What a file holds may have changed all the same, and is read each time where it decides.
//!
//! A look is remembered only where that is so: on file systems that keep the time of a folder's last change, in folders that
//! had not changed for a while, by the rules of this very program, and where nothing but names and contents decides.
//! Losing the file costs time and nothing else.

use std::fs::{self, Metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FsWord, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::super::beneath::{self, Name};
use super::super::error::WorkspaceError;
use super::super::hidden::Hidden;
use super::super::manifest::Digest;
use super::super::path::RelPath;
use super::super::seal::{SETTLED, file_clock, replace};
use super::super::store::Store;
use super::super::store::blob::{Nanos, nanos};
use super::super::survey::secret_inside;
use super::Search;

/// The file systems that change a folder's time with it, by the numbers of statfs(2): ext4, XFS, Btrfs, tmpfs, F2FS,
/// bcachefs, ZFS, overlayfs.
const KEEP_TIMES: [FsWord; 8] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0xCA45_1A4E, 0x2FC1_2FC1, 0x794C_7630];

/// A folder as it was, or the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: Nanos,
}

impl Stamp {
    fn of(stat: &Stat) -> Stamp {
        let changed = nanos(stat.st_ctime, stat.st_ctime_nsec.cast_signed());
        Stamp { device: stat.st_dev, inode: stat.st_ino, changed }
    }

    fn of_file(meta: &Metadata) -> Stamp {
        let changed = nanos(meta.ctime(), meta.ctime_nsec());
        Stamp { device: meta.dev(), inode: meta.ino(), changed }
    }
}

/// What one look saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Look {
    /// The folder itself.
    root: Option<Stamp>,
    /// Every folder in it that was entered, or could not be, each behind the one that it is in.
    folders: Vec<(RelPath, Stamp)>,
    /// Hidden by their names.
    named: Vec<RelPath>,
    /// Hidden by what they hold, or not; whether each is a plain file, or else a link.
    undecided: Vec<(RelPath, bool)>,
}

impl Look {
    /// A folder is about to be listed, or would be if it could.
    pub(super) fn folder(&mut self, path: &RelPath, stat: &Stat) {
        match path.as_bytes() {
            b"" => self.root = Some(Stamp::of(stat)),
            _ => self.folders.push((path.clone(), Stamp::of(stat))),
        }
    }

    /// Something is hidden, whatever it holds.
    pub(super) fn named(&mut self, path: &RelPath) {
        self.named.push(path.clone());
    }

    /// Something is hidden or not by what it holds.
    pub(super) fn undecided(&mut self, path: &RelPath, kind: FileType) {
        match kind {
            FileType::RegularFile | FileType::Symlink => {
                self.undecided.push((path.clone(), kind == FileType::RegularFile));
            }
            _ => self.named(path),
        }
    }

    /// Whether no folder has changed.
    fn holds(&self, root: &OwnedFd) -> bool {
        let is_as_then = |stat: Result<Stat, Errno>, then| stat.is_ok_and(|now| Stamp::of(&now) == then);
        self.root.is_some_and(|then| is_as_then(rustix::fs::fstat(root), then))
            && self.folders.iter().all(|(path, then)| {
                // A link on the way would have come in the place of a folder that was looked at before.
                is_as_then(rustix::fs::statat(root, path.as_bytes(), AtFlags::SYMLINK_NOFOLLOW), *then)
            })
    }

    /// What is hidden now, in the order of a search.
    fn hidden(self, root: &OwnedFd) -> Vec<RelPath> {
        let is_hidden = |(path, plain): &(RelPath, bool)| {
            let kind = if *plain { FileType::RegularFile } else { FileType::Symlink };
            let secret = |(dir, name): (OwnedFd, &[u8])| {
                secret_inside(dir.as_fd(), &Name { name: name.to_vec(), kind, inode: 0 })
            };
            beneath::open_parent(root, path).map_or(true, secret)
        };
        let undecided = self.undecided.into_iter().filter(is_hidden).map(|(path, _)| path);
        self.named.into_iter().chain(undecided).collect()
    }

    /// Whether nothing has changed too shortly before `now` for a change after it to show, all on one file system.
    fn is_settled(&self, now: Nanos) -> bool {
        let Some(root) = self.root else { return false };
        let mut all = self.folders.iter().map(|(_, stamp)| *stamp).chain([root]);
        all.all(|stamp| stamp.changed.saturating_add(SETTLED) < now && stamp.device == root.device)
    }
}

/// A look as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Its rules are those of this program, by its file.
    program: Stamp,
    size: u64,
    folder: PathBuf,
    look: Look,
}

/// Where the look at a folder is kept.
struct Place {
    file: PathBuf,
    program: Stamp,
    size: u64,
}

impl Place {
    /// `None` where something else than names and contents decides, or where a change may not show.
    fn of(folder: &Path, root: &OwnedFd, hidden: &Hidden, store: &Store) -> Option<Place> {
        let own = std::env::current_exe().and_then(fs::metadata).ok()?;
        let keeps_times = rustix::fs::fstatfs(root).is_ok_and(|fs| KEEP_TIMES.contains(&fs.f_type));
        (keeps_times && hidden.is_by_names_alone()).then(|| {
            let name = Digest::of(&[b"hidden in ", folder.as_os_str().as_bytes()].concat());
            let file = store.folder("cache").join(name.to_string());
            Place { file, program: Stamp::of_file(&own), size: own.size() }
        })
    }

    fn read(&self, folder: &Path) -> Option<Look> {
        let bytes = fs::read(&self.file).ok()?;
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body) != Digest::from(*sum) {
            return None;
        }
        let kept: Kept = serde_json::from_slice(body).ok()?;
        let is_own = (kept.program, kept.size) == (self.program, self.size) && kept.folder == folder;
        is_own.then_some(kept.look)
    }

    fn write(self, folder: &Path, look: Look) {
        let Place { file, program, size } = self;
        let kept = Kept { program, size, folder: folder.to_owned(), look };
        let written = serde_json::to_vec(&kept).map_err(std::io::Error::from).and_then(|mut bytes| {
            let sum = Digest::of(&bytes);
            bytes.extend_from_slice(sum.as_bytes());
            replace(&file, &bytes)
        });
        if let Err(error) = written {
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
    let place = Place::of(folder, root, hidden, store);
    let known = place.as_ref().and_then(|place| place.read(folder)).filter(|look| look.holds(root));
    if let Some(known) = known {
        return Ok(known.hidden(root));
    }
    // The file system's own clock, so that it compares with the times of folders.
    let now = file_clock(store)?;
    let (found, look) = Search::of(folder, root, hidden)?;
    if let Some(place) = place.filter(|_| look.is_settled(now)) {
        place.write(folder, look);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
