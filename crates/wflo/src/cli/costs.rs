//! `wflo costs …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use wflo_core::money::NanoUsd;

use super::RunRef;
use super::value::usd;

const REPORT_HELP: &str = "\
Days are UTC, as on providers' invoices. TREND is a character a day, each row by its dearest day.

Examples:
  wflo costs report                       Each run
  wflo costs report --by model            Each model, over all runs
  wflo costs report --by day --since 2026-11-01
  wflo costs report --by step --run latest
  wflo costs report --by model --csv > models.csv";

const RECONCILE_HELP: &str = "\
Compares, day by day and model by model, what wflo charged with what the provider says. The columns are
found by the names that OpenAI's and Anthropic's exports give them, or named. Dated model names
(gpt-5-mini-2025-08-07) count as their undated ones. Ends with 1 when something differs that uncertain
charges do not explain.

Examples:
  wflo costs reconcile costs.csv --provider openai
  wflo costs reconcile usage.csv --cost-column 'Cost (USD)' --since 2026-11-01 --until 2026-11-30";

/// The verbs of costs.
#[derive(Debug, Subcommand)]
pub(crate) enum CostsCommand {
    /// Add up what was spent
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
    /// Compare what was charged with a provider's invoice export (CSV)
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(ReconcileArgs),
}

/// Some days, the first and the last among them.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Days {
    /// Only calls since this day, such as 2026-11-01
    #[arg(long, value_name = "DAY")]
    pub(crate) since: Option<Date>,
    /// Only calls until this day, and on it
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<Date>,
}

impl Days {
    /// Whether a day is one of them.
    pub(crate) fn hold(&self, day: Date) -> bool {
        self.since.is_none_or(|since| day >= since) && self.until.is_none_or(|until| day <= until)
    }
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
    #[command(flatten)]
    pub(crate) days: Days,
    /// Print the lines as CSV
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

/// What a line of the report stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CostsBy {
    Run,
    // A step of each run.
    Step,
    // All runs of a workflow.
    Workflow,
    // An agent of a workflow, over its runs.
    Agent,
    Model,
    Provider,
    Day,
}

impl CostsBy {
    /// Whether its lines go on from day to day.
    pub(crate) const fn has_trend(self) -> bool {
        matches!(self, CostsBy::Workflow | CostsBy::Agent | CostsBy::Model | CostsBy::Provider)
    }
}

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// The provider's export
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only what wflo charged for calls of this provider
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    #[command(flatten)]
    pub(crate) days: Days,
    /// Differences of a line up to this are rounding
    #[arg(long, value_name = "USD", value_parser = usd, default_value = "0.01")]
    pub(crate) tolerance: NanoUsd,
    /// The column with days or times
    #[arg(long, value_name = "NAME")]
    pub(crate) date_column: Option<String>,
    /// The column with models
    #[arg(long, value_name = "NAME")]
    pub(crate) model_column: Option<String>,
    /// The column with amounts in USD
    #[arg(long, value_name = "NAME")]
    pub(crate) cost_column: Option<String>,
}
