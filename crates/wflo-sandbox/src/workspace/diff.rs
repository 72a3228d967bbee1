//! What a run changed: its layers over what was there at submission, net.

mod text;

pub use text::{Text, TextLimits};

use std::collections::BTreeSet;
use std::fs::File;

use serde::{Deserialize, Serialize};

use super::error::{IoAt, WorkspaceError};
use super::layer::{Merged, MergedTree};
use super::manifest::{Digest, Entry, Kind};
use super::path::RelPath;
use super::store::Store;
use super::store::blob::read_up_to;
use super::view::View;

/// So much of a file is looked at to see whether it is binary.
const SNIFF: u64 = 8 * 1024;

/// What happened to one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Nothing was there before.
    Added,
    /// A file has other content, or a link another target.
    Modified,
    /// Nothing is there any more.
    Deleted,
    /// Only the permission bits differ, or they and extended attributes.
    Mode,
    /// Only extended attributes differ.
    Attributes,
    /// A file, folder or link became another of these.
    Type,
}

/// One path of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What happened.
    pub kind: ChangeKind,
    /// What was there at submission.
    pub before: Option<Entry>,
    /// What is there now.
    pub after: Option<Entry>,
    /// Whether either side is a file with NUL bytes near its start.
    pub binary: bool,
    #[serde(skip)]
    pub(crate) before_from: Option<Digest>,
    #[serde(skip)]
    pub(crate) after_from: Option<Digest>,
    #[serde(skip)]
    pub(crate) after_link: Option<RelPath>,
}

impl Change {
    /// Whether it is about a folder and nothing else: what is in it is listed beside it.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        let sides = [&self.before, &self.after];
        sides.into_iter().flatten().all(Entry::is_dir)
    }

    /// The first bytes of what the file is now; zeros when it is none.
    pub(crate) fn start(&self, store: &Store) -> [u8; 2] {
        let mut start = [0; 2];
        if let Some(tree) = &self.after_from
            && let Ok(root) = super::beneath::open_root(&store.tree(tree))
            && let Ok(file) = super::beneath::open_file(&root, self.path.as_bytes())
        {
            let _ = std::io::Read::read_exact(&mut File::from(file), &mut start);
        }
        start
    }
}

/// A stored file; none of what is not there or longer than `most`.
pub(crate) fn content_of(store: &Store, from: Option<Digest>, path: &RelPath, most: u64) -> Option<Vec<u8>> {
    whole(&store.open_content(&from?, path).ok()?, most)
}

/// A file's content; none of one that is longer than `most`.
pub(crate) fn whole(file: &File, most: u64) -> Option<Vec<u8>> {
    let content = read_up_to(file, most + 1).ok()?;
    (content.len() as u64 <= most).then_some(content)
}

/// The net change of a view, sorted by path. A folder that was added or removed is listed, and so is
/// everything in it.
///
/// # Errors
/// [`WorkspaceError::Missing`] and [`WorkspaceError::Io`] when a content cannot be read.
pub fn diff(view: &View, store: &Store) -> Result<Vec<Change>, WorkspaceError> {
    // A rollback changes what was there before it.
    let base = view.taken_back().into_iter().next().unwrap_or_else(|| view.base());
    sniffed(changes(&base, &view.merged()), store)
}

/// What a rollback must do where each path stands as `now` says: any state that the run has known is
/// taken back, anything else is somebody's edit.
///
/// # Errors
/// What `now` fails with; as [`diff`].
pub(crate) fn rollback(
    view: &View,
    store: &Store,
    now: impl Fn(&RelPath) -> Result<Option<Entry>, WorkspaceError>,
) -> Result<Vec<Change>, WorkspaceError> {
    let wanted = view.merged();
    let mut known = view.taken_back();
    known.push(view.base());
    let paths: BTreeSet<&RelPath> = known.iter().chain([&wanted]).flat_map(|tree| tree.keys()).collect();
    let mut found = Vec::new();
    for path in paths {
        let after = wanted.get(path);
        let entry = |merged: Option<&Merged>| merged.map(|merged| merged.entry.clone());
        let mut others =
            known.iter().map(|tree| tree.get(path)).filter(|state| entry(*state) != entry(after)).peekable();
        let Some(newest) = others.peek().copied() else { continue };
        let there = now(path)?;
        // One that a place cannot hold all attributes of is still that state.
        let states: Vec<_> = others.collect();
        let bare = |found: Option<Entry>| found.map(Entry::without_attributes);
        let alike = |state: &&Option<&Merged>| bare(entry(**state)) == bare(there.clone());
        let exact = states.iter().find(|state| entry(**state) == there);
        let before = exact.or_else(|| states.iter().find(alike)).copied().unwrap_or(newest);
        found.extend(change(path, before, after));
    }
    sniffed(found, store)
}

/// How the files of `after` differ from those of `before`.
///
/// # Errors
/// As [`diff`].
pub fn between(before: &View, after: &View, store: &Store) -> Result<Vec<Change>, WorkspaceError> {
    sniffed(changes(&before.merged(), &after.merged()), store)
}

fn sniffed(mut changes: Vec<Change>, store: &Store) -> Result<Vec<Change>, WorkspaceError> {
    for change in &mut changes {
        change.binary = is_binary(store, change.before_from, &change.path, change.before.as_ref())?
            || is_binary(store, change.after_from, &change.path, change.after.as_ref())?;
    }
    Ok(changes)
}

/// The differences of two trees; `binary` is not decided.
pub(crate) fn changes(base: &MergedTree, now: &MergedTree) -> Vec<Change> {
    let paths: BTreeSet<&RelPath> = base.keys().chain(now.keys()).collect();
    paths.into_iter().filter_map(|path| change(path, base.get(path), now.get(path))).collect()
}

fn change(path: &RelPath, before: Option<&Merged>, after: Option<&Merged>) -> Option<Change> {
    let kind = match (before.map(|side| &side.entry), after.map(|side| &side.entry)) {
        (None, None) => return None,
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Deleted,
        (Some(before), Some(after)) if before == after => return None,
        (Some(before), Some(after)) if before.kind == after.kind && before.mode == after.mode => {
            ChangeKind::Attributes
        }
        (Some(before), Some(after)) if before.kind == after.kind => ChangeKind::Mode,
        (Some(before), Some(after)) => match (&before.kind, &after.kind) {
            (Kind::File { .. }, Kind::File { .. }) | (Kind::Symlink { .. }, Kind::Symlink { .. }) => {
                ChangeKind::Modified
            }
            _ => ChangeKind::Type,
        },
    };
    Some(Change {
        path: path.clone(),
        kind,
        before: before.map(|side| side.entry.clone()),
        after: after.map(|side| side.entry.clone()),
        binary: false,
        before_from: before.map(|side| side.from),
        after_from: after.map(|side| side.from),
        after_link: after.and_then(|side| side.link.clone()),
    })
}

fn is_binary(
    store: &Store,
    from: Option<Digest>,
    path: &RelPath,
    entry: Option<&Entry>,
) -> Result<bool, WorkspaceError> {
    let (Some(from), Some(Entry { kind: Kind::File { size: 1.., .. }, .. })) = (from, entry) else {
        return Ok(false);
    };
    let file = store.open_content(&from, path)?;
    Ok(head(&file, path)?.contains(&0))
}

fn head(file: &File, path: &RelPath) -> Result<Vec<u8>, WorkspaceError> {
    read_up_to(file, SNIFF).at("read", path.as_path())
}
