//! What accounts count: money, calls, tokens, time.

use serde::{Deserialize, Serialize};

use crate::money::NanoUsd;

/// What an account counts. One account counts one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Money, in nano-USD.
    #[default]
    Cost,
    /// Calls of models.
    ModelCalls,
    /// Calls of tools.
    ToolCalls,
    /// Input and output tokens of models, together.
    Tokens,
    /// Time for which attempts of steps run, in milliseconds.
    Seconds,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Measure; 5] =
        [Measure::Cost, Measure::ModelCalls, Measure::ToolCalls, Measure::Tokens, Measure::Seconds];

    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::Cost => "cost",
            Measure::ModelCalls => "model_calls",
            Measure::ToolCalls => "tool_calls",
            Measure::Tokens => "tokens",
            Measure::Seconds => "seconds",
        }
    }

    /// What people count it in.
    pub const fn unit(self) -> &'static str {
        match self {
            Measure::Cost => "USD",
            Measure::ModelCalls => "model calls",
            Measure::ToolCalls => "tool calls",
            Measure::Tokens => "tokens",
            Measure::Seconds => "seconds",
        }
    }

    /// The amount as people read it: `$0.25`, `12 model calls`, `90.5 s`.
    pub fn show(self, amount: Amount) -> String {
        let plural = if amount.0 == 1 { "" } else { "s" };
        match self {
            Measure::Cost => format!("${}", amount.money()),
            Measure::ModelCalls => format!("{} model call{plural}", amount.0),
            Measure::ToolCalls => format!("{} tool call{plural}", amount.0),
            Measure::Tokens => format!("{} token{plural}", amount.0),
            Measure::Seconds => format!("{} s", self.decimal(amount)),
        }
    }

    /// The amount as a decimal in the unit that people use: USD, calls, tokens, seconds.
    pub fn decimal(self, amount: Amount) -> NanoUsd {
        NanoUsd::from_nanos(amount.0.saturating_mul(self.nanos()))
    }

    /// The amount that a decimal in people's unit stands for; a part of the smallest unit counts as none.
    pub fn from_decimal(self, decimal: NanoUsd) -> Amount {
        Amount(decimal.nanos() / self.nanos())
    }

    /// How many billionths of people's unit one of the smallest is.
    const fn nanos(self) -> i64 {
        match self {
            Measure::Cost => 1,
            Measure::ModelCalls | Measure::ToolCalls | Measure::Tokens => 1_000_000_000,
            Measure::Seconds => 1_000_000,
        }
    }

    /// Whether this is money.
    pub fn is_cost(&self) -> bool {
        *self == Measure::Cost
    }
}

/// So much of a measure, in its smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// This many of the smallest unit.
    pub const fn from_units(units: i64) -> Amount {
        Amount(units)
    }

    /// How many of the smallest unit.
    pub const fn units(self) -> i64 {
        self.0
    }

    /// The amount of an account of money.
    pub const fn money(self) -> NanoUsd {
        NanoUsd::from_nanos(self.0)
    }

    /// The sum, or `None` past the range.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// The sum, held at the range's ends.
    #[must_use]
    pub fn saturating_add(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0))
    }

    /// The difference, held at the range's ends.
    #[must_use]
    pub fn saturating_sub(self, other: Amount) -> Amount {
        Amount(self.0.saturating_sub(other.0))
    }

    /// Whether it is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl From<NanoUsd> for Amount {
    fn from(money: NanoUsd) -> Amount {
        Amount(money.nanos())
    }
}

impl From<u64> for Amount {
    fn from(count: u64) -> Amount {
        Amount(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

/// What one call takes of every measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Money.
    #[serde(rename = "cost_usd", default)]
    pub cost: NanoUsd,
    /// Calls of models.
    #[serde(default)]
    pub model_calls: u64,
    /// Calls of tools.
    #[serde(default)]
    pub tool_calls: u64,
    /// Tokens.
    #[serde(default)]
    pub tokens: u64,
    /// Time, in milliseconds.
    #[serde(default, skip_serializing_if = "is_none")]
    pub active_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(ms: &u64) -> bool {
    *ms == 0
}

impl Amounts {
    /// How much of a measure.
    pub fn of(&self, measure: Measure) -> Amount {
        match measure {
            Measure::Cost => self.cost.into(),
            Measure::ModelCalls => self.model_calls.into(),
            Measure::ToolCalls => self.tool_calls.into(),
            Measure::Tokens => self.tokens.into(),
            Measure::Seconds => self.active_ms.into(),
        }
    }
}

impl From<NanoUsd> for Amounts {
    fn from(cost: NanoUsd) -> Amounts {
        Amounts { cost, ..Amounts::default() }
    }
}
