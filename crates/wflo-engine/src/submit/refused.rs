//! What is refused before a run is accepted, because it could not be kept.

use serde_json::Value;
use wflo_core::definition::{Definition, StepKind};
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::run::RunOptions;
use wflo_egress::RuleError;
use wflo_egress::rules::Rule;

use crate::error::EngineError;
use crate::launch::Launch;
use crate::runtime::Runtime;

/// Several people must agree, and embedded mode knows only one.
const QUORUM: Code = Code(7006);
/// A channel is not configured.
const NO_CHANNEL: Code = Code(7007);
/// A script's workflow differs from what its file defines.
const NOT_THE_CALLERS: Code = Code(1032);
/// The most differences that are named.
const MOST_DIFFERENCES: usize = 8;
/// A workflow wants a variable of the host that the settings do not pass on.
const NOT_GRANTED: Code = Code(1014);

/// A workflow may say which of the host's variables it needs; that it gets them is the settings' word.
pub(super) fn only_granted(wanted: &[String], granted: &[String]) -> Result<(), EngineError> {
    let missing: Vec<&str> =
        wanted.iter().filter(|name| !granted.contains(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message =
        format!("the workflow wants variables of the host that it is not given: {}", missing.join(", "));
    let hint = "if its steps may see their values, name them under [sandbox] in wflo.toml: env = [\"NAME\"]";
    Err(EngineError::Invalid(vec![Failure::new(NOT_GRANTED, message).with_hint(hint)]))
}

/// A workflow may ask for hosts that whoever starts it has allowed, and for no others: its definition comes
/// from code that is not trusted.
///
/// # Errors
/// What is no host, or not allowed.
pub(super) fn only_allowed(wanted: &[String], launch: &Launch) -> Result<(), EngineError> {
    let invalid = |error: RuleError| EngineError::Invalid(vec![error.to_failure().at("sandbox.allow_hosts")]);
    let allowed = crate::egress::rules(launch)?;
    let mut missing = Vec::new();
    for text in wanted {
        let rule: Rule = text.parse().map_err(invalid)?;
        if !allowed.cover(&rule) {
            missing.push(text.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(invalid(RuleError::NotAllowed { wanted: missing.join(", ") }))
}

impl Runtime {
    /// The models that the definition itself names: whether they can be called at all is known before any
    /// step is paid for.
    pub(super) fn check_models(&self, definition: &Definition, replays: bool) -> Result<(), EngineError> {
        let routes = self.gateway.routes();
        let problems = definition.steps.iter().filter_map(|step| {
            let StepKind::Agent { model: Some(model), prompt: Some(_), .. } = &step.kind else { return None };
            let route = routes.find(None, None, model);
            let error =
                route.and_then(|route| if replays { Ok(()) } else { route.provider.usable() }).err()?;
            Some(error.to_failure().at(step.place.clone().unwrap_or_else(|| step.name.clone())))
        });
        let problems: Vec<Failure> = problems.collect();
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
    }
}

/// What a script added to its workflow in memory would not reach the steps: refused, not ignored.
pub(super) fn agree(caller: &Value, described: &Value, workflow: &str) -> Result<(), EngineError> {
    let mine = Definition::parse(caller).map_err(EngineError::Invalid)?;
    let differences = mine.differences(described).unwrap_or_default();
    if differences.is_empty() {
        return Ok(());
    }
    let file = workflow.rsplit_once(':').map_or(workflow, |(file, _)| file);
    let side = |said: &Option<String>| said.clone().unwrap_or_else(|| "none".to_owned());
    let mut said: Vec<String> = differences
        .iter()
        .take(MOST_DIFFERENCES)
        .map(|d| {
            format!("{}: {} in the calling script, {} in {file}", d.what, side(&d.mine), side(&d.theirs))
        })
        .collect();
    if differences.len() > MOST_DIFFERENCES {
        said.push(format!("and {} more", differences.len() - MOST_DIFFERENCES));
    }
    let message =
        format!("the calling script's workflow is not the one that {file} defines: {}", said.join("; "));
    let hint = format!(
        "steps import {file} afresh, so write it at the module level there; a value from the environment needs its \
         name in `env` under [sandbox] in wflo.toml, and one that differs each time is an input"
    );
    Err(EngineError::Invalid(vec![Failure::new(NOT_THE_CALLERS, message).with_hint(hint)]))
}

/// What embedded mode cannot keep is refused, not ignored.
pub(super) fn check_embedded(definition: &Definition, options: &RunOptions) -> Result<(), EngineError> {
    let mut problems = Vec::new();
    let mut channels: Vec<&String> = options.notify.iter().collect();
    for step in &definition.steps {
        let at = step.place.clone().unwrap_or_else(|| step.name.clone());
        let (quorum, notify) = match (&step.kind, &step.approval) {
            (StepKind::Approval(gate), _) => (gate.quorum, Some(&gate.notify)),
            (_, Some(approval)) => (approval.quorum, Some(&approval.notify)),
            _ => (1, None),
        };
        if quorum > 1 {
            let message = format!(
                "step `{}` wants {quorum} people to agree, and one machine knows only one",
                step.name
            );
            let hint = "set quorum=1, or run it on a server with identities (a later release)";
            problems.push(Failure::new(QUORUM, message).at(at).with_hint(hint));
        }
        channels.extend(notify.into_iter().flatten());
    }
    if options.strict_channels
        && let Some(channel) = channels.first()
    {
        let message = format!("the channel {channel} is not configured");
        problems.push(
            Failure::new(NO_CHANNEL, message)
                .with_hint("leave --strict-channels out: the terminal asks instead"),
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
}
