//! The staging folder: new contents before they are put in place, and what was taken out.
//!
//! It lies in the project's root, because a rename works only within one file system; its name
//! holds the journal's id, so a resumed apply finds it. It is hidden like wflo's own data.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::Errno;

use super::super::super::beneath;
use super::super::super::error::{IoAt, WorkspaceError};
use super::super::super::hidden::STAGING_PREFIX;
use super::super::super::manifest::{Entry, Kind};
use super::super::super::path::RelPath;
use super::super::super::store::Store;
use super::super::super::store::blob::hash_file;
use super::super::journal::{Content, Desk, Direction, State};
use super::super::place::Place;
use super::{Halt, same, staged_entry};

/// Above so many files one sync of the file system is cheaper than one of each file.
pub(super) const SYNC_EACH: usize = 32;

/// The names that one step uses in the staging folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    index: usize,
    direction: Direction,
}

impl Slot {
    pub(super) fn new(index: usize, direction: Direction) -> Slot {
        Slot { index, direction }
    }

    fn name(self, suffix: &str) -> Vec<u8> {
        let direction = if self.direction == Direction::Finish { "do" } else { "undo" };
        format!("{}.{direction}.{suffix}", self.index).into_bytes()
    }

    /// A content that is whole, or what it was exchanged with.
    pub(super) fn new_name(self) -> Vec<u8> {
        self.name("new")
    }

    /// What was taken out of the project.
    pub(super) fn old_name(self) -> Vec<u8> {
        self.name("old")
    }

    /// A content that is still being written.
    fn part_name(self) -> Vec<u8> {
        self.name("part")
    }
}

pub(super) struct Stage<'a> {
    store: &'a Store,
    desk: &'a Desk,
    place: &'a Place,
    name: String,
    folder: OwnedFd,
    written: std::cell::Cell<usize>,
}

impl<'a> Stage<'a> {
    /// Opens the folder of the journal `id`, making it if it is not there.
    pub(super) fn open(
        store: &'a Store,
        desk: &'a Desk,
        place: &'a Place,
        id: &str,
    ) -> Result<Stage<'a>, WorkspaceError> {
        let name = format!("{STAGING_PREFIX}{id}");
        let shown = place.path().join(&name);
        match rustix::fs::mkdirat(place.root(), name.as_str(), Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).at("create the folder", &shown),
        }
        let folder = beneath::open_dir(place.root(), name.as_bytes()).at("open the folder", &shown)?;
        Ok(Stage { store, desk, place, name, folder, written: std::cell::Cell::new(0) })
    }

    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// What stands at a name here.
    pub(super) fn entry(&self, name: &[u8]) -> Result<Option<Entry>, WorkspaceError> {
        staged_entry(&self.folder, name).at("read", self.place.path())
    }

    /// Whether what was taken out is what the step was planned for, and no hidden file.
    pub(super) fn is_expected(
        &self,
        name: &[u8],
        from: &State,
        place: &Place,
    ) -> Result<bool, WorkspaceError> {
        let found = beneath::look(&self.folder, name).at("read", self.place.path())?;
        let Some((_, stat)) = found else { return Ok(false) };
        let as_planned = self.entry(name)?.is_some_and(|entry| same(&entry, &from.entry));
        Ok(as_planned && !place.is_hidden_file(&stat)?)
    }

    pub(super) fn remove(&self, name: &[u8]) -> Result<(), WorkspaceError> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other.at("remove a file in", self.place.path()),
        }
    }

    /// Writes a file or link whole, under the name that says so.
    pub(super) fn write(&self, slot: Slot, path: &RelPath, to: &State) -> Result<(), WorkspaceError> {
        let shown = self.place.shown(path);
        let part = slot.part_name();
        self.remove(&part)?;
        self.remove(&slot.new_name())?;
        match &to.entry.kind {
            Kind::Symlink { target } => {
                rustix::fs::symlinkat(target.0.as_slice(), &self.folder, part.as_slice())
                    .at("write", &shown)?;
            }
            Kind::File { size, hash } => {
                let source = self.open_content(path, to)?;
                let copy = beneath::create_file(&self.folder, &part, 0o600).at("write", &shown)?;
                let (read_hash, read_size) =
                    copy_file(&source, File::from(copy), to.entry.mode).at("write", &shown)?;
                // The store's content is proven on its way out.
                if (read_hash, read_size) != (*hash, *size) {
                    self.remove(&part)?;
                    return Err(WorkspaceError::Damaged { what: format!("content of {path}") });
                }
                self.written.set(self.written.get() + 1);
                if self.written.get() <= SYNC_EACH {
                    let file = beneath::open_file(&self.folder, &part).at("sync", &shown)?;
                    rustix::fs::fsync(file).at("sync", &shown)?;
                }
            }
            Kind::Dir { .. } | Kind::Whiteout => return Ok(()),
        }
        rustix::fs::renameat(&self.folder, part.as_slice(), &self.folder, slot.new_name()).at("write", &shown)
    }

    fn open_content(&self, path: &RelPath, state: &State) -> Result<File, WorkspaceError> {
        match &state.content {
            Some(Content::Tree(digest)) => self.store.open_content(digest, path),
            Some(Content::Backup(index)) => {
                let backup = self.desk.backup(*index);
                File::open(&backup).at("read", &backup)
            }
            None => Err(WorkspaceError::Damaged { what: format!("content of {path}") }),
        }
    }

    /// Gives a staged file the owner of what it replaces, else of its folder.
    pub(super) fn own_like(
        &self,
        slot: Slot,
        parent: &OwnedFd,
        name: Option<&[u8]>,
    ) -> Result<(), WorkspaceError> {
        let Some((staged, _)) =
            beneath::look(&self.folder, &slot.new_name()).at("read", self.place.path())?
        else {
            return Ok(());
        };
        own_like(&staged, parent, name).at("give away a file in", self.place.path())
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), WorkspaceError> {
        if self.written.get() > SYNC_EACH {
            return rustix::fs::syncfs(&self.folder).at("sync", self.place.path());
        }
        rustix::fs::fsync(&self.folder).at("sync", self.place.path())
    }

    /// Removes the folder. What is still in it was staged and not needed.
    pub(super) fn close(&self) -> Result<(), WorkspaceError> {
        for name in beneath::names(&self.folder).at("list", self.place.path())? {
            self.remove(&name.name)?;
        }
        match rustix::fs::unlinkat(self.place.root(), self.name.as_str(), AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            other => other.at("remove the folder", &self.place.path().join(&self.name)),
        }
    }

    /// Where a test may take the place of a crash.
    #[cfg(test)]
    pub(super) fn crash_point(&self) -> Result<(), Halt> {
        if super::super::crash::now() { Err(Halt::Crashed) } else { Ok(()) }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(super) fn crash_point(&self) -> Result<(), Halt> {
        Ok(())
    }
}

fn copy_file(
    source: &File,
    mut copy: File,
    mode: u32,
) -> io::Result<(super::super::super::manifest::Digest, u64)> {
    let cloned = rustix::fs::ioctl_ficlone(&copy, source).is_ok();
    if !cloned {
        let mut reader = source;
        reader.rewind()?;
        io::copy(&mut reader, &mut copy)?;
        copy.flush()?;
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(mode))?;
    // Of the source: what was copied is what it holds, and the copy is not open for reading.
    hash_file(source, u64::MAX)
}

/// Root gives files away: to the owner of `name` in `parent` when there is one, else of `parent`.
pub(super) fn own_like(file: impl AsFd, parent: &OwnedFd, name: Option<&[u8]>) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let like: Option<Stat> = match name {
        Some(name) => beneath::look(parent, name)?.map(|(_, stat)| stat),
        None => None,
    };
    let like = match like {
        Some(stat) => stat,
        None => rustix::fs::fstat(parent)?,
    };
    let owner = rustix::fs::Uid::from_raw(like.st_uid);
    let group = rustix::fs::Gid::from_raw(like.st_gid);
    Ok(rustix::fs::chownat(
        file,
        c"",
        Some(owner),
        Some(group),
        AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
