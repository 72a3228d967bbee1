//! Definitions that are wrong in each way that the validator knows: each is refused with its code, at its
//! place, and a definition with all of them at once is told all of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy knows #[test] functions only")]

use serde_json::{Value, json};
use wflo_core::definition::Definition;

fn good() -> Value {
    json!({
        "name": "w",
        "inputs": {"n": {"type": "integer"}},
        "steps": [
            {"name": "a", "type": "agent", "handler": "code"},
            {"name": "b", "type": "tool", "run": ["true"], "depends_on": ["a"]},
            {"name": "gate", "type": "approval", "depends_on": ["b"]},
            {"name": "when", "type": "condition", "when": "inputs.n > 1", "depends_on": ["gate"]},
        ],
    })
}

/// Lays `value` at a JSON pointer of a good definition; the last part may be new.
fn with(pointer: &str, value: Value) -> Value {
    let mut definition = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match definition.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no parts"),
    }
    definition
}

/// What is wrong, and what it must be called: a pointer, a value, the code, the place.
fn mistakes() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let budget = |field: &str, value: Value| {
        let mut one = json!({"max_cost_usd": "1"});
        one[field] = value;
        json!([one])
    };
    let policy =
        |condition: &str, action: Value| json!([{"name": "p", "condition": condition, "actions": [action]}]);
    let deny = json!({"type": "deny"});
    vec![
        ("/name", json!("no spaces"), "WFLO-1002", "name"),
        ("/name", json!(""), "WFLO-1002", "name"),
        ("/name", json!("x".repeat(65)), "WFLO-1002", "name"),
        ("/steps", json!([]), "WFLO-1006", "steps"),
        ("/steps", json!("none"), "WFLO-1001", "workflow"),
        ("/timeout_seconds", json!(0), "WFLO-1007", "timeout_seconds"),
        ("/timeout_seconds", json!("soon"), "WFLO-1001", "workflow"),
        ("/budgets", budget("max_cost_usd", json!("-1")), "WFLO-1007", "budgets[0]"),
        ("/budgets", budget("alert_thresholds", json!([1.5])), "WFLO-1007", "budgets[0]"),
        ("/budgets", budget("alert_thresholds", json!([0.0])), "WFLO-1007", "budgets[0]"),
        ("/policies", policy("mystery > 1", deny.clone()), "WFLO-1008", "policies[0]"),
        ("/policies", policy("estimated_cost >", deny), "WFLO-1008", "policies[0]"),
        ("/sandbox", json!({"network_enabled": true}), "WFLO-1010", "sandbox.network_enabled"),
        ("/sandbox", json!({"backend": "gvisor"}), "WFLO-1010", "sandbox.backend"),
        ("/sandbox", json!({"backend": "chroot"}), "WFLO-1001", "sandbox.backend"),
        ("/sandbox", json!({"timeout_seconds": 0}), "WFLO-1007", "sandbox.timeout_seconds"),
        ("/sandbox", json!({"memory_limit": "1m"}), "WFLO-1007", "sandbox.memory_limit"),
        ("/sandbox", json!({"memory_limit": "much"}), "WFLO-1001", "workflow"),
        ("/sandbox", json!({"disk_limit": "1k"}), "WFLO-1007", "sandbox.disk_limit"),
        ("/sandbox", json!({"inodes_limit": 99}), "WFLO-1007", "sandbox.inodes_limit"),
        ("/sandbox", json!({"inodes_limit": 4_194_305}), "WFLO-1007", "sandbox.inodes_limit"),
        ("/sandbox", json!({"pids_limit": 1}), "WFLO-1007", "sandbox.pids_limit"),
        ("/sandbox", json!({"io": {"read": 0}}), "WFLO-1007", "sandbox.io.read"),
        ("/sandbox", json!({"io": {"write": "0"}}), "WFLO-1007", "sandbox.io.write"),
        ("/sandbox", json!({"io": {"write_ops": 0}}), "WFLO-1007", "sandbox.io.write_ops"),
        ("/sandbox", json!({"io": {"speed": 1}}), "WFLO-1001", "workflow"),
        ("/sandbox", json!({"network": {"sent": 0}}), "WFLO-1007", "sandbox.network.sent"),
        ("/sandbox", json!({"network": {"received": "17t"}}), "WFLO-1007", "sandbox.network.received"),
        ("/sandbox", json!({"network": {"requests": 0}}), "WFLO-1007", "sandbox.network.requests"),
        ("/sandbox", json!({"network": {"connections": 1001}}), "WFLO-1007", "sandbox.network.connections"),
        (
            "/sandbox",
            json!({"network": {"requests_per_minute": 60_001}}),
            "WFLO-1007",
            "sandbox.network.requests_per_minute",
        ),
        ("/sandbox", json!({"network": {"speed": 1}}), "WFLO-1001", "workflow"),
        ("/steps/0/name", json!("9lives"), "WFLO-1002", "steps[0]"),
        ("/steps/0/retries", json!(101), "WFLO-1007", "steps[0]"),
        ("/steps/0/retries", json!(-1), "WFLO-1001", "steps[0]"),
        ("/steps/0/timeout_seconds", json!(0), "WFLO-1007", "steps[0]"),
        ("/steps/0/retry_backoff", json!({"factor": 0.5}), "WFLO-1007", "steps[0]"),
        ("/steps/0/handler", json!("prompt"), "WFLO-1009", "steps[0]"),
        ("/steps/0/model", json!("m"), "WFLO-1009", "steps[0]"),
        ("/steps/0/max_tokens", json!(0), "WFLO-1007", "steps[0]"),
        ("/steps/0/type", json!("robot"), "WFLO-1001", "steps[0]"),
        ("/steps/0/effect_class", json!("sometimes"), "WFLO-1001", "steps[0]"),
        ("/steps/0/approval", json!({"quorum": 0}), "WFLO-1007", "steps[0]"),
        ("/steps/0/approval", json!({"timeout_seconds": 0}), "WFLO-1007", "steps[0]"),
        ("/steps/0/budgets", budget("per", json!("day")), "WFLO-1009", "steps[0]"),
        ("/steps/0/budgets", budget("max_cost_usd", json!("-0.01")), "WFLO-1007", "steps[0]"),
        ("/steps/0/depends_on", json!(["nobody"]), "WFLO-1004", "steps[0]"),
        ("/steps/0/depends_on", json!(["when"]), "WFLO-1005", "steps[0]"),
        ("/steps/0/depends_on", json!(["a"]), "WFLO-1005", "steps[0]"),
        ("/steps/1/name", json!("a"), "WFLO-1003", "steps[1]"),
        ("/steps/1/run", json!([]), "WFLO-1009", "steps[1]"),
        ("/steps/1/run", json!([""]), "WFLO-1009", "steps[1]"),
        ("/steps/2/quorum", json!(0), "WFLO-1007", "steps[2]"),
        ("/steps/2/timeout_seconds", json!(0), "WFLO-1007", "steps[2]"),
        ("/steps/2/retries", json!(1), "WFLO-1009", "steps[2]"),
        ("/steps/2/rollback_enabled", json!(true), "WFLO-1009", "steps[2]"),
        ("/steps/3/when", json!("inputs.n +"), "WFLO-1008", "steps[3]"),
        ("/steps/3/when", json!("secrets.key == ''"), "WFLO-1008", "steps[3]"),
        ("/steps/3/approval", json!({"required": true}), "WFLO-1009", "steps[3]"),
    ]
}

#[test]
fn each_mistake_is_refused_by_its_code_at_its_place() {
    Definition::parse(&good()).unwrap();
    for (pointer, value, code, place) in mistakes() {
        let problems = match Definition::parse(&with(pointer, value.clone())) {
            Err(problems) => problems,
            Ok(_) => panic!("{pointer} = {value} was taken"),
        };
        let found: Vec<_> = problems.iter().map(|p| (p.code.as_str(), p.place.as_deref())).collect();
        assert!(found.contains(&(code, Some(place))), "{pointer} = {value}: {problems:?}");
        assert!(problems.iter().all(|p| !p.message.is_empty()), "{pointer}");
    }
}

#[test]
fn what_is_no_definition_at_all_is_refused() {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let many: Vec<Value> =
        (0..1_001).map(|n| json!({"name": format!("s{n}"), "type": "tool", "run": ["true"]})).collect();
    for (value, code) in [
        (json!(null), "WFLO-1001"),
        (json!([]), "WFLO-1001"),
        (json!({}), "WFLO-1001"),
        (json!("name: w"), "WFLO-1001"),
        (deep, "WFLO-1001"),
        (json!({"name": "w", "steps": many}), "WFLO-1011"),
    ] {
        let problems = Definition::parse(&value).unwrap_err();
        assert!(problems.iter().any(|p| p.code == code), "{problems:?}");
    }
}

#[test]
fn a_gate_keeps_the_time_that_people_have() {
    let definition = Definition::parse(&with("/steps/2/timeout_seconds", json!(3600))).unwrap();
    let again: Definition = serde_json::from_value(serde_json::to_value(&definition).unwrap()).unwrap();
    assert_eq!(again.steps[2].timeout_seconds.unwrap().0, 3_600_000);
    assert_eq!(again, definition);
}
