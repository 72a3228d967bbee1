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
mod objects;
mod place;
mod plan;
mod report;
mod sensitive;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

pub use self::execute::Resumed;
pub(super) use self::guarded::{is_program, joins_database};
pub use self::journal::{Deciding, Direction, Pending, deciding, pending_apply, resume_apply};
pub(super) use self::place::entry_at;
pub use self::report::{Conflict, ConflictReason, Report};
pub use self::sensitive::Sensitive;
pub(super) use self::sensitive::{Guards, Look, mode as mode_in_project};

use self::journal::Journal;
use self::objects::Objects;
use self::place::Place;
use self::plan::Plan;
use super::diff::{Change, content_of, diff, rollback};
use super::error::WorkspaceError;
use super::hidden::{Hidden, Reason};
use super::manifest::Entry;
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
    /// What was brought in by earlier applies of this run: where one of these was changed here since, it is left as it
    /// is, unless it is one of `paths`.
    pub settled: BTreeSet<RelPath>,
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
    /// These, and what is in them.
    Paths(Vec<RelPath>),
    /// All of them.
    All,
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
    let changes = match view.undone.is_empty() {
        true => diff(view, store)?,
        false => rollback(view, store, |path| place.entry(path))?,
    };
    let objects = Objects::of(&changes, &git);
    let guards = Guards::new(&ground, git, &RelPath::root(), &merged, &options.definitions);
    let changes = selected(changes, &options.paths)?;
    let mut report = Report::default();
    let wanted = permitted(changes, store, &place, (&guards, &objects), options, &mut report)?;

    let mut plan = Plan::new(&place, options);
    for change in &wanted {
        plan.consider(change, &mut report)?;
    }
    objects.check(&place, &wanted, &mut report)?;
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
    let ops = plan.into_ops();
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
    (guards, objects): (&Guards, &Objects),
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
                // A folder comes and goes with what is confirmed in it, and takes nothing else along.
                let (path, folder) = (&change.path, change.is_folder());
                paths.iter().any(|said| path.is_within(said) || (folder && said.is_within(path)))
            }
        };
        let mode = change.after.as_ref().map(|entry| sensitive::mode(&change, entry.mode));
        if let (Some(after), Some(mode)) = (&mut change.after, mode) {
            after.mode = mode;
        }
        let inside = in_one(&path, &unmade);
        let by_place = place.guarded(&change.path, &options.programs)?;
        let look = Stored { change: &change, store, place };
        let why = by_place.or_else(|| Sensitive::of(&change, guards, &look)).or(inside);
        match why.map(|why| if objects.has(&path) { why.of_object() } else { why }) {
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

/// Forgets a run's changes: the view without its layers. What nothing refers to any more is removed
/// by [`Store::collect`].
#[must_use]
pub fn discard(view: View) -> View {
    View { layers: Vec::new(), undone: Vec::new(), earlier: None, ..view }
}
