//! `wflo snapshots …`: a run's files as they stood after each of its steps.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use wflo_core::size::{Bytes, Millis};

use super::RunRef;
use super::value::age;

const LIST_HELP: &str = "\
A snapshot is named by its run and step. RUN@0 is the project as it was submitted, RUN alone means the
newest of that run. FILES and SIZE are those of the whole project at RUN@0, and at a step of what it changed,
added or removed. All of a step's files are seen with `wflo snapshots show RUN@STEP`.

Examples:
  wflo snapshots list
  wflo snapshots list latest
  wflo snapshots list latest --json | jq -r .id";

const SHOW_HELP: &str = "\
Examples:
  wflo snapshots show latest
  wflo snapshots show latest@summarise --json";

const DIFF_HELP: &str = "\
Examples:
  wflo snapshots diff latest@draft latest@review    What changed between the two
  wflo snapshots diff latest@draft                  What is another in the project as it is now
  wflo snapshots diff latest@0 latest --stat";

const RESTORE_HELP: &str = "\
The folder is made whole or not at all. Every content is compared with its recorded hash while it is
written. Nothing that is there is touched, unless --force says so: then files of the same names are
replaced, others stay, and a folder is never replaced by a file. Your project takes a run's changes by
`wflo apply`, which keeps your own edits; a restored folder is what a run has written, as it wrote it.

Examples:
  wflo snapshots restore latest --to ../as-it-was
  wflo snapshots restore latest@draft report.md data/ --to out
  wflo snapshots restore latest@0 --to out --force";

const ROLLBACK_HELP: &str = "\
Nothing runs, and neither the run nor the project is changed: a new run is made, with the status
rolled_back. `wflo diff` shows what it takes back, `wflo apply` brings that into the project, whether or
not the run's changes had been applied there: a file that stands as the run had it at any time becomes what
it was before the step, one that you have edited since is a conflict. To run the step again instead, with
the files from before it: `wflo runs retry RUN --from STEP`.

Examples:
  wflo snapshots rollback latest publish
  wflo diff latest && wflo apply latest";

const PRUNE_HELP: &str = "\
Files go, runs stay: what they did, said and cost is still there, and `wflo runs prune` removes runs whole.
The files of a run go together, since each snapshot of it builds on the one before. Never those of a run
that has not ended, whose retry has not ended, or that changed files which were neither applied nor
discarded; nor anything that is being read at this moment. Contents that other runs have, too, stay for them.

One of --older-than and --max-size is enough for a run's files to go; --keep-last protects from both. What
is not given is taken from [snapshots] in wflo.toml; where that says nothing either, 30 days. An older_than
or max_size that stands there also acts by itself, in the background after a run has ended.

Examples:
  wflo snapshots prune --dry-run
  wflo snapshots prune --older-than 7d --keep-last 20
  wflo snapshots prune --max-size 5g";

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotRef {
    pub(crate) run: RunRef,
    pub(crate) at: At,
}

/// Which of a run's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// As submitted.
    Start,
    /// After this step.
    Step(String),
    /// The newest.
    End,
}

impl FromStr for SnapshotRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (run, at) = match text.split_once('@') {
            None => (text, At::End),
            Some((run, "0")) => (run, At::Start),
            Some((_, "")) => return Err("write RUN@STEP, such as latest@summarise".to_owned()),
            Some((run, step)) => (run, At::Step(step.to_owned())),
        };
        Ok(SnapshotRef { run: run.parse()?, at })
    }
}

/// What to restore, and where.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub(crate) struct RestoreArgs {
    /// RUN@STEP, such as latest@summarise
    #[arg(value_name = "ID")]
    pub(crate) snapshot: SnapshotRef,
    /// Only these files and folders of it
    pub(crate) paths: Vec<PathBuf>,
    /// The folder, which is made
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Write into a folder that is there, over files of the same names
    #[arg(long)]
    pub(crate) force: bool,
}

/// Which files go.
#[derive(Debug, Args)]
#[command(after_help = PRUNE_HELP)]
pub(crate) struct PruneFilesArgs {
    /// Not those of the newest so many runs that have ended
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u32>,
    /// Those of runs that ended longer ago than this, such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) older_than: Option<Millis>,
    /// The oldest, until all that are left take at most this on the disk, such as 5g
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Bytes>,
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// As a run that has ended asks for it: only what the settings say, now and then, in the background
    #[arg(long, hide = true, conflicts_with_all = ["keep_last", "older_than", "max_size", "dry_run"])]
    pub(crate) by_itself: bool,
}

/// The verbs of snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsCommand {
    /// List the snapshots of a run, or of the newest runs
    #[command(after_help = LIST_HELP)]
    List {
        /// The run's id, or latest
        #[arg(value_name = "RUN")]
        run: Option<RunRef>,
        /// Of at most this many runs
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "run")]
        limit: u32,
    },
    /// Show the files of one: their modes, sizes and hashes
    #[command(after_help = SHOW_HELP)]
    Show {
        /// RUN@STEP, such as latest@summarise
        #[arg(value_name = "ID")]
        snapshot: SnapshotRef,
    },
    /// Show what differs between two, or between one and the project
    #[command(after_help = DIFF_HELP)]
    Diff {
        /// RUN@STEP, such as latest@summarise
        #[arg(value_name = "ID")]
        before: SnapshotRef,
        /// Another one [default: the project as it is now]
        #[arg(value_name = "ID")]
        after: Option<SnapshotRef>,
        /// Only the names of the files and how much changed
        #[arg(long)]
        stat: bool,
    },
    /// Write its files to a folder of their own
    Restore(RestoreArgs),
    /// Make a run that holds the files as they stood before a step
    #[command(after_help = ROLLBACK_HELP)]
    Rollback {
        /// The run's id, or latest; it has ended
        #[arg(value_name = "RUN")]
        run: RunRef,
        /// The step: what it wrote, and what was written after it, is taken back
        #[arg(value_name = "STEP")]
        step: String,
    },
    /// Free the files of runs that ended, by age, number and size
    Prune(PruneFilesArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_a_run_and_a_step() {
        let read = |text: &str| text.parse::<SnapshotRef>();
        assert_eq!(read("latest").unwrap(), SnapshotRef { run: RunRef::Latest, at: At::End });
        assert_eq!(read("latest@0").unwrap().at, At::Start);
        assert_eq!(read("latest@a-b").unwrap().at, At::Step("a-b".to_owned()));
        assert!(read("latest@").is_err() && read("nothing@a").is_err());
    }
}
