//! Folders that lie beside each other on the host, and are shown through one overlay.
//!
//! Each overlay costs its making, and at its end the kernel waits for all processors. Of an interpreter some folders
//! are shown and others are not, so what one overlay is of is the folder that they lie in: only those that are asked for are attached
//! in a sandbox, and from them no name leads up to it.

use super::spec::Bind;
use super::template::{open_host, split};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// What decides about who is shown together: owners are mapped, and mounts copied, for all at once.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// A folder of which more than one is shown.
#[derive(Debug)]
pub(super) struct Parent {
    path: PathBuf,
    source: OwnedFd,
    about: Statx,
}

impl Parent {
    /// The folder that `bind`, one of `all`, lies in beside others that can be shown with it, and its name there.
    pub(super) fn of<'a>(bind: &'a Bind, all: &[Bind]) -> Option<(&'a Path, &'a OsStr)> {
        let (parent, name) = split(&bind.source)?;
        let lies_there = |other: &&Bind| other.mask.is_none() && other.source.parent() == Some(parent);
        (bind.mask.is_none() && all.iter().filter(lies_there).count() > 1).then_some((parent, name))
    }

    /// Opens it; `None` where it cannot be looked at.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let source = open_host(path).ok()?;
        let about = rustix::fs::statx(&source, "", AtFlags::EMPTY_PATH, WANTED).ok()?;
        Some(Parent { path: path.to_owned(), source, about })
    }

    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }

    pub(super) fn source(&self) -> impl AsFd {
        self.source.as_fd()
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> (u32, u32) {
        (self.about.stx_uid, self.about.stx_gid)
    }

    /// What stands there for that name, itself or by a link to one beside it: a folder of the same owner and mount, which
    /// is shown the same through this one. `None` where there is another thing.
    pub(super) fn shows(&self, name: &OsStr) -> Option<PathBuf> {
        let found = self.look(name)?;
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Symlink {
            return self.is_like(&found).then(|| name.into());
        }
        let led = rustix::fs::readlinkat(&self.source, name, Vec::new()).ok()?;
        let led = Path::new(OsStr::from_bytes(led.to_bytes()));
        let beside = matches!(led.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        (beside && self.is_like(&self.look(led.as_os_str())?)).then(|| led.to_owned())
    }

    fn look(&self, name: &OsStr) -> Option<Statx> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(&self.source, name, flags, WANTED).ok()
    }

    fn is_like(&self, found: &Statx) -> bool {
        let of = |about: &Statx| (about.stx_uid, about.stx_gid, about.stx_mnt_id);
        let told = self.about.stx_mask & found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let is_folder = FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory;
        told && is_folder && of(found) == of(&self.about)
    }
}
