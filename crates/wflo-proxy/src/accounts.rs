//! Which budgets apply to a call outside of runs, and their accounts.
//!
//! Owns the translation of limits into accounts of the store. An account of a period is opened at the
//! first call in it, so only that call waits for a commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::id::{BudgetId, KeyId};
use wflo_core::key::VirtualKey;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, Op, SliceOp, SliceStore, StoreError};

use crate::spending::Accounts;
use crate::treasury::Treasury;

/// Shares of the limit at which an alert is raised when nothing else is said, in thousandths.
const ALERTS: [u32; 4] = [500, 750, 900, 1_000];

/// A limit on all calls of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// At most this much.
    pub limit: NanoUsd,
    /// In each of these.
    pub period: Period,
    /// Shares of it at which an alert is raised, in thousandths, ascending; the usual ones when `None`.
    pub alert_thresholds: Option<Vec<u32>>,
    /// The fewest output tokens that an answer may be cut down to so that its call fits; without it no call
    /// is cut.
    pub min_output_tokens: Option<u64>,
}

/// The accounts of one caller as long as no period ends.
struct Known {
    accounts: Accounts,
    until: Timestamp,
}

/// All accounts that were opened.
pub(crate) struct Directory {
    limits: Vec<Limit>,
    known: Mutex<HashMap<Option<KeyId>, Known>>,
}

impl Directory {
    pub(crate) fn new(limits: Vec<Limit>) -> Directory {
        Directory { limits, known: Mutex::default() }
    }

    /// How short an answer may become so that its call fits: what every limit permits.
    pub(crate) fn floor(&self) -> Option<u64> {
        self.limits.iter().map(|limit| limit.min_output_tokens).reduce(|a, b| Some(a?.max(b?))).flatten()
    }

    /// The accounts of a caller, if they are known and no period has ended since.
    pub(crate) fn at_hand(&self, key: Option<KeyId>, now: Timestamp) -> Option<Accounts> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).filter(|known| now < known.until).map(|known| Arc::clone(&known.accounts))
    }

    /// Opens the accounts of a caller.
    pub(crate) async fn open(
        &self,
        treasury: &Treasury,
        key: Option<&VirtualKey>,
        now: Timestamp,
    ) -> Result<Accounts, StoreError> {
        let mut until = Timestamp::MAX;
        let mut budgets = Vec::new();
        for limit in &self.limits {
            let span = Span::of(limit.period, now);
            until = until.min(span.end);
            let thresholds = limit.alert_thresholds.clone().unwrap_or_else(|| ALERTS.to_vec());
            budgets.push(account(
                Scope::Gateway,
                "gateway".to_owned(),
                (limit.period, span),
                limit.limit,
                thresholds,
            ));
        }
        if let Some((key, budget)) = key.and_then(|key| Some((key, key.budget?))) {
            let span = Span::of(budget.period, now);
            until = until.min(span.end);
            let name = format!("{}/{}", key.id, key.name);
            budgets.push(account(Scope::Key, name, (budget.period, span), budget.limit, ALERTS.to_vec()));
        }
        let store = &*treasury.options.store;
        let lowered = put(store, &budgets, now).await?;
        if !lowered.is_empty() {
            treasury.retire(lowered).await?;
        }
        let accounts: Accounts = {
            let mut spending = treasury.spending();
            budgets.iter().map(|budget| spending.account(budget.id)).collect()
        };
        let known = Known { accounts: Arc::clone(&accounts), until };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.map(|key| key.id), known);
        Ok(accounts)
    }
}

/// Opens the accounts, and gives those that are open the limit that they have now; those whose limit was
/// lowered.
async fn put(
    store: &dyn SliceStore,
    budgets: &[Budget],
    now: Timestamp,
) -> Result<Vec<BudgetId>, StoreError> {
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let ops = budgets.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    store.commit(Batch { fence: None, ops }).await?;
    let there = store.budgets_by_id(budgets.iter().map(|budget| budget.id).collect()).await?;
    let before = |budget: &Budget| there.iter().find(|there| there.id == budget.id).map(|there| there.limit);
    let changed = budgets.iter().filter(|budget| before(budget).is_some_and(|limit| limit != budget.limit));
    let limit = |budget: &Budget| SliceOp::Limit {
        budget: budget.id,
        limit: budget.limit.money(),
        by: "wflo gateway".to_owned(),
        at: now,
    };
    let ops: Vec<Op> = changed.map(|budget| Op::Slice(limit(budget))).collect();
    if !ops.is_empty() {
        store.commit(Batch { fence: None, ops }).await?;
    }
    let lowered = budgets.iter().filter(|budget| before(budget).is_some_and(|limit| limit > budget.limit));
    Ok(lowered.map(|budget| budget.id).collect())
}

fn account(
    scope: Scope,
    key: String,
    (period, span): (Period, Span),
    limit: NanoUsd,
    alert_thresholds: Vec<u32>,
) -> Budget {
    let account = Budget {
        id: BudgetId::from_uuid(uuid::Uuid::nil()),
        scope,
        key,
        period,
        period_start: span.start,
        time_zone: Zone::utc(),
        standing: false,
        measure: Measure::Cost,
        limit: limit.into(),
        settled: Amount::ZERO,
        held: Amount::ZERO,
        action_on_exceeded: OnExceeded::Halt,
        alert_thresholds,
    };
    account.named()
}

/// One span of a period, in UTC.
struct Span {
    /// As RFC 3339 text; empty for `total`.
    start: String,
    end: Timestamp,
}

impl Span {
    fn of(period: Period, now: Timestamp) -> Span {
        let endless = || Span { start: String::new(), end: Timestamp::MAX };
        let zoned = now.to_zoned(TimeZone::UTC);
        let (unit, days) = match period {
            Period::Total => return endless(),
            Period::Hour => (jiff::Unit::Hour, 0),
            Period::Day => (jiff::Unit::Day, 0),
            Period::Week => (jiff::Unit::Day, i64::from(zoned.weekday().to_monday_zero_offset())),
            Period::Month => (jiff::Unit::Day, i64::from(zoned.day()) - 1),
        };
        let length = match period {
            Period::Hour => jiff::Span::new().hours(1),
            Period::Week => jiff::Span::new().weeks(1),
            Period::Month => jiff::Span::new().months(1),
            _ => jiff::Span::new().days(1),
        };
        let start = zoned
            .round(jiff::ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Trunc))
            .and_then(|start| start.checked_sub(jiff::Span::new().days(days)));
        // Only at the ends of time can that fail.
        let Ok(start) = start else { return endless() };
        let end = start.checked_add(length).map_or(Timestamp::MAX, |end| end.timestamp());
        Span { start: start.timestamp().to_string(), end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_holds_its_moment_and_the_next_begins_at_its_end() {
        for now in ["2026-11-21T10:24:42Z", "2026-12-31T23:59:59.999Z", "2028-02-29T00:00:00Z"] {
            let now: Timestamp = now.parse().unwrap();
            for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
                let span = Span::of(period, now);
                let start: Timestamp = span.start.parse().unwrap();
                assert!(start <= now && now < span.end, "{period:?} of {now}");
                assert_eq!(Span::of(period, span.end).start, span.end.to_string(), "{period:?} of {now}");
            }
            assert_eq!(Span::of(Period::Total, now).start, "");
        }
        let now: Timestamp = "2026-11-21T10:24:42Z".parse().unwrap();
        assert_eq!(Span::of(Period::Week, now).start, "2026-11-16T00:00:00Z");
        assert_eq!(Span::of(Period::Month, now).start, "2026-11-01T00:00:00Z");
    }
}
