//! Validation: every problem of a definition at once, each with a code and a place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

mod budgets;

use super::inputs::nearest;
use super::references;
use super::{Definition, PolicyAction, PolicySpec, SandboxSpec, StepKind, StepSpec};
use crate::condition::Condition;
use crate::error::{Code, Failure};

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
        budgets::check(budget, &format!("budgets[{index}]"), false, problems);
    }
    check_sandbox(&definition.sandbox, problems);
    if definition.timeout_seconds.is_some_and(|t| t.0 == 0) {
        problems.push(Failure::new(BAD_NUMBER, "timeout_seconds must be above 0").at("timeout_seconds"));
    }
    for (index, policy) in definition.policies.iter().enumerate() {
        let at = policy_place(index, policy);
        check_condition(definition, &policy.condition, &format!("policy `{}`", policy.name), &at, problems);
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
        problems.push(failure.with_hint(
            "leave it False and name hosts in allow_hosts; model calls and databases need no network",
        ));
    }
    match sandbox.backend.as_deref() {
        None | Some("native" | "docker" | "e2b" | "none") => {}
        Some(name @ "gvisor") => {
            problems.push(later(&format!("the sandbox backend `{name}`"), "sandbox.backend"));
        }
        Some(other) => {
            let message = format!("`{other}` is not a sandbox backend: use native, docker, e2b or none");
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
    let inodes = SandboxSpec::INODES;
    if sandbox.inodes_limit.is_some_and(|limit| !inodes.contains(&limit)) {
        let message = format!("inodes_limit must be from {} to {}", inodes.start(), inodes.end());
        problems.push(Failure::new(BAD_NUMBER, message).at("sandbox.inodes_limit"));
    }
    if sandbox.pids_limit.is_some_and(|p| p < 2) {
        problems.push(Failure::new(BAD_NUMBER, "pids_limit must be at least 2").at("sandbox.pids_limit"));
    }
    let io = sandbox.io;
    let bytes =
        [("read", io.read), ("write", io.write)].map(|(key, bytes)| (key, bytes.map(|bytes| bytes.0)));
    let operations =
        [("read_ops", io.read_ops), ("write_ops", io.write_ops)].map(|(key, ops)| (key, ops.map(u64::from)));
    // A control group takes 0 for no limit.
    for (key, _) in bytes.into_iter().chain(operations).filter(|(_, limit)| *limit == Some(0)) {
        let failure = Failure::new(BAD_NUMBER, format!("io.{key} must be at least 1"))
            .with_hint("leave it out where nothing is to be limited");
        problems.push(failure.at(format!("sandbox.io.{key}")));
    }
    for (key, most) in sandbox.network.out_of_range() {
        let failure = Failure::new(
            BAD_NUMBER,
            format!("network.{key} must be at least 1 and at most {most}"),
        )
        .with_hint(
            "leave allow_hosts out where nothing is to be reached, and the limit where the usual one will do",
        );
        problems.push(failure.at(format!("sandbox.network.{key}")));
    }
}

fn check_condition(
    definition: &Definition,
    condition: &str,
    of: &str,
    at: &str,
    problems: &mut Vec<Failure>,
) {
    if let Err(e) = Condition::parse(condition, CONDITION_NAMES) {
        let mut failure = Failure::new(BAD_CONDITION, format!("{of}: {e}")).at(at);
        failure.hint = references::minus(definition, condition);
        problems.push(failure);
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
        StepKind::Program { argv } => {
            if argv.is_empty() || argv[0].is_empty() || definition.steps.len() > 1 {
                bad(
                    BAD_STEP,
                    format!(
                        "program step `{}` needs `argv: [program, argument, …]` and is alone in its definition",
                        step.name
                    ),
                );
            }
        }
        StepKind::Approval(gate) => {
            if gate.quorum == 0 {
                bad(BAD_NUMBER, format!("quorum of gate `{}` must be at least 1", step.name));
            }
        }
        StepKind::Condition { .. } => {}
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
    if let StepKind::Condition { when } = &step.kind {
        check_condition(definition, when, &format!("step `{}`", step.name), &at, problems);
    }
    for budget in &step.budgets {
        budgets::check(budget, &at, true, problems);
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
mod tests;
