//! Usage times price: what a finished call costs.
//!
//! Owns the sum and its rounding: exact in pico-USD, uplifts applied to the whole, rounded up to
//! nano-USD once.

use wflo_core::money::{NanoUsd, PicoUsd};

use super::Price;
use crate::usage::Usage;

/// What `usage` costs at `price`, in nano-USD, rounded up.
pub fn settle(usage: &Usage, price: &Price) -> NanoUsd {
    let (input, tier) = (usage.total_input(), usage.tier.unwrap_or_default());
    let tokens = usage
        .counts()
        .map(|(dimension, tokens)| PicoUsd(i128::from(price.rate(dimension, tier, input))) * tokens)
        .fold(PicoUsd(i128::from(price.per_request)), |sum, line| sum + line);
    let mut sum = raised(tokens, price.region);
    if usage.geo_us {
        sum = raised(sum, price.uplift.geo_us);
    }
    if usage.fast {
        sum = raised(sum, price.uplift.fast);
    }
    sum.ceil_nanos()
}

/// The sum times a factor in thousandths, rounded up to whole pico-USD.
pub(crate) fn raised(sum: PicoUsd, thousandths: u64) -> PicoUsd {
    if thousandths == 1_000 {
        return sum;
    }
    let product = sum.0.saturating_mul(i128::from(thousandths));
    PicoUsd(product.div_euclid(1_000) + i128::from(product.rem_euclid(1_000) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{Dimension as D, Tier, lookup};

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
    }
}
