//! `wflo budgets list` and `show`.

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::budget::{Amount, Budget, Measure, Quantity, Standing};
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{RunFilter, SliceStore as _, Store as _};
use wflo_core::slice::Slice;

use super::{Line, end_of, find, read_logs, sort};
use crate::cli::BudgetRef;
use crate::commands::runs::show::bar;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Table, amount, moment, room};
use crate::session::Session;

/// A standing budget as scripts see it.
#[derive(Serialize)]
#[serde(tag = "type", rename = "standing")]
struct StandingLine<'a> {
    #[serde(flatten)]
    which: Which<'a>,
    #[serde(flatten)]
    limit: Quantity,
    action_on_exceeded: Option<wflo_core::budget::OnExceeded>,
    min_output_tokens: Option<u64>,
}

#[derive(Serialize)]
struct Which<'a> {
    scope: wflo_core::budget::Scope,
    key: &'a str,
    period: wflo_core::budget::Period,
    time_zone: &'a str,
}

pub(super) async fn list(all: bool, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.note("No budgets yet.");
        return Ok(Exit::Success);
    };
    read_logs(&session).await?;
    let standing = session.store.standing_budgets().await?;
    for standing in &standing {
        printer.object(&line_of(standing));
    }
    let budgets = shown(&session, all).await?;
    let slices = session.store.slices().await?;
    let mut table = Table::new(&["BUDGET", "NAME", "USED", "", "HELD", "LEFT", "OF", "ENDS"]);
    for budget in &budgets {
        printer.object(&Line::new(budget));
        let show = |units| amount(budget.measure, units);
        let Balance { held, left } = Balance::of(budget, at_hand(&slices, budget));
        table.row(vec![
            budget.id.to_string(),
            plain::line(&budget.name()),
            show(budget.settled),
            bar(printer.paint(), budget.settled, budget.limit),
            if held == Amount::ZERO { String::new() } else { show(held) },
            room(budget.measure, left),
            show(budget.limit),
            end_of(budget).map(moment).unwrap_or_default(),
        ]);
    }
    if !budgets.is_empty() {
        let table = table.within(printer.width(), &[1], &[7, 3, 4]).ids(&[0]).times(&[7]);
        printer.line(table.telling(&[1]).right(&[2, 4, 5, 6]).omit_empty());
    }
    if slices.iter().any(|slice| budgets.iter().any(|budget| budget.id == slice.budget)) {
        printer.note("What gateways have at hand for their calls counts as left; `wflo budgets show` says how much it is.");
    }
    if !standing.is_empty() && !printer.json_wanted() {
        printer.line("\nStanding:");
    }
    for standing in &standing {
        printer.line(format_args!("  {}", said(standing)));
    }
    if budgets.is_empty() && standing.is_empty() {
        printer.note("No budgets yet.");
    }
    Ok(Exit::Success)
}

/// Where an account stands, for people.
struct Balance {
    /// By calls of runs that are under way.
    held: Amount,
    /// What a new call could take, whoever makes it.
    left: Amount,
}

impl Balance {
    /// A slice is held in the account and left to the calls of its gateway: ahead of them, nothing of it is used.
    fn of(budget: &Budget, at_hand: Amount) -> Balance {
        let held = budget.held.saturating_sub(at_hand).max(Amount::ZERO);
        Balance { held, left: budget.limit.saturating_sub(budget.settled).saturating_sub(held) }
    }
}

/// What gateways hold of a budget in slices.
fn at_hand(slices: &[Slice], budget: &Budget) -> Amount {
    let of_it = slices.iter().filter(|slice| slice.budget == budget.id);
    of_it.fold(Amount::ZERO, |sum, slice| sum.saturating_add(slice.amount))
}

fn line_of(standing: &Standing) -> StandingLine<'_> {
    StandingLine {
        which: Which {
            scope: standing.scope,
            key: &standing.key,
            period: standing.period,
            time_zone: standing.time_zone.name(),
        },
        limit: Quantity::new(standing.measure, standing.limit),
        action_on_exceeded: standing.action_on_exceeded,
        min_output_tokens: standing.min_output_tokens,
    }
}

/// `org "acme" per month (Europe/Berlin): $500`.
pub(super) fn said(standing: &Standing) -> String {
    let Standing { scope, key, period, time_zone, measure, limit, .. } = standing;
    let mut text = format!("{} `{}`", scope.name(), plain::line(key));
    if *period != wflo_core::budget::Period::Total {
        text.push_str(&format!(" per {} ({time_zone})", period.name()));
    }
    format!("{text}: {}", amount(*measure, *limit))
}

/// The budgets of the present periods and of runs that have not ended; or all of them.
async fn shown(session: &Session<'_>, all: bool) -> Result<Vec<Budget>, CommandError> {
    let mut budgets = session.store.all_budgets().await?;
    sort(&mut budgets);
    if all {
        return Ok(budgets);
    }
    let now = session.clock.now();
    let open: Vec<String> = session
        .store
        .runs(RunFilter::default())
        .await?
        .into_iter()
        .filter(|run| !run.status.is_terminal())
        .map(|run| run.budget_key)
        .collect();
    budgets.retain(|budget| match budget.scope.is_of_a_run() && !budget.standing {
        true => open.iter().any(|key| *key == budget.key || budget.key.starts_with(&format!("{key}/"))),
        false => is_of(budget, now),
    });
    Ok(budgets)
}

fn is_of(budget: &Budget, now: Timestamp) -> bool {
    end_of(budget).is_none_or(|end| now < end)
}

pub(super) async fn show(which: &BudgetRef, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    read_logs(&session).await?;
    let budget = find(&session, which).await?;
    let printer = context.printer;
    printer.object(&Line::new(&budget));
    let show = |units| amount(budget.measure, units);
    printer.line(format_args!("{}  {}", budget.id, plain::line(&budget.name())));
    printer.line(format_args!(
        "  {}  {} of {}, {} held by running {}, {} left",
        bar(printer.paint(), budget.settled, budget.limit),
        show(budget.settled),
        show(budget.limit),
        show(budget.held),
        if budget.measure == Measure::Seconds { "steps" } else { "calls" },
        show(budget.left()),
    ));
    let at_hand = at_hand(&session.store.slices().await?, &budget);
    if at_hand > Amount::ZERO {
        let at_hand = show(at_hand);
        printer.line(format_args!(
            "  of what is held, gateways have {at_hand} at hand: what they do not use comes back"
        ));
    }
    if let Some(end) = end_of(&budget) {
        printer.line(format_args!("  from {} until {end} ({})", budget.period_start, budget.time_zone));
    }
    let when = if budget.measure == Measure::Seconds { "no time is left" } else { "a call does not fit" };
    printer.line(format_args!("  when {when}: {}", budget.action_on_exceeded.name()));
    if !budget.alert_thresholds.is_empty() {
        let shares: Vec<String> =
            budget.alert_thresholds.iter().map(|share| format!("{} %", f64::from(*share) / 10.0)).collect();
        printer.line(format_args!("  alerts at {}", shares.join(", ")));
    }
    Ok(Exit::Success)
}
