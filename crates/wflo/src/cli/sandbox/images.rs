//! `wflo sandbox images …`.

use clap::{Args, Subcommand};
use wflo_core::size::Millis;

const BUILD_HELP: &str = "\
Installs what `requirements` (Python packages) and `packages` (programs of the distribution) under [sandbox] in
wflo.toml name, in sandboxes that reach the index, or the machine's sources, and nothing else. `wflo run` does the
same where something is missing.

Examples:
  wflo sandbox images build             Once; nothing where it is there already
  wflo sandbox images build --again     What the index has by now, where versions are not pinned";

const LIST_HELP: &str = "\
Examples:
  wflo sandbox images list
  wflo sandbox images list --json | jq .packages
  wflo sandbox images list --json | jq -r '.files[]? | [.name, .version, .sha256] | @tsv'";

const PRUNE_HELP: &str = "\
What wflo.toml asks for now stays, and what a run that has not ended was started with.

Examples:
  wflo sandbox images prune
  wflo sandbox images prune --older-than 30d
  wflo sandbox images prune --all       What wflo.toml asks for, too";

/// The verbs of images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// Install the packages that wflo.toml names for steps, once
    #[command(after_help = BUILD_HELP)]
    Build {
        /// Install them although they are there
        #[arg(long)]
        again: bool,
    },
    /// List what is installed: for which interpreter or system, what, and how large
    #[command(after_help = LIST_HELP)]
    List,
    /// Remove what is not needed any more
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneImagesArgs),
}

/// Which of them go.
#[derive(Debug, Args)]
pub(crate) struct PruneImagesArgs {
    /// Those that were built longer ago than this, such as 30d or 12h
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<Millis>,
    /// Those that wflo.toml asks for, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
}
