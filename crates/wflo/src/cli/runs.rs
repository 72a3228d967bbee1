//! `wflo runs …`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::size::Millis;

use super::Detach;
use super::value::{age, usd};

/// Which run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunRef {
    /// The one that was started last.
    Latest,
    Id(RunId),
    /// The only one whose id begins so.
    Prefix(String),
}

impl FromStr for RunRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(RunRef::Latest);
        }
        if super::value::is_beginning(text, RunId::PREFIX) {
            return Ok(RunRef::Prefix(text.to_owned()));
        }
        text.parse().map(RunRef::Id).map_err(|_| super::value::not_an_id(RunId::PREFIX, text, "run"))
    }
}

/// A command that takes one run.
#[derive(Debug, Args)]
pub(crate) struct OneRun {
    /// The run's id, or latest
    #[arg(value_name = "RUN")]
    pub(crate) run: RunRef,
}

/// A command that only reads, and takes the newest run where none is named.
#[derive(Debug, Args)]
pub(crate) struct ReadRun {
    /// The run's id, or latest
    #[arg(value_name = "RUN", default_value = "latest")]
    pub(crate) run: RunRef,
}

const LIST_HELP: &str = "\
Examples:
  wflo runs list
  wflo runs list --status waiting
  wflo runs list --json --limit 100 | jq -r .id";

const SHOW_HELP: &str = "\
Examples:
  wflo runs show                          The run that was started last
  wflo runs show run_0190f2e4             The beginning of an id is enough when only one run has it
  wflo runs show run_0190f2e4… --json | jq .outputs";

const EVENTS_HELP: &str = "\
--follow ends by itself, with 0, when the run has ended, however it ended. While the run waits it says
what for, and goes on; Ctrl-C leaves it without touching the run. A script that must not wait for a
person reads the events without --follow.

Examples:
  wflo runs events latest
  wflo runs events latest --follow        Go on until the run has ended
  wflo runs events latest --json | jq 'select(.type == \"effect.finished\")'";

const RESUME_HELP: &str = "\
A run that waits, was paused, or whose process died goes on where it was: nothing that had finished
is done or paid again. It is shown, asks and ends as under `wflo run`. A run that ended is never
resumed; `wflo runs retry` starts a new one from it.

Examples:
  wflo runs resume latest
  wflo runs resume latest --detach    Go on in the background, until it ends or waits for somebody";

const RETRY_HELP: &str = "\
The new run keeps what had finished, even if the code has changed since, and runs the rest with the
project's present code. What comes after a step that is new, gone or runs again runs again too.
Only approval gates ask again when the code has changed. The new run is charged to the same budget;
what is spent of it stays spent. --budget is added to that budget's limit, as a recorded decision: after
a limit of 2.00, --budget 5.00 makes it 7.00.

Examples:
  wflo runs retry latest
  wflo runs retry latest --budget 5.00
  wflo runs retry latest --from summarise    Run that step and what depends on it again
  wflo runs retry latest --detach";

const PRUNE_HELP: &str = "\
Nothing is removed unless this command is given. A run goes whole: its events, answers, approvals,
files and large values. What it spent stays in `wflo costs report`, and in the budgets that outlive
runs. A run that has not ended never goes, nor one whose retry has not.

Without an option, runs go that ended more than 30 days ago. With both, a run goes when it is older
and not among the newest.

Examples:
  wflo runs prune --dry-run
  wflo runs prune --older-than 7d
  wflo runs prune --keep 20 --discard-changes";

const TRACE_HELP: &str = "\
Examples:
  wflo runs trace latest
  wflo runs trace latest --json
  wflo runs trace latest --content        What was asked and answered, and the tools that were called
  wflo runs trace latest --content --json | jq .request";

/// Which runs go.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Runs that ended longer ago than this, such as 30d or 12h
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) older_than: Option<Millis>,
    /// Not the newest so many of the runs that have ended
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<u32>,
    /// Also runs with files that were neither applied nor discarded
    #[arg(long)]
    pub(crate) discard_changes: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// The verbs of runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, newest first
    #[command(after_help = LIST_HELP)]
    List {
        /// Only runs with this status, such as waiting or failed
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// Only runs of this workflow
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
        /// At most this many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one run: its steps, costs, approvals and outputs
    #[command(after_help = SHOW_HELP)]
    Show(ReadRun),
    /// Show what happened in a run, in order
    #[command(after_help = EVENTS_HELP)]
    Events {
        #[command(flatten)]
        run: ReadRun,
        /// Go on until the run has ended, through its waits
        #[arg(short, long)]
        follow: bool,
    },
    /// Write the answers of a run's model calls to a file, for `wflo run --replay`
    Record {
        #[command(flatten)]
        run: OneRun,
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Go on with a run that waits, was paused or lost its process
    #[command(after_help = RESUME_HELP)]
    Resume {
        #[command(flatten)]
        run: OneRun,
        #[command(flatten)]
        detach: Detach,
    },
    /// End a run; its sandboxes are gone within a second
    Cancel {
        #[command(flatten)]
        run: OneRun,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Stop a run after the effects under way, to be resumed later
    Pause(OneRun),
    /// Start a new run from one that ended
    #[command(after_help = RETRY_HELP)]
    Retry {
        #[command(flatten)]
        run: OneRun,
        /// Add this many USD to the limit of the run's budget
        #[arg(long, value_name = "USD", value_parser = usd)]
        budget: Option<NanoUsd>,
        /// Run this step again although it had finished, and all that depends on it (repeatable)
        #[arg(long, value_name = "STEP")]
        from: Vec<String>,
        #[command(flatten)]
        detach: Detach,
    },
    /// Remove runs that ended long ago, and give their disk space back
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneArgs),
    /// Show where a run's time went, or what its models were asked and said
    #[command(after_help = TRACE_HELP)]
    Trace {
        #[command(flatten)]
        run: ReadRun,
        /// Show the conversation: what each model call asked, what was answered, which tools were called
        #[arg(long)]
        content: bool,
        /// The same, with long texts whole
        #[arg(long)]
        full: bool,
    },
}
