//! `wflo costs …`.

use std::path::PathBuf;

use clap::builder::ArgPredicate;
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::price::Tier;

use super::RunRef;
use super::value::{day, time, usd};
use crate::failure::CliError;

const REPORT_HELP: &str = "\
Days are UTC, as on providers' invoices. TREND is a character a day, each row by its dearest day; by day it is
a bar beside the dearest.

Examples:
  wflo costs report                       Each run
  wflo costs report --by model            Each model, over all runs
  wflo costs report --by day --since 2026-11-01
  wflo costs report --by step --run latest
  wflo costs report --by key              Each key of `wflo gateway`
  wflo costs report --by label --label user
  wflo costs report --by model --csv > models.csv";

const RECONCILE_HELP: &str = "\
Compares, day by day and model by model, what wflo charged with what the provider says. The columns are
found by the names that OpenAI's and Anthropic's exports give them, or named. Dated model names
(gpt-5-mini-2025-08-07) count as their undated ones. Ends with 1 when something differs that uncertain
charges do not explain.

Examples:
  wflo costs reconcile costs.csv --provider openai
  wflo costs reconcile usage.csv --cost-column 'Cost (USD)' --since 2026-11-01 --until 2026-11-30";

const PRICE_HELP: &str = "\
The usage is an object as the provider writes it (`usage`, Google's `usageMetadata`, Cohere's `meta`), or a
whole answer that holds one. What the provider itself says that the call cost counts, unless [models] in
wflo.toml prices the model. With --batch each line is a JSON object {model, dialect, provider,
service_tier, usage}, and each gives one line of JSON: a price, or an error with its code.

Examples:
  wflo costs price gpt-5-mini --dialect openai --usage usage.json
  wflo costs price claude-sonnet-4-5 --dialect anthropic --usage - < answer.json
  wflo costs price gpt-5-mini --dialect openai --service-tier flex --usage usage.json --json
  wflo costs price --batch calls.jsonl";

const MODELS_HELP: &str = "\
A filter is a part of a model's name, or the name of its provider. Prices are the standard ones, in USD
per million tokens; --json has all of them.

Examples:
  wflo costs models sonnet
  wflo costs models groq --json
  wflo costs models --about";

const UPDATE_HELP: &str = "\
Takes `model_prices_and_context_window.json` of LiteLLM. The file is read whole and kept in the data
directory; runs of this project use it from then on instead of the prices that wflo was built with. A file
that is damaged, or prices far fewer models than the built-in map, is refused and nothing changes.

Examples:
  wflo costs update model_prices_and_context_window.json
  wflo costs update --reset";

const ESTIMATE_HELP: &str = "\
P50 and P90 are of earlier completed runs of the workflow. AT MOST is what a prompt step's one call can cost, or the
budget that stops it. A step that called no model in any of those runs cost $0; ? is what nobody knows before a step's code
has run. Nothing is run; a Python workflow is read in a sandbox, as `wflo run` does.

Examples:
  wflo costs estimate
  wflo costs estimate flow.yaml --input text=hello --json";

/// The verbs of costs.
#[derive(Debug, Subcommand)]
pub(crate) enum CostsCommand {
    /// Add up what was spent
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
    /// Compare what was charged with a provider's invoice export (CSV)
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(ReconcileArgs),
    /// Forecast what a run will cost, and say where each number is from
    #[command(after_help = ESTIMATE_HELP)]
    Estimate(EstimateArgs),
    /// Price a usage object as a provider reports it
    #[command(after_help = PRICE_HELP)]
    Price(PriceArgs),
    /// List the models that have a price
    #[command(after_help = MODELS_HELP)]
    Models(ModelsArgs),
    /// Use a newer price map
    #[command(after_help = UPDATE_HELP)]
    Update(UpdateArgs),
}

/// What to forecast.
#[derive(Debug, Args)]
pub(crate) struct EstimateArgs {
    /// workflow.py[:attribute], flow.yaml or package.module:attribute [default: what wflo.toml names]
    pub(crate) workflow: Option<String>,
    /// Give the workflow an input; may be repeated
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<super::Input>,
}

/// What to price.
#[derive(Debug, Args)]
pub(crate) struct PriceArgs {
    /// The model, with or without its provider's name before it
    #[arg(value_name = "MODEL", required_unless_present = "batch", conflicts_with = "batch")]
    pub(crate) model: Option<String>,
    /// Whose shape the usage has
    #[arg(long, value_name = "DIALECT", required_unless_present = "batch")]
    pub(crate) dialect: Option<Dialect>,
    /// Who served the model, where its name does not tell
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The service tier, instead of the one that the usage names: flex, priority, batch …
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub(crate) service_tier: Option<String>,
    /// When the call was made, such as 2026-11-29T02:00:00Z, for providers that ask for less at some
    /// hours; without it they count as asking for the full price
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<Timestamp>,
    /// The file with the usage; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) usage: PathBuf,
    /// Price each line of a file of JSON lines; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) batch: Option<PathBuf>,
}

/// A file, where an address would be taken for the name of one.
fn map_file(text: &str) -> Result<PathBuf, String> {
    match text.contains("://") {
        true => Err("give a file: download it first (`curl -LO ADDRESS`)".to_owned()),
        false => Ok(PathBuf::from(text)),
    }
}

/// A tier by its name.
fn tier(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    match name == "auto" || Tier::served(&name).is_some() {
        true => Ok(name),
        false => Err("there are standard, flex, priority, ultrafast, balanced, batch and auto".to_owned()),
    }
}

/// Which models.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Only those whose name has this in it, or of this provider
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Say where the prices are from instead
    #[arg(long, conflicts_with = "filter")]
    pub(crate) about: bool,
}

/// Which map.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The newer map
    #[arg(value_name = "FILE", required_unless_present = "reset", value_parser = map_file)]
    pub(crate) file: Option<PathBuf>,
    /// Also take a map that makes models free which cost something now
    #[arg(long, conflicts_with = "reset")]
    pub(crate) accept_free: bool,
    /// Go back to the prices that wflo was built with
    #[arg(long, conflicts_with = "file")]
    pub(crate) reset: bool,
}

/// Some days, the first and the last among them.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Days {
    /// Only calls since this day, such as 2026-11-01
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub(crate) since: Option<Date>,
    /// Only calls until this day, and on it
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub(crate) until: Option<Date>,
}

impl Days {
    /// Refuses days that end before they begin: they hold nothing, which is not what was meant.
    pub(crate) fn checked(&self) -> Result<(), CliError> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since > until => Err(CliError::Days { since, until }),
            _ => Ok(()),
        }
    }

    /// Whether a day is one of them.
    pub(crate) fn hold(&self, day: Date) -> bool {
        self.since.is_none_or(|since| day >= since) && self.until.is_none_or(|until| day <= until)
    }
}

/// How to add up.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// One line for each
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "run",
        default_value_if("label", ArgPredicate::IsPresent, "label")
    )]
    pub(crate) by: CostsBy,
    /// One line for each value of this label, such as user; says --by label
    #[arg(long, value_name = "NAME")]
    pub(crate) label: Option<String>,
    /// Only this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<RunRef>,
    #[command(flatten)]
    pub(crate) days: Days,
    /// Name each call whose bill was lost
    #[arg(long)]
    pub(crate) uncertain: bool,
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
    // A key of `wflo gateway`.
    Key,
    // An agent of a workflow, over its runs.
    Agent,
    Model,
    Provider,
    // The labels of runs, or the values of one (--label).
    Label,
    Day,
}

impl CostsBy {
    /// Whether its lines go on from day to day.
    pub(crate) const fn has_trend(self) -> bool {
        matches!(
            self,
            CostsBy::Workflow
                | CostsBy::Key
                | CostsBy::Agent
                | CostsBy::Model
                | CostsBy::Provider
                | CostsBy::Label
        )
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
