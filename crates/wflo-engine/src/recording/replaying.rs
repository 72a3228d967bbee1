//! What the calls of one step are answered with.
//!
//! Owns which answer belongs to a call: the first of its request, byte for byte, that was not given yet; and what
//! a call without one is like.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use wflo_core::effect::EffectRecord;

use super::{Entry, Recording, Said};

/// Which answer of a recording an effect was given.
pub(crate) fn place_of(effect: &EffectRecord) -> Option<usize> {
    usize::try_from(effect.attributes["recorded"].as_u64()?).ok()
}

/// What a call that has no recorded answer is like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Nearest {
    /// It is recorded, so many times, and was given as often.
    Given(usize),
    /// Nothing is known of what was asked.
    Unknown,
    /// The n-th call of the step, and what is another in this one.
    Call { nth: usize, differences: Vec<String> },
}

/// What one step is answered with.
#[derive(Debug)]
pub(crate) struct Replaying {
    entries: Vec<(usize, Entry)>,
    /// Those that were given, in earlier attempts and generations too.
    used: Mutex<HashSet<usize>>,
}

impl Replaying {
    /// The answers of `step`, less those at the places `used`.
    pub(crate) fn of_step(recording: Recording, step: &str, used: HashSet<usize>) -> Self {
        let all = recording.entries.into_iter().enumerate();
        Replaying { entries: all.filter(|(_, entry)| entry.step == step).collect(), used: Mutex::new(used) }
    }

    /// The next answer to a request, and its place in the recording.
    pub(crate) fn take(&self, fingerprint: &str) -> Option<(usize, Said)> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |(place, entry): &&(usize, Entry)| entry.fingerprint == fingerprint && !used.contains(place);
        let (place, entry) = self.entries.iter().find(fits)?;
        used.insert(*place);
        Some((*place, entry.said.clone()))
    }

    /// The recorded call that is most like one that has no answer; of those that were not given, if there are any.
    pub(crate) fn nearest(&self, fingerprint: &str, endpoint: &str, body: &[u8]) -> Nearest {
        let given = self.entries.iter().filter(|(_, entry)| entry.fingerprint == fingerprint).count();
        if given > 0 {
            return Nearest::Given(given);
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = self.entries.iter().filter(|(_, entry)| matches!(entry.said, Said::Llm { .. }));
        let like = calls.enumerate().filter_map(|(before, (place, entry))| match &entry.said {
            Said::Llm { endpoint: asked, .. } if asked == endpoint && !entry.parts.is_empty() => {
                Some((used.contains(place), entry.parts.differences(body), before + 1))
            }
            _ => None,
        });
        let nearest = like.min_by_key(|(used, differences, _)| (*used, differences.len()));
        nearest.map_or(Nearest::Unknown, |(_, differences, nth)| Nearest::Call { nth, differences })
    }

    /// How many model calls of the step are answered in all, and how many of them are left.
    pub(crate) fn count(&self) -> (usize, usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = || self.entries.iter().filter(|(_, entry)| matches!(entry.said, Said::Llm { .. }));
        (calls().count(), calls().filter(|(place, _)| !used.contains(place)).count())
    }
}
