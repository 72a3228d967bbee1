//! Which of a run's changed files: as ranges of their places among all of them.
//!
//! What a run changed does not change any more once it has ended, so a place in the list, sorted by path, is a
//! name; nearly always it is all of them, which is one range.

use std::collections::BTreeSet;

use wflo_sandbox::workspace::{Change, Entry, RelPath};

/// Places from 0, as ranges that neither meet nor overlap, the end of each not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<(u64, u64)>);

/// The changes of files and links, with their places.
pub(super) fn files(changes: &[Change]) -> impl Iterator<Item = (u64, &Change)> {
    let folder = |entry: &Option<Entry>| entry.as_ref().is_none_or(Entry::is_dir);
    (0..).zip(changes.iter().filter(move |change| !(folder(&change.before) && folder(&change.after))))
}

impl Places {
    /// Those of `paths` among all `changes` of a run.
    #[must_use]
    pub fn of(changes: &[Change], paths: &BTreeSet<&RelPath>) -> Places {
        files(changes).filter(|(_, change)| paths.contains(&change.path)).map(|(place, _)| place).collect()
    }

    /// The paths at these places among all `changes` of the run.
    pub fn among<'a>(&'a self, changes: &'a [Change]) -> impl Iterator<Item = &'a RelPath> {
        files(changes).filter(|(place, _)| self.has(*place)).map(|(_, change)| &change.path)
    }

    fn has(&self, place: u64) -> bool {
        let behind = self.0.partition_point(|(from, _)| *from <= place);
        behind.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, to)| place < *to)
    }

    /// Adds ranges as a record has them, whatever their order.
    pub(super) fn add(&mut self, ranges: Vec<(u64, u64)>) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(ranges.into_iter().filter(|(from, to)| from < to));
        all.sort_unstable();
        for (from, to) in all {
            match self.0.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => self.0.push((from, to)),
            }
        }
    }

    /// For a record.
    pub(super) fn into_ranges(self) -> Vec<(u64, u64)> {
        self.0
    }
}

impl FromIterator<u64> for Places {
    fn from_iter<T: IntoIterator<Item = u64>>(places: T) -> Self {
        let mut all = Places::default();
        all.add(places.into_iter().map(|place| (place, place.saturating_add(1))).collect());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_asked() {
        let mut places = Places::from_iter([7, 1, 2, 0, 9]);
        assert_eq!(places.0, [(0, 3), (7, 8), (9, 10)]);
        places.add(vec![(3, 4), (8, 9), (5, 5), (20, 1)]);
        assert_eq!(places.0, [(0, 4), (7, 10)]);
        let asked: Vec<u64> = (0..12).filter(|place| places.has(*place)).collect();
        assert_eq!(asked, [0, 1, 2, 3, 7, 8, 9]);
    }
}
