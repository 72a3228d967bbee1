//! What the steps of a run have returned: in memory for as long as the run is driven, for the steps after
//! them and for its end.

use serde_json::Value;
use wflo_core::effect::json_bytes;
use wflo_core::error::{Code, Failure};
use wflo_core::machine::{Changes, RunState};

/// The steps returned more than a run may hold.
const TOO_MUCH: Code = Code(3035);
/// The most that outputs and variables of a run take together, as JSON in bytes.
const LIMIT: u64 = 64 << 20;

/// How much that is.
#[derive(Debug)]
pub(super) struct Results {
    bytes: u64,
}

impl Results {
    /// Of a run in some state.
    pub(super) fn of(state: &RunState) -> Self {
        let outputs = state.steps.iter().filter_map(|step| step.output.as_deref());
        let changes = state.steps.iter().map(|step| of_changes(&step.changes));
        Results { bytes: outputs.map(json_bytes).sum::<u64>() + changes.sum::<u64>() }
    }

    /// Counts what a step returned and what it changed of the variables.
    ///
    /// # Errors
    /// Why the step fails instead; then nothing was counted.
    pub(super) fn add(&mut self, step: &str, output: &Value, changes: &Changes) -> Result<(), Failure> {
        let more = json_bytes(output) + of_changes(changes);
        let bytes = self.bytes + more;
        if bytes <= LIMIT {
            self.bytes = bytes;
            return Ok(());
        }
        let message = format!(
            "what the steps of the run returned would take {bytes} bytes with the {more} of step `{step}`; the limit is {LIMIT}"
        );
        Err(Failure::new(TOO_MUCH, message)
            .with_hint("write large results into files of the workspace and return their names"))
    }
}

fn of_changes(changes: &Changes) -> u64 {
    changes.set.iter().map(|(key, value)| key.len() as u64 + json_bytes(value)).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_have_a_sum() {
        let mut results = Results { bytes: 0 };
        let output = json!("x".repeat(8 << 20));
        for _ in 0..7 {
            results.add("s", &output, &Changes::default()).unwrap();
        }
        let before = results.bytes;
        assert_eq!(results.add("s", &output, &Changes::default()).unwrap_err().code, TOO_MUCH.to_string());
        assert_eq!(results.bytes, before);
        results.add("s", &json!(null), &Changes::default()).unwrap();
    }
}
