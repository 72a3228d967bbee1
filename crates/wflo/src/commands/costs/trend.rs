//! What was spent day by day, and its picture in one line.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::Date;
use wflo_core::money::NanoUsd;

/// The most days that a picture has; the newest are shown.
const MOST: usize = 30;
/// From next to nothing to the most of the row.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A day on which nothing was spent.
const NOTHING: char = '·';

/// Costs of days; a day that is not there cost nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Series(BTreeMap<Date, NanoUsd>);

impl Series {
    pub(super) fn add(&mut self, day: Date, cost: NanoUsd) {
        let sum = self.0.entry(day).or_default();
        *sum = sum.saturating_add(cost);
    }

    /// The days on which there were calls, in order.
    pub(super) fn days(&self) -> impl DoubleEndedIterator<Item = (Date, NanoUsd)> {
        self.0.iter().map(|(day, cost)| (*day, *cost))
    }

    /// A character a day from `first` to `last`, each row by its own most.
    pub(super) fn picture(&self, (first, last): (Date, Date)) -> String {
        let most = self.0.values().max().copied().unwrap_or_default();
        let days: Vec<Date> = last.series((-1).day()).take_while(|day| *day >= first).take(MOST).collect();
        let level = |day: &Date| level(self.0.get(day).copied().unwrap_or_default(), most);
        days.iter().rev().map(level).collect()
    }
}

/// How high a day stands in its row.
fn level(cost: NanoUsd, most: NanoUsd) -> char {
    if cost <= NanoUsd::ZERO || most <= NanoUsd::ZERO {
        return NOTHING;
    }
    let top = LEVELS.len() as i128 - 1;
    let height = (i128::from(cost.nanos()) * top).div_euclid(i128::from(most.nanos()));
    usize::try_from(height).ok().and_then(|height| LEVELS.get(height)).copied().unwrap_or('█')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(costs: &[(i8, i64)]) -> Series {
        let mut series = Series::default();
        for (day, nanos) in costs {
            series.add(jiff::civil::date(2026, 11, *day), NanoUsd::from_nanos(*nanos));
        }
        series
    }

    #[test]
    fn each_day_has_a_character_and_the_dearest_is_the_highest() {
        let days = (jiff::civil::date(2026, 11, 1), jiff::civil::date(2026, 11, 5));
        assert_eq!(series(&[(1, 10), (3, 5), (3, 65), (5, 35)]).picture(days), "▂·█·▄");
        assert_eq!(series(&[(2, 0)]).picture(days), "·····");
        assert_eq!(series(&[(4, i64::MAX)]).picture(days), "···█·");
    }

    #[test]
    fn a_long_time_shows_its_newest_days() {
        let days = (jiff::civil::date(2025, 1, 1), jiff::civil::date(2026, 11, 5));
        let picture = series(&[(5, 1)]).picture(days);
        assert_eq!(picture.chars().count(), MOST);
        assert!(picture.ends_with('█'));
    }
}
