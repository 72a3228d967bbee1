//! `wflo budgets …`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use wflo_core::budget::{OnExceeded, Period, Scope, Zone};
use wflo_core::id::BudgetId;
use wflo_core::money::NanoUsd;

use super::value::{counted, seconds, usd};

/// Which account is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BudgetRef {
    Id(BudgetId),
    /// The only one whose id begins so.
    Prefix(String),
}

impl FromStr for BudgetRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if super::value::is_beginning(text, BudgetId::PREFIX) {
            return Ok(BudgetRef::Prefix(text.to_owned()));
        }
        text.parse().map(BudgetRef::Id).map_err(|_| super::value::not_an_id(BudgetId::PREFIX, text, "budget"))
    }
}

const LIST_HELP: &str = "\
Examples:
  wflo budgets list               Standing budgets, and every account of the present period
  wflo budgets list --all         Those of earlier periods and of ended runs, too";

const SET_HELP: &str = "\
A standing budget holds for every run of this data directory and every call of `wflo gateway` that it covers,
beside what wflo.toml and the workflow say, until it is changed: each period has an account of its own. Changing it changes the account of
the present period by the difference, so that what it was topped up by stays.

Examples:
  wflo budgets set --scope org --period month --time-zone Europe/Berlin --max-cost-usd 500
  wflo budgets set --scope label --key user=anna --period day --max-model-calls 200 --action queue
  wflo budgets set --scope gateway --period day --max-tokens 2000000
  wflo budgets set --scope org --period month --time-zone Europe/Berlin --remove";

const TOP_UP_HELP: &str = "\
Raises the limit of one account (of one period, where it has periods): in USD, or in calls, tokens or seconds.
A run that waits for that budget goes on.

Examples:
  wflo budgets top-up bud_0190f2e4 25.00   The beginning of an id will do when only one has it";

const CORRECT_HELP: &str = "\
For an account that a provider's wrong bill or a lost one has spoilt. Who, when and why stands in its history;
what is counted from now on comes on top, and reports of costs stay as they are. A run that waits for that
budget goes on.

Examples:
  wflo budgets correct bud_0190f2e4 --spent 12.40 --reason 'the provider billed call 7 twice'";

const HISTORY_HELP: &str = "\
Examples:
  wflo budgets history                     Who changed which limit when, and what each period used
  wflo budgets history bud_0190f2e4        Of one budget, all its periods";

/// The verbs of budgets.
#[derive(Debug, Subcommand)]
pub(crate) enum BudgetsCommand {
    /// List budgets and what is left of them
    #[command(after_help = LIST_HELP)]
    List {
        /// Those of earlier periods and of ended runs, too
        #[arg(long)]
        all: bool,
    },
    /// Make, change or remove a standing budget
    #[command(after_help = SET_HELP)]
    Set(Box<SetArgs>),
    /// Show one budget
    Show {
        /// Its id, or the beginning of it
        #[arg(value_name = "BUDGET")]
        budget: BudgetRef,
    },
    /// Raise the limit of one account
    #[command(after_help = TOP_UP_HELP)]
    TopUp {
        /// Its id, or the beginning of it
        #[arg(value_name = "BUDGET")]
        budget: BudgetRef,
        /// By how much: USD, or calls, tokens or seconds
        #[arg(value_name = "AMOUNT", value_parser = counted)]
        amount: NanoUsd,
    },
    /// Say anew what one account has counted, where it counted wrongly
    #[command(after_help = CORRECT_HELP)]
    Correct {
        /// Its id, or the beginning of it
        #[arg(value_name = "BUDGET")]
        budget: BudgetRef,
        /// What was really spent: USD, or calls, tokens or seconds
        #[arg(long, value_name = "AMOUNT", value_parser = counted)]
        spent: NanoUsd,
        /// Why, for its history
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Show what became of limits, and what was used in each period
    #[command(after_help = HISTORY_HELP)]
    History {
        /// Of this one
        #[arg(value_name = "BUDGET")]
        budget: Option<BudgetRef>,
    },
}

/// Which standing budget, and how it is set.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// What it covers
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: StandingScope,
    /// Which one: a workflow, an agent, a label such as user=anna, an API key by name or id [org: what wflo.toml names; gateway: all of its calls]
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Over which span it counts
    #[arg(long, value_name = "PERIOD", default_value = "total")]
    pub(crate) period: PeriodArg,
    /// Where its days begin: an IANA name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) time_zone: Zone,
    /// The most money, in USD
    #[arg(long, value_name = "USD", value_parser = usd)]
    pub(crate) max_cost_usd: Option<NanoUsd>,
    /// The most calls of models
    #[arg(long, value_name = "N")]
    pub(crate) max_model_calls: Option<u64>,
    /// The most calls of tools
    #[arg(long, value_name = "N")]
    pub(crate) max_tool_calls: Option<u64>,
    /// The most input and output tokens, together
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// The longest that steps may run, each for itself: 90s, 15m, 12h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) max_seconds: Option<u64>,
    /// What happens when a call does not fit [default: what the run says]
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<ActionArg>,
    /// Cut a call that does not fit down to as few output tokens as this
    #[arg(long, value_name = "N")]
    pub(crate) min_output_tokens: Option<u64>,
    /// Raise an alert at this share of the limit, such as 0.9; may be repeated
    #[arg(long = "alert", value_name = "SHARE")]
    pub(crate) alerts: Vec<f64>,
    /// Take it away
    #[arg(long, conflicts_with_all = ["action", "min_output_tokens", "alerts"])]
    pub(crate) remove: bool,
}

/// What a standing budget can cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StandingScope {
    Org,
    Workflow,
    Agent,
    Label,
    Key,
    Gateway,
}

impl From<StandingScope> for Scope {
    fn from(scope: StandingScope) -> Scope {
        match scope {
            StandingScope::Org => Scope::Org,
            StandingScope::Workflow => Scope::Workflow,
            StandingScope::Agent => Scope::Agent,
            StandingScope::Label => Scope::Label,
            StandingScope::Key => Scope::Key,
            StandingScope::Gateway => Scope::Gateway,
        }
    }
}

/// A period as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeriodArg {
    Total,
    Hour,
    Day,
    Week,
    Month,
}

impl From<PeriodArg> for Period {
    fn from(period: PeriodArg) -> Period {
        match period {
            PeriodArg::Total => Period::Total,
            PeriodArg::Hour => Period::Hour,
            PeriodArg::Day => Period::Day,
            PeriodArg::Week => Period::Week,
            PeriodArg::Month => Period::Month,
        }
    }
}

/// An action as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActionArg {
    Halt,
    Ask,
    Queue,
    Downgrade,
}

impl From<ActionArg> for OnExceeded {
    fn from(action: ActionArg) -> OnExceeded {
        match action {
            ActionArg::Halt => OnExceeded::Halt,
            ActionArg::Ask => OnExceeded::Ask,
            ActionArg::Queue => OnExceeded::Queue,
            ActionArg::Downgrade => OnExceeded::Downgrade,
        }
    }
}
