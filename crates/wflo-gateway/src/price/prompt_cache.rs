//! What a provider's prompt cache did to a bill: what was read from it beside the price of plain input, and what
//! was written into it.

use wflo_core::cost::PromptCache;
use wflo_core::money::NanoUsd;

use super::bill::raised;
use super::{Dimension, Price, Tier};
use crate::usage::Usage;

/// What is read from a cache or written into one, and as what it would be billed without.
const CACHED: [(Dimension, Dimension); 6] = [
    (Dimension::CacheRead, Dimension::Input),
    (Dimension::CacheReadExplicit, Dimension::Input),
    (Dimension::AudioCacheRead, Dimension::AudioInput),
    (Dimension::CacheWrite, Dimension::Input),
    (Dimension::CacheWriteLong, Dimension::Input),
    (Dimension::CacheWriteLongest, Dimension::Input),
];

const WRITTEN: [Dimension; 3] =
    [Dimension::CacheWrite, Dimension::CacheWriteLong, Dimension::CacheWriteLongest];

/// The part of prompt caches in a call that asked for a service tier, which counts where the usage names none.
/// Rounded towards nothing, so that no saving is claimed that was not made.
pub fn prompt_cache(usage: &Usage, price: &Price, asked: Tier) -> PromptCache {
    let (tier, input) = (usage.tier.unwrap_or(asked), usage.total_input());
    let rate = |dimension| i128::from(price.rate(dimension, tier, input));
    // Most calls have none of it, and look no rate up.
    let used = CACHED.iter().map(|(cached, plain)| (usage.get(*cached), cached, plain));
    let mut used = used.filter(|(count, ..)| *count > 0).peekable();
    if used.peek().is_none() {
        return PromptCache::default();
    }
    let saved = used.fold(0_i128, |sum, (count, cached, plain)| {
        let each = rate(*plain) - rate(*cached);
        sum.saturating_add(each.saturating_mul(i128::from(count)))
    });
    let factors = [
        price.region,
        if usage.geo_us { price.uplift.geo_us } else { 1_000 },
        if usage.fast { price.uplift.fast } else { 1_000 },
    ];
    let saved = factors.into_iter().fold(saved.abs(), raised) * saved.signum();
    let nanos = i64::try_from(saved / 1_000_000).unwrap_or(if saved < 0 { i64::MIN } else { i64::MAX });
    PromptCache {
        written_tokens: WRITTEN.iter().fold(0, |sum, written| sum.saturating_add(usage.get(*written))),
        saved: NanoUsd::from_nanos(nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::{Dimension as D, lookup};

    #[test]
    fn what_was_read_saves_and_what_was_written_costs() {
        let price = lookup("anthropic", "claude-sonnet-4-5").unwrap();
        let of = |counts: &[(D, u64)]| prompt_cache(&Usage::of(counts), &price, Tier::Standard);
        // 3 USD a million plain, 0.3 read, 3.75 written.
        let read = of(&[(D::Input, 1_000), (D::CacheRead, 10_000)]);
        assert_eq!((read.written_tokens, read.saved.to_string()), (0, "0.027".to_owned()));
        let written = of(&[(D::CacheWrite, 2_000), (D::CacheWriteLong, 1_000)]);
        assert_eq!((written.written_tokens, written.saved.to_string()), (3_000, "-0.0045".to_owned()));
        assert_eq!(of(&[(D::Input, 5), (D::Output, 5)]), PromptCache::default());
    }
}
