//! `wflo diff`, `wflo apply`, `wflo discard`: what a run changed in the project's files.
//!
//! Owns the way from a run to its files and back into the project. Three-way comparison, conflicts
//! and hidden paths are the workspace's.

mod apply;
mod diff;
mod discard;
mod error;
mod question;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wflo_core::id::RunId;
use wflo_core::run::RunRecord;
use wflo_engine::changes::{Fate, Places, Written, fate, launch_of, workspace_view};
use wflo_engine::launch::Launch;
use wflo_sandbox::workspace::{
    self, ApplyOptions, Change, Confirmed, Deciding, Hidden, RelPath, Report, View, WorkspaceError,
};

use crate::cli::{ApplyArgs, DiffArgs, DiscardArgs};
use crate::commands::run::workflow::file_of;
use crate::commands::{Context, freed};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::paths::lexical;
use crate::session::{Session, block_on};
use crate::settings::Settings;

use error::ChangesError;

pub(crate) use apply::{left_out, name_bare, name_conflicts, yes};
pub(crate) use diff::show;
pub(crate) use question::record_answer;
pub(crate) use wflo_engine::changes::files_in;

/// Shows what a run changed.
pub(crate) fn diff(args: &DiffArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(diff::run(args, context))
}

/// Brings it into the project.
pub(crate) fn apply(args: &ApplyArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(apply::run(args, context))
}

/// Throws it away.
pub(crate) fn discard(args: &DiscardArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(discard::run(args, context))
}

/// A run's files, and the project that they belong to.
pub(crate) struct Files {
    view: View,
    store: workspace::Store,
    project: PathBuf,
    hidden: Hidden,
    definitions: Vec<RelPath>,
    programs: Vec<RelPath>,
    run: RunId,
}

impl Files {
    /// The files of a run as its steps left them.
    ///
    /// # Errors
    /// Store errors; that a stored tree is gone or damaged.
    pub(crate) async fn open(session: &Session<'_>, record: &RunRecord) -> Result<Files, CommandError> {
        let settings = &session.settings;
        let store = freed::workspaces(settings, &settings.project.root)?;
        let view = workspace_view(session.store.as_ref(), &store, record).await;
        let launch = launch_of(record).map_err(CommandError::engine)?;
        let view = view.map_err(CommandError::engine)?;
        Ok(Files {
            hidden: hidden(settings, &launch.hide)?.with_git_of(&launch.project, &view),
            view,
            store,
            definitions: definitions(settings, &launch),
            programs: settings.programs(),
            project: launch.project,
            run: record.id,
        })
    }

    /// The net change, sorted by path.
    ///
    /// # Errors
    /// When a stored content cannot be read.
    pub(crate) fn changes(&self) -> Result<Vec<Change>, WorkspaceError> {
        workspace::diff(&self.view, &self.store)
    }

    /// The files that define workflows: a change to one of them is asked about by itself.
    pub(crate) fn definitions(&self) -> Vec<RelPath> {
        self.definitions.clone()
    }

    /// Writes them to the project, all or none.
    ///
    /// # Errors
    /// When a stored content cannot be read or the project cannot be written.
    pub(crate) fn write(&self, options: &ApplyOptions) -> Result<Report, WorkspaceError> {
        let (by, programs) = (Some(self.run.to_string()), self.programs.clone());
        let options = ApplyOptions { by, programs, ..options.clone() };
        workspace::apply(&self.view, &self.store, &self.project, &self.hidden, &options)
    }

    /// Which of the files are decided once `report` was carried out: those that were there already, and those that are
    /// hidden, too. These can never be applied (`wflo_engine::changes::unapplied`).
    ///
    /// # Errors
    /// As for [`Files::changes`].
    pub(crate) fn places(&self, report: &Report) -> Result<Places, WorkspaceError> {
        let applied = report.applied.iter().map(|change| &change.path);
        let hidden = report.hidden.iter().map(|(path, _)| path);
        Ok(Places::of(&self.changes()?, &applied.chain(&report.already).chain(hidden).collect()))
    }

    /// What an apply would still bring in, after what was `written` so far.
    ///
    /// # Errors
    /// As for [`Files::write`].
    pub(crate) fn left(&self, written: &Written) -> Result<Left, WorkspaceError> {
        let report = self.write(&ApplyOptions {
            confirmed: Confirmed::All,
            dry_run: true,
            ..ApplyOptions::default()
        })?;
        let every = self.changes()?;
        // What is hidden is never written.
        let hidden: BTreeSet<&RelPath> = report.hidden.iter().map(|(path, _)| path).collect();
        let once: BTreeSet<&RelPath> =
            written.places.among(&every).filter(|path| !hidden.contains(path)).collect();
        let mut changes = every.clone();
        let mut without = |paths: BTreeSet<&RelPath>| {
            changes.retain(|change| !paths.contains(&change.path));
            files_in(&changes)
        };
        let all = without(hidden);
        without(report.already.iter().collect());
        // A file that is neither as it was nor as the run left it was written and changed since, or never written.
        // Where a record does not say which files were, so many of those are taken for it.
        let edited: BTreeSet<&RelPath> = report.conflicts.iter().map(|conflict| &conflict.path).collect();
        let missing = without(edited.iter().copied().filter(|path| once.contains(path)).collect());
        let untouched = without(edited);
        let known = written.unnamed.saturating_add(once.len() as u64);
        let most = if written.unnamed == 0 { missing } else { all.saturating_sub(known) };
        let files = untouched.max(missing.min(most));
        Ok(Left { files, all })
    }
}

/// What of a run's changes is not in the project.
pub(crate) struct Left {
    /// So many files.
    pub(crate) files: u64,
    /// Of so many that can be there.
    pub(crate) all: u64,
}

/// The files of the project that define workflows.
pub(crate) fn definitions(settings: &Settings, launch: &Launch) -> Vec<RelPath> {
    let named =
        [launch.workflow.as_deref(), launch.definition.as_deref(), settings.project.workflow.as_deref()];
    let usual = [Some("workflow.py"), Some("workflow.mjs"), Some("flow.yaml"), Some("workflow.yaml")];
    named.into_iter().chain(usual).flatten().filter_map(definition_file).collect()
}

/// What no apply touches: what the settings hide now, and what was hidden from the run.
pub(crate) fn hidden(settings: &Settings, globs: &[String]) -> Result<Hidden, WorkspaceError> {
    let rules = settings.hide_rules();
    let globs: Vec<String> = rules.globs.iter().chain(globs).cloned().collect();
    Hidden::new(&settings.project.root, &rules.with_globs(globs))
}

/// The file of `workflow.py:attribute`, `package.module:attribute` or `flow.yaml`, in the project.
fn definition_file(named: &str) -> Option<RelPath> {
    let file = file_of(named);
    let file = match file.split_once(':') {
        Some((module, _)) => format!("{}.py", module.replace('.', "/")),
        None => file.to_owned(),
    };
    RelPath::from_bytes(file.as_bytes()).ok()
}

/// What was typed, as paths in the project.
///
/// # Errors
/// [`WorkspaceError::BadPath`] for one that lies elsewhere.
pub(crate) fn in_project(
    paths: &[PathBuf],
    project: &Path,
    current: &Path,
) -> Result<Vec<RelPath>, WorkspaceError> {
    let from = current.canonicalize().unwrap_or_else(|_| current.to_path_buf());
    let inside = |path: &PathBuf| {
        let whole = lexical(&from.join(path));
        let relative = whole.strip_prefix(project).unwrap_or(&whole);
        RelPath::from_bytes(relative.as_os_str().as_encoded_bytes())
    };
    paths.iter().map(inside).collect()
}

/// What became of the changes so far; refuses where nothing more can become of them.
async fn open_fate(session: &Session<'_>, record: &RunRecord) -> Result<Option<Fate>, CommandError> {
    let run = record.id;
    if !record.status.is_terminal() {
        return Err(ChangesError::NotEnded { run, status: record.status }.into());
    }
    match fate(session.store.as_ref(), run).await.map_err(CommandError::engine)? {
        Some(fate @ Fate::Discarded(_)) => Err(ChangesError::discarded(run, fate.applied()).into()),
        fate => Ok(fate),
    }
}

/// Nobody else decides about the files of the run's project while this is kept. Waits for who does.
///
/// # Errors
/// When the lock cannot be had.
pub(crate) fn deciding(session: &Session<'_>, record: &RunRecord) -> Result<Deciding, CommandError> {
    let settings = &session.settings;
    let store = freed::workspaces(settings, &settings.project.root)?;
    let launch = launch_of(record).map_err(CommandError::engine)?;
    Ok(workspace::deciding(&store, &launch.project)?)
}

/// `1 file`, `3 files`.
pub(crate) fn count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// The same of a list of changes.
pub(crate) fn count_of(changes: &[Change]) -> String {
    count(files_in(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_project_wherever_they_are_typed() {
        let typed = |text: &str| {
            let paths = [PathBuf::from(text)];
            in_project(&paths, Path::new("/p"), Path::new("/p/sub")).map(|found| found[0].to_string())
        };
        assert_eq!(typed("a.txt").unwrap(), "sub/a.txt");
        assert_eq!(typed("../a.txt").unwrap(), "a.txt");
        assert_eq!(typed("/p/x/./y").unwrap(), "x/y");
        assert!(typed("../../etc/passwd").is_err());
        assert!(typed("/etc/passwd").is_err());
    }

    #[test]
    fn the_definitions_file_is_found_in_each_form() {
        let file = |named| definition_file(named).map(|path| path.to_string());
        assert_eq!(file("workflow.py").as_deref(), Some("workflow.py"));
        assert_eq!(file("flows/a.py:b").as_deref(), Some("flows/a.py"));
        assert_eq!(file("package.module:flow").as_deref(), Some("package/module.py"));
        assert_eq!(file("flow.yaml").as_deref(), Some("flow.yaml"));
    }
}
