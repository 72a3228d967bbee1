//! What is to be done to each path of the project, decided before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use super::super::diff::Change;
use super::super::error::WorkspaceError;
use super::super::folding::folded_path;
use super::super::manifest::{Digest, Entry, Kind};
use super::super::path::RelPath;
use super::ApplyOptions;
use super::journal::{Content, Op, State};
use super::merge::{Decision, decide};
use super::place::Place;
use super::report::{Conflict, ConflictReason, Report};

pub(super) struct Plan<'a> {
    place: &'a Place,
    options: &'a ApplyOptions,
    ops: BTreeMap<RelPath, Op>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(place: &'a Place, options: &'a ApplyOptions) -> Self {
        Plan { place, options, ops: BTreeMap::new() }
    }

    /// What is to be done, by its path.
    pub(super) fn into_ops(self) -> BTreeMap<RelPath, Op> {
        self.ops
    }

    /// Decides about one path.
    pub(super) fn consider(&mut self, change: &Change, report: &mut Report) -> Result<(), WorkspaceError> {
        let theirs = self.place.entry(&change.path)?;
        if theirs.is_some() && change.before.is_none() && !self.place.is_spelt(&change.path)? {
            let reason = ConflictReason::SameName;
            report.conflicts.push(Conflict { path: change.path.clone(), reason });
            return Ok(());
        }
        let forced = self.options.force.iter().any(|path| change.path.is_within(path));
        let to = match decide(change.before.as_ref(), theirs.as_ref(), change.after.as_ref()) {
            Decision::Already => {
                report.already.push(change.path.clone());
                return Ok(());
            }
            // Whoever names it means it.
            Decision::Conflict
                if !forced
                    && self.options.settled.contains(&change.path)
                    && !self.options.paths.contains(&change.path) =>
            {
                report.edited.push(change.path.clone());
                return Ok(());
            }
            Decision::Conflict if !forced => {
                report
                    .conflicts
                    .push(Conflict { path: change.path.clone(), reason: ConflictReason::BothChanged });
                return Ok(());
            }
            Decision::Conflict => change.after.clone(),
            Decision::Become(to) => to,
        };
        let to = match to {
            // Such a file is brought in without them, and that is said.
            Some(to)
                if theirs.as_ref().map(|theirs| &theirs.attributes) != Some(&to.attributes)
                    && !to.attributes.is_empty()
                    && !self.place.takes(&change.path, &to.attributes)? =>
            {
                report.without_attributes.push(change.path.clone());
                let there = theirs.as_ref().map(|theirs| theirs.attributes.clone());
                Some(to.with(there.unwrap_or_default()))
            }
            to => to,
        };
        if to == theirs {
            report.already.push(change.path.clone());
            return Ok(());
        }
        let from = theirs.map(|entry| State {
            content: known_content(&entry, change.before.as_ref(), change.before_from),
            link: None,
            entry,
        });
        let to = to.map(|entry| State {
            content: known_content(&entry, change.after.as_ref(), change.after_from),
            link: change.after_link.clone(),
            entry,
        });
        self.ops.insert(change.path.clone(), Op { path: change.path.clone(), from, to, may_stay: false });
        Ok(())
    }

    /// Checks that no two names that are to be there are one to the project's file system.
    pub(super) fn check_names(&self, report: &mut Report) -> Result<(), WorkspaceError> {
        let mut alike: BTreeMap<RelPath, Vec<&RelPath>> = BTreeMap::new();
        for (path, _) in self.ops.iter().filter(|(_, op)| op.to.is_some()) {
            alike.entry(folded_path(path)).or_default().push(path);
        }
        for paths in alike.into_values().filter(|paths| paths.len() > 1) {
            for path in paths {
                if self.place.folds(path)? {
                    let reason = ConflictReason::SameName;
                    report.conflicts.push(Conflict { path: path.clone(), reason });
                }
            }
        }
        Ok(())
    }

    /// Checks that every folder that must be there will be, and every one that must go can.
    pub(super) fn check_folders(&mut self, report: &mut Report) -> Result<(), WorkspaceError> {
        let mut stays = BTreeSet::new();
        // Deepest first, so that a folder that stays keeps the ones above it.
        for (path, op) in self.ops.iter().rev() {
            if !is_dir(op.from.as_ref()) || is_dir(op.to.as_ref()) {
                continue;
            }
            let goes = |name: &[u8]| {
                let child = path.join(name);
                !stays.contains(&child) && self.ops.get(&child).is_some_and(|op| op.to.is_none())
            };
            if self.place.names(path)?.iter().all(|name| goes(name)) {
                continue;
            }
            if op.to.is_none() {
                stays.insert(path.clone());
            } else {
                let reason = ConflictReason::FolderNotEmpty;
                report.conflicts.push(Conflict { path: path.clone(), reason });
            }
        }
        for path in stays.into_iter().rev() {
            self.ops.remove(&path);
            report.kept_folders.push(path);
        }
        for (path, op) in &self.ops {
            let reason = match path.parent() {
                _ if op.to.is_none() => continue,
                Some(parent) if self.ops.get(&parent).is_some_and(|above| is_dir(above.to.as_ref())) => {
                    continue;
                }
                Some(parent) => match self.place.folder_device(&parent)? {
                    Some(device) if device == self.place.device() => continue,
                    Some(_) => ConflictReason::OtherFileSystem,
                    None => ConflictReason::NoFolder,
                },
                None => continue,
            };
            report.conflicts.push(Conflict { path: path.clone(), reason });
        }
        Ok(())
    }
}

fn is_dir(state: Option<&State>) -> bool {
    state.is_some_and(|state| state.entry.is_dir())
}

/// Where the content of `entry` is, when it is that of the `known` side.
fn known_content(entry: &Entry, known: Option<&Entry>, from: Option<Digest>) -> Option<Content> {
    let same = matches!(entry.kind, Kind::File { .. }) && known.is_some_and(|known| known.kind == entry.kind);
    from.filter(|_| same).map(Content::Tree)
}
