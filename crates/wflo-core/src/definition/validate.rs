//! Validation: every problem of a definition at once, each with a code and a place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::inputs::nearest;
use super::references;
use super::{
    ActionOnExceeded, BudgetSpec, Definition, Per, PolicyAction, PolicySpec, SandboxSpec, StepKind, StepSpec,
};
use crate::condition::Condition;
use crate::error::{Code, Failure};
use crate::money::NanoUsd;

const SHAPE: Code = Code(1001);
const BAD_NAME: Code = Code(1002);
const DUPLICATE: Code = Code(1003);
const UNKNOWN_STEP: Code = Code(1004);
const CYCLE: Code = Code(1005);
const NO_STEPS: Code = Code(1006);
const BAD_NUMBER: Code = Code(1007);
const BAD_CONDITION: Code = Code(1008);
const BAD_STEP: Code = Code(1009);
const LATER: Code = Code(1010);
const TOO_LARGE: Code = Code(1011);

/// What a condition may name.
pub const CONDITION_NAMES: &[&str] = &["inputs", "outputs", "estimated_cost", "cost", "budget"];

const MAX_STEPS: usize = 1_000;
const MAX_RETRIES: u32 = 100;

pub(super) fn parse(json: &Value) -> Result<Definition, Vec<Failure>> {
    let definition: Definition = serde_json::from_value(json.clone()).map_err(|e| {
        vec![
            Failure::new(SHAPE, format!("this is not a workflow definition: {e}"))
                .at(place_of_shape_error(json)),
        ]
    })?;
    let mut problems = Vec::new();
    check_workflow(&definition, &mut problems);
    for (index, step) in definition.steps.iter().enumerate() {
        check_step(&definition, index, step, &mut problems);
    }
    check_names(&definition, &mut problems);
    if problems.is_empty() {
        check_cycles(&definition, &mut problems);
        for (index, step) in definition.steps.iter().enumerate() {
            references::check(&definition, step, &place(index, step.place.as_deref()), &mut problems);
        }
        for (index, policy) in definition.policies.iter().enumerate() {
            references::check_policy(&definition, policy, &policy_place(index, policy), &mut problems);
        }
    }
    if problems.is_empty() { Ok(definition) } else { Err(problems) }
}

/// The first step that does not parse by itself, since the error of the whole does not say which.
fn place_of_shape_error(json: &Value) -> String {
    let steps = json.get("steps").and_then(Value::as_array);
    steps
        .into_iter()
        .flatten()
        .enumerate()
        .find(|(_, step)| serde_json::from_value::<StepSpec>((*step).clone()).is_err())
        .map_or_else(
            || "workflow".to_owned(),
            |(index, step)| place(index, step.get("place").and_then(Value::as_str)),
        )
}

fn place(index: usize, given: Option<&str>) -> String {
    given.map_or_else(|| format!("steps[{index}]"), str::to_owned)
}

fn policy_place(index: usize, policy: &PolicySpec) -> String {
    policy.place.clone().unwrap_or_else(|| format!("policies[{index}]"))
}

fn check_workflow(definition: &Definition, problems: &mut Vec<Failure>) {
    if !is_name(&definition.name) {
        problems.push(bad_name("workflow", &definition.name).at("name"));
    }
    if definition.steps.is_empty() {
        let failure = Failure::new(NO_STEPS, "the workflow has no steps").at("steps");
        problems.push(failure.with_hint("decorate a function with @workflow.step"));
    }
    if definition.steps.len() > MAX_STEPS {
        problems
            .push(Failure::new(TOO_LARGE, format!("a workflow has at most {MAX_STEPS} steps")).at("steps"));
    }
    for (index, budget) in definition.budgets.iter().enumerate() {
        check_budget(budget, &format!("budgets[{index}]"), false, problems);
    }
    check_sandbox(&definition.sandbox, problems);
    if definition.timeout_seconds.is_some_and(|t| t.0 == 0) {
        problems.push(Failure::new(BAD_NUMBER, "timeout_seconds must be above 0").at("timeout_seconds"));
    }
    for (index, policy) in definition.policies.iter().enumerate() {
        let at = policy_place(index, policy);
        if let Err(e) = Condition::parse(&policy.condition, CONDITION_NAMES) {
            problems.push(Failure::new(BAD_CONDITION, format!("policy `{}`: {e}", policy.name)).at(&at));
        }
        for action in &policy.actions {
            if matches!(action, PolicyAction::Route { .. }) {
                problems.push(later("the policy action `Route`", &at));
            }
        }
    }
}

fn check_sandbox(sandbox: &SandboxSpec, problems: &mut Vec<Failure>) {
    if sandbox.network_enabled {
        let failure = later("network_enabled=True", "sandbox.network_enabled");
        problems.push(
            failure.with_hint(
                "leave it False: model calls and databases go through context and need no network",
            ),
        );
    }
    if !sandbox.allow_hosts.is_empty() {
        problems.push(later("allow_hosts", "sandbox.allow_hosts"));
    }
    match sandbox.backend.as_deref() {
        None | Some("native" | "none") => {}
        Some(name @ ("docker" | "gvisor" | "e2b")) => {
            problems.push(later(&format!("the sandbox backend `{name}`"), "sandbox.backend"));
        }
        Some(other) => {
            let message = format!("`{other}` is not a sandbox backend: use native or none");
            problems.push(Failure::new(SHAPE, message).at("sandbox.backend"));
        }
    }
    if sandbox.timeout_seconds.is_some_and(|t| t.0 == 0) {
        problems
            .push(Failure::new(BAD_NUMBER, "timeout_seconds must be above 0").at("sandbox.timeout_seconds"));
    }
    if sandbox.memory_limit.is_some_and(|m| m.0 < 16 << 20) {
        problems
            .push(Failure::new(BAD_NUMBER, "memory_limit must be at least 16m").at("sandbox.memory_limit"));
    }
    if sandbox.disk_limit.is_some_and(|d| d.0 < 1 << 20) {
        problems.push(Failure::new(BAD_NUMBER, "disk_limit must be at least 1m").at("sandbox.disk_limit"));
    }
    if sandbox.pids_limit.is_some_and(|p| p < 2) {
        problems.push(Failure::new(BAD_NUMBER, "pids_limit must be at least 2").at("sandbox.pids_limit"));
    }
}

fn check_budget(budget: &BudgetSpec, at: &str, on_step: bool, problems: &mut Vec<Failure>) {
    if budget.max_cost_usd.is_negative() || budget.max_cost_usd == NanoUsd::MAX {
        problems.push(Failure::new(BAD_NUMBER, "max_cost_usd must be 0 or more").at(at));
    }
    if on_step && !matches!(budget.per, Per::Run | Per::Step | Per::Agent) {
        problems.push(Failure::new(BAD_STEP, "a step's budget is per run, step or agent").at(at));
    }
    if let Some(thresholds) = &budget.alert_thresholds
        && thresholds.iter().any(|t| !(t.is_finite() && *t > 0.0 && *t <= 1.0))
    {
        problems.push(
            Failure::new(BAD_NUMBER, "alert_thresholds are shares between 0 and 1, such as 0.75").at(at),
        );
    }
    match budget.action_on_exceeded {
        Some(ActionOnExceeded::Queue) => problems.push(later("the budget action `queue`", at)),
        Some(ActionOnExceeded::Downgrade) => problems.push(later("the budget action `downgrade`", at)),
        _ => {}
    }
}

fn check_step(definition: &Definition, index: usize, step: &StepSpec, problems: &mut Vec<Failure>) {
    let at = place(index, step.place.as_deref());
    let mut bad = |code: Code, message: String| problems.push(Failure::new(code, message).at(&at));
    if !is_name(&step.name) {
        bad(BAD_NAME, bad_name("step", &step.name).message);
    }
    if step.retries > MAX_RETRIES {
        bad(BAD_NUMBER, format!("retries of step `{}` is at most {MAX_RETRIES}", step.name));
    }
    if step.timeout_seconds.is_some_and(|t| t.0 == 0) {
        bad(BAD_NUMBER, format!("timeout_seconds of step `{}` must be above 0", step.name));
    }
    if let Some(backoff) = &step.retry_backoff
        && !(backoff.factor.is_finite() && backoff.factor >= 1.0 && backoff.factor <= 1_000.0)
    {
        bad(BAD_NUMBER, format!("retry_backoff factor of step `{}` must be 1 or more", step.name));
    }
    match &step.kind {
        StepKind::Agent { handler, model, prompt, max_tokens, .. } => {
            match (handler.as_deref(), model, prompt) {
                (Some("code"), None, None) | (None, Some(_), Some(_)) => {
                    if *max_tokens == Some(0) {
                        bad(BAD_NUMBER, format!("max_tokens of step `{}` must be above 0", step.name));
                    }
                }
                _ => bad(BAD_STEP, format!("agent step `{}` needs `model` and `prompt`, or code", step.name)),
            }
        }
        StepKind::Tool { run } if run.is_empty() || run[0].is_empty() => {
            bad(BAD_STEP, format!("tool step `{}` needs `run: [command, argument, …]`", step.name));
        }
        StepKind::Tool { .. } => {}
        StepKind::Approval(gate) => {
            if gate.quorum == 0 {
                bad(BAD_NUMBER, format!("quorum of gate `{}` must be at least 1", step.name));
            }
        }
        StepKind::Condition { when } => {
            if let Err(e) = Condition::parse(when, CONDITION_NAMES) {
                bad(BAD_CONDITION, format!("step `{}`: {e}", step.name));
            }
        }
    }
    if step.approval.as_ref().is_some_and(|a| a.quorum == 0) {
        bad(BAD_NUMBER, format!("approval quorum of step `{}` must be at least 1", step.name));
    }
    if step.approval.as_ref().and_then(|a| a.timeout_seconds).is_some_and(|t| t.0 == 0) {
        bad(BAD_NUMBER, format!("approval timeout_seconds of step `{}` must be above 0", step.name));
    }
    if !step.needs_worker() && (step.approval.is_some() || step.retries > 0 || step.rollback_enabled) {
        bad(
            BAD_STEP,
            format!(
                "`{}` is a {} step: approval, retries and rollback_enabled belong to agent and tool steps",
                step.name,
                step.type_name()
            ),
        );
    }
    for budget in &step.budgets {
        check_budget(budget, &at, true, problems);
    }
    let known: Vec<&str> = definition.steps.iter().map(|s| s.name.as_str()).collect();
    for dependency in &step.depends_on {
        if !known.contains(&dependency.as_str()) {
            let failure = Failure::new(
                UNKNOWN_STEP,
                format!("step `{}` depends on `{dependency}`, which is not a step", step.name),
            )
            .at(&at);
            problems.push(match nearest(dependency, known.iter().copied()) {
                Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
                None => failure.with_hint(format!("steps: {}", known.join(", "))),
            });
        }
    }
}

fn check_names(definition: &Definition, problems: &mut Vec<Failure>) {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for (index, step) in definition.steps.iter().enumerate() {
        let at = place(index, step.place.as_deref());
        if let Some(first) = seen.get(step.name.as_str()) {
            let message = format!("two steps are named `{}`; the first is at {first}", step.name);
            problems
                .push(Failure::new(DUPLICATE, message).at(&at).with_hint("give one of them another name"));
        } else {
            seen.insert(&step.name, at);
        }
    }
}

fn check_cycles(definition: &Definition, problems: &mut Vec<Failure>) {
    // Remove what can run, repeatedly; what is left is on or behind a cycle.
    let mut left: BTreeSet<&str> = definition.steps.iter().map(|s| s.name.as_str()).collect();
    loop {
        let ready: Vec<&str> = definition
            .steps
            .iter()
            .filter(|s| {
                left.contains(s.name.as_str()) && s.depends_on.iter().all(|d| !left.contains(d.as_str()))
            })
            .map(|s| s.name.as_str())
            .collect();
        if ready.is_empty() {
            break;
        }
        for name in ready {
            left.remove(name);
        }
    }
    let Some(&start) = left.first() else { return };
    // Walk dependencies inside the remainder until a step comes round again.
    let mut walk: Vec<&str> = vec![start];
    let cycle = loop {
        let here = walk[walk.len() - 1];
        let next = definition
            .steps
            .iter()
            .find(|s| s.name == here)
            .and_then(|s| s.depends_on.iter().map(String::as_str).find(|d| left.contains(d)));
        let Some(next) = next else { return };
        if let Some(position) = walk.iter().position(|step| *step == next) {
            walk.push(next);
            break walk.split_off(position);
        }
        walk.push(next);
    };
    let index = definition.index_of(cycle[0]).unwrap_or(0);
    let at = place(index, definition.steps[index].place.as_deref());
    let message = format!("the steps depend on each other in a circle: {}", cycle.join(" -> "));
    problems.push(Failure::new(CYCLE, message).at(at).with_hint("remove one of these depends_on"));
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn bad_name(what: &str, name: &str) -> Failure {
    Failure::new(
        BAD_NAME,
        format!(
            "`{name}` is not a {what} name: use letters, digits, _ and -, starting with a letter, at most 64"
        ),
    )
}

fn later(what: &str, at: &str) -> Failure {
    Failure::new(LATER, format!("{what} is not in this release")).at(at)
}

#[cfg(test)]
mod tests {
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
            let mut last =
                json!({"name": "last", "type": "condition", "when": "true", "depends_on": ["gate"]});
            if key == "when" {
                last[key] = json!(value);
            } else {
                last =
                    json!({"name": "last", "type": "tool", "run": ["echo", value], "depends_on": ["gate"]});
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
            (
                "when",
                "outputs.clasify.text == 'x'",
                "`outputs.clasify.text` names no step",
                "`outputs.classify`",
            ),
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
            ("run", "{{ outputs.classify.text }}", "does not come after `classify`", "add `classify`"),
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
        for fine in [
            "estimated_cost > 1.0",
            "inputs.text == 'x'",
            "outputs.classify.cost_usd > 1.0 && outputs.mine.a.b",
        ] {
            with(fine, None).expect(fine);
        }
        for (condition, code, message, hint) in [
            ("inputs.txt == 'x'", "WFLO-1013", "policy `p`: `inputs.txt` names no input", "`inputs.text`"),
            (
                "outputs.clasify.text == 'x'",
                "WFLO-1013",
                "names no step of this workflow",
                "`outputs.classify`",
            ),
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
        json["sandbox"] = json!({"network_enabled": true, "allow_hosts": ["x.org"], "backend": "docker"});
        json["budgets"] = json!([{"max_cost_usd": "1", "action_on_exceeded": "queue"}]);
        assert_eq!(codes(&json), ["WFLO-1010"; 4]);
    }

    #[test]
    fn a_wrong_shape_names_the_step() {
        let problems =
            Definition::parse(&with_steps(json!([code_step("a", &[]), {"name": "b", "type": "robot"}])))
                .unwrap_err();
        assert_eq!(
            (problems[0].code.as_str(), problems[0].place.as_deref()),
            ("WFLO-1001", Some("steps[1]"))
        );
    }
}
