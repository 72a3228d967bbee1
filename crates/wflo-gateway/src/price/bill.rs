//! Usage times price: what a finished call costs.
//!
//! Owns the sum and its rounding: exact in femto-USD, uplifts applied to the whole, rounded up to
//! nano-USD once.

use wflo_core::money::{NanoUsd, PicoUsd};

use super::{Dimension, Price, PriceSource, Tier};
use crate::usage::{Unit, Usage};

/// One dimension of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What was counted.
    pub dimension: Dimension,
    /// How much: tokens, items, or milliseconds.
    pub count: u64,
    /// Femto-USD for one token or item, or for a second.
    pub femto: u64,
}

impl Line {
    /// What the line costs, in femto-USD, rounded up.
    pub fn cost(&self) -> i128 {
        let product = i128::from(self.femto).saturating_mul(i128::from(self.count));
        match self.dimension.unit() {
            Unit::Milliseconds => ceil(product, 1_000),
            _ => product,
        }
    }
}

/// What a call costs, and how that comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The dimensions that were used.
    pub lines: Vec<Line>,
    /// The factors on the sum of the lines, in thousandths, by their names.
    pub factors: Vec<(&'static str, u64)>,
    /// What the provider says that it cost, where that counts instead of the lines.
    pub reported: Option<PicoUsd>,
    /// The whole.
    pub total: NanoUsd,
}

/// What `usage` costs at `price`, in nano-USD, rounded up.
pub fn settle(usage: &Usage, price: &Price) -> NanoUsd {
    bill(usage, price).total
}

/// The same for a call that asked for a service tier, which counts where the usage names none.
pub fn settle_at(usage: &Usage, price: &Price, asked: Tier) -> NanoUsd {
    bill_at(usage, price, usage.tier.unwrap_or(asked)).total
}

/// The bill of `usage` at `price`.
///
/// What the provider itself says that a call cost counts, unless the operator has a price of their own; less
/// than the counts come to it is only at a provider that is known to bill by it: many servers write `0`.
pub fn bill(usage: &Usage, price: &Price) -> Bill {
    bill_at(usage, price, usage.tier.unwrap_or_default())
}

fn bill_at(usage: &Usage, price: &Price, tier: Tier) -> Bill {
    let input = usage.total_input();
    let mut counts: Vec<(Dimension, u64)> = usage.counts().collect();
    if usage.get(Dimension::Requests) == 0 && price.prices(Dimension::Requests) {
        counts.push((Dimension::Requests, 1));
    }
    let lines: Vec<Line> = counts
        .into_iter()
        .map(|(dimension, count)| Line {
            dimension,
            count: if price.per_prompt && dimension.is_search() { count.min(1) } else { count },
            femto: price.rate(dimension, tier, input),
        })
        .collect();
    let factors: Vec<_> = [
        ("region", price.region),
        ("inference_geo", if usage.geo_us { price.uplift.geo_us } else { 1_000 }),
        ("speed", if usage.fast { price.uplift.fast } else { 1_000 }),
    ]
    .into_iter()
    .filter(|(_, thousandths)| *thousandths != 1_000)
    .collect();
    let reported = usage.reported.filter(|_| price.source != PriceSource::Operator);
    let (tokens, rest): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|line| !line.dimension.unit().is_no_token());
    let sum = |lines: &[&Line]| lines.iter().fold(0_i128, |sum, line| sum.saturating_add(line.cost()));
    let mut total = sum(&tokens);
    for (_, thousandths) in &factors {
        total = raised(total, *thousandths);
    }
    // Fees are the same everywhere.
    let counted = nanos(total.saturating_add(sum(&rest)));
    let reported = reported.filter(|reported| price.reports || reported.ceil_nanos() >= counted);
    let total = reported.map_or(counted, PicoUsd::ceil_nanos);
    Bill { lines, factors, reported, total }
}

/// A sum of femto-USD in nano-USD, rounded up.
pub(crate) fn nanos(femto: i128) -> NanoUsd {
    PicoUsd(ceil(femto, 1_000)).ceil_nanos()
}

/// The sum times a factor in thousandths, rounded up.
pub(crate) fn raised(sum: i128, thousandths: u64) -> i128 {
    match thousandths {
        1_000 => sum,
        _ => ceil(sum.saturating_mul(i128::from(thousandths)), 1_000),
    }
}

fn ceil(sum: i128, by: i128) -> i128 {
    sum.div_euclid(by) + i128::from(sum.rem_euclid(by) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{Dimension as D, lookup};

    #[test]
    fn each_kind_of_token_has_its_rate() {
        let price = lookup("anthropic", "claude-sonnet-4-5").unwrap();
        let usage =
            Usage::of(&[(D::Input, 1_000), (D::CacheRead, 10_000), (D::CacheWrite, 2_000), (D::Output, 500)]);
        // 1000×3 + 10000×0.3 + 2000×3.75 + 500×15 USD per million = 0.021 USD.
        assert_eq!(settle(&usage, &price).to_string(), "0.021");
    }

    #[test]
    fn a_fraction_of_a_nano_dollar_is_rounded_up_once() {
        let price = lookup("openai", "gpt-5-nano").unwrap();
        // 0.005 USD per million = 5 nano-USD per thousand tokens.
        assert_eq!(settle(&Usage::of(&[(D::CacheRead, 1)]), &price).nanos(), 5);
        let mut flex = Usage::of(&[(D::CacheRead, 3)]);
        flex.tier = Some(Tier::Flex);
        assert_eq!(settle(&flex, &price).nanos(), 8);
        flex.tier = None;
        assert_eq!(settle_at(&flex, &price, Tier::Flex).nanos(), 8, "asked for, and not told");
    }

    #[test]
    fn searches_are_billed_by_the_search_or_by_the_prompt() {
        let searched = |count| Usage::of(&[(D::WebSearches, count)]);
        let claude = lookup("anthropic", "claude-sonnet-4-5").unwrap();
        assert_eq!(settle(&searched(3), &claude).to_string(), "0.03");
        let gemini = lookup("gemini", "gemini-2.5-flash").unwrap();
        assert_eq!(settle(&searched(3), &gemini).to_string(), "0.035");
    }

    #[test]
    fn time_is_priced_by_the_second() {
        let whisper = lookup("openai", "whisper-1").unwrap();
        // 0.0001 USD a second.
        assert_eq!(settle(&Usage::of(&[(D::InputTime, 12_500)]), &whisper).to_string(), "0.00125");
    }

    #[test]
    fn what_the_provider_says_counts_unless_the_operator_has_a_price() {
        let mut usage = Usage::of(&[(D::Input, 1_000_000)]);
        usage.reported = Some(PicoUsd(1_234_567_890));
        let mut price = lookup("openai", "gpt-4o").unwrap();
        assert_eq!(settle(&usage, &price).to_string(), "2.50", "less is not believed of anybody");
        price.reports = true;
        assert_eq!(settle(&usage, &price).nanos(), 1_234_568);
        usage.reported = Some(PicoUsd(0));
        assert_eq!(settle(&usage, &price), NanoUsd::ZERO);
        price.reports = false;
        assert_eq!(settle(&usage, &price).to_string(), "2.50");
        usage.reported = Some(PicoUsd(3_000_000_000_000));
        assert_eq!(settle(&usage, &price).to_string(), "3.00");
        price.source = PriceSource::Operator;
        assert_eq!(settle(&usage, &price).to_string(), "2.50");
    }
}
