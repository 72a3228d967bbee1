//! Whatever happens, in whatever order.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use wflo_core::approval::{ApprovalStatus, Decision};
use wflo_core::budget::OnExceeded;
use wflo_core::event::{Event, EventBody, LeftBehind, Wait};
use wflo_core::machine::{Action, CommandBody, RunState, StepStatus, TimerKey, evolve, outstanding, replay};
use wflo_core::money::NanoUsd;
use wflo_core::resources::Resources;
use wflo_core::run::RunStatus;

use crate::driver::{Driver, ask, diamond, failure, lost, shortfall};

/// One thing that can happen, chosen by numbers so that proptest can shrink it.
fn happen(driver: &mut Driver, what: u8, which: usize, flag: bool) {
    let names = driver.names();
    let name = names[which % names.len()].clone();
    let attempt = driver.attempt(&name);
    let approvals: Vec<_> = driver.state.approvals.keys().copied().collect();
    let approval = approvals.get(which % approvals.len().max(1)).copied();
    let body = match what % 17 {
        0..=3 => CommandBody::StepStarted { step: name, epoch: driver.epoch },
        4 | 5 => CommandBody::StepSucceeded {
            step: name,
            attempt,
            output: json!(which),
            state: Some(json!({"k": which})),
            cost: NanoUsd::from_nanos(3),
            layer: None,
        },
        6 => CommandBody::StepFailed {
            step: name,
            attempt,
            error: failure(),
            timed_out: false,
            no_retry: flag.then(failure),
            left: flag.then(|| LeftBehind { exit_code: Some(3), layer: Some("layer".into()) }),
        },
        7 => lost(&name, attempt, flag.then_some(u32::try_from(which % 4).unwrap())),
        8 => {
            let due = driver.now.checked_add(SignedDuration::from_secs(1)).unwrap();
            let mut on = vec![Wait::Timer { path: "0".into(), seq: 1, due }];
            on.extend(approval.map(|approval_id| Wait::Approval { approval_id }));
            CommandBody::StepSuspended { step: name, attempt, on, active_ms: 5 }
        }
        9 => CommandBody::StepStopped { step: name, attempt, active_ms: 7 },
        16 => CommandBody::SandboxUsed {
            step: name,
            attempt,
            resources: Resources { cpu_ms: Some(1), ..Resources::default() },
        },
        10 => CommandBody::StepUndone { step: name, report: json!({}), error: flag.then(failure) },
        11 => ask(&name),
        12 => match approval {
            Some(approval) => {
                let by = "local:me".to_owned();
                let decision =
                    Decision { approved: flag, by, comment: None, amount: None, lasts: None, at: driver.now };
                CommandBody::ApprovalDecided { approval, decision }
            }
            None => return,
        },
        13 => {
            driver.now = driver.now.checked_add(SignedDuration::from_secs(90)).unwrap();
            let timers: Vec<TimerKey> = outstanding(&driver.state)
                .into_iter()
                .filter_map(|a| match a {
                    Action::StartTimer { timer, .. } => Some(timer),
                    _ => None,
                })
                .collect();
            match timers.get(which % timers.len().max(1)) {
                Some(timer) => CommandBody::TimerFired { timer: timer.clone() },
                None => return,
            }
        }
        14 => match (which % 4, flag) {
            (0, true) => CommandBody::Cancel { by: "local:me".into(), reason: None },
            (1, _) => CommandBody::Resume { by: "local:me".into() },
            (2, _) => CommandBody::Pause { by: "local:me".into(), error: None },
            (3, true) => {
                CommandBody::BudgetExhausted { step: name, shortfall: shortfall(), action: OnExceeded::Halt }
            }
            _ => return,
        },
        _ => {
            // The engine dies and another takes over: the epoch moves, nothing else.
            driver.epoch += 1;
            return;
        }
    };
    let before = driver.state.clone();
    if driver.tell(body).is_err() {
        assert_eq!(before, driver.state, "a rejected command changes nothing");
    }
}

fn check(driver: &Driver, was: &RunState) {
    let state = &driver.state;
    assert!(!was.status.is_terminal() || was.status == state.status, "terminal is terminal");
    assert_eq!(&replay(driver.initial.clone(), &driver.events), state, "replaying gives the same state");
    let actions = outstanding(state);
    if state.status.is_terminal() {
        assert!(actions.is_empty());
        assert!(state.steps.iter().all(|s| s.status.is_terminal()), "nothing is left running");
        assert!(state.approvals.values().all(|a| a.status != ApprovalStatus::Pending));
        return;
    }
    match state.status {
        RunStatus::Paused => assert!(!actions.iter().any(|a| matches!(a, Action::RunStep { .. }))),
        RunStatus::Waiting => assert!(
            actions.iter().any(|a| matches!(a, Action::StartTimer { .. } | Action::RequestApproval { .. })),
            "a waiting run has something that wakes it: {state:?}"
        ),
        _ => assert!(
            actions.iter().any(|a| matches!(
                a,
                Action::RunStep { .. } | Action::StopStep { .. } | Action::Compensate { .. }
            )),
            "a running run has something that goes on: {state:?}"
        ),
    }
    for (spec, step) in state.definition.steps.iter().zip(&state.steps) {
        let began = step.generation > 0;
        let before_it =
            spec.depends_on.iter().all(|d| state.step(d).unwrap().status == StepStatus::Succeeded);
        assert!(!began || before_it, "no step starts before its dependencies");
        let asked = actions
            .iter()
            .filter(|a| matches!(a, Action::RunStep { step, .. } if *step == spec.name))
            .count();
        let holding = state.paused || state.ending.is_some();
        let wants = matches!(step.status, StepStatus::Ready | StepStatus::Running { .. }) && !holding;
        assert_eq!(asked, usize::from(wants), "outstanding holds exactly what is unanswered");
    }
    for (id, approval) in &state.approvals {
        let asked = actions.contains(&Action::RequestApproval { approval: *id });
        assert_eq!(asked, approval.status == ApprovalStatus::Pending);
    }
}

fn live_attempts_are_single(events: &[Event]) {
    let mut live: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for event in events {
        match &event.body {
            EventBody::StepStarted { step, epoch, .. } => {
                if let Some(old) = live.insert(step.clone(), *epoch) {
                    assert!(*epoch > old, "a second attempt needs a newer lease");
                }
            }
            EventBody::StepLost { step, .. }
            | EventBody::StepSuspended { step, .. }
            | EventBody::StepStopped { step, .. }
            | EventBody::StepSucceeded { step, .. }
            | EventBody::StepFailed { step, .. } => {
                live.remove(step);
            }
            _ => {}
        }
    }
}

fn workflows() -> Vec<Value> {
    vec![
        diamond(),
        json!({"name": "line", "timeout_seconds": 600, "steps": [
            {"name": "a", "type": "agent", "handler": "code", "retries": 2, "retry_backoff": {"jitter": false}},
            {"name": "b", "type": "tool", "run": ["true"], "depends_on": ["a"],
             "approval": {"required": true, "when": "start", "timeout_seconds": 60}},
        ]}),
        json!({"name": "wide", "steps": [
            {"name": "g", "type": "approval", "on_rejected": "continue", "timeout_seconds": 30, "on_timeout": "escalate"},
            {"name": "x", "type": "condition", "when": "outputs.g.approved", "depends_on": ["g"]},
            {"name": "y", "type": "agent", "handler": "code", "depends_on": ["x"], "rollback_enabled": true},
            {"name": "z", "type": "agent", "handler": "code"},
        ]}),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn any_order_of_commands_keeps_the_invariants(
        workflow in 0_usize..3,
        story in proptest::collection::vec((any::<u8>(), 0_usize..8, any::<bool>()), 1..120),
    ) {
        let mut driver = Driver::new(&workflows()[workflow]);
        for (what, which, flag) in story {
            let was = driver.state.clone();
            happen(&mut driver, what, which, flag);
            check(&driver, &was);
        }
        live_attempts_are_single(&driver.events);
        // What is stored is JSON: a state folded from what was read back is the same.
        let stored: Vec<Event> = driver
            .events
            .iter()
            .map(|e| serde_json::from_str(&serde_json::to_string(e).unwrap()).unwrap())
            .collect();
        let read_back = stored.iter().fold(driver.initial.clone(), evolve);
        prop_assert_eq!(read_back, driver.state);
    }
}
