//! `wflo costs …`.

use clap::{Args, Subcommand, ValueEnum};

use super::RunRef;

const REPORT_HELP: &str = "\
Examples:
  wflo costs report                       Each run
  wflo costs report --by model            Each model, over all runs
  wflo costs report --by step --run latest";

/// The verbs of costs.
#[derive(Debug, Subcommand)]
pub(crate) enum CostsCommand {
    /// Add up what was spent
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
}

/// How to add up.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// One line for each
    #[arg(long, value_name = "WHAT", default_value = "run")]
    pub(crate) by: CostsBy,
    /// Only this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<RunRef>,
}

/// What a line of the report stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CostsBy {
    Run,
    // A step of each run.
    Step,
    Model,
}
