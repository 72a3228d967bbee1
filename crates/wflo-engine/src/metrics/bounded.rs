//! Counters by name, with a bound on how many names there are.

use std::collections::BTreeMap;

/// So many names, or pairs of names, are kept apart.
const MOST: usize = 1_000;

/// The most characters of a name.
const LENGTH: usize = 120;

/// The name of all further ones together.
const OTHERS: &str = "(others)";

/// A workflow, or a workflow and a step.
pub(crate) type Place = (String, String);

/// A name as it stands in a label.
pub(crate) fn label(name: &str) -> String {
    name.chars().take(LENGTH).collect()
}

/// The counter of a place; the one of all others where there are too many.
pub(crate) fn of<'a, V>(
    map: &'a mut BTreeMap<Place, V>,
    workflow: &str,
    step: &str,
    new: impl FnOnce() -> V,
) -> &'a mut V {
    let own = (label(workflow), label(step));
    let is_full = map.len() >= MOST && !map.contains_key(&own);
    map.entry(if is_full { (OTHERS.to_owned(), OTHERS.to_owned()) } else { own }).or_insert_with(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_names_there_are_the_counters_have_a_bound_and_miss_nothing() {
        let mut map = BTreeMap::new();
        for step in 0..MOST + 50 {
            *of(&mut map, "w", &step.to_string(), || 0) += 1;
        }
        *of(&mut map, "w", "0", || 0) += 1;
        assert_eq!(map.len(), MOST + 1);
        assert_eq!(map.values().sum::<usize>(), MOST + 51);
        assert_eq!(map[&("w".to_owned(), "0".to_owned())], 2, "who was there before stays apart");
        assert_eq!(label(&"x".repeat(500)).len(), LENGTH);
    }
}
