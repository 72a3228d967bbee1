//! The machine's promises, under any order of commands that can happen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Binding, Decision, OnTimeout, Purpose};
use wflo_core::budget::{Budget, OnExceeded, Period, Scope, Shortfall};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::effect::EffectKey;
use wflo_core::error::{Code, Failure};
use wflo_core::event::{Event, EventBody, Wait};
use wflo_core::id::BudgetId;
use wflo_core::machine::{
    Action, Attempt, Command, CommandBody, RunState, StepStatus, TimerKey, evolve, outstanding, replay, step,
};
use wflo_core::money::NanoUsd;
use wflo_core::run::RunStatus;

fn definition(json: &Value) -> Arc<Definition> {
    Arc::new(Definition::parse(json).unwrap())
}

fn start_state(json: &Value) -> RunState {
    RunState::new(definition(json), Arc::new(json!({"go": true})), Digest::of_bytes(b"code"))
}

struct Driver {
    initial: RunState,
    state: RunState,
    events: Vec<Event>,
    now: Timestamp,
    epoch: u64,
    seeds: u128,
}

impl Driver {
    fn new(json: &Value) -> Self {
        let initial = start_state(json);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut driver = Driver { state: initial.clone(), initial, events: vec![], now, epoch: 1, seeds: 0 };
        driver.tell(CommandBody::Start { version: Digest::of_bytes(b"v"), carried: vec![] }).unwrap();
        driver
    }

    fn tell(&mut self, body: CommandBody) -> Result<Vec<Event>, wflo_core::machine::Rejection> {
        self.seeds += 1;
        let seed = uuid::Uuid::from_u128(self.seeds << 64);
        let (events, next) = step(&self.state, Command { at: self.now, seed, draw: 0.5, body })?;
        let folded = replay(self.state.clone(), &events);
        assert_eq!(folded, next, "a driver that folds gets the machine's own state");
        self.state = next;
        self.events.extend(events.clone());
        Ok(events)
    }

    fn attempt(&self, name: &str) -> Attempt {
        let step = self.state.step(name).unwrap();
        Attempt { generation: step.generation, attempt: step.attempt }
    }

    fn names(&self) -> Vec<String> {
        self.state.definition.steps.iter().map(|s| s.name.clone()).collect()
    }
}

fn ask(step: &str) -> CommandBody {
    let effect = EffectKey { step: step.to_owned(), generation: 1, path: "0".into(), seq: 0 };
    let digest = Digest::of_bytes(b"x");
    CommandBody::Ask {
        request: Box::new(ApprovalRequest {
            purpose: Purpose::Write { effect },
            step: Some(step.to_owned()),
            generation: 1,
            title: "delete rows".into(),
            evidence: json!({"rows": 3}),
            binding: Binding { action: digest.clone(), code: digest.clone(), evidence: digest },
            approvers: vec![],
            quorum: 1,
            expires_at: None,
            on_timeout: OnTimeout::Reject,
            notify: vec![],
        }),
    }
}

fn shortfall() -> Box<Shortfall> {
    Box::new(Shortfall {
        budget: Budget {
            id: BudgetId::from_uuid(uuid::Uuid::from_u128(7)),
            scope: Scope::Run,
            key: "run".into(),
            period: Period::Total,
            period_start: String::new(),
            limit: NanoUsd::from_nanos(10),
            settled: NanoUsd::from_nanos(9),
            held: NanoUsd::ZERO,
            action_on_exceeded: OnExceeded::Halt,
            alert_thresholds: vec![],
        },
        wanted: NanoUsd::from_nanos(5),
    })
}

fn lost(step: &str, attempt: Attempt, answered: Option<u32>) -> CommandBody {
    CommandBody::StepLost { step: step.into(), attempt, reason: "killed".into(), active_ms: 3, answered }
}

fn failure() -> Failure {
    Failure::new(Code(3999), "boom")
}

fn succeed(driver: &mut Driver, name: &str) -> Vec<Event> {
    let epoch = driver.epoch;
    driver.tell(CommandBody::StepStarted { step: name.into(), epoch }).unwrap();
    let attempt = driver.attempt(name);
    driver
        .tell(CommandBody::StepSucceeded {
            step: name.into(),
            attempt,
            output: json!({"from": name}),
            state: None,
            cost: NanoUsd::ZERO,
            layer: None,
        })
        .unwrap()
}

fn diamond() -> Value {
    json!({"name": "diamond", "steps": [
        {"name": "a", "type": "agent", "handler": "code"},
        {"name": "b", "type": "agent", "handler": "code", "depends_on": ["a"], "retries": 1, "rollback_enabled": true},
        {"name": "gate", "type": "approval", "depends_on": ["a"]},
        {"name": "c", "type": "agent", "handler": "code", "depends_on": ["b", "gate"]},
    ]})
}

#[test]
fn a_run_goes_through_its_steps_and_gates() {
    let mut driver = Driver::new(&diamond());
    assert_eq!(outstanding(&driver.state), [Action::RunStep { step: "a".into(), generation: 1 }]);
    succeed(&mut driver, "a");
    let approval = *driver.state.approvals.keys().next().unwrap();
    assert!(outstanding(&driver.state).contains(&Action::RequestApproval { approval }));
    succeed(&mut driver, "b");
    assert_eq!(driver.state.status, RunStatus::Waiting);
    let decision =
        Decision { approved: true, by: "local:me".into(), comment: None, amount: None, at: driver.now };
    driver.tell(CommandBody::ApprovalDecided { approval, decision }).unwrap();
    assert_eq!(driver.state.status, RunStatus::Running);
    succeed(&mut driver, "c");
    assert_eq!(driver.state.status, RunStatus::Completed);
    assert_eq!(driver.state.outputs()["gate"]["approved"], json!(true));
    assert!(outstanding(&driver.state).is_empty());
}

#[test]
fn a_false_condition_skips_what_depends_on_it() {
    let mut driver = Driver::new(&json!({"name": "w", "steps": [
        {"name": "a", "type": "agent", "handler": "code"},
        {"name": "if", "type": "condition", "when": "outputs.a.from == 'z'", "depends_on": ["a"]},
        {"name": "b", "type": "agent", "handler": "code", "depends_on": ["if"]},
        {"name": "c", "type": "agent", "handler": "code", "depends_on": ["b"]},
        {"name": "d", "type": "agent", "handler": "code", "depends_on": ["a"]},
    ]}));
    succeed(&mut driver, "a");
    assert_eq!(driver.state.step("c").unwrap().status, StepStatus::Skipped);
    succeed(&mut driver, "d");
    assert_eq!(driver.state.status, RunStatus::Completed);
}

#[test]
fn a_failure_with_rollback_undoes_before_it_retries() {
    let mut driver = Driver::new(&diamond());
    succeed(&mut driver, "a");
    driver.tell(CommandBody::StepStarted { step: "b".into(), epoch: 1 }).unwrap();
    let attempt = driver.attempt("b");
    let fail = |attempt| CommandBody::StepFailed {
        step: "b".into(),
        attempt,
        error: failure(),
        timed_out: false,
        no_retry: None,
    };
    driver.tell(fail(attempt)).unwrap();
    assert!(outstanding(&driver.state).contains(&Action::Compensate { step: "b".into(), generation: 1 }));
    driver.tell(CommandBody::StepUndone { step: "b".into(), report: json!({}), error: None }).unwrap();
    let backoff = TimerKey::Backoff { step: "b".into() };
    assert!(driver.tell(CommandBody::TimerFired { timer: backoff.clone() }).is_err(), "not due yet");
    driver.now = driver.now.checked_add(SignedDuration::from_secs(120)).unwrap();
    driver.tell(CommandBody::TimerFired { timer: backoff }).unwrap();
    assert!(outstanding(&driver.state).contains(&Action::RunStep { step: "b".into(), generation: 2 }));
    driver.tell(CommandBody::StepStarted { step: "b".into(), epoch: 1 }).unwrap();
    let attempt = driver.attempt("b");
    driver.tell(fail(attempt)).unwrap();
    driver.tell(CommandBody::StepUndone { step: "b".into(), report: json!({}), error: None }).unwrap();
    assert_eq!(driver.state.status, RunStatus::Failed);
}

#[test]
fn a_worker_that_dies_again_and_again_is_given_up() {
    let mut driver =
        Driver::new(&json!({"name": "w", "steps": [{"name": "a", "type": "agent", "handler": "code"}]}));
    for _ in 0..wflo_core::machine::POISON_LIMIT {
        driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
        let attempt = driver.attempt("a");
        driver.tell(lost("a", attempt, None)).unwrap();
    }
    assert_eq!(driver.state.status, RunStatus::Failed);
    assert_eq!(driver.state.error.as_ref().unwrap().code, "WFLO-3001");
}

#[test]
fn an_engine_that_dies_of_a_step_again_and_again_gives_it_up_unless_it_gets_on() {
    let limit = wflo_core::machine::CRASH_LIMIT;
    let one =
        json!({"name": "w", "steps": [{"name": "a", "type": "agent", "handler": "code", "retries": 3}]});
    let mut driver = Driver::new(&one);
    let die = |driver: &mut Driver, answered| {
        driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
        let attempt = driver.attempt("a");
        driver.tell(lost("a", attempt, Some(answered))).unwrap();
    };
    // A healthy step on a machine that is switched off every night.
    for night in 0..5 * limit {
        die(&mut driver, night);
    }
    assert_eq!(driver.state.status, RunStatus::Running);
    // A pause is no progress and no failure.
    for _ in 1..limit - 1 {
        die(&mut driver, 5 * limit - 1);
    }
    assert_eq!((driver.state.status, driver.state.step("a").unwrap().losses), (RunStatus::Running, 0));
    die(&mut driver, 5 * limit - 1);
    assert_eq!(driver.state.status, RunStatus::Failed, "it is not retried either");
    assert_eq!(driver.state.error.as_ref().unwrap().code, "WFLO-3001");
}

#[test]
fn a_generation_remembers_how_long_it_was_active_and_a_retry_begins_anew() {
    let one =
        json!({"name": "w", "steps": [{"name": "a", "type": "agent", "handler": "code", "retries": 1}]});
    let mut driver = Driver::new(&one);
    let start = |driver: &mut Driver| {
        driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
        driver.attempt("a")
    };
    let attempt = start(&mut driver);
    driver.tell(CommandBody::StepStopped { step: "a".into(), attempt, active_ms: 700 }).unwrap();
    let attempt = start(&mut driver);
    // What a crash lost is not taken away again.
    driver.tell(lost("a", attempt, Some(0))).unwrap();
    assert_eq!(driver.state.step("a").unwrap().active_ms, 700);
    let attempt = start(&mut driver);
    let due = driver.now;
    let on = vec![Wait::Timer { path: "0".into(), seq: 1, due }];
    driver.tell(CommandBody::StepSuspended { step: "a".into(), attempt, on, active_ms: 900 }).unwrap();
    assert_eq!(driver.state.step("a").unwrap().active_ms, 900);
    let timer = TimerKey::Sleep { step: "a".into(), path: "0".into(), seq: 1 };
    driver.tell(CommandBody::TimerFired { timer }).unwrap();
    let attempt = start(&mut driver);
    let failed = CommandBody::StepFailed {
        step: "a".into(),
        attempt,
        error: failure(),
        timed_out: false,
        no_retry: None,
    };
    driver.tell(failed).unwrap();
    assert_eq!(driver.state.step("a").unwrap().active_ms, 0);
}

#[test]
fn the_run_time_out_does_not_count_waiting() {
    let mut driver = Driver::new(&json!({"name": "w", "timeout_seconds": 10, "steps": [
        {"name": "gate", "type": "approval"},
        {"name": "a", "type": "agent", "handler": "code", "depends_on": ["gate"]},
    ]}));
    assert_eq!(driver.state.status, RunStatus::Waiting);
    driver.now = driver.now.checked_add(SignedDuration::from_hours(5)).unwrap();
    assert!(driver.tell(CommandBody::TimerFired { timer: TimerKey::Run }).is_err());
    let approval = *driver.state.approvals.keys().next().unwrap();
    let decision =
        Decision { approved: true, by: "local:me".into(), comment: None, amount: None, at: driver.now };
    driver.tell(CommandBody::ApprovalDecided { approval, decision }).unwrap();
    driver.now = driver.now.checked_add(SignedDuration::from_secs(11)).unwrap();
    driver.tell(CommandBody::TimerFired { timer: TimerKey::Run }).unwrap();
    assert_eq!(driver.state.status, RunStatus::TimedOut);
}

/// One thing that can happen, chosen by numbers so that proptest can shrink it.
fn happen(driver: &mut Driver, what: u8, which: usize, flag: bool) {
    let names = driver.names();
    let name = names[which % names.len()].clone();
    let attempt = driver.attempt(&name);
    let approvals: Vec<_> = driver.state.approvals.keys().copied().collect();
    let approval = approvals.get(which % approvals.len().max(1)).copied();
    let body = match what % 16 {
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
        },
        7 => lost(&name, attempt, flag.then_some(u32::try_from(which % 4).unwrap())),
        8 => {
            let due = driver.now.checked_add(SignedDuration::from_secs(1)).unwrap();
            let mut on = vec![Wait::Timer { path: "0".into(), seq: 1, due }];
            on.extend(approval.map(|approval_id| Wait::Approval { approval_id }));
            CommandBody::StepSuspended { step: name, attempt, on, active_ms: 5 }
        }
        9 => CommandBody::StepStopped { step: name, attempt, active_ms: 7 },
        10 => CommandBody::StepUndone { step: name, report: json!({}), error: flag.then(failure) },
        11 => ask(&name),
        12 => match approval {
            Some(approval) => {
                let by = "local:me".to_owned();
                let decision = Decision { approved: flag, by, comment: None, amount: None, at: driver.now };
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
            (2, _) => CommandBody::Pause { by: "local:me".into() },
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

#[test]
fn timer_names_read_back() {
    for key in [
        TimerKey::Run,
        TimerKey::Backoff { step: "a-b".into() },
        TimerKey::Sleep { step: "a".into(), path: "0.1.worker:2".into(), seq: 4 },
    ] {
        assert_eq!(key.to_string().parse::<TimerKey>().unwrap(), key);
    }
}

fn question(step: &str, purpose: Purpose) -> CommandBody {
    let CommandBody::Ask { mut request } = ask(step) else { unreachable!() };
    request.purpose = purpose;
    CommandBody::Ask { request }
}

fn decide(driver: &mut Driver, approved: bool) -> Result<Vec<Event>, wflo_core::machine::Rejection> {
    let asked = |a: &wflo_core::machine::ApprovalState| a.request.purpose != Purpose::Gate;
    let approval = *driver.state.approvals.iter().rfind(|(_, a)| asked(a)).unwrap().0;
    let decision = Decision { approved, by: "local:me".into(), comment: None, amount: None, at: driver.now };
    driver.tell(CommandBody::ApprovalDecided { approval, decision })
}

#[test]
fn a_question_whose_generation_is_over_is_taken_back() {
    let mut driver = Driver::new(&diamond());
    succeed(&mut driver, "a");
    driver.tell(CommandBody::StepStarted { step: "b".into(), epoch: 1 }).unwrap();
    driver.tell(ask("b")).unwrap();
    let attempt = driver.attempt("b");
    let failed = CommandBody::StepFailed {
        step: "b".into(),
        attempt,
        error: failure(),
        timed_out: false,
        no_retry: None,
    };
    driver.tell(failed).unwrap();
    let asked =
        driver.state.approvals.values().filter(|a| matches!(a.request.purpose, Purpose::Write { .. }));
    assert!(asked.into_iter().all(|a| a.status == ApprovalStatus::Superseded));
    assert!(decide(&mut driver, false).is_err(), "a late no ends nothing");
    assert!(!driver.state.status.is_terminal() && driver.state.ending.is_none());
}

#[test]
fn questions_of_the_run_are_put_once() {
    let mut driver = Driver::new(&diamond());
    driver.tell(CommandBody::StepStarted { step: "a".into(), epoch: 1 }).unwrap();
    let budget = BudgetId::from_uuid(uuid::Uuid::from_u128(7));
    let top_up = || question("a", Purpose::Budget { budget, missing: NanoUsd::from_nanos(1) });
    driver.tell(top_up()).unwrap();
    let first = *driver.state.approvals.keys().next().unwrap();
    assert_eq!(driver.tell(top_up()).unwrap_err(), wflo_core::machine::Rejection::AskedAlready(first));
    decide(&mut driver, true).unwrap();
    driver.tell(top_up()).expect("an answered question about a budget may be put again");
    let policy = || question("a", Purpose::Policy { policy: "dear".into() });
    driver.tell(policy()).unwrap();
    assert!(driver.tell(policy()).is_err());
}
