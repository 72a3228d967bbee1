//! Folders that lie beside each other on the host, and are shown through one overlay.
//!
//! Each overlay costs its making, and at its end the kernel waits for all processors. Of an interpreter some folders
//! are shown and others are not, so what one overlay is of is the folder that they lie in: only those that are asked for are attached
//! in a sandbox, and from them no name leads up to it.

use super::spec::Bind;
use super::template::{open_host, split};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// What decides about who is shown together: owners are mapped, and mounts copied, for all at once.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// A folder in which others lie that are shown.
#[derive(Debug)]
pub(super) struct Parent {
    source: OwnedFd,
    about: Statx,
}

/// What is shown through a folder that it lies in.
pub(super) struct Sorted {
    /// The folders, as they were opened.
    pub(super) parents: Vec<(PathBuf, OwnedFd)>,
    /// For each bind which of them it is shown through, and what it is called there.
    pub(super) parts: Vec<Option<(usize, PathBuf)>>,
}

/// Finds the folders of which more than one of `binds` are shown. One that cannot be opened stands for none of those in
/// it.
pub(super) fn sorted(binds: &[Bind], mut open: impl FnMut(&Path, &Parent) -> Option<OwnedFd>) -> Sorted {
    let mut parents: Vec<(PathBuf, Parent)> = Vec::new();
    let beside = |bind| {
        of(bind).is_some_and(|(path, _)| {
            binds.iter().filter_map(of).filter(|(other, _)| *other == path).count() > 1
        })
    };
    let mut part = |bind| {
        let (path, name) = of(bind).filter(|_| beside(bind))?;
        let known = parents.iter().position(|(known, _)| known == path);
        if known.is_none() {
            parents.push((path.to_owned(), Parent::look_at(path)?));
        }
        let index = known.unwrap_or(parents.len() - 1);
        Some((index, parents.get(index)?.1.shows(name)?))
    };
    let named: Vec<Option<(usize, PathBuf)>> = binds.iter().map(&mut part).collect();
    let mut opened = Vec::new();
    let places: Vec<Option<usize>> = parents
        .iter()
        .enumerate()
        .map(|(index, (path, parent))| {
            // What would be alone in it is shown by itself.
            let parts = named.iter().flatten().filter(|(of, _)| *of == index).count();
            let mount = if parts > 1 { open(path, parent)? } else { return None };
            opened.push((path.clone(), mount));
            Some(opened.len() - 1)
        })
        .collect();
    let placed = |(parent, name)| Some((places.get(parent).copied().flatten()?, name));
    let parts = named.into_iter().map(|part| part.and_then(placed)).collect();
    Sorted { parents: opened, parts }
}

/// The folder that a bind lies in and its name there, where nothing in it is hidden.
fn of(bind: &Bind) -> Option<(&Path, &OsStr)> {
    if bind.mask.is_none() { split(&bind.source) } else { None }
}

impl Parent {
    /// `None` where it cannot be looked at.
    fn look_at(path: &Path) -> Option<Self> {
        let source = open_host(path).ok()?;
        let about = rustix::fs::statx(&source, "", AtFlags::EMPTY_PATH, WANTED).ok()?;
        Some(Parent { source, about })
    }

    pub(super) fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> (u32, u32) {
        (self.about.stx_uid, self.about.stx_gid)
    }

    /// What stands there for that name, itself or by a link to one beside it: a folder of the same owner and mount, which
    /// is shown the same through this one. `None` where there is another thing.
    fn shows(&self, name: &OsStr) -> Option<PathBuf> {
        let found = self.look(name)?;
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Symlink {
            return self.is_like(&found).then(|| name.into());
        }
        let led = rustix::fs::readlinkat(&self.source, name, Vec::new()).ok()?;
        let led = Path::new(OsStr::from_bytes(led.to_bytes()));
        // The name alone: what stands behind it has a link followed.
        let [Component::Normal(beside)] = led.components().collect::<Vec<_>>()[..] else { return None };
        self.is_like(&self.look(beside)?).then(|| beside.into())
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
