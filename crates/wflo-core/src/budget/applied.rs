//! Which accounts limits have at a moment: each with what its limits say of calls.
//!
//! Every limit that applies to the same account (flags, files, code) is merged into the lowest: each may add
//! a limit, none raises another's. A standing budget has an account of its own, so that it neither raises nor
//! lowers what files say. Who calls, and which limits so apply, is the caller's business.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Amount, Budget, Measure, OnExceeded, Period, Scope, Standing, Zone};
use crate::definition::BudgetSpec;
use crate::id::BudgetId;
use crate::size::Millis;

/// Shares of the limit at which an alert is raised when nothing else is said, in thousandths.
pub const ALERTS: [u32; 4] = [500, 750, 900, 1_000];

/// The organisation of a data directory that names none.
pub const LOCAL_ORG: &str = "local";

/// An account that applies to a call, and what its limits say of the call itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The account, as it is opened.
    pub budget: Budget,
    /// The fewest output tokens that an answer may be cut down to; `None` where nobody opted in.
    pub floor: Option<u64>,
    /// How long a call may be queued for it.
    pub queue: Millis,
}

/// Which account: everything that tells it from others, but for the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// What it covers.
    pub scope: Scope,
    /// Which one.
    pub key: String,
    /// Over which span.
    pub period: Period,
    /// In which time zone.
    pub time_zone: Zone,
    /// Whether it is a standing budget's.
    pub standing: bool,
    /// What it counts.
    pub measure: Measure,
}

impl Which {
    /// The account of the period in which `now` lies, as it is opened.
    pub fn account(
        self,
        limit: Amount,
        action_on_exceeded: OnExceeded,
        alert_thresholds: Vec<u32>,
        now: Timestamp,
    ) -> Budget {
        let account = Budget {
            id: BudgetId::from_uuid(uuid::Uuid::nil()),
            scope: self.scope,
            key: self.key,
            period: self.period,
            period_start: self.period.start(&self.time_zone, now),
            time_zone: self.time_zone,
            standing: self.standing,
            measure: self.measure,
            limit,
            settled: Amount::ZERO,
            held: Amount::ZERO,
            action_on_exceeded,
            alert_thresholds,
        };
        account.named()
    }
}

/// Accounts as limits are found to apply.
#[derive(Debug)]
pub struct Applying {
    now: Timestamp,
    action: OnExceeded,
    queue: Millis,
    merged: BTreeMap<BudgetId, Applied>,
}

impl Applying {
    /// None yet. `action` and `queue` hold where a limit does not say what happens when a call does not fit,
    /// and how long it may be queued.
    pub fn new(now: Timestamp, action: OnExceeded, queue: Millis) -> Applying {
        Applying { now, action, queue, merged: BTreeMap::new() }
    }

    /// A limit of a file, of code or of a command line applies, to the account of this name.
    pub fn add(&mut self, spec: &BudgetSpec, key: &str) {
        let (scope, period) = spec.covers();
        for (measure, limit) in spec.limits() {
            let time_zone = spec.time_zone.clone().unwrap_or_default();
            let which = Which { scope, key: key.to_owned(), period, time_zone, standing: false, measure };
            let action = spec.action_on_exceeded.unwrap_or(self.action);
            let budget = which.account(limit, action, thresholds(spec), self.now);
            self.merge(budget, spec.min_output_tokens, spec.queue_timeout_seconds);
        }
    }

    /// A standing budget applies.
    pub fn stand(&mut self, standing: &Standing) {
        let Standing { scope, period, measure, .. } = *standing;
        let (key, time_zone) = (standing.key.clone(), standing.time_zone.clone());
        let which = Which { scope, key, period, time_zone, standing: true, measure };
        let action = standing.action_on_exceeded.unwrap_or(self.action);
        let budget = which.account(standing.limit, action, standing.alert_thresholds.clone(), self.now);
        self.merge(budget, standing.min_output_tokens, None);
    }

    /// The accounts, in the order of their ids.
    pub fn accounts(self) -> Vec<Applied> {
        self.merged.into_values().collect()
    }

    fn merge(&mut self, account: Budget, floor: Option<u64>, queue: Option<Millis>) {
        let known = self.merged.get(&account.id);
        let floor = floor.max(known.and_then(|known| known.floor));
        let queue = queue.or(known.map(|known| known.queue)).unwrap_or(self.queue);
        let budget = match known {
            Some(known) if known.budget.limit <= account.limit => known.budget.clone(),
            _ => account,
        };
        self.merged.insert(budget.id, Applied { budget, floor, queue });
    }
}

fn thresholds(spec: &BudgetSpec) -> Vec<u32> {
    let Some(given) = &spec.alert_thresholds else { return ALERTS.to_vec() };
    let mut thousandths: Vec<u32> = given.iter().map(|t| (t * 1_000.0).round() as u32).collect();
    thousandths.sort_unstable();
    thousandths.dedup();
    thousandths
}
