//! `[budget]`: what one run of this project may take; `[[budgets]]`: any further limit.

use wflo_core::budget::{OnExceeded, Period, Zone};
use wflo_core::definition::{BudgetSpec, Per};
use wflo_core::money::NanoUsd;

use super::read_seconds;
use crate::document::{Field, Problem, Reader};

const PER: [(&str, Per); 12] = [
    ("run", Per::Run),
    ("step", Per::Step),
    ("agent", Per::Agent),
    ("workflow", Per::Workflow),
    ("org", Per::Org),
    ("label", Per::Label),
    ("key", Per::Key),
    ("gateway", Per::Gateway),
    ("hour", Per::Hour),
    ("day", Per::Day),
    ("week", Per::Week),
    ("month", Per::Month),
];
const PERIODS: [(&str, Period); 5] = [
    ("total", Period::Total),
    ("hour", Period::Hour),
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
];
const ACTIONS: [(&str, OnExceeded); 4] = [
    ("halt", OnExceeded::Halt),
    ("ask", OnExceeded::Ask),
    ("queue", OnExceeded::Queue),
    ("downgrade", OnExceeded::Downgrade),
];

/// `[budget]`: a limit per run.
pub(super) fn read_one(field: &Field<'_>) -> Result<BudgetSpec, Problem> {
    let mut reader = field.table()?;
    let budget = read_limits(&mut reader)?;
    reader.finish()?;
    checked(budget, field)
}

/// One of `[[budgets]]`, with `scope`.
pub(super) fn read_scoped(field: &Field<'_>) -> Result<BudgetSpec, Problem> {
    let mut reader = field.table()?;
    let per = reader.required("scope")?.choice(&PER[..8])?;
    let budget = BudgetSpec { per, ..read_limits(&mut reader)? };
    let budget = read_which(&mut reader, budget)?;
    reader.finish()?;
    checked(budget, field)
}

/// A budget of a workflow's definition, with `per`.
pub(crate) fn read_budget(field: &Field<'_>) -> Result<BudgetSpec, Problem> {
    let mut reader = field.table()?;
    let per = reader.optional("per").map(|field| field.choice(&PER)).transpose()?.unwrap_or_default();
    let budget = BudgetSpec { per, ..read_limits(&mut reader)? };
    let budget = read_which(&mut reader, budget)?;
    reader.finish()?;
    checked(budget, field)
}

fn read_limits(reader: &mut Reader<'_>) -> Result<BudgetSpec, Problem> {
    let mut count = |name| reader.optional(name).map(|field| field.whole()).transpose();
    let (max_model_calls, max_tool_calls) = (count("max_model_calls")?, count("max_tool_calls")?);
    let max_tokens = count("max_tokens")?;
    Ok(BudgetSpec {
        max_seconds: reader.optional("max_seconds").map(|field| read_seconds(&field)).transpose()?,
        max_cost_usd: reader.optional("max_cost_usd").map(|field| read_money(&field)).transpose()?,
        max_model_calls,
        max_tool_calls,
        max_tokens,
        alert_thresholds: reader
            .optional("alert_thresholds")
            .map(|field| read_thresholds(&field))
            .transpose()?,
        action_on_exceeded: reader
            .optional("action_on_exceeded")
            .map(|field| field.choice(&ACTIONS))
            .transpose()?,
        queue_timeout_seconds: reader
            .optional("queue_timeout_seconds")
            .map(|field| read_seconds(&field))
            .transpose()?,
        min_output_tokens: reader
            .optional("min_output_tokens")
            .map(|field| read_count(&field))
            .transpose()?,
        ..BudgetSpec::default()
    })
}

fn read_which(reader: &mut Reader<'_>, budget: BudgetSpec) -> Result<BudgetSpec, Problem> {
    let mut name = |key| reader.optional(key).map(|field| field.name().map(str::to_owned)).transpose();
    let (agent, label, workflow) = (name("agent")?, name("label")?, name("workflow")?);
    Ok(BudgetSpec {
        agent,
        label,
        workflow,
        period: reader.optional("period").map(|field| field.choice(&PERIODS)).transpose()?,
        time_zone: reader.optional("time_zone").map(|field| field.parse::<Zone>()).transpose()?,
        ..budget
    })
}

fn checked(budget: BudgetSpec, field: &Field<'_>) -> Result<BudgetSpec, Problem> {
    match budget.wrong().into_iter().next() {
        None => Ok(budget),
        Some(wrong) => Err(field.problem(crate::document::Kind::WrongValue, format!("is wrong: {wrong}"))),
    }
}

/// An amount that is not negative.
pub(crate) fn read_money(field: &Field<'_>) -> Result<NanoUsd, Problem> {
    let amount: NanoUsd = field.parse()?;
    if amount.is_negative() { Err(field.wrong("an amount that is not negative")) } else { Ok(amount) }
}

/// A whole number above 0.
fn read_count(field: &Field<'_>) -> Result<u64, Problem> {
    match field.whole()? {
        0 => Err(field.wrong("at least 1")),
        count => Ok(count),
    }
}

/// Rising shares in (0, 1].
fn read_thresholds(field: &Field<'_>) -> Result<Vec<f64>, Problem> {
    let shares = field.numbers()?;
    let in_range = shares.iter().all(|share| *share > 0.0 && *share <= 1.0);
    if in_range && shares.is_sorted_by(|a, b| a < b) {
        Ok(shares)
    } else {
        Err(field.wrong("rising shares between 0 and 1, such as [0.5, 0.9]"))
    }
}
