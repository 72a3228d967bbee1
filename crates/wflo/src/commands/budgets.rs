//! `wflo budgets …`: limits, what is left of them, and what became of them.

mod correct;
mod history;
mod list;
mod set;
mod top_up;

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::budget::Budget;
use wflo_core::error::{Code, Coded};
use wflo_core::id::BudgetId;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::Store as _;
use wflo_proxy::{ProxyError, recover_dead};

use crate::cli::{BudgetRef, BudgetsCommand};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::{Session, block_on, coded};

/// Carries out one of the verbs.
pub(crate) fn run(command: &BudgetsCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    match command {
        BudgetsCommand::List { all } => block_on(list::list(*all, context)),
        BudgetsCommand::Set(args) => block_on(set::run(args, context)),
        BudgetsCommand::Show { budget } => block_on(list::show(budget, context)),
        BudgetsCommand::TopUp { budget, amount } => block_on(top_up::run(budget, *amount, context)),
        BudgetsCommand::Correct { budget, spent, reason } => {
            block_on(correct::run(budget, *spent, reason, context))
        }
        BudgetsCommand::History { budget } => block_on(history::run(budget.as_ref(), context)),
    }
}

/// What cannot be done with budgets.
#[derive(Debug, thiserror::Error)]
enum BudgetsError {
    #[error("there is no budget {0}")]
    NoSuchBudget(BudgetId),
    #[error("there is no such standing budget{}", among(known))]
    NoStanding { known: Vec<String> },
    #[error("{0}")]
    Wrong(String),
}

fn among(known: &[String]) -> String {
    match known {
        [] => "; there are none".to_owned(),
        known => format!("; there are: {}", known.join(", ")),
    }
}

impl Coded for BudgetsError {
    fn code(&self) -> Code {
        Code(match self {
            BudgetsError::NoSuchBudget(_) => 4051,
            BudgetsError::NoStanding { .. } | BudgetsError::Wrong(_) => 4050,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            BudgetsError::NoSuchBudget(_) => "`wflo budgets list --all` lists every budget".to_owned(),
            BudgetsError::NoStanding { .. } => {
                "name one as it was set: with the same --scope, --key, --period and --time-zone".to_owned()
            }
            BudgetsError::Wrong(_) => "`wflo budgets set --help` has examples".to_owned(),
        })
    }
}

/// A budget as scripts see it.
#[derive(Serialize)]
#[serde(tag = "type", rename = "budget")]
struct Line<'a> {
    name: String,
    #[serde(flatten)]
    budget: &'a Budget,
    /// When its period is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    period_end: Option<Timestamp>,
}

impl<'a> Line<'a> {
    fn new(budget: &'a Budget) -> Line<'a> {
        Line { name: budget.name(), budget, period_end: end_of(budget) }
    }
}

/// When a budget's period is over.
fn end_of(budget: &Budget) -> Option<Timestamp> {
    let start = budget.period_start.parse().ok()?;
    budget.period.span(&budget.time_zone, start).map(|span| span.end)
}

/// In the order in which people look for them: runs first, then what outlives them, by name and period.
fn sort(budgets: &mut [Budget]) {
    budgets.sort_by_cached_key(|budget| (budget.scope, budget.name(), budget.period_start.clone()));
}

/// Brings in what gateways have left that were killed: until then it is not in any budget.
pub(crate) async fn read_logs(session: &Session<'_>) -> Result<(), CommandError> {
    let (store, now) = (&*session.store, session.clock.moment());
    let read = recover_dead(store, store.data_dir(), &now).await;
    read.map(drop).map_err(|error| coded(&ProxyError::from(error)))
}

async fn find(session: &Session<'_>, which: &BudgetRef) -> Result<Budget, CommandError> {
    let all = session.store.all_budgets().await?;
    match which {
        BudgetRef::Id(id) => {
            let found = all.into_iter().find(|budget| budget.id == *id);
            found.ok_or_else(|| coded(&BudgetsError::NoSuchBudget(*id)))
        }
        BudgetRef::Prefix(prefix) => pick::only(all, "budget", prefix, |budget| budget.id.to_string()),
    }
}
