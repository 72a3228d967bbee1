//! Run variables: what a step's `context.state` holds, and what becomes of it.
//!
//! Steps that run beside each other are branches. A step begins with what the steps before it have made of
//! the variables; what it is recorded with is its own difference to that, key by key. Where branches meet,
//! at the first step that comes after both or at the end of the run, differences of different keys lie
//! beside each other. A key that two of them changed has no value there, and that is an error.
//!
//! **Architecture Invariant:** what a step sees is a function of what the steps before it are recorded with,
//! which nothing changes any more: the same on every resume, whatever runs beside it and in whatever order.
//!
//! [ADR 0018](../../../../docs/adr/0018-variables-of-a-run.md)

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::state::RunState;
use crate::error::{Code, Failure};

/// Two steps changed one key.
const CLASH: Code = Code(3027);

/// What a step changed of the run's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Keys that it added or gave another value.
    #[serde(rename = "state", default, skip_serializing_if = "Map::is_empty")]
    pub set: Map<String, Value>,
    /// Keys that it removed.
    #[serde(rename = "state_removed", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed: BTreeSet<String>,
}

impl Changes {
    /// The difference between the variables that a step began with and those that it left.
    pub fn between(before: &Map<String, Value>, after: &Map<String, Value>) -> Self {
        let removed = before.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
        let set = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
        Changes { set: set.map(|(key, value)| (key.clone(), value.clone())).collect(), removed }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.set.keys().chain(&self.removed).map(String::as_str)
    }
}

/// A key that two steps changed, neither of which comes after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clash {
    key: String,
    one: String,
    other: String,
}

impl Clash {
    /// The error; `met` is the step that cannot begin, none at the end of the run.
    pub(super) fn failure(&self, met: Option<&str>) -> Failure {
        let Clash { key, one, other } = self;
        let met = met.map_or_else(
            || "the run ends without a value for it".to_owned(),
            |step| format!("step `{step}` comes after both"),
        );
        let message = format!(
            "steps `{one}` and `{other}` both changed `{key}` of context.state, neither of them comes after the other, and {met}"
        );
        let hint = format!(
            "let one come after the other (depends_on), use a key for each, or return values and read context.outputs; then `wflo runs retry ID --from {one} --from {other}`"
        );
        Failure::new(CLASH, message).with_hint(hint)
    }
}

/// The steps that changed each key, by position.
type Writers<'a> = BTreeMap<&'a str, Vec<usize>>;

impl RunState {
    /// The variables that a step begins with, as an object.
    pub fn variables_for(&self, step: &str) -> Value {
        let mut variables = Map::new();
        let Some(index) = self.definition.index_of(step) else { return variables.into() };
        for (key, writers) in self.writers(self.definition.before(index)) {
            if let [last] = self.last_of(&writers)[..]
                && let Some(value) = self.steps[last].changes.set.get(key)
            {
                variables.insert(key.to_owned(), value.clone());
            }
        }
        variables.into()
    }

    /// What a step changed, given the variables that it left, if it has any.
    pub fn changes_of(&self, step: &str, left: Option<&Value>) -> Changes {
        match (left, self.variables_for(step)) {
            (Some(Value::Object(left)), Value::Object(before)) => Changes::between(&before, left),
            _ => Changes::default(),
        }
    }

    fn writers(&self, steps: impl IntoIterator<Item = usize>) -> Writers<'_> {
        let mut writers = Writers::new();
        if self.steps.iter().all(|step| step.changes.is_empty()) {
            return writers;
        }
        for index in steps {
            for key in self.steps[index].changes.keys() {
                writers.entry(key).or_default().push(index);
            }
        }
        writers
    }

    /// Those of some steps that no other of them comes after. One alone comes after all the others.
    fn last_of(&self, steps: &[usize]) -> Vec<usize> {
        if steps.len() < 2 {
            return steps.to_vec();
        }
        let before: BTreeSet<usize> = steps.iter().flat_map(|at| self.definition.before(*at)).collect();
        steps.iter().copied().filter(|at| !before.contains(at)).collect()
    }

    /// The first key that has no value for a step, or for the end of the run.
    pub(super) fn clash(&self, step: Option<usize>) -> Option<Clash> {
        if self.steps.iter().filter(|step| !step.changes.is_empty()).count() < 2 {
            return None;
        }
        let met = match step {
            Some(index) => self.definition.before(index),
            None => (0..self.steps.len()).collect(),
        };
        self.writers(met).into_iter().find_map(|(key, writers)| {
            let [one, other, ..] = self.last_of(&writers)[..] else { return None };
            let name = |index: usize| self.definition.steps[index].name.clone();
            Some(Clash { key: key.to_owned(), one: name(one), other: name(other) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_difference_is_by_key() {
        let before = map(json!({"same": 1, "other": [1], "gone": null}));
        let after = map(json!({"same": 1, "other": [1, 2], "new": null}));
        let changes = Changes::between(&before, &after);
        assert_eq!(changes.set, map(json!({"other": [1, 2], "new": null})));
        assert_eq!(changes.removed, BTreeSet::from(["gone".to_owned()]));
        assert!(Changes::between(&after, &after).is_empty());
    }
}
