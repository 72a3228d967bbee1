//! The record of an apply that is under way, so that a crash in its middle can be finished or undone.
//!
//! Written durably before the first change and removed after the last one is durable. It says for
//! every step what the path was and what it becomes, and where both contents are.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::hidden::Hidden;
use super::super::layer::OneFile;
use super::super::manifest::{Digest, Entry, Kind};
use super::super::path::RelPath;
use super::super::seal::write_durably;
use super::super::store::{Store, blob, children, lock_file, remove_tree, sync_folder};
use super::execute::{self, Resumed};
use super::place::Place;

/// A path's state, and where its content is if it is a file that may have to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) entry: Entry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Content>,
    /// Of one of several names of a file of that tree: the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<RelPath>,
}

impl State {
    /// The file, if it has several names.
    pub(super) fn file(&self) -> Option<OneFile> {
        match (&self.content, &self.link) {
            (Some(Content::Tree(tree)), Some(link)) => Some((*tree, link.clone())),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// The same path of a stored tree.
    Tree(Digest),
    /// A copy beside the journal.
    Backup(usize),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Op {
    pub(super) path: RelPath,
    pub(super) from: Option<State>,
    pub(super) to: Option<State>,
    /// A folder that stays if it turns out not to be empty.
    #[serde(default)]
    pub(super) may_stay: bool,
}

impl Op {
    /// The step that takes this one back.
    pub(super) fn reversed(&self) -> Op {
        Op { path: self.path.clone(), from: self.to.clone(), to: self.from.clone(), may_stay: self.may_stay }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) id: String,
    /// Whose changes they are, in the caller's own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    /// Whether its states have attributes. One of an earlier version has none, and says nothing of those of files.
    #[serde(default)]
    pub(super) attributes: bool,
    pub(super) ops: Vec<Op>,
}

impl Journal {
    /// Puts the steps in an order in which each can be done: removals deepest first, then
    /// additions from the top, then the modes of folders, deepest first.
    pub(super) fn plan(project: &Path, by: Option<String>, ops: Vec<Op>) -> Journal {
        let (mut removals, mut additions, mut modes) = (Vec::new(), Vec::new(), Vec::new());
        for op in ops {
            let (from_dir, to_dir) = (is_dir(op.from.as_ref()), is_dir(op.to.as_ref()));
            let Op { path, from, to, may_stay } = op;
            let step = |from, to| Op { path: path.clone(), from, to, may_stay };
            match (from, to) {
                (Some(from), Some(to)) if from_dir && to_dir => modes.push(step(Some(from), Some(to))),
                (Some(from), Some(to)) if from_dir || to_dir => {
                    removals.push(step(Some(from), None));
                    add(&mut additions, &mut modes, &path, to);
                }
                (Some(from), None) => removals.push(step(Some(from), None)),
                (None, Some(to)) => add(&mut additions, &mut modes, &path, to),
                (from, to) => additions.push(step(from, to)),
            }
        }
        removals.sort_by(|a, b| b.path.cmp(&a.path));
        additions.sort_by(|a, b| a.path.cmp(&b.path));
        modes.sort_by(|a, b| b.path.cmp(&a.path));
        let ops: Vec<Op> = removals.into_iter().chain(additions).chain(modes).collect();
        let text = serde_json::to_vec(&ops).unwrap_or_default();
        let id = Digest::of(&[project.as_os_str().as_encoded_bytes(), &text].concat()).to_string();
        Journal { id: id.get(..12).unwrap_or(&id).to_owned(), by, attributes: true, ops }
    }
}

/// A new folder must be writable until it is filled; its own mode follows as a step if it is not.
fn add(additions: &mut Vec<Op>, modes: &mut Vec<Op>, path: &RelPath, to: State) {
    let step = |from, to| Op { path: path.clone(), from, to: Some(to), may_stay: false };
    if to.entry.is_dir() && to.entry.mode & 0o700 != 0o700 {
        let open = State {
            entry: Entry { mode: to.entry.mode | 0o700, ..to.entry.clone() },
            content: None,
            link: None,
        };
        additions.push(step(None, open.clone()));
        modes.push(step(Some(open), to));
    } else {
        additions.push(step(None, to));
    }
}

fn is_dir(state: Option<&State>) -> bool {
    state.is_some_and(|state| state.entry.is_dir())
}

/// Where the journal of one project is kept. Held, it keeps other applies away.
pub(crate) struct Desk {
    folder: PathBuf,
    _lock: OwnedFd,
}

impl Desk {
    pub(super) fn open(store: &Store, project: &Path) -> Result<Desk, WorkspaceError> {
        Desk::locked(store, project, FlockOperation::LockExclusive)
    }

    /// Keeps applies away while the project is read; waits for one that is under way.
    ///
    /// # Errors
    /// [`WorkspaceError::ApplyInterrupted`] where one was cut short: the project is half of two.
    pub(crate) fn keep_away(store: &Store, project: &Path) -> Result<Desk, WorkspaceError> {
        let desk = Desk::locked(store, project, FlockOperation::LockShared)?;
        match desk.pending()? {
            Some(journal) => Err(WorkspaceError::ApplyInterrupted { id: journal.id }),
            None => Ok(desk),
        }
    }

    fn locked(store: &Store, project: &Path, operation: FlockOperation) -> Result<Desk, WorkspaceError> {
        let folder = folder_of(store, project);
        fs::create_dir_all(&folder).at("create the folder", &folder)?;
        let lock = folder.join("lock");
        let lock = lock_file(&lock, operation).at("lock", &lock)?;
        Ok(Desk { folder, _lock: lock })
    }

    pub(super) fn pending(&self) -> Result<Option<Journal>, WorkspaceError> {
        read_journal(&self.folder)
    }

    /// Saves what cannot be had again and writes the journal.
    pub(super) fn begin(&self, mut journal: Journal, place: &Place) -> Result<Journal, WorkspaceError> {
        for name in children(&self.folder)?.iter().filter(|name| name.starts_with("backup-")) {
            remove_tree(&self.folder.join(name))?;
        }
        for (index, op) in journal.ops.iter_mut().enumerate() {
            let replaced = op.to.as_ref().map(|to| to.entry.kind.clone());
            if let Some(from) = &mut op.from {
                let is_file = matches!(from.entry.kind, Kind::File { .. });
                if is_file && from.content.is_none() && replaced.as_ref() != Some(&from.entry.kind) {
                    self.back_up(index, &op.path, &from.entry, place)?;
                    from.content = Some(Content::Backup(index));
                }
            }
        }
        let bytes = serde_json::to_vec(&journal).map_err(io::Error::from).at("write in", &self.folder)?;
        write_durably(&self.folder, &self.folder.join("journal"), &bytes)?;
        Ok(journal)
    }

    fn back_up(
        &self,
        index: usize,
        path: &RelPath,
        entry: &Entry,
        place: &Place,
    ) -> Result<(), WorkspaceError> {
        let shown = place.shown(path);
        let mut source =
            fs::File::from(beneath::open_file(place.root(), path.as_bytes()).at("read", &shown)?);
        let target = self.backup(index);
        let mut copy = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&target)
            .at("create", &target)?;
        io::copy(&mut source, &mut copy).and_then(|_| copy.sync_all()).at("copy", &shown)?;
        let (hash, size) = blob::hash_file(&copy, u64::MAX).at("read", &target)?;
        if entry.kind != (Kind::File { size, hash }) {
            return Err(WorkspaceError::ChangedWhileApplying { paths: vec![path.clone()] });
        }
        Ok(())
    }

    pub(super) fn backup(&self, index: usize) -> PathBuf {
        self.folder.join(format!("backup-{index}"))
    }

    /// Ends it: nothing is under way any more.
    pub(super) fn end(&self) -> Result<(), WorkspaceError> {
        remove_tree(&self.folder.join("journal"))?;
        sync_folder(&self.folder)?;
        for name in children(&self.folder)?.iter().filter(|name| name.starts_with("backup-")) {
            remove_tree(&self.folder.join(name))?;
        }
        Ok(())
    }
}

/// Held by who decides about the files of a project's runs.
#[derive(Debug)]
pub struct Deciding {
    _lock: OwnedFd,
}

/// Keeps others from applying and discarding in `project` until it is dropped; waits for who does. Taken before
/// the fate of a run's changes is read, and kept until what was done with them is recorded.
///
/// # Errors
/// [`WorkspaceError::Io`].
pub fn deciding(store: &Store, project: &Path) -> Result<Deciding, WorkspaceError> {
    // One that has gone is applied to by nobody.
    let project = project.canonicalize().unwrap_or_else(|_| project.to_owned());
    let folder = folder_of(store, &project);
    fs::create_dir_all(&folder).at("create the folder", &folder)?;
    let lock = folder.join("deciding");
    Ok(Deciding { _lock: lock_file(&lock, FlockOperation::LockExclusive).at("lock", &lock)? })
}

fn folder_of(store: &Store, project: &Path) -> PathBuf {
    store.folder("apply").join(Digest::of(project.as_os_str().as_encoded_bytes()).to_string())
}

fn read_journal(folder: &Path) -> Result<Option<Journal>, WorkspaceError> {
    let path = folder.join("journal");
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            let damaged = |_| WorkspaceError::Damaged { what: "journal of an interrupted apply".to_owned() };
            serde_json::from_slice(&other.at("read", &path)?).map(Some).map_err(damaged)
        }
    }
}

/// The trees that interrupted applies need, for pruning.
pub(crate) fn trees_in_use(store: &Store) -> Result<Vec<Digest>, WorkspaceError> {
    let mut used = Vec::new();
    for name in children(&store.folder("apply"))? {
        let Some(journal) = read_journal(&store.folder("apply").join(name))? else { continue };
        for state in journal.ops.into_iter().flat_map(|op| [op.from, op.to]).flatten() {
            if let Some(Content::Tree(digest)) = state.content {
                used.push(digest);
            }
        }
    }
    Ok(used)
}

/// What an interrupted apply was doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub id: String,
    /// [`super::ApplyOptions::by`] of that apply.
    pub by: Option<String>,
    /// The paths concerned.
    pub paths: Vec<RelPath>,
    /// Those of them that become a file or a link, or were one and go.
    pub files: Vec<RelPath>,
}

/// The apply to `project` that was cut short, if there is one. Waits for one that is under way.
///
/// # Errors
/// [`WorkspaceError::Io`], [`WorkspaceError::Damaged`].
pub fn pending_apply(store: &Store, project: &Path) -> Result<Option<Pending>, WorkspaceError> {
    let project = project.canonicalize().at("open the project", project)?;
    let journal = Desk::open(store, &project)?.pending()?;
    Ok(journal.map(|journal| {
        let folder = |op: &Op| [&op.from, &op.to].into_iter().flatten().all(|state| state.entry.is_dir());
        let files: BTreeSet<RelPath> =
            journal.ops.iter().filter(|op| !folder(op)).map(|op| op.path.clone()).collect();
        let paths: BTreeSet<RelPath> = journal.ops.into_iter().map(|op| op.path).collect();
        Pending {
            id: journal.id,
            by: journal.by,
            paths: paths.into_iter().collect(),
            files: files.into_iter().collect(),
        }
    }))
}

/// What to do with an interrupted apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Write the rest.
    Finish,
    /// Put back what was written.
    Undo,
}

/// Finishes or undoes an interrupted apply; gives the paths that are not as that would have them. Does nothing when none was interrupted. May itself be interrupted
/// and called again, with either direction.
///
/// # Errors
/// [`WorkspaceError::Missing`] or [`WorkspaceError::Damaged`] when a content is not in the store any
/// more; [`WorkspaceError::Io`]. The journal then stays.
pub fn resume_apply(
    store: &Store,
    project: &Path,
    hidden: &Hidden,
    direction: Direction,
) -> Result<Resumed, WorkspaceError> {
    let place = Place::open(project, hidden.clone())?;
    let desk = Desk::open(store, place.path())?;
    match desk.pending()? {
        Some(journal) => execute::resume(store, &desk, &place, &journal, direction),
        None => Ok(Resumed::default()),
    }
}
