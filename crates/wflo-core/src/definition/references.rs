//! What conditions and templates refer to: inputs, and outputs of steps that come before.
//!
//! A name that will not be there is found when the definition is read, before any model is paid. What
//! a step of code gives back is not known, so nothing below its name is judged.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::inputs::nearest;
use super::{Definition, PolicySpec, StepKind, StepSpec};
use crate::condition::Reference;
use crate::error::{Code, Failure};
use crate::money::NanoUsd;

const NOT_THERE: Code = Code(1013);

/// What a prompt's output has, and a command's.
const PROMPT: &[&str] = &["text", "model", "usage", "cost_usd"];
const COMMAND: &[&str] = &["exit_code", "stdout", "stderr"];

impl Definition {
    /// Steps' outputs as conditions see them: what a prompt cost is a number there, to be compared with
    /// literals, which CEL reads as floating point. Everywhere else it is an exact decimal, and nothing is
    /// charged by this one.
    #[must_use]
    pub fn outputs_in_conditions(&self, mut outputs: Value) -> Value {
        for step in &self.steps {
            if let StepKind::Agent { prompt: Some(_), .. } = step.kind
                && let Some(cost) = outputs.get_mut(&step.name).and_then(|output| output.get_mut("cost_usd"))
                && let Some(amount) = cost.as_str().and_then(|text| text.parse::<NanoUsd>().ok())
            {
                *cost = json!(amount.nanos() as f64 / 1e9);
            }
        }
        outputs
    }
}

/// Every reference of a step's condition, prompt or command that names nothing.
pub(super) fn check(definition: &Definition, step: &StepSpec, at: &str, problems: &mut Vec<Failure>) {
    let mut bad = |(message, hint): (String, Option<String>)| {
        let mut failure = Failure::new(NOT_THERE, format!("step `{}`: {message}", step.name)).at(at);
        failure.hint = hint;
        problems.push(failure);
    };
    match &step.kind {
        StepKind::Condition { when } => {
            let seen = upstream(definition, step);
            for reference in crate::condition::references(when).unwrap_or_default() {
                if let Some(problem) = judge(definition, &seen, &reference, "") {
                    bad(problem);
                }
            }
        }
        StepKind::Agent { prompt, system, .. } => {
            let texts = prompt.iter().chain(system);
            templates(definition, step, texts).into_iter().for_each(bad);
        }
        StepKind::Tool { run } => templates(definition, step, run.iter()).into_iter().for_each(bad),
        StepKind::Approval(_) => {}
    }
}

/// Every reference of a policy's condition that names nothing. A policy is about the calls of all steps, so
/// it may name any of them; where one has no output yet, the call is refused.
pub(super) fn check_policy(
    definition: &Definition,
    policy: &PolicySpec,
    at: &str,
    problems: &mut Vec<Failure>,
) {
    let every: BTreeSet<&str> = definition.steps.iter().map(|step| step.name.as_str()).collect();
    for reference in crate::condition::references(&policy.condition).unwrap_or_default() {
        if let Some((message, hint)) = judge(definition, &every, &reference, "") {
            let mut failure = Failure::new(NOT_THERE, format!("policy `{}`: {message}", policy.name)).at(at);
            failure.hint = hint;
            problems.push(failure);
        }
    }
}

type Bad = (String, Option<String>);

fn templates<'a>(
    definition: &Definition,
    step: &StepSpec,
    texts: impl Iterator<Item = &'a String>,
) -> Vec<Bad> {
    // A step is given the outputs of the steps that it names itself.
    let seen: BTreeSet<&str> = step.depends_on.iter().map(String::as_str).collect();
    let mut problems = Vec::new();
    for text in texts {
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("{{") {
            let Some((expression, next)) = after.split_once("}}") else {
                problems.push(("`{{` without `}}`".to_owned(), None));
                break;
            };
            let path: Vec<String> = expression.split('.').map(|part| part.trim().to_owned()).collect();
            let reference = Reference::Path(path);
            problems.extend(judge(
                definition,
                &seen,
                &reference,
                "; a template sees the steps in depends_on",
            ));
            rest = next;
        }
    }
    problems
}

/// The names of all steps that are over before `step` begins.
fn upstream<'a>(definition: &'a Definition, step: &'a StepSpec) -> BTreeSet<&'a str> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut left: Vec<&StepSpec> = vec![step];
    while let Some(step) = left.pop() {
        for name in &step.depends_on {
            if seen.insert(name)
                && let Some(index) = definition.index_of(name)
            {
                left.push(&definition.steps[index]);
            }
        }
    }
    seen
}

fn judge(definition: &Definition, seen: &BTreeSet<&str>, reference: &Reference, why: &str) -> Option<Bad> {
    let (path, call) = match reference {
        Reference::Function { name, near } => {
            let hint = near.as_ref().map(|near| format!("did you mean `{near}`?"));
            return Some((format!("`{name}` is not a function of conditions"), hint));
        }
        Reference::Path(path) => (path, None),
        Reference::Call { path, function } => (path, Some(function)),
    };
    let whole = path.join(".");
    let mean = |known: &[&str], wanted: &str, before: &str| {
        nearest(wanted, known.iter().copied()).map(|near| format!("did you mean `{before}{near}`?"))
    };
    let second = path.get(1).map(String::as_str);
    match (path[0].as_str(), second) {
        ("inputs", Some(name)) if !definition.inputs.is_empty() && !definition.inputs.contains_key(name) => {
            let known: Vec<&str> = definition.inputs.keys().map(String::as_str).collect();
            let hint =
                mean(&known, name, "inputs.").or_else(|| Some(format!("inputs: {}", known.join(", "))));
            Some((format!("`{whole}` names no input of this workflow"), hint))
        }
        ("outputs", Some(name)) => {
            let Some(index) = definition.index_of(name) else {
                let known: Vec<&str> = definition.steps.iter().map(|s| s.name.as_str()).collect();
                let hint =
                    mean(&known, name, "outputs.").or_else(|| Some(format!("steps: {}", known.join(", "))));
                return Some((format!("`{whole}` names no step of this workflow"), hint));
            };
            if !seen.contains(name) {
                let message =
                    format!("`{whole}` is not there yet: this step does not come after `{name}`{why}");
                return Some((message, Some(format!("add `{name}` to its depends_on"))));
            }
            let known = match &definition.steps[index].kind {
                StepKind::Agent { prompt: Some(_), .. } => PROMPT,
                StepKind::Tool { .. } => COMMAND,
                _ => return None,
            };
            match (path.get(2), call) {
                (Some(field), _) if !known.contains(&field.as_str()) => {
                    let hint = mean(known, field, &format!("outputs.{name}."));
                    let hint = hint.or_else(|| Some(format!("it has {}", known.join(", "))));
                    Some((format!("`{whole}` names nothing that step `{name}` gives"), hint))
                }
                (None, Some(function)) if function != "size" => {
                    let field = known[if known == COMMAND { 1 } else { 0 }];
                    let message = format!("`{whole}.{function}` is called on all that step `{name}` gives");
                    Some((message, Some(format!("write `{whole}.{field}.{function}(…)`"))))
                }
                _ => None,
            }
        }
        ("inputs" | "outputs", _) => None,
        // In a condition other names have been judged with its syntax.
        _ if !why.is_empty() => Some((
            format!("`{whole}` names nothing"),
            Some("write inputs.NAME or outputs.STEP.FIELD".to_owned()),
        )),
        _ => None,
    }
}
