//! The staging folder: new contents before they are put in place, and what was taken out.
//!
//! It lies in the project's root, because a rename works only within one file system; its name
//! holds the journal's id, so a resumed apply finds it. It is hidden like wflo's own data.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::super::super::attributes;
use super::super::super::beneath;
use super::super::super::error::{IoAt, WorkspaceError};
use super::super::super::hidden::STAGING_PREFIX;
use super::super::super::layer::OneFile;
use super::super::super::manifest::{Entry, Kind};
use super::super::super::path::RelPath;
use super::super::super::store::Store;
use super::super::super::store::blob::copy_into;
use super::super::journal::{Content, Desk, Direction, State};
use super::super::place::{Place, entry_at};
use super::Halt;
use super::stand::same;

/// Says that what is staged is whole, also after a loss of power.
const WHOLE: &[u8] = b"whole";

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

/// What was written, and under which name of the staging folder.
type Staged = (Entry, Vec<u8>);

pub(super) struct Stage<'a> {
    store: &'a Store,
    desk: &'a Desk,
    place: &'a Place,
    name: String,
    folder: OwnedFd,
    /// Whether the journal says anything about attributes.
    attributes: bool,
    written: Cell<usize>,
    /// Files with several names, under the name that the first of them was written to.
    several: RefCell<HashMap<OneFile, Staged>>,
}

impl<'a> Stage<'a> {
    /// Opens the folder of the journal `id`, making it if it is not there.
    pub(super) fn open(
        store: &'a Store,
        desk: &'a Desk,
        place: &'a Place,
        (id, attributes): (&str, bool),
    ) -> Result<Stage<'a>, WorkspaceError> {
        let name = format!("{STAGING_PREFIX}{id}");
        let shown = place.path().join(&name);
        match rustix::fs::mkdirat(place.root(), name.as_str(), Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).at("create the folder", &shown),
        }
        let folder = beneath::open_dir(place.root(), name.as_bytes()).at("open the folder", &shown)?;
        let (written, several) = (Cell::new(0), RefCell::default());
        Ok(Stage { store, desk, place, name, folder, attributes, written, several })
    }

    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// What stands at a name here.
    pub(super) fn entry(&self, name: &[u8]) -> Result<Option<Entry>, WorkspaceError> {
        let found = entry_at(&self.folder, name).at("read", self.place.path())?;
        Ok(if self.attributes { found } else { found.map(Entry::without_attributes) })
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
            Kind::File { .. } if self.link(to, &part) => {}
            Kind::File { .. } => {
                let source = self.open_content(path, to)?;
                self.fill(slot, path, &to.entry, &source)?;
                if let Some(file) = to.file() {
                    self.several.borrow_mut().insert(file, (to.entry.clone(), slot.new_name()));
                }
            }
            Kind::Dir { .. } | Kind::Whiteout => return Ok(()),
        }
        self.finish(slot, &shown)
    }

    /// Writes what stands at a path as a file of its own, with the mode of `to`.
    pub(super) fn copy(&self, slot: Slot, path: &RelPath, to: &State) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let source = match beneath::open_file(self.place.root(), path.as_bytes()) {
            Err(error) if beneath::is_absent(&error) => return Err(Halt::Blocked),
            other => File::from(other.at("read", &shown)?),
        };
        self.remove(&slot.part_name())?;
        self.remove(&slot.new_name())?;
        match self.fill(slot, path, &to.entry, &source) {
            // It is the project's own file: who writes to it now has changed it.
            Err(WorkspaceError::Damaged { .. }) => return Err(Halt::Blocked),
            other => other?,
        }
        Ok(self.finish(slot, &shown)?)
    }

    /// Writes a file under the name of a part; its content is proven on the way.
    fn fill(&self, slot: Slot, path: &RelPath, entry: &Entry, source: &File) -> Result<(), WorkspaceError> {
        let Kind::File { size, hash } = &entry.kind else { return Ok(()) };
        let (shown, part) = (self.place.shown(path), slot.part_name());
        let mut copy = File::from(beneath::create_file(&self.folder, &part, 0o600).at("write", &shown)?);
        match copy_into(source, &mut copy, *size) {
            Ok(copied) if copied == (*hash, *size) => {}
            Err(error) if error.kind() != io::ErrorKind::FileTooLarge => {
                return Err(error).at("write", &shown);
            }
            _ => {
                self.remove(&part)?;
                return Err(WorkspaceError::Damaged { what: format!("content of {path}") });
            }
        }
        if !attributes::give(&copy, &entry.attributes).at("set the attributes of", &shown)? {
            let refused = std::io::Error::from(io::ErrorKind::Unsupported);
            return Err(refused).at("set the attributes of", &shown);
        }
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(entry.mode)).at("set the mode of", &shown)?;
        self.written.set(self.written.get() + 1);
        if self.written.get() <= SYNC_EACH {
            let file = beneath::open_file(&self.folder, &part).at("sync", &shown)?;
            rustix::fs::fsync(file).at("sync", &shown)?;
        }
        Ok(())
    }

    /// Gives what is whole the name that says so.
    fn finish(&self, slot: Slot, shown: &std::path::Path) -> Result<(), WorkspaceError> {
        rustix::fs::renameat(&self.folder, slot.part_name(), &self.folder, slot.new_name()).at("write", shown)
    }

    /// Whether a content is staged for a step, unread.
    pub(super) fn holds(&self, slot: Slot) -> Result<bool, WorkspaceError> {
        let found = beneath::look(&self.folder, &slot.new_name()).at("read", self.place.path())?;
        Ok(found.is_some())
    }

    /// Makes another name of a file that is staged already; false where it must be written.
    fn link(&self, to: &State, part: &[u8]) -> bool {
        let several = self.several.borrow();
        let Some((entry, first)) = to.file().and_then(|file| several.get(&file)) else { return false };
        let folder = &self.folder;
        // It may have gone to its place already: then this becomes a file of its own.
        *entry == to.entry
            && rustix::fs::linkat(folder, first.as_slice(), folder, part, AtFlags::empty()).is_ok()
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

    /// Gives a staged file the owner of what it replaces, else of its folder; and of what it replaces the attributes
    /// that are its user's and that no tree keeps.
    pub(super) fn own_like(
        &self,
        slot: Slot,
        parent: &OwnedFd,
        name: Option<&[u8]>,
    ) -> Result<(), WorkspaceError> {
        let give = || -> io::Result<()> {
            let Some((staged, stat)) = beneath::look(&self.folder, &slot.new_name())? else { return Ok(()) };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && let Some(replaced) = name.and_then(|name| beneath::open_file(parent, name).ok())
            {
                attributes::copy_rest(replaced.as_fd(), &staged, !self.attributes)?;
            }
            let Some(owner) = owner_like(parent, name)? else { return Ok(()) };
            if stat.st_nlink > 1 && (stat.st_uid, stat.st_gid) != owner {
                // Another name of it has another owner: who owns one must not own the other.
                return give_to(self.unshared(slot)?, owner);
            }
            give_to(staged, owner)
        };
        give().at("give away a file in", self.place.path())
    }

    /// Makes one of several names a file of its own.
    fn unshared(&self, slot: Slot) -> io::Result<OwnedFd> {
        let (name, part) = (slot.new_name(), slot.part_name());
        let source = File::from(beneath::open_file(&self.folder, &name)?);
        let mut copy = File::from(beneath::create_file(&self.folder, &part, 0o600)?);
        copy_into(&source, &mut copy, u64::MAX)?;
        attributes::copy_rest(source.as_fd(), &copy, true)?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(rustix::fs::fstat(&source)?.st_mode & 0o777))?;
        copy.sync_all()?;
        rustix::fs::renameat(&self.folder, part.as_slice(), &self.folder, name.as_slice())?;
        Ok(copy.into())
    }

    /// Makes what was staged durable, and says so here. From then on, and not before, the project's files are exchanged
    /// with what is staged: what is here and not as the journal says is somebody's.
    pub(super) fn vouch(&self) -> Result<(), WorkspaceError> {
        self.sync()?;
        beneath::create_file(&self.folder, WHOLE, 0o600).at("write in", self.place.path())?;
        rustix::fs::fsync(&self.folder).at("sync", self.place.path())
    }

    /// Whether [`Self::vouch`] was reached. Until then nothing has been taken out of the project.
    pub(super) fn is_vouched_for(&self) -> Result<bool, WorkspaceError> {
        Ok(beneath::look(&self.folder, WHOLE).at("read", self.place.path())?.is_some())
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), WorkspaceError> {
        if self.written.get() > SYNC_EACH {
            return rustix::fs::syncfs(&self.folder).at("sync", self.place.path());
        }
        rustix::fs::fsync(&self.folder).at("sync", self.place.path())
    }

    /// Removes what is staged, and with it the word that it is whole.
    pub(super) fn clear(&self) -> Result<(), WorkspaceError> {
        for name in beneath::names(&self.folder).at("list", self.place.path())? {
            self.remove(&name.name)?;
        }
        self.several.borrow_mut().clear();
        rustix::fs::fsync(&self.folder).at("sync", self.place.path())
    }

    /// Removes the folder. What is still in it was staged and not needed.
    pub(super) fn close(&self) -> Result<(), WorkspaceError> {
        self.clear()?;
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

/// Root gives files away: to the owner of `name` in `parent` when there is one, else of `parent`.
pub(super) fn own_like(file: impl AsFd, parent: &OwnedFd, name: Option<&[u8]>) -> io::Result<()> {
    owner_like(parent, name)?.map_or(Ok(()), |owner| give_to(file, owner))
}

/// To whom a file is given: user and group.
fn owner_like(parent: &OwnedFd, name: Option<&[u8]>) -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let like: Option<Stat> = match name {
        Some(name) => beneath::look(parent, name)?.map(|(_, stat)| stat),
        None => None,
    };
    let like = match like {
        Some(stat) => stat,
        None => rustix::fs::fstat(parent)?,
    };
    Ok(Some((like.st_uid, like.st_gid)))
}

fn give_to(file: impl AsFd, (user, group): (u32, u32)) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(file, c"", Some(user), Some(group), flags)?)
}
