//! Which steps of a retry must run, whatever they had come to: those somebody names, those whose
//! dependencies are not what they were, and all that comes after them.
//!
//! A step that is kept holds what it made of the outputs before it. With one of those made anew, or a step
//! put in between or taken away, it no longer fits.
//!
//! Gates are apart. A gate that asks again about other code says whether the run may go on; it changes
//! nothing that the steps behind it were given, so they stay, and what is still to run waits for it.

use std::collections::{BTreeMap, BTreeSet};

use wflo_core::definition::{Definition, StepKind, StepSpec};
use wflo_core::error::{Code, Failure};
use wflo_core::machine::{RunState, StepStatus};

use crate::error::EngineError;

/// A step to begin from that the workflow does not have.
const NO_STEP: Code = Code(3019);

/// Steps by name, each with the reason; none where somebody named it.
pub(super) type Stale = BTreeMap<String, Option<String>>;

/// The steps of `new` that must run although `old` may have finished them.
///
/// # Errors
/// When `from` names a step that there is not.
pub(super) fn stale(old: &RunState, new: &Definition, from: &[String]) -> Result<Stale, EngineError> {
    for name in from {
        if new.index_of(name).is_none() {
            let known: Vec<&str> = new.steps.iter().map(|s| s.name.as_str()).collect();
            let message = format!("workflow `{}` has no step `{name}` to begin from", new.name);
            let hint = format!("its steps: {}", known.join(", "));
            return Err(EngineError::Failure(Failure::new(NO_STEP, message).with_hint(hint)));
        }
    }
    let mut stale: Stale = from.iter().map(|name| (name.clone(), None)).collect();
    loop {
        let before = stale.len();
        for step in &new.steps {
            if !stale.contains_key(&step.name)
                && let Some(why) = why(old, new, &stale, step)
            {
                stale.insert(step.name.clone(), Some(why));
            }
        }
        if stale.len() == before {
            return Ok(stale);
        }
    }
}

fn why(old: &RunState, new: &Definition, stale: &Stale, step: &StepSpec) -> Option<String> {
    let was = &old.definition.steps[old.definition.index_of(&step.name)?];
    let names = |spec: &StepSpec| spec.depends_on.iter().cloned().collect::<BTreeSet<String>>();
    let (were, are) = (names(was), names(step));
    // What is new and what is gone says more than what follows from it.
    let changed = [
        are.iter().find(|name| old.step(name).is_none()).map(|name| format!("`{name}` is new")),
        were.iter().find(|name| new.index_of(name).is_none()).map(|name| format!("`{name}` is gone")),
        are.difference(&were).next().map(|name| format!("it now comes after `{name}`")),
        were.difference(&are).next().map(|name| format!("it no longer comes after `{name}`")),
    ];
    changed.into_iter().flatten().next().or_else(|| {
        are.iter().find_map(|name| {
            let finished = old.step(name).is_some_and(|step| step.status == StepStatus::Succeeded);
            let gate = |at: usize| matches!(new.steps[at].kind, StepKind::Approval(_));
            match (stale.contains_key(name), finished) {
                (true, true) => Some(format!("`{name}` runs again")),
                (true, false) => Some(format!("`{name}` runs")),
                (false, false) if !new.index_of(name).is_some_and(gate) => {
                    Some(format!("`{name}` had not finished"))
                }
                (false, _) => None,
            }
        })
    })
}
