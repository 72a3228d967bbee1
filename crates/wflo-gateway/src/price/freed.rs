//! What a newer map would make free.
//!
//! Owns the comparison alone. A map is edited by many hands, and a price that went missing in it is believed
//! like any other: nothing is held for such a model, and no budget stops it. So whoever installs the map is
//! asked about each.

use super::map::Entry;
use super::{Dimension, Rate, Tier, table};

/// Billed by no other dimension's rate where they have none of their own.
const ALONE: [Dimension; 3] = [Dimension::Input, Dimension::Output, Dimension::Queries];

/// The models of these that the map in use prices above nothing, and these at nothing, by name.
pub(super) fn freed(newer: &[Entry]) -> Vec<String> {
    let is_freed = |entry: &&Entry| {
        let old = table::rates(&entry.name).unwrap_or_default();
        old.iter().filter(|rate| rate.femto > 0 && rate.above == 0).any(|rate| is_free(&entry.rates, rate))
    };
    newer.iter().filter(is_freed).map(|entry| entry.name.clone()).collect()
}

/// Whether what a rate priced costs nothing by these. A tier that is gone is billed as the standard one.
fn is_free(rates: &[Rate], old: &Rate) -> bool {
    let same = |rate: &&Rate| rate.dimension == old.dimension && rate.tier == old.tier && rate.above == 0;
    match rates.iter().find(same) {
        Some(rate) => rate.femto == 0,
        None => old.tier == Tier::Standard && ALONE.contains(&old.dimension),
    }
}
