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
//! A folder is there already, or is made in its place and filled there: it is made writable where it is not, since
//! only then it takes attributes; these are set one by one, then its mode. A crash in between leaves one between what
//! it was and what it becomes (`is_under_way`), which either way out goes on from. An attribute that it refuses stays
//! away and is said: as an error it would be met again both ways.

mod stage;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::BTreeSet;
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
    /// Folders that did not take all of theirs.
    bare: RefCell<BTreeSet<RelPath>>,
}

/// How a journal was brought to an end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Paths that were left as they are: somebody else has changed them since.
    pub left_alone: Vec<RelPath>,
    /// Folders that do not have all the extended attributes that they should: they were refused.
    pub without_attributes: Vec<RelPath>,
}

/// Does everything and gives the folders that did not take their attributes, or undoes what it did and says why.
pub(super) fn run(
    store: &Store,
    desk: &Desk,
    place: &Place,
    journal: &Journal,
) -> Result<Vec<RelPath>, WorkspaceError> {
    let hands = Hands::open(store, desk, place, journal)?;
    let outcome = hands.forward(journal);
    let error = match outcome {
        Ok(()) => {
            hands.stage.close()?;
            desk.end()?;
            return Ok(hands.bare());
        }
        #[cfg(test)]
        Err((_, Halt::Crashed)) => return Err(WorkspaceError::ApplyInterrupted { id: journal.id.clone() }),
        Err((path, Halt::Blocked)) => WorkspaceError::ChangedWhileApplying { paths: vec![path] },
        Err((_, Halt::Failed(error))) => error,
    };
    // Of what is taken back nothing is to be said.
    hands.bare.borrow_mut().clear();
    match hands.settle(journal, Direction::Undo) {
        Ok(_) => {
            for path in hands.bare() {
                tracing::warn!(%path, "a folder did not take its attributes back");
            }
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

/// Finishes or undoes.
pub(super) fn resume(
    store: &Store,
    desk: &Desk,
    place: &Place,
    journal: &Journal,
    direction: Direction,
) -> Result<Resumed, WorkspaceError> {
    let hands = Hands::open(store, desk, place, journal)?;
    let left_alone = hands.settle(journal, direction)?;
    hands.stage.close()?;
    desk.end()?;
    Ok(Resumed { left_alone, without_attributes: hands.bare() })
}

impl<'a> Hands<'a> {
    fn open(
        store: &'a Store,
        desk: &'a Desk,
        place: &'a Place,
        journal: &Journal,
    ) -> Result<Self, WorkspaceError> {
        let attributes = journal.attributes;
        let stage = Stage::open(store, desk, place, (&journal.id, attributes))?;
        Ok(Hands { place, stage, attributes, bare: RefCell::default() })
    }

    fn bare(&self) -> Vec<RelPath> {
        self.bare.take().into_iter().collect()
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
        let there = |other: &Op| stands(now.as_ref(), other, other.to.as_ref());
        Ok(later.any(|other| there(other) || under_way(other)))
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
        if stands(now.as_ref(), op, op.to.as_ref()) {
            return Ok(());
        }
        let cut_short = now.as_ref().is_some_and(|now| is_under_way(now, op));
        if !(stands(now.as_ref(), op, op.from.as_ref()) || cut_short)
            || self.place.hidden(&op.path)?.is_some()
        {
            return Err(Halt::Blocked);
        }
        match (&op.from, &op.to) {
            (Some(from), Some(to)) if from.entry.kind == to.entry.kind => {
                // Other names of the file, which may lie outside of the project, keep their mode.
                match self.stage.holds(slot)? {
                    true => self.replace(slot, &op.path, from),
                    false => self.set(op, to),
                }
            }
            (None, Some(to)) if to.entry.is_dir() && cut_short => self.set(op, to),
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

    /// Sets a mode, and the attributes of a folder where the step changes them.
    fn set(&self, op: &Op, to: &State) -> Result<(), Halt> {
        let shown = self.place.shown(&op.path);
        let found = beneath::look(self.place.root(), op.path.as_bytes()).at("open", &shown)?;
        let (found, stat) = found.ok_or(Halt::Blocked)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink || is_shared(&stat) {
            return Err(Halt::Blocked);
        }
        // The magic link of the descriptor is the very file that was looked at.
        let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
        let set = |mode: u32| rustix::fs::chmod(magic.as_str(), Mode::from_raw_mode(mode));
        let mut now = stat.st_mode & 0o7777;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && self.attributes && is_tagging(op) {
            // Somebody else's cannot be opened, and then refuses the attributes.
            if now & 0o200 == 0 && set(now | OPEN).is_ok() {
                now |= OPEN;
                self.stage.crash_point()?;
            }
            self.set_attributes(&found, &op.path, to)?;
        }
        if now & 0o777 == to.entry.mode {
            return Ok(());
        }
        Ok(set(to.entry.mode).at("set the mode of", &shown)?)
    }

    /// Of a folder that is there. One that refuses some, which a trial of another file did not show, is without.
    fn set_attributes(
        &self,
        folder: &impl std::os::fd::AsFd,
        path: &RelPath,
        to: &State,
    ) -> Result<(), Halt> {
        let shown = self.place.shown(path);
        let all = attributes::change(folder, &to.entry.attributes).at("set the attributes of", &shown)?;
        self.stage.crash_point()?;
        if !all {
            self.bare.borrow_mut().insert(path.clone());
        }
        Ok(())
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
            self.set_attributes(&dir, path, to)?;
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
        let folders: BTreeSet<RelPath> = journal.ops.iter().filter_map(|op| op.path.parent()).collect();
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

/// Whether a path is as one end of a step says. A folder in a step about its mode alone may lack attributes: the step
/// before it met a refusal.
fn stands(now: Option<&Entry>, op: &Op, end: Option<&State>) -> bool {
    let lacks = || match (now, end) {
        (Some(now), Some(end)) if op.from.is_some() && op.to.is_some() && !is_tagging(op) => {
            let folders = now.is_dir() && end.entry.is_dir();
            let fewer = now.attributes.is_between(&Attributes::default(), &end.entry.attributes);
            folders && fewer && now.mode == end.entry.mode
        }
        _ => false,
    };
    matches(now, end) || lacks()
}

/// Whether a step changes attributes.
fn is_tagging(op: &Op) -> bool {
    let none = Attributes::default();
    let [from, to] = attributes_of(op, &none);
    from != to
}

/// Before and after a step.
fn attributes_of<'a>(op: &'a Op, none: &'a Attributes) -> [&'a Attributes; 2] {
    [&op.from, &op.to].map(|state| state.as_ref().map_or(none, |state| &state.entry.attributes))
}

/// Whether a folder is what a crash in the middle of the step leaves: each attribute as before or as after, and the
/// mode of before or of after, that of its making, or, where attributes change, one in which they can be set: a crash
/// on the way back leaves that of the other end.
fn is_under_way(now: &Entry, op: &Op) -> bool {
    let sides = [op.from.as_ref(), op.to.as_ref()];
    let folders = sides.into_iter().flatten().all(|state| state.entry.is_dir());
    if !now.is_dir() || !folders {
        return false;
    }
    let none = Attributes::default();
    let [from, to] = attributes_of(op, &none);
    let mut modes = sides.into_iter().flatten().map(|state| state.entry.mode);
    let fresh = sides.iter().any(Option::is_none) && now.mode == MADE;
    let is_mode = |mode: u32| mode == now.mode || (from != to && mode | OPEN == now.mode);
    now.attributes.is_between(from, to) && (fresh || modes.any(is_mode))
}

/// What a folder's mode has in addition while attributes are set that it would not take.
const OPEN: u32 = 0o700;

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

#[cfg(test)]
mod tests {
    use super::super::super::attributes::tests::set;
    use super::*;

    fn folder(mode: u32, tags: &[(&str, &str)]) -> State {
        State { entry: Entry::dir(mode).with(set(tags)), content: None, link: None }
    }

    #[test]
    fn a_folder_that_was_opened_for_its_attributes_is_under_way_in_both_directions() {
        let tagging = Op {
            path: "d".parse().unwrap(),
            from: Some(folder(0o555, &[])),
            to: Some(folder(0o511, &[("user.a", "1")])),
            may_stay: false,
        };
        let mode_alone = Op { to: Some(folder(0o511, &[])), ..tagging.clone() };
        for op in [tagging.clone(), tagging.reversed()] {
            for (mode, expected) in
                [(0o555, true), (0o755, true), (0o711, true), (0o511, true), (0o777, false)]
            {
                assert_eq!(is_under_way(&Entry::dir(mode), &op), expected, "{mode:o}");
            }
        }
        assert!(!is_under_way(&Entry::dir(0o755), &mode_alone), "nothing opens it there: that is somebody's");
    }

    #[test]
    fn a_step_about_a_mode_alone_goes_on_where_attributes_were_refused() {
        let tags = [("user.a", "1"), ("user.b", "1")];
        let op = Op {
            path: "d".parse().unwrap(),
            from: Some(folder(0o755, &tags)),
            to: Some(folder(0o555, &tags)),
            may_stay: false,
        };
        let (bare, some) = (Entry::dir(0o755), Entry::dir(0o755).with(set(&tags[..1])));
        let other = Entry::dir(0o755).with(set(&[("user.a", "2")]));
        assert!(stands(Some(&bare), &op, op.from.as_ref()) && stands(Some(&some), &op, op.from.as_ref()));
        assert!(!stands(Some(&other), &op, op.from.as_ref()) && !stands(Some(&bare), &op, op.to.as_ref()));
        let tagging = Op { from: Some(folder(0o755, &[])), ..op };
        assert!(!stands(Some(&bare), &tagging, tagging.to.as_ref()), "they are what it is to set");
    }
}
