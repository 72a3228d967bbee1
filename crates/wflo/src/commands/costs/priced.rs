//! A bill as `wflo costs price` says it.
//!
//! Owns the shape: amounts are decimal texts, rates for one token, item or second, exact to 1e-15 USD.

use serde::Serialize;
use wflo_core::money::NanoUsd;
use wflo_gateway::price::{Bill, Line, Price, PriceSource, Tier};
use wflo_gateway::usage::Unit;

/// What one usage costs.
#[derive(Debug, Serialize)]
pub(super) struct Priced {
    /// Which line of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    pub(super) model: String,
    pub(super) provider: String,
    pub(super) service_tier: &'static str,
    /// Whose price it is: the map's or the operator's.
    pub(super) source: &'static str,
    pub(super) dimensions: Vec<Counted>,
    /// Factors on the sum of the tokens.
    pub(super) factors: Vec<Factor>,
    /// What the provider says that it cost, where that counts.
    pub(super) reported_usd: Option<String>,
    /// What was used and has no price.
    pub(super) unpriced: Vec<&'static str>,
    pub(super) total_usd: NanoUsd,
}

/// One dimension.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    pub(super) dimension: &'static str,
    pub(super) unit: &'static str,
    /// Tokens or items; seconds as a decimal.
    pub(super) count: String,
    pub(super) rate_usd: String,
    pub(super) cost_usd: String,
}

/// A factor.
#[derive(Debug, Serialize)]
pub(super) struct Factor {
    pub(super) name: &'static str,
    pub(super) factor: String,
}

impl Priced {
    pub(super) fn of(model: &str, provider: &str, tier: Tier, price: &Price, bill: &Bill) -> Priced {
        let factor = |(name, thousandths): &(&'static str, u64)| Factor {
            name,
            factor: decimal(i128::from(*thousandths), 3),
        };
        Priced {
            line: None,
            model: model.to_owned(),
            provider: provider.to_owned(),
            service_tier: tier.name(),
            source: match price.source {
                PriceSource::Map => "map",
                PriceSource::Operator => "operator",
            },
            dimensions: bill.lines.iter().map(counted).collect(),
            factors: bill.factors.iter().map(factor).collect(),
            reported_usd: bill.reported.map(|pico| decimal(pico.0, 12)),
            unpriced: bill
                .lines
                .iter()
                .filter(|line| !price.knows(line.dimension))
                .map(|line| line.dimension.name())
                .collect(),
            total_usd: bill.total,
        }
    }
}

fn counted(line: &Line) -> Counted {
    let unit = line.dimension.unit();
    let count = match unit {
        Unit::Milliseconds => decimal(i128::from(line.count), 3),
        _ => line.count.to_string(),
    };
    Counted {
        dimension: line.dimension.name(),
        unit: match unit {
            Unit::InputTokens | Unit::OutputTokens | Unit::OtherTokens => "token",
            Unit::Count => "item",
            Unit::Milliseconds => "second",
        },
        count,
        rate_usd: decimal(i128::from(line.femto), 15),
        cost_usd: decimal(line.cost(), 15),
    }
}

/// A whole number of 10^-places as a decimal, without needless zeros.
pub(super) fn decimal(number: i128, places: u32) -> String {
    let unit = 10_i128.pow(places);
    let (whole, part) = (number / unit, (number % unit).unsigned_abs());
    let digits = format!("{part:0width$}", width = places as usize);
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() { whole.to_string() } else { format!("{whole}.{digits}") }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn decimals_are_exact_and_short() {
        assert_eq!(decimal(250_000_000, 15), "0.00000025");
        assert_eq!(decimal(0, 15), "0");
        assert_eq!(decimal(12_340, 3), "12.34");
        assert_eq!(decimal(3_000, 3), "3");
    }
}
