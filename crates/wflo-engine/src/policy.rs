//! Policies before a model call: conditions on what it may cost.
//!
//! `estimated_cost` is what the run has spent plus the most that this call can cost, in USD: a true
//! upper bound. A condition that cannot be evaluated counts as a refusal.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::approval::{ApprovalStatus, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::condition::Condition;
use wflo_core::definition::{CONDITION_NAMES, PolicyAction, PolicySpec};
use wflo_core::error::{Code, Failure};
use wflo_core::event::EventBody;
use wflo_core::machine::{CommandBody, object_of};
use wflo_core::money::NanoUsd;
use wflo_gateway::ledger::{CallIntent, Refusal};

use crate::calls::Calls;
use crate::error::EngineError;
use crate::ledger::{ask_once, ending};
use crate::protocol::On;

const DENIED: Code = Code(7005);
/// A placeholder stands where its secret does not belong.
const MISPLACED: Code = Code(5211);

/// What the run's policies say to a call; `None` lets it pass.
pub(crate) async fn before_call(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: &str,
    seq: u32,
) -> Result<Option<Refusal>, EngineError> {
    let context = &calls.attempt.context;
    if let Some(name) = crate::hosts::misplaced(&context.record.options.launch, &intent.body) {
        return misplaced(calls, intent, &name).await.map(Some);
    }
    let policies = &context.definition.policies;
    if policies.is_empty() {
        return Ok(None);
    }
    let spent = calls.services.store.run_cost(calls.attempt.run).await?;
    let values = values(calls, spent, intent.hold);
    for policy in policies {
        let holds = Condition::parse(&policy.condition, CONDITION_NAMES).and_then(|c| c.evaluate(&values));
        let refused = match holds {
            Ok(false) => None,
            Ok(true) => act(calls, intent, policy, spent, On { path: path.to_owned(), seq }).await?,
            Err(e) => Some(deny(calls, policy, &format!("its condition could not be evaluated: {e}")).await?),
        };
        if refused.is_some() {
            return Ok(refused);
        }
    }
    Ok(None)
}

/// The placeholder of a host's secret is sent to a model: people are told, and the model is not.
async fn misplaced(calls: &Arc<Calls>, intent: &CallIntent, name: &str) -> Result<Refusal, EngineError> {
    let message = format!("the placeholder of the secret `{name}` was sent to a model, and belongs to hosts");
    let failure = Failure::new(MISPLACED, message);
    let told = EventBody::EgressRefused {
        step: calls.attempt.step.clone(),
        host: Some(intent.provider.clone()),
        port: None,
        error: failure.clone(),
    };
    calls.journal.note(vec![told]).await?;
    Ok(Refusal::Other { status: 403, kind: "secret_misplaced".to_owned(), failure })
}

fn values(calls: &Calls, spent: NanoUsd, hold: NanoUsd) -> BTreeMap<&'static str, Value> {
    // CEL compares with literals that are floating point; nothing is charged by these numbers.
    let usd = |amount: NanoUsd| json!(amount.nanos() as f64 / 1e9);
    let context = &calls.attempt.context;
    let limit = context
        .definition
        .budgets
        .iter()
        .chain(&context.record.options.budgets)
        .filter_map(|b| b.max_cost_usd)
        .min();
    BTreeMap::from([
        ("estimated_cost", usd(spent.saturating_add(hold))),
        ("cost", usd(spent)),
        ("inputs", context.record.inputs.clone()),
        ("outputs", context.definition.outputs_in_conditions(object_of(&calls.attempt.outputs))),
        ("budget", limit.map_or(Value::Null, usd)),
    ])
}

async fn act(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    policy: &PolicySpec,
    spent: NanoUsd,
    on: On,
) -> Result<Option<Refusal>, EngineError> {
    for action in &policy.actions {
        match action {
            PolicyAction::Deny { reason } => {
                let why = reason.clone().unwrap_or_else(|| format!("`{}` holds", policy.condition));
                return deny(calls, policy, &why).await.map(Some);
            }
            PolicyAction::RequireApproval { approvers } => {
                if !approved(calls, intent, policy, spent, approvers, on.clone()).await? {
                    return Ok(Some(refusal(policy, "it was not approved")));
                }
                if calls.is_closed() {
                    return Ok(Some(ending()));
                }
            }
            PolicyAction::CapBudget { max_cost_usd } => {
                if spent.saturating_add(intent.hold) > *max_cost_usd {
                    let why = format!("it caps the run at ${max_cost_usd}");
                    return deny(calls, policy, &why).await.map(Some);
                }
            }
            PolicyAction::Notify { channel } => {
                let message = format!("policy `{}`: `{}` holds", policy.name, policy.condition);
                let fact = EventBody::NotificationUndelivered { channel: channel.clone(), message };
                calls.journal.note(vec![fact]).await?;
            }
            // Refused when the definition was read.
            PolicyAction::Route { .. } => {}
        }
    }
    Ok(None)
}

/// Asked once a run: a yes covers the run's further calls.
async fn approved(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    policy: &PolicySpec,
    spent: NanoUsd,
    approvers: &[String],
    on: On,
) -> Result<bool, EngineError> {
    let purpose = Purpose::Policy { policy: policy.name.clone() };
    let known = calls.services.store.approvals_about(calls.attempt.run, purpose).await?.into_iter().next();
    let (id, status) = match known {
        Some(approval) => (approval.id, approval.status),
        None => {
            let id = ask_once(&calls.attempt, request(calls, intent, policy, spent, approvers)?).await?;
            (id, ApprovalStatus::Pending)
        }
    };
    let status = match status {
        ApprovalStatus::Pending => tokio::select! {
            status = calls.waits.decided(&calls.attempt, on, id) => status?,
            () = calls.closed() => ApprovalStatus::Superseded,
        },
        status => status,
    };
    Ok(matches!(status, ApprovalStatus::Approved | ApprovalStatus::Consumed))
}

fn request(
    calls: &Calls,
    intent: &CallIntent,
    policy: &PolicySpec,
    spent: NanoUsd,
    approvers: &[String],
) -> Result<wflo_core::approval::ApprovalRequest, EngineError> {
    let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
    let evidence = json!({
        "policy": policy.name,
        "condition": policy.condition,
        "spent_usd": spent,
        "this_call_up_to_usd": intent.hold,
        "model": intent.model,
        "step": calls.attempt.step,
    });
    Ok(wflo_core::approval::ApprovalRequest {
        purpose: Purpose::Policy { policy: policy.name.clone() },
        step: Some(calls.attempt.step.clone()),
        generation: calls.attempt.generation,
        title: format!("policy `{}` asks before a call of {}", policy.name, intent.model),
        binding: wflo_core::approval::Binding {
            action: Digest::of_json(&json!(["policy", policy.name, policy.condition])).map_err(unreadable)?,
            code: calls.attempt.context.record.code.clone(),
            evidence: Digest::of_json(&evidence).map_err(unreadable)?,
        },
        evidence,
        approvers: approvers.to_vec(),
        quorum: 1,
        expires_at: None,
        on_timeout: OnTimeout::Hold,
        notify: Vec::new(),
    })
}

async fn deny(calls: &Arc<Calls>, policy: &PolicySpec, why: &str) -> Result<Refusal, EngineError> {
    let refusal = refusal(policy, why);
    if let Refusal::Other { failure, .. } = &refusal {
        let denied = CommandBody::Denied { error: failure.clone() };
        match calls.attempt.driver.tell(denied, Vec::new()).await {
            // Another call was denied first: the run ends already.
            Ok(_) | Err(EngineError::Rejected(_)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(refusal)
}

fn refusal(policy: &PolicySpec, why: &str) -> Refusal {
    let failure = Failure::new(DENIED, format!("policy `{}` refused the call: {why}", policy.name));
    Refusal::Other { status: 403, kind: "policy_denied".to_owned(), failure }
}
