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
//! | the name, not the content: the power went | anything; without the word that all is whole nothing was exchanged yet |
//! | some of what it replaces were copied to it | the same: no tree keeps those, and none is compared |
//! | the exchange | the file in its place, with all of them |
//!
//! A folder is there already, or is made in its place and filled there: it is made writable where it is not, since
//! only then it takes attributes; these are set one by one, then its mode. A crash in between leaves one between what
//! it was and what it becomes (`stand::is_under_way`), which either way out goes on from. An attribute that it
//! refuses stays away and is said: as an error it would be met again both ways.

mod stage;
mod stand;
mod step;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::Entry;
use super::super::path::RelPath;
use super::super::store::Store;
use super::journal::{Desk, Direction, Journal, Op, State};
use super::place::Place;
use stage::{Slot, Stage};
use stand::{is_under_way, matches, same, stands};
use step::is_shared;

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

impl Halt {
    /// Goes on behind a path that somebody else changed; stops for anything else.
    fn skips(self, path: &RelPath, left: &mut Vec<RelPath>) -> Result<(), WorkspaceError> {
        match self {
            Halt::Blocked => left.push(path.clone()),
            Halt::Failed(error) => return Err(error),
            #[cfg(test)]
            Halt::Crashed => return Err(WorkspaceError::ApplyInterrupted { id: String::new() }),
        }
        Ok(())
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
        Ok(left) => {
            for path in hands.bare() {
                tracing::warn!(%path, "a folder did not take its attributes back");
            }
            for path in left {
                tracing::warn!(%path, "somebody changed it while an apply was taken back: it stays as it is");
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
        self.stage.crash_point().map_err(at(&RelPath::root()))?;
        self.stage.vouch().map_err(|error| at(&RelPath::root())(error.into()))?;
        for (index, op) in journal.ops.iter().enumerate() {
            self.step(Slot::new(index, Direction::Finish), op).map_err(at(&op.path))?;
        }
        self.sync_folders(journal).map_err(|error| at(&RelPath::root())(error.into()))
    }

    /// Brings every path to the end that `direction` names, skipping those that are foreign now.
    fn settle(&self, journal: &Journal, direction: Direction) -> Result<Vec<RelPath>, WorkspaceError> {
        self.recover(journal)?;
        let mut steps: Vec<(usize, Op)> = journal.ops.iter().cloned().enumerate().collect();
        if direction == Direction::Undo {
            steps = steps.into_iter().rev().map(|(index, op)| (index, op.reversed())).collect();
        }
        let (mut wanted, mut left) = (Vec::new(), Vec::new());
        for (position, (index, op)) in steps.iter().enumerate() {
            let slot = Slot::new(*index, direction);
            match self.stage_content(slot, op) {
                Ok(()) => wanted.push((position, slot, op)),
                Err(halt) => halt.skips(&op.path, &mut left)?,
            }
        }
        self.stage.vouch()?;
        let mut of_path: HashMap<&RelPath, Vec<usize>> = HashMap::new();
        for (position, (_, op)) in steps.iter().enumerate() {
            of_path.entry(&op.path).or_default().push(position);
        }
        for (position, slot, op) in wanted {
            let own = of_path.get(&op.path).into_iter().flatten().filter(|other| **other > position);
            let mut later = own.filter_map(|other| steps.get(*other)).map(|(_, op)| op).peekable();
            if later.peek().is_some() && self.is_further(later, &op.path)? {
                continue;
            }
            if let Err(halt) = self.step(slot, op) {
                halt.skips(&op.path, &mut left)?;
            }
        }
        self.sync_folders(journal)?;
        Ok(left)
    }

    /// Whether the path is where one of its `later` steps takes it: a file that became a folder has
    /// two steps, and the crash may have come after the second.
    fn is_further<'o>(
        &self,
        mut later: impl Iterator<Item = &'o Op>,
        path: &RelPath,
    ) -> Result<bool, WorkspaceError> {
        let now = self.entry(path)?;
        let under_way = |other: &Op| now.as_ref().is_some_and(|now| is_under_way(now, other));
        let there = |other: &Op| stands(now.as_ref(), other, other.to.as_ref());
        Ok(later.any(|other| there(other) || under_way(other)))
    }

    /// Puts right what a crash between an exchange and the look at its result left behind.
    fn recover(&self, journal: &Journal) -> Result<(), WorkspaceError> {
        // Until then what is staged is our own; what a loss of power left of that may look like anything.
        let steps = if self.stage.is_vouched_for()? { journal.ops.as_slice() } else { &[] };
        for (index, op) in steps.iter().enumerate() {
            for direction in [Direction::Finish, Direction::Undo] {
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
        self.stage.clear()
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
