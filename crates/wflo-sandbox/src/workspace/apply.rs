//! Bringing a run's changes into the project: three-way, all or nothing, never over a hidden path.
//!
//! Base is what was sealed, theirs is the project now, ours is the view. Everything is checked
//! before anything is written; then a journal is written, then the files, each put in place by one
//! rename. A file that somebody changes in the very moment between check and rename is noticed
//! (the replaced file is looked at after the exchange, and put back), and everything is undone.
//!
//! **Architecture Invariant:** apply writes nothing but the paths of its report's `applied`, and no
//! path that [`Hidden`] hides is created, replaced, removed or read into a layer by it.

#[cfg(test)]
mod crash;
mod execute;
mod guarded;
pub(crate) mod journal;
mod merge;
mod place;
mod sensitive;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::execute::Resumed;
pub(super) use self::guarded::{is_program, joins_database};
pub use self::journal::{Deciding, Direction, Pending, deciding, pending_apply, resume_apply};
pub(super) use self::place::entry_at;
pub use self::sensitive::Sensitive;
pub(super) use self::sensitive::{Guards, Look, mode as mode_in_project};

use self::journal::{Content, Journal, Op, State};
use self::merge::{Decision, decide};
use self::place::Place;
use super::diff::{Change, content_of, diff, rollback};
use super::error::WorkspaceError;
use super::folding::folded_path;
use super::hidden::{Hidden, Reason};
use super::manifest::{Digest, Entry, Kind};
use super::path::RelPath;
use super::repository::Ground;
use super::store::Store;
use super::view::View;

/// What to apply, and what the user has said about it.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Only these paths and what is in them; empty means everything.
    pub paths: Vec<RelPath>,
    /// Take the run's version of these where both changed.
    pub force: Vec<RelPath>,
    /// Which sensitive paths were confirmed.
    pub confirmed: Confirmed,
    /// The project's workflow definition files: sensitive too.
    pub definitions: Vec<RelPath>,
    /// What wflo itself runs of the project, outside of every sandbox, and the folders of it: sensitive too.
    pub programs: Vec<RelPath>,
    /// Check everything, write nothing.
    pub dry_run: bool,
    /// Whose changes they are, in the caller's own terms: what [`pending_apply`] says if it is cut short.
    pub by: Option<String>,
}

/// The user's answer about sensitive paths.
#[derive(Debug, Clone, Default)]
pub enum Confirmed {
    /// Nothing was confirmed: sensitive paths are left and reported.
    #[default]
    None,
    /// These.
    Paths(Vec<RelPath>),
    /// All of them.
    All,
}

/// Why a path cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictReason {
    /// Both changed it since submission.
    BothChanged,
    /// The run took its file over from the one that it retries, and it was changed before the run was submitted.
    TakenOver,
    /// The folder it belongs in is not there (any more), or is not a folder.
    NoFolder,
    /// A folder that must give way holds files that the run did not see. `force` does not help.
    FolderNotEmpty,
    /// It lies on another file system than the project. `force` does not help.
    OtherFileSystem,
    /// The project's file system takes its name and another one, of the project or of the run, for one. `force` does
    /// not help.
    SameName,
}

/// A path that both changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// Why.
    pub reason: ConflictReason,
}

/// What apply did, or with `dry_run` would do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Written.
    pub applied: Vec<Change>,
    /// The project has these already.
    pub already: Vec<RelPath>,
    /// When there is one, nothing at all was written.
    pub conflicts: Vec<Conflict>,
    /// Changes to hidden paths: never applied.
    pub hidden: Vec<(RelPath, Reason)>,
    /// Left because they need the user's word.
    pub unconfirmed: Vec<(Change, Sensitive)>,
    /// Folders that the run removed and that stay, because they hold something it did not see.
    pub kept_folders: Vec<RelPath>,
    /// What is written without the extended attributes that the run gave it: the project's file system, or the
    /// folder itself, does not take them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_attributes: Vec<RelPath>,
}

impl Report {
    /// The report, or the conflicts as an error.
    ///
    /// # Errors
    /// [`WorkspaceError::Conflict`].
    pub fn or_conflict(self) -> Result<Report, WorkspaceError> {
        if self.conflicts.is_empty() {
            return Ok(self);
        }
        Err(WorkspaceError::Conflict {
            paths: self.conflicts.into_iter().map(|conflict| conflict.path).collect(),
        })
    }
}

/// Applies the changes of `view` to `project`.
///
/// # Errors
/// [`WorkspaceError::NotChanged`] for a selected path without a change;
/// [`WorkspaceError::ApplyInterrupted`] until [`resume_apply`] has ended an earlier one;
/// [`WorkspaceError::ChangedWhileApplying`] when somebody wrote at the same moment: everything was
/// undone. Conflicts are no error but part of the report.
pub fn apply(
    view: &View,
    store: &Store,
    project: &Path,
    hidden: &Hidden,
    options: &ApplyOptions,
) -> Result<Report, WorkspaceError> {
    let mut place = Place::open(project, hidden.clone())?;
    let desk = journal::Desk::open(store, place.path())?;
    if let Some(pending) = desk.pending()? {
        return Err(WorkspaceError::ApplyInterrupted { id: pending.id });
    }
    let (ground, base, merged) = (Ground::of(place.path()), view.base(), view.merged());
    let git = ground.git_folders(base.keys().chain(merged.keys()));
    place.knows(&git);
    let guards = Guards::new(&ground, git, &RelPath::root(), &merged, &options.definitions);
    let changes = match view.undone.is_empty() {
        true => diff(view, store)?,
        false => rollback(view, store, |path| place.entry(path))?,
    };
    let changes = selected(changes, &options.paths)?;
    let mut report = Report::default();
    let wanted = permitted(changes, store, &place, &guards, options, &mut report)?;

    let mut plan = Plan { place: &place, options, ops: BTreeMap::new() };
    for change in &wanted {
        plan.consider(change, &mut report)?;
    }
    plan.check_folders(&mut report)?;
    plan.check_names(&mut report)?;
    if !report.conflicts.is_empty() {
        report.conflicts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for conflict in &mut report.conflicts {
            if conflict.reason == ConflictReason::BothChanged && view.is_outdated(&conflict.path) {
                conflict.reason = ConflictReason::TakenOver;
            }
        }
        report.kept_folders.clear();
        report.without_attributes.clear();
        return Ok(report);
    }
    let ops = plan.ops;
    report.applied = wanted.into_iter().filter(|change| ops.contains_key(&change.path)).collect();
    if options.dry_run || ops.is_empty() {
        return Ok(report);
    }
    let journal = Journal::plan(place.path(), options.by.clone(), ops.into_values().collect());
    let journal = desk.begin(journal, &place)?;
    report.without_attributes.extend(execute::run(store, &desk, &place, &journal)?);
    report.without_attributes.sort_unstable();
    report.without_attributes.dedup();
    Ok(report)
}

/// The changes at `paths` and in them, with the new folders that they need.
fn selected(changes: Vec<Change>, paths: &[RelPath]) -> Result<Vec<Change>, WorkspaceError> {
    if paths.is_empty() {
        return Ok(changes);
    }
    if let Some(path) = paths.iter().find(|path| !changes.iter().any(|change| change.path.is_within(path))) {
        return Err(WorkspaceError::NotChanged { path: path.clone() });
    }
    let mut chosen: BTreeSet<RelPath> = BTreeSet::new();
    for change in changes.iter().filter(|change| paths.iter().any(|path| change.path.is_within(path))) {
        chosen.insert(change.path.clone());
        if change.after.is_some() {
            chosen.extend(change.path.folders());
        }
    }
    Ok(changes.into_iter().filter(|change| chosen.contains(&change.path)).collect())
}

/// What is said of the folder among these that a path lies in.
fn in_one<T: Copy>(path: &RelPath, folders: &HashMap<RelPath, T>) -> Option<T> {
    if folders.is_empty() {
        return None;
    }
    path.folders().find_map(|folder| folders.get(&folder).copied())
}

/// Takes out what is hidden and what needs a confirmation that is not given.
fn permitted(
    changes: Vec<Change>,
    store: &Store,
    place: &Place,
    guards: &Guards,
    options: &ApplyOptions,
    report: &mut Report,
) -> Result<Vec<Change>, WorkspaceError> {
    let mut wanted = Vec::new();
    // New folders that are not made: nothing in them can be. What is in a folder comes after it.
    let mut unmade_hidden: HashMap<RelPath, Reason> = HashMap::new();
    let mut unmade: HashMap<RelPath, Sensitive> = HashMap::new();
    for mut change in changes {
        let is_dir = |side: &Option<Entry>| side.as_ref().is_some_and(Entry::is_dir);
        let makes_folder = is_dir(&change.after) && !is_dir(&change.before);
        let path = change.path.clone();
        let inside = in_one(&path, &unmade_hidden);
        let reason = match place.hidden(&path)? {
            None => inside,
            reason => reason,
        };
        if let Some(reason) = reason {
            if makes_folder && inside.is_none() {
                unmade_hidden.insert(path.clone(), reason);
            }
            report.hidden.push((path, reason));
            continue;
        }
        let confirmed = match &options.confirmed {
            Confirmed::None => false,
            Confirmed::All => true,
            Confirmed::Paths(paths) => {
                // A folder comes with what is confirmed in it, and brings nothing else along.
                let folder = change.after.as_ref().is_some_and(Entry::is_dir);
                paths
                    .iter()
                    .any(|path| change.path.is_within(path) || (folder && path.is_within(&change.path)))
            }
        };
        let mode = change.after.as_ref().map(|entry| sensitive::mode(&change, entry.mode));
        if let (Some(after), Some(mode)) = (&mut change.after, mode) {
            after.mode = mode;
        }
        let inside = in_one(&path, &unmade);
        let by_place = place.guarded(&change.path, &options.programs)?;
        let look = Stored { change: &change, store, place };
        match by_place.or_else(|| Sensitive::of(&change, guards, &look)).or(inside) {
            Some(why) if !confirmed => {
                if makes_folder && inside.is_none() {
                    unmade.insert(path, why);
                }
                report.unconfirmed.push((change, why));
            }
            _ => wanted.push(change),
        }
    }
    Ok(wanted)
}

/// A change as it is stored.
struct Stored<'a> {
    change: &'a Change,
    store: &'a Store,
    place: &'a Place,
}

impl Look for Stored<'_> {
    fn start(&self) -> [u8; 2] {
        self.change.start(self.store)
    }

    fn contents(&self, most: u64) -> [Option<Vec<u8>>; 2] {
        let of = |from| content_of(self.store, from, &self.change.path, most);
        [of(self.change.before_from), of(self.change.after_from)]
    }

    fn hides(&self, path: &RelPath) -> bool {
        self.place.hides(path).unwrap_or(true)
    }
}

struct Plan<'a> {
    place: &'a Place,
    options: &'a ApplyOptions,
    ops: BTreeMap<RelPath, Op>,
}

impl Plan<'_> {
    /// Decides about one path.
    fn consider(&mut self, change: &Change, report: &mut Report) -> Result<(), WorkspaceError> {
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
    fn check_names(&self, report: &mut Report) -> Result<(), WorkspaceError> {
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
    fn check_folders(&mut self, report: &mut Report) -> Result<(), WorkspaceError> {
        let mut stays = Vec::new();
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
                stays.push(path.clone());
            } else {
                let reason = ConflictReason::FolderNotEmpty;
                report.conflicts.push(Conflict { path: path.clone(), reason });
            }
        }
        for path in stays {
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

/// Forgets a run's changes: the view without its layers. What nothing refers to any more is removed
/// by [`Store::collect`].
#[must_use]
pub fn discard(view: View) -> View {
    View { layers: Vec::new(), undone: Vec::new(), earlier: None, ..view }
}
