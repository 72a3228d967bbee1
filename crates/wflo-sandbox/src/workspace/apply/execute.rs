//! Doing the steps of a journal.
//!
//! Every new content is first written whole into a staging folder of the project, so that a full
//! disk is met before anything changes, and then put in place by one rename. A step that replaces
//! something exchanges the two and looks at what it got: if that is not what was expected, it is put
//! back. Every step can be repeated after a crash at any instruction.
//!
//! Attributes of a file, and those that it keeps of what it replaces, are set on the staged file, so that it has them
//! when it gets its place; also where nothing else differs:
//!
//! | a crash after | leaves |
//! |---|---|
//! | the part is written, or has some of them | a part: written anew |
//! | it is named as whole | a staged file that is what the step makes |
//! | some of what it replaces were copied to it | the same: no tree keeps those, and none is compared |
//! | the exchange | the file in its place, with all of them |
//!
//! A folder is there already, or is made in its place and filled there: its attributes are set one by one, then its
//! mode. A crash in between leaves one between what it was and what it becomes (`is_under_way`), which either way
//! out goes on from.

mod stage;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use std::os::fd::AsRawFd;

use super::super::attributes::{self, Attributes};
use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::{Entry, Kind};
use super::super::path::RelPath;
use super::super::store::Store;
use super::journal::{Desk, Direction, Journal, Op, State};
use super::place::{Place, entry_at};
use stage::{Slot, Stage};

/// Why the steps stopped.
enum Halt {
    /// Somebody else changed the path.
    Blocked,
    Failed(WorkspaceError),
    /// A test took the place of a crash.
    #[cfg(test)]
    Crashed,
}

impl From<WorkspaceError> for Halt {
    fn from(error: WorkspaceError) -> Self {
        Halt::Failed(error)
    }
}

struct Hands<'a> {
    place: &'a Place,
    stage: Stage<'a>,
    /// Whether the journal says anything about attributes.
    attributes: bool,
}

/// Does everything, or undoes what it did and says why.
pub(super) fn run(
    store: &Store,
    desk: &Desk,
    place: &Place,
    journal: &Journal,
) -> Result<(), WorkspaceError> {
    let hands = Hands::open(store, desk, place, journal)?;
    let outcome = hands.forward(journal);
    let error = match outcome {
        Ok(()) => {
            hands.stage.close()?;
            return desk.end();
        }
        #[cfg(test)]
        Err((_, Halt::Crashed)) => return Err(WorkspaceError::ApplyInterrupted { id: journal.id.clone() }),
        Err((path, Halt::Blocked)) => WorkspaceError::ChangedWhileApplying { paths: vec![path] },
        Err((_, Halt::Failed(error))) => error,
    };
    match hands.settle(journal, Direction::Undo) {
        Ok(_) => {
            hands.stage.close()?;
            desk.end()?;
            Err(error)
        }
        // What could not be undone now can be later: the journal stays.
        Err(second) => {
            tracing::warn!(%second, "an apply could not be undone at once");
            Err(error)
        }
    }
}

/// Finishes or undoes; gives the paths that somebody else has changed.
pub(super) fn resume(
    store: &Store,
    desk: &Desk,
    place: &Place,
    journal: &Journal,
    direction: Direction,
) -> Result<Vec<RelPath>, WorkspaceError> {
    let hands = Hands::open(store, desk, place, journal)?;
    let left = hands.settle(journal, direction)?;
    hands.stage.close()?;
    desk.end()?;
    Ok(left)
}

impl<'a> Hands<'a> {
    fn open(
        store: &'a Store,
        desk: &'a Desk,
        place: &'a Place,
        journal: &Journal,
    ) -> Result<Self, WorkspaceError> {
        let attributes = journal.attributes;
        Ok(Hands { place, stage: Stage::open(store, desk, place, (&journal.id, attributes))?, attributes })
    }

    /// What stands at a path, as far as the journal says what does.
    fn entry(&self, path: &RelPath) -> Result<Option<Entry>, WorkspaceError> {
        let found = self.place.entry(path)?;
        Ok(if self.attributes { found } else { found.map(Entry::without_attributes) })
    }

    fn forward(&self, journal: &Journal) -> Result<(), (RelPath, Halt)> {
        let at = |path: &RelPath| {
            let path = path.clone();
            move |halt: Halt| (path, halt)
        };
        for (index, op) in journal.ops.iter().enumerate() {
            self.stage_content(Slot::new(index, Direction::Finish), op).map_err(at(&op.path))?;
        }
        self.stage.sync().map_err(|error| at(&RelPath::root())(error.into()))?;
        for (index, op) in journal.ops.iter().enumerate() {
            self.step(Slot::new(index, Direction::Finish), op).map_err(at(&op.path))?;
        }
        self.sync_folders(journal).map_err(|error| at(&RelPath::root())(error.into()))
    }

    /// Brings every path to the end that `direction` names, skipping those that are foreign now.
    fn settle(&self, journal: &Journal, direction: Direction) -> Result<Vec<RelPath>, WorkspaceError> {
        self.recover(journal)?;
        let mut left = Vec::new();
        let mut steps: Vec<(usize, Op)> = journal.ops.iter().cloned().enumerate().collect();
        if direction == Direction::Undo {
            steps = steps.into_iter().rev().map(|(index, op)| (index, op.reversed())).collect();
        }
        for (position, (index, op)) in steps.iter().enumerate() {
            let slot = Slot::new(*index, direction);
            if self.is_further(&steps, position, op)? {
                continue;
            }
            match self.stage_content(slot, op).and_then(|()| self.step(slot, op)) {
                Ok(()) => {}
                Err(Halt::Blocked) => left.push(op.path.clone()),
                Err(Halt::Failed(error)) => return Err(error),
                #[cfg(test)]
                Err(Halt::Crashed) => {
                    return Err(WorkspaceError::ApplyInterrupted { id: journal.id.clone() });
                }
            }
        }
        self.sync_folders(journal)?;
        Ok(left)
    }

    /// Whether the path is where a later step of its own takes it: a file that became a folder has
    /// two steps, and the crash may have come after the second.
    fn is_further(&self, steps: &[(usize, Op)], position: usize, op: &Op) -> Result<bool, WorkspaceError> {
        let mut later = steps
            .iter()
            .skip(position + 1)
            .filter(|(_, other)| other.path == op.path)
            .map(|(_, other)| other)
            .peekable();
        if later.peek().is_none() {
            return Ok(false);
        }
        let now = self.entry(&op.path)?;
        let under_way = |other: &Op| now.as_ref().is_some_and(|now| is_under_way(now, other));
        Ok(later.any(|other| matches(now.as_ref(), other.to.as_ref()) || under_way(other)))
    }

    /// Puts right what a crash between an exchange and the look at its result left behind.
    fn recover(&self, journal: &Journal) -> Result<(), WorkspaceError> {
        for (index, op) in journal.ops.iter().enumerate() {
            for (direction, op) in [(Direction::Finish, op.clone()), (Direction::Undo, op.reversed())] {
                let slot = Slot::new(index, direction);
                for name in [slot.new_name(), slot.old_name()] {
                    let Some(staged) = self.stage.entry(&name)? else { continue };
                    let expected =
                        [&op.from, &op.to].into_iter().flatten().any(|state| same(&state.entry, &staged));
                    if !expected {
                        self.give_back(&op.path, &name)?;
                    }
                    self.stage.remove(&name)?;
                }
            }
        }
        Ok(())
    }

    /// Returns somebody's file from the staging folder to its path.
    fn give_back(&self, path: &RelPath, staged: &[u8]) -> Result<(), WorkspaceError> {
        let shown = self.place.shown(path);
        let (parent, name) =
            beneath::open_parent(self.place.root(), path).at("open the folder of", &shown)?;
        for flags in [RenameFlags::NOREPLACE, RenameFlags::EXCHANGE] {
            match rustix::fs::renameat_with(self.stage.folder(), staged, &parent, name, flags) {
                Err(Errno::EXIST | Errno::NOENT) => {}
                other => return other.at("put back", &shown),
            }
        }
        Ok(())
    }

    /// Writes the content that a step puts in place, whole, into the staging folder.
    fn stage_content(&self, slot: Slot, op: &Op) -> Result<(), Halt> {
        let Some(to) = &op.to else { return Ok(()) };
        if to.entry.is_dir() || self.is(&op.path, Some(to))? {
            return Ok(());
        }
        if !op.from.as_ref().is_some_and(|from| from.entry.kind == to.entry.kind) {
            self.stage.write(slot, &op.path, to)?;
        } else if self.is_shared(&op.path)?
            || op.from.as_ref().is_some_and(|from| from.entry.attributes != to.entry.attributes)
        {
            self.stage.copy(slot, &op.path, to)?;
        }
        Ok(())
    }

    /// Whether what stands at a path is a file that has other names, here or anywhere.
    fn is_shared(&self, path: &RelPath) -> Result<bool, WorkspaceError> {
        let found = beneath::look(self.place.root(), path.as_bytes()).at("read", &self.place.shown(path))?;
        Ok(found.is_some_and(|(_, stat)| is_shared(&stat)))
    }

    fn is(&self, path: &RelPath, state: Option<&State>) -> Result<bool, WorkspaceError> {
        Ok(matches(self.entry(path)?.as_ref(), state))
    }

    fn step(&self, slot: Slot, op: &Op) -> Result<(), Halt> {
        self.stage.crash_point()?;
        let now = self.entry(&op.path)?;
        if matches(now.as_ref(), op.to.as_ref()) {
            return Ok(());
        }
        let cut_short = now.as_ref().is_some_and(|now| is_under_way(now, op));
        if !(matches(now.as_ref(), op.from.as_ref()) || cut_short) || self.place.hidden(&op.path)?.is_some() {
            return Err(Halt::Blocked);
        }
        match (&op.from, &op.to) {
            (Some(from), Some(to)) if from.entry.kind == to.entry.kind => {
                // Other names of the file, which may lie outside of the project, keep their mode.
                match self.stage.holds(slot)? {
                    true => self.replace(slot, &op.path, from),
                    false => self.set(&op.path, to),
                }
            }
            (None, Some(to)) if to.entry.is_dir() && cut_short => self.set(&op.path, to),
            (None, Some(to)) if to.entry.is_dir() => self.make_folder(&op.path, to),
            (Some(from), None) if from.entry.is_dir() => self.remove_folder(op),
            (None, Some(_)) => self.put(slot, &op.path),
            (Some(from), Some(_)) => self.replace(slot, &op.path, from),
            (Some(from), None) => self.remove(slot, &op.path, from),
            (None, None) => Ok(()),
        }
    }

    fn parent<'p>(&self, path: &'p RelPath) -> Result<(std::os::fd::OwnedFd, &'p [u8]), Halt> {
        match beneath::open_parent(self.place.root(), path) {
            Err(error) if beneath::is_absent(&error) => Err(Halt::Blocked),
            other => Ok(other.at("open the folder of", &self.place.shown(path))?),
        }
    }

    /// Sets a mode, and the attributes of a folder.
    fn set(&self, path: &RelPath, to: &State) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let found = beneath::look(self.place.root(), path.as_bytes()).at("open", &shown)?;
        let (found, stat) = found.ok_or(Halt::Blocked)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink || is_shared(&stat) {
            return Err(Halt::Blocked);
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && self.attributes {
            self.set_attributes(&found, to, &shown)?;
        }
        // The magic link of the descriptor is the very file that was looked at.
        let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(rustix::fs::chmod(magic, Mode::from_raw_mode(to.entry.mode)).at("set the mode of", &shown)?)
    }

    /// Of a folder that is there. That it takes them was tried when this was planned.
    fn set_attributes(
        &self,
        folder: &impl std::os::fd::AsFd,
        to: &State,
        shown: &std::path::Path,
    ) -> Result<(), Halt> {
        let all = attributes::change(folder, &to.entry.attributes).at("set the attributes of", shown)?;
        self.stage.crash_point()?;
        let refused = || std::io::Error::from(std::io::ErrorKind::Unsupported);
        if all { Ok(()) } else { Ok(Err(refused()).at("set the attributes of", shown)?) }
    }

    fn make_folder(&self, path: &RelPath, to: &State) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(MADE)) {
            Err(Errno::EXIST) => return Err(Halt::Blocked),
            other => other.at("create the folder", &shown)?,
        }
        self.stage.crash_point()?;
        let dir = beneath::open_dir(&parent, name).at("open the folder", &shown)?;
        if self.attributes {
            self.set_attributes(&dir, to, &shown)?;
        }
        stage::own_like(&dir, &parent, None).at("give away", &shown)?;
        Ok(rustix::fs::fchmod(&dir, Mode::from_raw_mode(to.entry.mode)).at("set the mode of", &shown)?)
    }

    fn remove_folder(&self, op: &Op) -> Result<(), Halt> {
        let (parent, name) = self.parent(&op.path)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) if op.may_stay => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => Err(Halt::Blocked),
            other => Ok(other.at("remove the folder", &self.place.shown(&op.path))?),
        }
    }

    fn put(&self, slot: Slot, path: &RelPath) -> Result<(), Halt> {
        let (parent, name) = self.parent(path)?;
        self.stage.own_like(slot, &parent, None)?;
        self.rename(&self.stage.folder(), &slot.new_name(), &parent, name, path)
    }

    fn replace(&self, slot: Slot, path: &RelPath, from: &State) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let (parent, name) = self.parent(path)?;
        self.stage.own_like(slot, &parent, Some(name))?;
        let staged = slot.new_name();
        let folder = self.stage.folder();
        match rustix::fs::renameat_with(folder, &*staged, &parent, name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(Halt::Blocked),
            // A file system without exchange: the check just before is what there is.
            Err(Errno::INVAL | Errno::NOSYS) => {
                return Ok(rustix::fs::renameat(folder, &*staged, &parent, name).at("replace", &shown)?);
            }
            Err(error) => Err(error).at("replace", &shown)?,
        }
        self.stage.crash_point()?;
        if self.stage.is_expected(&staged, from, self.place)? {
            self.stage.remove(&staged)?;
            return Ok(());
        }
        rustix::fs::renameat_with(folder, &*staged, &parent, name, RenameFlags::EXCHANGE)
            .at("put back", &shown)?;
        Err(Halt::Blocked)
    }

    fn remove(&self, slot: Slot, path: &RelPath, from: &State) -> Result<(), Halt> {
        let (parent, name) = self.parent(path)?;
        let taken = slot.old_name();
        self.rename(&parent, name, &self.stage.folder(), &taken, path)?;
        self.stage.crash_point()?;
        if self.stage.is_expected(&taken, from, self.place)? {
            self.stage.remove(&taken)?;
            return Ok(());
        }
        self.rename(&self.stage.folder(), &taken, &parent, name, path)?;
        Err(Halt::Blocked)
    }

    /// Renames without replacing anything.
    fn rename(
        &self,
        from: &impl std::os::fd::AsFd,
        old: &[u8],
        to: &impl std::os::fd::AsFd,
        new: &[u8],
        path: &RelPath,
    ) -> Result<(), Halt> {
        match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST | Errno::NOENT) => Err(Halt::Blocked),
            other => Ok(other.at("rename", &self.place.shown(path))?),
        }
    }

    fn sync_folders(&self, journal: &Journal) -> Result<(), WorkspaceError> {
        let folders: std::collections::BTreeSet<RelPath> =
            journal.ops.iter().filter_map(|op| op.path.parent()).collect();
        if folders.len() > stage::SYNC_EACH {
            return self.stage.sync();
        }
        for folder in folders {
            match beneath::open_dir(self.place.root(), folder.as_bytes()) {
                Err(error) if beneath::is_absent(&error) => {}
                other => {
                    let shown = self.place.shown(&folder);
                    rustix::fs::fsync(other.at("open the folder", &shown)?).at("sync", &shown)?;
                }
            }
        }
        Ok(())
    }
}

fn matches(now: Option<&Entry>, state: Option<&State>) -> bool {
    match (now, state) {
        (None, None) => true,
        (Some(now), Some(state)) => same(now, &state.entry),
        _ => false,
    }
}

fn same(a: &Entry, b: &Entry) -> bool {
    let alike = a.mode == b.mode && a.attributes == b.attributes;
    a.same_content(b) && (alike || matches!(a.kind, Kind::Symlink { .. }))
}

/// Whether a folder is what a crash in the middle of the step leaves: each attribute as before or as after, and the
/// mode of before, of after, or of its making.
fn is_under_way(now: &Entry, op: &Op) -> bool {
    let sides = [op.from.as_ref(), op.to.as_ref()];
    let folders = sides.into_iter().flatten().all(|state| state.entry.is_dir());
    if !now.is_dir() || !folders {
        return false;
    }
    let none = Attributes::default();
    let [from, to] = sides.map(|state| state.map_or(&none, |state| &state.entry.attributes));
    let mut modes = sides.into_iter().flatten().map(|state| state.entry.mode);
    let fresh = sides.iter().any(Option::is_none) && now.mode == MADE;
    now.attributes.is_between(from, to) && (fresh || modes.any(|mode| mode == now.mode))
}

/// With what mode a folder is made, before it has its own.
const MADE: u32 = 0o700;

/// Whether a file has several names. The links of a folder are not such.
fn is_shared(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) != FileType::Directory && stat.st_nlink > 1
}

/// What stands at a name of the staging folder.
fn staged_entry(folder: impl std::os::fd::AsFd, name: &[u8]) -> std::io::Result<Option<Entry>> {
    entry_at(folder, name)
}
