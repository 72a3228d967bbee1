//! Each mistake that a definition may have, and how it is named.

use super::*;
use serde_json::json;

fn with_steps(steps: Value) -> Value {
    json!({"name": "w", "steps": steps})
}

fn codes(definition: &Value) -> Vec<String> {
    Definition::parse(definition).unwrap_err().into_iter().map(|f| f.code).collect()
}

fn code_step(name: &str, depends_on: &[&str]) -> Value {
    json!({"name": name, "type": "agent", "handler": "code", "depends_on": depends_on, "place": "workflow.py:1"})
}

#[test]
fn a_plain_definition_is_read_and_hashed_without_places() {
    let mut json = with_steps(json!([code_step("a", &[]), code_step("b", &["a"])]));
    let first = Definition::parse(&json).unwrap();
    json["steps"][1]["place"] = json!("workflow.py:99");
    assert_eq!(first.digest().unwrap(), Definition::parse(&json).unwrap().digest().unwrap());
    json["steps"][1]["retries"] = json!(2);
    assert_ne!(first.digest().unwrap(), Definition::parse(&json).unwrap().digest().unwrap());
}

#[test]
fn every_problem_is_named_with_its_place() {
    let bad = with_steps(json!([
        code_step("a", &["nope"]),
        code_step("a", &[]),
        {"name": "9", "type": "agent", "handler": "code", "timeout_seconds": 0},
        {"name": "c", "type": "condition", "when": "mystery > 1"},
        {"name": "p", "type": "agent", "model": "m"},
    ]));
    let problems = Definition::parse(&bad).unwrap_err();
    let found: Vec<&str> = problems.iter().map(|f| f.code.as_str()).collect();
    for code in ["WFLO-1002", "WFLO-1003", "WFLO-1004", "WFLO-1007", "WFLO-1008", "WFLO-1009"] {
        assert!(found.contains(&code), "{code} in {found:?}");
    }
    assert!(problems.iter().all(|f| f.place.is_some()));
}

#[test]
fn what_names_nothing_is_found_before_anything_is_paid() {
    let with = |key: &str, value: &str| {
        let mut last = json!({"name": "last", "type": "condition", "when": "true", "depends_on": ["gate"]});
        if key == "when" {
            last[key] = json!(value);
        } else {
            last = json!({"name": "last", "type": "tool", "run": ["echo", value], "depends_on": ["gate"]});
        }
        let mut definition = with_steps(json!([
            {"name": "classify", "type": "agent", "model": "m", "prompt": "{{ inputs.text }}"},
            {"name": "mine", "type": "agent", "handler": "code", "depends_on": []},
            {"name": "gate", "type": "approval", "depends_on": ["classify"]},
            last,
            {"name": "aside", "type": "tool", "run": ["true"], "depends_on": []},
        ]));
        definition["inputs"] = json!({"text": {"type": "string"}});
        Definition::parse(&definition)
    };
    for fine in [
        "outputs.classify.text.contains('x')",
        "outputs.classify.cost_usd < 1.0 && has(outputs.gate.comment)",
        "inputs.text.size() > 3 || 'a' in inputs.text.split(',')[0].split('') ? true : false",
        "outputs.classify.usage.input_tokens > 5",
        "[1, 2].exists(x, x > 1) && size(outputs.gate) > 0",
    ] {
        let got = with("when", fine);
        let unknown = fine.contains("split");
        assert_eq!(got.is_err(), unknown, "{fine}: {got:?}");
    }
    for (key, value, message, hint) in [
        ("when", "outputs.clasify.text == 'x'", "`outputs.clasify.text` names no step", "`outputs.classify`"),
        ("when", "outputs.aside.stdout == 'x'", "does not come after `aside`", "add `aside`"),
        ("when", "outputs.classify.text.contans('x')", "`contans` is not a function", "`contains`"),
        ("when", "outputs.classify.contains('x')", "all that step `classify` gives", ".text.contains("),
        (
            "when",
            "outputs.classify.txt == 'x'",
            "nothing that step `classify` gives",
            "`outputs.classify.text`",
        ),
        ("when", "inputs.txt == 'x'", "no input of this workflow", "`inputs.text`"),
        ("run", "{{ inputs.txt }}", "no input of this workflow", "`inputs.text`"),
        ("run", "{{ outputs.aside.stdout }}", "does not come after `aside`", "depends_on: [gate, aside]"),
        ("run", "{{ outputs.last.stdout }}", "`last` does not come before this step", ""),
        ("run", "{{ text }}", "`text` names nothing", "inputs.NAME"),
        ("run", "{{ inputs.text", "`{{` without `}}`", ""),
    ] {
        let problems = with(key, value).expect_err(value);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains(message), "{value}: {problems:?}");
        assert!(problems[0].hint.as_deref().unwrap_or_default().contains(hint), "{value}: {problems:?}");
        assert_eq!(problems[0].code, "WFLO-1013");
    }
}

#[test]
fn templates_and_conditions_see_every_step_before_theirs() {
    for seen in ["{{ outputs.a.stdout }} {{ outputs.b.stdout }}", "{{ outputs.b.exit_code }}"] {
        let steps = json!([
            {"name": "a", "type": "tool", "run": ["true"]},
            {"name": "b", "type": "tool", "run": ["true"], "depends_on": ["a"]},
            {"name": "c", "type": "tool", "run": ["echo", seen], "depends_on": ["b"]},
        ]);
        Definition::parse(&with_steps(steps)).expect(seen);
    }
}

#[test]
fn an_input_that_nothing_declares_is_found() {
    for step in [
        json!({"name": "a", "type": "tool", "run": ["echo", "{{ inputs.who }}"]}),
        json!({"name": "a", "type": "condition", "when": "inputs.who == 'me'"}),
    ] {
        let problems = Definition::parse(&with_steps(json!([step]))).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, "WFLO-1013");
        assert!(problems[0].message.contains("`inputs.who` names no input"), "{problems:?}");
        assert_eq!(problems[0].hint.as_deref(), Some("declare it: `inputs: {who: {type: string}}`"));
    }
}

#[test]
fn a_minus_in_a_name_is_no_subtraction() {
    let with = |when: &str| {
        Definition::parse(&with_steps(json!([
            {"name": "a-b", "type": "tool", "run": ["true"]},
            {"name": "c", "type": "condition", "when": when, "depends_on": ["a-b"]},
        ])))
    };
    with("outputs[\"a-b\"].exit_code == 0").unwrap();
    let problems = with("outputs.a-b.exit_code == 0").unwrap_err();
    assert_eq!(problems[0].code, "WFLO-1008");
    assert!(problems[0].hint.as_deref().unwrap().contains("`outputs[\"a-b\"]`"), "{problems:?}");
}

#[test]
fn a_policy_names_only_what_exists() {
    let with = |condition: &str, place: Option<&str>| {
        let mut definition = with_steps(json!([
            {"name": "classify", "type": "agent", "model": "m", "prompt": "hello"},
            code_step("mine", &["classify"]),
        ]));
        definition["inputs"] = json!({"text": {"type": "string"}});
        definition["policies"] =
            json!([{"name": "p", "condition": condition, "actions": [{"type": "deny"}]}]);
        if let Some(place) = place {
            definition["policies"][0]["place"] = json!(place);
        }
        Definition::parse(&definition)
    };
    for fine in
        ["estimated_cost > 1.0", "inputs.text == 'x'", "outputs.classify.cost_usd > 1.0 && outputs.mine.a.b"]
    {
        with(fine, None).expect(fine);
    }
    for (condition, code, message, hint) in [
        ("inputs.txt == 'x'", "WFLO-1013", "policy `p`: `inputs.txt` names no input", "`inputs.text`"),
        ("outputs.clasify.text == 'x'", "WFLO-1013", "names no step of this workflow", "`outputs.classify`"),
        ("outputs.classify.cost > 1", "WFLO-1013", "nothing that step `classify` gives", "cost_usd"),
        ("outputs.mine.contans('x')", "WFLO-1013", "not a function of conditions", "`contains`"),
        ("estimated_cst > 1", "WFLO-1008", "names `estimated_cst`", ""),
        ("estimated_cost > > 1", "WFLO-1008", "column 18: `>` is not expected here\n", ""),
    ] {
        for (place, shown) in [(None, "policies[0]"), (Some("workflow.py:7"), "workflow.py:7")] {
            let problems = with(condition, place).expect_err(condition);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!((problems[0].code.as_str(), problems[0].place.as_deref()), (code, Some(shown)));
            assert!(problems[0].message.contains(message), "{problems:?}");
            assert!(problems[0].hint.as_deref().unwrap_or_default().contains(hint), "{problems:?}");
        }
    }
    let digest = |place| with("cost > 1.0", place).unwrap().digest().unwrap();
    assert_eq!(digest(None), digest(Some("workflow.py:7")), "a place is no part of a workflow");
}

#[test]
fn conditions_see_what_a_prompt_cost_as_a_number() {
    let definition = Definition::parse(&with_steps(json!([
        {"name": "ask", "type": "agent", "model": "m", "prompt": "hello"},
        code_step("mine", &["ask"]),
    ])));
    let outputs = json!({"ask": {"cost_usd": "0.000123"}, "mine": {"cost_usd": "0.5"}});
    let seen = definition.unwrap().outputs_in_conditions(outputs);
    assert_eq!(seen, json!({"ask": {"cost_usd": 0.000123}, "mine": {"cost_usd": "0.5"}}));
}

#[test]
fn a_circle_is_shown_whole() {
    let bad = with_steps(json!([code_step("a", &["c"]), code_step("b", &["a"]), code_step("c", &["b"])]));
    let problem = &Definition::parse(&bad).unwrap_err()[0];
    assert_eq!(problem.code, "WFLO-1005");
    assert!(problem.message.contains("a -> c -> b -> a"), "{}", problem.message);
    assert_eq!(codes(&with_steps(json!([code_step("a", &["a"])]))), ["WFLO-1005"]);
}

#[test]
fn what_a_later_release_brings_is_refused_by_name() {
    let mut json = with_steps(json!([code_step("a", &[])]));
    json["sandbox"] = json!({"network_enabled": true, "allow_hosts": ["x.org"], "backend": "gvisor"});
    assert_eq!(codes(&json), ["WFLO-1010"; 2]);
}

#[test]
fn a_budget_without_a_limit_or_with_a_period_that_it_cannot_have_is_refused() {
    for (bad, code) in [
        (json!({}), "WFLO-1007"),
        (json!({"max_tokens": 1, "per": "run", "period": "day"}), "WFLO-1007"),
        (json!({"max_tokens": 1, "per": "org", "time_zone": "UTC"}), "WFLO-1007"),
        (json!({"max_tokens": 1, "per": "label"}), "WFLO-1007"),
        (json!({"max_tokens": 1, "per": "org", "workflow": "x"}), "WFLO-1007"),
        (json!({"max_tokens": 1, "per": "key"}), "WFLO-1009"),
        (json!({"max_tokens": 1, "per": "org", "period": "day", "time_zone": "Moon"}), "WFLO-1001"),
    ] {
        let mut json = with_steps(json!([code_step("a", &[])]));
        json["budgets"] = json!([bad]);
        assert_eq!(codes(&json), [code], "{bad}");
    }
    let mut json = with_steps(json!([code_step("a", &[])]));
    json["budgets"] = json!([
        {"max_model_calls": 5, "max_tokens": 9, "per": "org", "period": "month", "time_zone": "europe/berlin"},
        {"max_cost_usd": "1", "action_on_exceeded": "queue", "queue_timeout_seconds": 60},
        {"max_tool_calls": 1, "per": "label", "label": "user", "action_on_exceeded": "downgrade"},
    ]);
    Definition::parse(&json).unwrap();
}

#[test]
fn a_wrong_shape_names_the_step() {
    let problems =
        Definition::parse(&with_steps(json!([code_step("a", &[]), {"name": "b", "type": "robot"}])))
            .unwrap_err();
    assert_eq!((problems[0].code.as_str(), problems[0].place.as_deref()), ("WFLO-1001", Some("steps[1]")));
}

#[test]
fn a_program_is_taken_literally_and_stands_alone() {
    let program = |argv: Value| json!({"name": "p", "type": "program", "argv": argv});
    let read = Definition::parse(&with_steps(json!([program(json!(["sh", "{{ outputs.x"]))]))).unwrap();
    assert_eq!(read.program().unwrap()[1], "{{ outputs.x");
    assert_eq!(codes(&with_steps(json!([program(json!([]))]))), ["WFLO-1009"]);
    assert_eq!(
        codes(&with_steps(json!([program(json!(["sh"])), code_step("after", &["p"])]))),
        ["WFLO-1009"]
    );
}
