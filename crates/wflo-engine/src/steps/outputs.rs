//! The outputs that a step of code is given.
//!
//! It sees those of every step before it. They go into one frame, and in a long line of steps they may be
//! more than a frame holds: then those of steps that it does not name in `depends_on` stay behind, the
//! largest first. Which ones depends on the outputs alone, so it is the same on every resume.

use serde_json::{Map, Value};
use wflo_core::effect::json_bytes;
use wflo_core::machine::Outputs;

/// The most that farther outputs take, as JSON in bytes.
const FARTHER: u64 = 1 << 20;
/// All that a step begins with leaves this much of a frame free for the rest.
const TOGETHER: u64 = 4 << 20;

/// What a step is given, and the names of what stays behind.
#[derive(Debug, PartialEq)]
pub(super) struct Given {
    pub(super) outputs: Value,
    pub(super) left_out: Vec<String>,
}

/// Chooses among the outputs of all steps before one. It names those in `named` itself; `beside` is how
/// much JSON goes with them.
pub(super) fn given(named: &[String], outputs: &Outputs, beside: u64) -> Given {
    let mut chosen = Map::new();
    let mut farther = Vec::new();
    let mut taken = beside;
    for (name, output) in outputs {
        if named.contains(name) {
            taken += json_bytes(output);
            chosen.insert(name.clone(), (**output).clone());
        } else {
            farther.push((json_bytes(output), name, output));
        }
    }
    farther.sort_by_key(|(bytes, name, _)| (*bytes, *name));
    let mut room = TOGETHER.saturating_sub(taken).min(FARTHER);
    let mut left_out = Vec::new();
    for (bytes, name, output) in farther {
        if bytes <= room {
            room -= bytes;
            chosen.insert(name.clone(), (**output).clone());
        } else {
            left_out.push(name.clone());
        }
    }
    left_out.sort();
    Given { outputs: chosen.into(), left_out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outputs(of: &[(&str, Value)]) -> Outputs {
        of.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect()
    }

    fn given(outputs: &Outputs, beside: u64) -> Given {
        super::given(&["near".to_owned()], outputs, beside)
    }

    #[test]
    fn farther_outputs_come_along_while_there_is_room() {
        let large = "x".repeat(usize::try_from(FARTHER).unwrap() - 100);
        let all = [
            ("near", json!("n")),
            ("first", json!(1)),
            ("large", json!(large)),
            ("larger", json!(format!("{large}yyyy"))),
        ];
        let got = given(&outputs(&all), 0);
        assert_eq!(got.left_out, ["larger"]);
        assert_eq!(got.outputs, json!({"near": "n", "first": 1, "large": large}));
    }

    #[test]
    fn what_the_step_names_is_never_left_out() {
        let near = json!("x".repeat(usize::try_from(TOGETHER).unwrap()));
        let got = given(&outputs(&[("near", near.clone()), ("first", json!(1))]), 0);
        assert_eq!((got.left_out, got.outputs), (vec!["first".to_owned()], json!({"near": near})));
        assert_eq!(given(&outputs(&[("first", json!(1))]), TOGETHER).left_out, ["first"]);
    }
}
