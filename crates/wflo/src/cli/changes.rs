//! `wflo diff`, `wflo apply`, `wflo discard`: what a run changed in the workspace.

use std::path::PathBuf;

use clap::Args;

use super::RunRef;

const DIFF_HELP: &str = "\
A run works on a copy of the project. Nothing it writes reaches the project until `wflo apply`.

Examples:
  wflo diff                               What the newest run changed
  wflo diff run_0190f2e4 --stat
  wflo diff latest src/report.md";

const APPLY_HELP: &str = "\
Examples:
  wflo apply latest                       Everything that the run changed
  wflo apply latest report.md data/       Only these
  wflo apply latest --force report.md     Although report.md was changed since the run began
  wflo apply latest . --yes               Everything, and nothing is asked
  wflo apply --resume                     Finish an apply that was cut short (--undo takes it back)

A file that you changed since the run began is a conflict: nothing is written, exit code 1.
Files that act by themselves (settings, hooks, builds, environments, new programs) are asked about
one by one.";

const DISCARD_HELP: &str = "\
Examples:
  wflo discard latest";

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = DIFF_HELP)]
pub(crate) struct DiffArgs {
    /// The run's id, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    pub(crate) run: RunRef,
    /// Only these files and folders
    pub(crate) paths: Vec<PathBuf>,
    /// Only the names of the files and how much changed
    #[arg(long)]
    pub(crate) stat: bool,
}

/// What to bring in.
#[derive(Debug, Args)]
#[command(after_help = APPLY_HELP)]
pub(crate) struct ApplyArgs {
    /// The run's id, or latest
    #[arg(value_name = "RUN", required_unless_present_any = ["resume", "undo"])]
    pub(crate) run: Option<RunRef>,
    /// Only these files and folders
    pub(crate) paths: Vec<PathBuf>,
    /// Overwrite this file although it was changed since the run began; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) force: Vec<PathBuf>,
    /// Do not ask. Files that act by themselves come in where a PATH names them (`.` names all), and are left out else
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Finish an apply to this project that was cut short
    #[arg(long, conflicts_with_all = ["run", "undo"])]
    pub(crate) resume: bool,
    /// Take back what an apply that was cut short has written
    #[arg(long, conflicts_with = "run")]
    pub(crate) undo: bool,
}

/// What to throw away.
#[derive(Debug, Args)]
#[command(after_help = DISCARD_HELP)]
pub(crate) struct DiscardArgs {
    /// The run's id, or latest
    #[arg(value_name = "RUN")]
    pub(crate) run: RunRef,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}
