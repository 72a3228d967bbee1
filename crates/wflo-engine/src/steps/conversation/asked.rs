//! What a runner has asked for in one attempt: each effect once, and no more than can be told apart.

use std::collections::HashSet;

use wflo_core::error::{Code, Failure};

use super::BROKEN;
use crate::protocol::{self, EffectCall, On};

/// Effects of one step at once.
const AT_ONCE: usize = 4_096;
/// More is asked than is held for a step.
pub(super) const TOO_MUCH: Code = Code(3033);
/// The most that the places of all effects take, in bytes.
const PLACES: usize = 64 << 20;
/// What a place takes beside its path.
const PLACE: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Asked {
    places: HashSet<On>,
    bytes: usize,
}

impl Asked {
    pub(super) fn contains(&self, on: &On) -> bool {
        self.places.contains(on)
    }

    /// Whether an effect has a place that a runner may name, is asked for the first time in this attempt,
    /// and is not one too many beside `under_way` others.
    pub(super) fn admit(&mut self, call: &EffectCall, under_way: usize) -> Result<(), Failure> {
        let broken = |why: String| Err(Failure::new(BROKEN, why));
        if under_way >= AT_ONCE {
            return broken(format!("the step has {AT_ONCE} effects under way at once"));
        }
        if !protocol::is_path(&call.path) {
            let shown: String = call.path.chars().take(60).collect();
            return broken(format!(
                "the runner asked for an effect at `{shown}`, which is not the path of a branch"
            ));
        }
        if !self.places.insert(On { path: call.path.clone(), seq: call.seq }) {
            return broken(format!("the runner asked for the effect {}/{} twice", call.path, call.seq));
        }
        self.bytes += call.path.len() + PLACE;
        if self.bytes > PLACES {
            let message = format!("the step asked for {} effects in one attempt", self.places.len());
            let hint = "split the work over several steps";
            return Err(Failure::new(TOO_MUCH, message).with_hint(hint));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wflo_core::effect::EffectKind;

    use super::*;

    #[test]
    fn a_step_cannot_name_places_for_ever() {
        let mut asked = Asked::default();
        let call = |seq| EffectCall {
            path: "0".repeat(16 << 10),
            seq,
            kind: EffectKind::Now,
            name: "now".to_owned(),
            request: serde_json::Value::Null,
            after: 0,
        };
        let refused = (0..10_000).find_map(|seq| asked.admit(&call(seq), 0).err()).unwrap();
        assert_eq!(refused.code, TOO_MUCH.to_string());
        assert!(asked.bytes < PLACES + (17 << 10));
    }
}
