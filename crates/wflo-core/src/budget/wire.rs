//! Budgets in JSON: money as decimal strings in USD, time in whole milliseconds, everything else as whole
//! numbers of its unit.

use serde::{Deserialize, Serialize};

use super::{Amount, Budget, Measure, OnExceeded, Period, Scope, Shortfall, Zone};
use crate::id::BudgetId;
use crate::money::NanoUsd;

/// What an account stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figures {
    /// Money.
    Money {
        /// What was spent.
        settled_usd: NanoUsd,
        /// Of how much.
        limit_usd: NanoUsd,
    },
    /// Time.
    Time {
        /// What was used.
        settled_ms: Amount,
        /// Of how much.
        limit_ms: Amount,
    },
    /// Anything else.
    Units {
        /// What is counted.
        measure: Measure,
        /// What was used.
        settled: Amount,
        /// Of how much.
        limit: Amount,
    },
}

impl Figures {
    /// So much of a limit.
    pub fn new(measure: Measure, settled: Amount, limit: Amount) -> Figures {
        match measure {
            Measure::Cost => Figures::Money { settled_usd: settled.money(), limit_usd: limit.money() },
            Measure::Seconds => Figures::Time { settled_ms: settled, limit_ms: limit },
            measure => Figures::Units { measure, settled, limit },
        }
    }

    /// What was used, and the limit, as people read them.
    pub fn show(&self) -> (String, String) {
        match *self {
            Figures::Money { settled_usd, limit_usd } => (format!("${settled_usd}"), format!("${limit_usd}")),
            Figures::Time { settled_ms, limit_ms } => {
                (Measure::Seconds.show(settled_ms), Measure::Seconds.show(limit_ms))
            }
            Figures::Units { measure, settled, limit } => (measure.show(settled), measure.show(limit)),
        }
    }
}

/// So much of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// Money.
    Money {
        /// How much.
        amount_usd: NanoUsd,
    },
    /// Time.
    Time {
        /// How long.
        amount_ms: Amount,
    },
    /// Anything else.
    Units {
        /// Of what.
        measure: Measure,
        /// How much.
        amount: Amount,
    },
}

impl Quantity {
    /// So much of it.
    pub fn new(measure: Measure, amount: Amount) -> Quantity {
        match measure {
            Measure::Cost => Quantity::Money { amount_usd: amount.money() },
            Measure::Seconds => Quantity::Time { amount_ms: amount },
            measure => Quantity::Units { measure, amount },
        }
    }

    /// As people read it.
    pub fn show(&self) -> String {
        match *self {
            Quantity::Money { amount_usd } => format!("${amount_usd}"),
            Quantity::Time { amount_ms } => Measure::Seconds.show(amount_ms),
            Quantity::Units { measure, amount } => measure.show(amount),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Held {
    Money { held_usd: NanoUsd },
    Time { held_ms: Amount },
    Units { held: Amount },
}

fn no(standing: &bool) -> bool {
    !standing
}

#[derive(Serialize, Deserialize)]
pub(super) struct BudgetWire {
    id: BudgetId,
    scope: Scope,
    key: String,
    period: Period,
    period_start: String,
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    time_zone: Zone,
    #[serde(default, skip_serializing_if = "no")]
    standing: bool,
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    held: Held,
    action_on_exceeded: OnExceeded,
    alert_thresholds: Vec<u32>,
}

impl From<Budget> for BudgetWire {
    fn from(budget: Budget) -> BudgetWire {
        BudgetWire {
            figures: Figures::new(budget.measure, budget.settled, budget.limit),
            held: match budget.measure {
                Measure::Cost => Held::Money { held_usd: budget.held.money() },
                Measure::Seconds => Held::Time { held_ms: budget.held },
                _ => Held::Units { held: budget.held },
            },
            id: budget.id,
            scope: budget.scope,
            key: budget.key,
            period: budget.period,
            period_start: budget.period_start,
            time_zone: budget.time_zone,
            standing: budget.standing,
            action_on_exceeded: budget.action_on_exceeded,
            alert_thresholds: budget.alert_thresholds,
        }
    }
}

impl From<BudgetWire> for Budget {
    fn from(wire: BudgetWire) -> Budget {
        let (measure, settled, limit) = match wire.figures {
            Figures::Money { settled_usd, limit_usd } => {
                (Measure::Cost, settled_usd.into(), limit_usd.into())
            }
            Figures::Time { settled_ms, limit_ms } => (Measure::Seconds, settled_ms, limit_ms),
            Figures::Units { measure, settled, limit } => (measure, settled, limit),
        };
        let held = match wire.held {
            Held::Money { held_usd } => held_usd.into(),
            Held::Time { held_ms: held } | Held::Units { held } => held,
        };
        Budget {
            id: wire.id,
            scope: wire.scope,
            key: wire.key,
            period: wire.period,
            period_start: wire.period_start,
            time_zone: wire.time_zone,
            standing: wire.standing,
            measure,
            limit,
            settled,
            held,
            action_on_exceeded: wire.action_on_exceeded,
            alert_thresholds: wire.alert_thresholds,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ShortfallWire {
    budget: Budget,
    #[serde(flatten)]
    wanted: Wanted,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wanted {
    Money { wanted_usd: NanoUsd },
    Time { wanted_ms: Amount },
    Units { wanted: Amount },
}

impl From<Shortfall> for ShortfallWire {
    fn from(short: Shortfall) -> ShortfallWire {
        let wanted = match short.budget.measure {
            Measure::Cost => Wanted::Money { wanted_usd: short.wanted.money() },
            Measure::Seconds => Wanted::Time { wanted_ms: short.wanted },
            _ => Wanted::Units { wanted: short.wanted },
        };
        ShortfallWire { budget: short.budget, wanted }
    }
}

impl From<ShortfallWire> for Shortfall {
    fn from(wire: ShortfallWire) -> Shortfall {
        let wanted = match wire.wanted {
            Wanted::Money { wanted_usd } => wanted_usd.into(),
            Wanted::Time { wanted_ms: wanted } | Wanted::Units { wanted } => wanted,
        };
        Shortfall { budget: wire.budget, wanted }
    }
}
