//! What a change of a run's state means for the store: one list of ops, in the commit of its events.

use std::collections::BTreeMap;

use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::budget::{Amount, Quantity};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::machine::{self, Action, ApprovalState, RunState, StepState, StepStatus, TimerKey};
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::Op;

pub(super) fn of_change(
    run: RunId,
    was: &RunState,
    now: &RunState,
    events: &[Event],
    at: &Moment,
) -> Vec<Op> {
    let mut ops = Vec::new();
    if events.is_empty() {
        return ops;
    }
    let mut facts = events.to_vec();
    top_ups(now, events, &mut facts, &mut ops);
    announcements(events, &mut facts);
    let used = begun(now, events, &mut facts);
    ops.push(Op::AppendEvents { run, events: facts });
    approvals(run, (was, now), events, at, &mut ops);
    ops.extend(used);
    timers(run, was, now, at, &mut ops);
    if was.status != now.status {
        let over = now.status.is_terminal();
        ops.push(Op::SetRun {
            run,
            status: now.status,
            outputs: over.then(|| now.outputs()),
            error: now.error.clone(),
            at: events.last().map_or(at.wall, |e| e.at),
        });
        if over {
            ops.push(Op::Release { run });
        }
    }
    ops
}

/// A budget's question that was answered with yes raises the limit in the same commit.
fn top_ups(now: &RunState, events: &[Event], facts: &mut Vec<Event>, ops: &mut Vec<Op>) {
    for event in events {
        let EventBody::ApprovalDecided { approval_id, decision } = &event.body else { continue };
        let Some(approval) = now.approvals.get(approval_id).filter(|_| decision.approved) else { continue };
        if let Purpose::Budget { budget, measure, missing, suggested } = approval.request.purpose {
            let amount = measure.from_decimal(decision.amount.or(suggested).unwrap_or(missing));
            let by = decision.by.clone();
            // Somebody else has topped it up, and the answer says so.
            if amount == Amount::ZERO {
                continue;
            }
            ops.push(Op::TopUp { budget, amount, by: by.clone(), at: event.at });
            let amount = Quantity::new(measure, amount);
            facts.push(Event {
                at: event.at,
                body: EventBody::BudgetToppedUp { budget_id: budget, amount, by },
            });
        }
    }
}

/// A question that was put before a step began is used up by the generation that begins.
fn begun(now: &RunState, events: &[Event], facts: &mut Vec<Event>) -> Vec<Op> {
    let mut used = Vec::new();
    for event in events {
        let EventBody::StepStarted { step, generation, attempt: 1, .. } = &event.body else { continue };
        let releases = |a: &ApprovalState| {
            a.request.purpose == Purpose::Start
                && a.status == ApprovalStatus::Approved
                && a.request.step.as_ref() == Some(step)
                && a.request.generation == *generation
        };
        for id in now.approvals.iter().filter(|(_, a)| releases(a)).map(|(id, _)| *id) {
            used.push(Op::ConsumeApproval { id, at: event.at });
            let body =
                EventBody::ApprovalConsumed { approval_id: id, released: format!("{step}/{generation}") };
            facts.push(Event { at: event.at, body });
        }
    }
    used
}

/// A question names channels, and none is configured in embedded mode: people are told so, once each,
/// and the terminal asks instead.
fn announcements(events: &[Event], facts: &mut Vec<Event>) {
    for event in events {
        let EventBody::ApprovalRequested { request, .. } = &event.body else { continue };
        for channel in &request.notify {
            let body = EventBody::NotificationUndelivered {
                channel: channel.clone(),
                message: request.title.clone(),
            };
            facts.push(Event { at: event.at, body });
        }
    }
}

fn approvals(
    run: RunId,
    (was, now): (&RunState, &RunState),
    events: &[Event],
    at: &Moment,
    ops: &mut Vec<Op>,
) {
    if was.approvals == now.approvals {
        return;
    }
    for (id, approval) in &now.approvals {
        let before = was.approvals.get(id).map(|a| a.status);
        if before == Some(approval.status) {
            continue;
        }
        // The state does not hold what people are shown.
        let asked = events.iter().find_map(|event| match &event.body {
            EventBody::ApprovalRequested { approval_id, request } if approval_id == id => Some(request),
            _ => None,
        });
        if let Some(request) = asked.filter(|_| before.is_none()) {
            ops.push(Op::PutApproval(Box::new(Approval {
                id: *id,
                run,
                request: (**request).clone(),
                status: ApprovalStatus::Pending,
                decision: None,
                requested_at: at.wall,
                consumed_at: None,
            })));
        }
        match (approval.status, &approval.decision) {
            (ApprovalStatus::Pending | ApprovalStatus::Consumed, _) => {}
            (ApprovalStatus::Superseded, _) => ops.push(Op::SupersedeApproval { id: *id }),
            (status, Some(decision)) => {
                ops.push(Op::DecideApproval { id: *id, status, decision: decision.clone() });
            }
            (_, None) => {}
        }
    }
}

fn timers(run: RunId, was: &RunState, now: &RunState, at: &Moment, ops: &mut Vec<Op>) {
    let (before, after) = (set_timers(was), set_timers(now));
    for (key, due) in &after {
        if before.get(key) != Some(due) {
            ops.push(Op::PutTimer { run, key: key.to_string(), due: *due, set: at.clone() });
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        ops.push(Op::DropTimer { run, key: key.to_string() });
    }
}

/// The timers that a state asks for.
pub(crate) fn set_timers(state: &RunState) -> BTreeMap<TimerKey, jiff::Timestamp> {
    // Asked four times a commit, and most runs never set one.
    let may_wait =
        |step: &StepState| matches!(step.status, StepStatus::Backoff { .. } | StepStatus::Waiting { .. });
    let none = state.definition.timeout_seconds.is_none()
        && state.approvals.is_empty()
        && !state.steps.iter().any(may_wait);
    if none {
        return BTreeMap::new();
    }
    machine::outstanding(state)
        .into_iter()
        .filter_map(|action| match action {
            Action::StartTimer { timer, due } => Some((timer, due)),
            _ => None,
        })
        .collect()
}
