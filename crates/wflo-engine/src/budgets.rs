//! Which budget accounts apply to a call, and how they are opened.
//!
//! Every limit that applies to the same account (flags, `wflo.toml`, code) is merged into the lowest:
//! each may add a limit, none raises another's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use wflo_core::budget::{Budget, OnExceeded, Period, Scope};
use wflo_core::definition::{BudgetSpec, Definition, Per, StepSpec};
use wflo_core::id::{BudgetId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::run::RunRecord;

/// Shares of the limit at which an alert is raised when nothing else is said, in thousandths.
const ALERTS: [u32; 4] = [500, 750, 900, 1_000];

/// An account that applies to a call, and what its limits say of the call itself.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The account, as it is opened.
    pub budget: Budget,
    /// The fewest output tokens that an answer may be cut down to; `None` where nobody opted in.
    pub floor: Option<u64>,
}

/// The accounts of a call of `step` (all accounts of the run that exist without a call, for `None`).
pub fn accounts(
    record: &RunRecord,
    definition: &Definition,
    step: Option<&StepSpec>,
    now: Timestamp,
) -> Vec<Applied> {
    let mut merged: BTreeMap<BudgetId, Applied> = BTreeMap::new();
    let ask = record.options.ask_when_exceeded;
    let mut add = |spec: &BudgetSpec, scope: Scope, key: String, period: Period| {
        let period_start = start_of(period, now);
        let account = Budget {
            id: account_id(scope, &key, period, &period_start),
            scope,
            key,
            period,
            period_start,
            limit: spec.max_cost_usd,
            settled: NanoUsd::ZERO,
            held: NanoUsd::ZERO,
            action_on_exceeded: action(spec, ask),
            alert_thresholds: thresholds(spec),
        };
        let known = merged.get(&account.id);
        let floor = spec.min_output_tokens.max(known.and_then(|known| known.floor));
        let budget = match known {
            Some(known) if known.budget.limit <= account.limit => known.budget.clone(),
            _ => account,
        };
        merged.insert(budget.id, Applied { budget, floor });
    };
    let run = record.budget_key.clone();
    for spec in definition.budgets.iter().chain(&record.options.budgets) {
        match spec.per {
            Per::Run => add(spec, Scope::Run, run.clone(), Period::Total),
            Per::Workflow => add(spec, Scope::Workflow, definition.name.clone(), Period::Total),
            Per::Hour => add(spec, Scope::Workflow, definition.name.clone(), Period::Hour),
            Per::Day => add(spec, Scope::Workflow, definition.name.clone(), Period::Day),
            Per::Week => add(spec, Scope::Workflow, definition.name.clone(), Period::Week),
            Per::Month => add(spec, Scope::Workflow, definition.name.clone(), Period::Month),
            Per::Step => {
                if let Some(step) = step {
                    add(spec, Scope::Step, format!("{run}/{}", step.name), Period::Total);
                }
            }
            Per::Agent => {
                if let Some(step) = step.filter(|s| spec.agent.as_deref().is_none_or(|a| a == s.agent_name()))
                {
                    add(spec, Scope::Agent, format!("{run}/{}", step.agent_name()), Period::Total);
                }
            }
        }
    }
    if let Some(step) = step {
        for spec in &step.budgets {
            if spec.per == Per::Agent {
                add(spec, Scope::Agent, format!("{run}/{}", step.agent_name()), Period::Total);
            } else {
                add(spec, Scope::Step, format!("{run}/{}", step.name), Period::Total);
            }
        }
    }
    merged.into_values().collect()
}

/// The key of a run's own budget: the first run of its chain of retries.
pub fn run_key(first: RunId) -> String {
    first.to_string()
}

fn action(spec: &BudgetSpec, ask: bool) -> OnExceeded {
    let default = if ask { OnExceeded::Ask } else { OnExceeded::Halt };
    spec.action_on_exceeded.unwrap_or(default)
}

fn thresholds(spec: &BudgetSpec) -> Vec<u32> {
    let Some(given) = &spec.alert_thresholds else { return ALERTS.to_vec() };
    let mut thousandths: Vec<u32> = given.iter().map(|t| (t * 1_000.0).round() as u32).collect();
    thousandths.sort_unstable();
    thousandths.dedup();
    thousandths
}

/// The same account has the same id in every process, so that opening it twice opens one.
fn account_id(scope: Scope, key: &str, period: Period, start: &str) -> BudgetId {
    let digest = blake3::hash(format!("{scope:?}\0{key}\0{period:?}\0{start}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    BudgetId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// When a period began, in UTC; empty for `total`.
fn start_of(period: Period, now: Timestamp) -> String {
    let zoned = now.to_zoned(TimeZone::UTC);
    let day = || zoned.start_of_day();
    let start = match period {
        Period::Total => return String::new(),
        Period::Hour => {
            zoned.round(jiff::ZonedRound::new().smallest(jiff::Unit::Hour).mode(jiff::RoundMode::Trunc))
        }
        Period::Day => day(),
        Period::Week => day().and_then(|d| {
            let back = d.weekday().since(Weekday::Monday);
            d.checked_sub(jiff::Span::new().days(back))
        }),
        Period::Month => zoned.first_of_month().and_then(|d| d.start_of_day()),
    };
    start.map(|s| s.timestamp().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_in_utc() {
        let now: Timestamp = "2026-11-21T10:24:42Z".parse().unwrap();
        assert_eq!(start_of(Period::Hour, now), "2026-11-21T10:00:00Z");
        assert_eq!(start_of(Period::Day, now), "2026-11-21T00:00:00Z");
        assert_eq!(start_of(Period::Week, now), "2026-11-16T00:00:00Z");
        assert_eq!(start_of(Period::Month, now), "2026-11-01T00:00:00Z");
        assert_eq!(start_of(Period::Total, now), "");
    }
}
