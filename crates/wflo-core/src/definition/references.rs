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
                if let Some(problem) = judge(definition, &seen, &reference, &Place::Condition(step)) {
                    bad(problem);
                }
            }
        }
        StepKind::Agent { prompt, system, .. } => {
            let texts = prompt.iter().chain(system);
            templates(definition, step, texts).into_iter().for_each(bad);
        }
        StepKind::Tool { run } => templates(definition, step, run.iter()).into_iter().for_each(bad),
        // Braces of a program's arguments are the program's.
        StepKind::Program { .. } | StepKind::Approval(_) => {}
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
        if let Some((message, hint)) = judge(definition, &every, &reference, &Place::Policy) {
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
    let seen = upstream(definition, step);
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
            problems.extend(judge(definition, &seen, &reference, &Place::Template(step)));
            rest = next;
        }
    }
    problems
}

/// The names of all steps that are over before `step` begins: what it sees.
fn upstream<'a>(definition: &'a Definition, step: &StepSpec) -> BTreeSet<&'a str> {
    let before = definition.index_of(&step.name).map(|index| definition.before(index)).unwrap_or_default();
    before.into_iter().map(|index| definition.steps[index].name.as_str()).collect()
}

/// A condition names a step with a `-` by a point, which reads as a subtraction.
pub(super) fn minus(definition: &Definition, condition: &str) -> Option<String> {
    let names = definition.steps.iter().map(|step| step.name.as_str());
    let dashed = names
        .into_iter()
        .find(|name| name.contains('-') && condition.contains(&format!("outputs.{name}")))?;
    Some(format!("write `outputs[\"{dashed}\"]`: in a condition, `-` is minus"))
}

/// Where a reference stands.
enum Place<'a> {
    /// In the `when:` of a step.
    Condition(&'a StepSpec),
    /// In the prompt or the command of a step.
    Template(&'a StepSpec),
    /// In the condition of a policy.
    Policy,
}

impl Place<'_> {
    /// Whether inputs that nothing declares are refused: YAML says all that there is, while a Python
    /// workflow may take any, and of it only policies are judged here.
    fn declares_all(&self) -> bool {
        !matches!(self, Place::Policy)
    }
}

/// Why a step does not see the output of another.
fn unseen(definition: &Definition, place: &Place<'_>, whole: &str, other: &StepSpec) -> Bad {
    let message = |why: String| format!("`{whole}` is not there yet: {why}");
    match place {
        Place::Condition(step) | Place::Template(step) => {
            if other.name == step.name || upstream(definition, other).contains(step.name.as_str()) {
                return (message(format!("`{}` does not come before this step", other.name)), None);
            }
            let mut needed = step.depends_on.clone();
            needed.push(other.name.clone());
            let hint = format!("add `{}` to its depends_on: [{}]", other.name, needed.join(", "));
            (message(format!("this step does not come after `{}`", other.name)), Some(hint))
        }
        // A policy is about the calls of all steps, so no name is missing here.
        Place::Policy => (message(format!("nothing comes after `{}`", other.name)), None),
    }
}

fn judge(
    definition: &Definition,
    seen: &BTreeSet<&str>,
    reference: &Reference,
    place: &Place<'_>,
) -> Option<Bad> {
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
        ("inputs", Some(name))
            if !definition.inputs.contains_key(name)
                && (place.declares_all() || !definition.inputs.is_empty()) =>
        {
            let known: Vec<&str> = definition.inputs.keys().map(String::as_str).collect();
            let others = match known[..] {
                [] => format!("declare it: `inputs: {{{name}: {{type: string}}}}`"),
                _ => format!("inputs: {}", known.join(", ")),
            };
            let hint = mean(&known, name, "inputs.").unwrap_or(others);
            Some((format!("`{whole}` names no input of this workflow"), Some(hint)))
        }
        ("outputs", Some(name)) => {
            let Some(index) = definition.index_of(name) else {
                let known: Vec<&str> = definition.steps.iter().map(|s| s.name.as_str()).collect();
                let hint =
                    mean(&known, name, "outputs.").or_else(|| Some(format!("steps: {}", known.join(", "))));
                return Some((format!("`{whole}` names no step of this workflow"), hint));
            };
            if !seen.contains(name) {
                return Some(unseen(definition, place, &whole, &definition.steps[index]));
            }
            let known = match &definition.steps[index].kind {
                StepKind::Agent { prompt: Some(_), .. } => PROMPT,
                StepKind::Tool { .. } | StepKind::Program { .. } => COMMAND,
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
        _ if matches!(place, Place::Template(_)) => Some((
            format!("`{whole}` names nothing"),
            Some("write inputs.NAME or outputs.STEP.FIELD".to_owned()),
        )),
        _ => None,
    }
}
