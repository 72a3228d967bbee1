//! Git's objects, which come in together or not at all: a branch or an index that is brought in without the objects that
//! it names is a repository that Git cannot read any more.
//!
//! What a branch names is not read: whoever leaves out one new object leaves out all that may name it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::diff::Change;
use super::super::error::WorkspaceError;
use super::super::hidden::git::Folders;
use super::super::manifest::{Entry, Kind};
use super::super::path::RelPath;
use super::place::Place;
use super::report::{Conflict, ConflictReason, Report};

/// What of a folder of Git's names no object.
const NAMES_NONE: [&[u8]; 8] = [
    b"objects",
    b"hooks",
    b"info",
    b"config",
    b"config.worktree",
    b"description",
    b"COMMIT_EDITMSG",
    b"logs",
];

/// How the files of a pack end.
const PACKED: [&[u8]; 6] = [b".pack", b".idx", b".rev", b".bitmap", b".mtimes", b".keep"];

/// The new objects of a run, by the folder `objects` that they are in.
pub(super) struct Objects(BTreeMap<RelPath, BTreeSet<RelPath>>);

impl Objects {
    /// Those among the changes; `git` are the folders of Git's that are not called so.
    pub(super) fn of(changes: &[Change], git: &Folders) -> Self {
        let mut found: BTreeMap<RelPath, BTreeSet<RelPath>> = BTreeMap::new();
        for change in changes.iter().filter(|change| change.before.is_none() && is_plain(change)) {
            if let Some(store) = stored_in(&change.path)
                && (is_called_git(&store.parent().unwrap_or_default()) || git.inside(&change.path).is_some())
            {
                found.entry(store).or_default().insert(change.path.clone());
            }
        }
        Objects(found)
    }

    /// Whether a path is one of them.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        stored_in(path).and_then(|store| self.0.get(&store)).is_some_and(|objects| objects.contains(path))
    }

    /// Refuses what may name an object that is neither among the `wanted` nor in the project.
    ///
    /// # Errors
    /// When the project cannot be read.
    pub(super) fn check(
        &self,
        place: &Place,
        wanted: &[Change],
        report: &mut Report,
    ) -> Result<(), WorkspaceError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let paths: BTreeSet<&RelPath> = wanted.iter().map(|change| &change.path).collect();
        for (store, objects) in &self.0 {
            let git = store.parent().unwrap_or_default();
            let (from, to) = git.below();
            let inside = match git.as_bytes().is_empty() {
                true => paths.range::<&RelPath, _>(..),
                false => paths.range::<&RelPath, _>(&from..&to),
            };
            let mut naming = inside.filter(|path| names_objects(path, &git)).peekable();
            if naming.peek().is_none() {
                continue;
            }
            for object in objects.iter().filter(|object| !paths.contains(object)) {
                if place.entry(object)?.is_none() {
                    let reason = ConflictReason::ObjectsLeft;
                    report.conflicts.extend(naming.map(|path| Conflict { path: (*path).clone(), reason }));
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Whether a change makes a file that nobody can run.
fn is_plain(change: &Change) -> bool {
    let plain = |entry: &Entry| matches!(entry.kind, Kind::File { .. }) && entry.mode & 0o111 == 0;
    change.after.as_ref().is_some_and(plain)
}

fn is_called_git(folder: &RelPath) -> bool {
    folder.name().to_ascii_lowercase().ends_with(b".git")
}

/// Whether a path in the folder `git` may name objects of it.
fn names_objects(path: &RelPath, git: &RelPath) -> bool {
    path.components().nth(git.depth()).is_some_and(|first| !NAMES_NONE.contains(&first))
}

/// The folder `objects` that a path is an object or a pack of; none of what is something else.
fn stored_in(path: &RelPath) -> Option<RelPath> {
    let parts: Vec<&[u8]> = path.components().collect();
    let at = parts.len().checked_sub(3)?;
    let (folder, name) = (parts[at + 1], parts[at + 2]);
    let hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    let is_pack = || {
        let name = name.strip_prefix(b"pack-").unwrap_or_default();
        let (hash, ending) = name.split_at(name.iter().position(|byte| *byte == b'.').unwrap_or(0));
        folder == b"pack" && !hash.is_empty() && hex(hash) && PACKED.contains(&ending)
    };
    let is_loose = || folder.len() == 2 && hex(folder) && name.len() >= 38 && hex(name);
    let store = path.parent().and_then(|folder| folder.parent())?;
    (parts[at] == b"objects" && (is_loose() || is_pack())).then_some(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_known_by_their_names() {
        let store = |path: &str| stored_in(&path.parse().unwrap()).map(|store| store.to_string());
        let loose = "ab/0123456789012345678901234567890123456a";
        assert_eq!(store(&format!(".git/objects/{loose}")).as_deref(), Some(".git/objects"));
        assert_eq!(store(&format!("objects/{loose}")).as_deref(), Some("objects"));
        assert_eq!(store("a/b.git/objects/pack/pack-1a.idx").as_deref(), Some("a/b.git/objects"));
        for other in
            [".git/objects/info/alternates", ".git/objects/ab/x", "objects/pack/x", ".git/refs/heads/a"]
        {
            assert_eq!(store(other), None, "{other}");
        }
    }

    #[test]
    fn what_may_name_objects_is_known() {
        let names = |path: &str| names_objects(&path.parse().unwrap(), &".git".parse().unwrap());
        for path in [".git/HEAD", ".git/refs/heads/main", ".git/index", ".git/packed-refs", ".git/ORIG_HEAD"]
        {
            assert!(names(path), "{path}");
        }
        for path in [".git/config", ".git/hooks/pre-commit", ".git/objects/ab/x", ".git"] {
            assert!(!names(path), "{path}");
        }
    }
}
