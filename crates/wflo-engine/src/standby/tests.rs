use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::definition::Definition;
use wflo_core::machine::Outputs;

use super::is_followed;

fn definition(steps: Value) -> Definition {
    Definition::parse(&json!({ "name": "w", "steps": steps })).unwrap()
}

fn code(name: &str, depends_on: &[&str]) -> Value {
    json!({ "name": name, "type": "agent", "handler": "code", "depends_on": depends_on })
}

fn over(names: &[&str]) -> Outputs {
    names.iter().map(|name| ((*name).to_owned(), Arc::new(Value::Null))).collect()
}

#[test]
fn a_step_of_code_behind_one_alone_follows_it() {
    let line = definition(json!([code("a", &[]), code("b", &["a"]), code("c", &["b"])]));
    assert!(is_followed(&line, "a", &over(&[])));
    assert!(is_followed(&line, "b", &over(&["a"])));
    assert!(!is_followed(&line, "c", &over(&["a", "b"])));
}

#[test]
fn a_step_that_waits_for_another_one_too_does_not() {
    let joined = definition(json!([code("a", &[]), code("b", &[]), code("c", &["a", "b"])]));
    assert!(!is_followed(&joined, "a", &over(&[])));
    let line = definition(json!([code("a", &[]), code("b", &["a"]), code("c", &["a", "b"])]));
    assert!(is_followed(&line, "b", &over(&["a"])), "what is over is not waited for");
}

#[test]
fn neither_do_people_prompts_and_commands() {
    let asked = json!({ "name": "b", "type": "agent", "handler": "code", "depends_on": ["a"],
        "approval": { "required": true, "when": "start" } });
    let prompt = json!({ "name": "b", "type": "agent", "model": "m", "prompt": "p", "depends_on": ["a"] });
    let tool = json!({ "name": "b", "type": "tool", "run": ["true"], "depends_on": ["a"] });
    let gate = json!({ "name": "b", "type": "approval", "depends_on": ["a"] });
    for next in [asked, prompt, tool, gate] {
        assert!(!is_followed(&definition(json!([code("a", &[]), next])), "a", &over(&[])), "{next}");
    }
    let of_writes = json!({ "name": "b", "type": "agent", "handler": "code", "depends_on": ["a"],
        "approval": { "required": true, "when": "write" } });
    assert!(is_followed(&definition(json!([code("a", &[]), of_writes])), "a", &over(&[])));
}
