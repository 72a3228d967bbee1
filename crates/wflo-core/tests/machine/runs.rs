//! How runs and their steps go.

use jiff::SignedDuration;
use serde_json::json;
use wflo_core::approval::Decision;
use wflo_core::event::{LeftBehind, Wait};
use wflo_core::machine::{Action, CommandBody, StepStatus, TimerKey, outstanding};
use wflo_core::run::RunStatus;

use crate::driver::{Driver, diamond, failure, lost, succeed};

#[test]
fn a_run_goes_through_its_steps_and_gates() {
    let mut driver = Driver::new(&diamond());
    assert_eq!(outstanding(&driver.state), [Action::RunStep { step: "a".into(), generation: 1 }]);
    succeed(&mut driver, "a");
    let approval = *driver.state.approvals.keys().next().unwrap();
    assert!(outstanding(&driver.state).contains(&Action::RequestApproval { approval }));
    succeed(&mut driver, "b");
    assert_eq!(driver.state.status, RunStatus::Waiting);
    let decision = Decision {
        approved: true,
        by: "local:me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: driver.now,
    };
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
        left: None,
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
fn a_worker_that_dies_again_and_again_hangs() {
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
        left: None,
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
    let decision = Decision {
        approved: true,
        by: "local:me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: driver.now,
    };
    driver.tell(CommandBody::ApprovalDecided { approval, decision }).unwrap();
    driver.now = driver.now.checked_add(SignedDuration::from_secs(11)).unwrap();
    driver.tell(CommandBody::TimerFired { timer: TimerKey::Run }).unwrap();
    assert_eq!(driver.state.status, RunStatus::TimedOut);
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

#[test]
fn a_program_that_fails_leaves_its_files_and_its_exit_code() {
    let definition =
        json!({"name": "p", "steps": [{"name": "p", "type": "program", "argv": ["sh", "{{ inputs.x }}"]}]});
    let left = |driver: &Driver| {
        let attempt = driver.attempt("p");
        let left = Some(LeftBehind { exit_code: Some(3), layer: Some("layer".into()) });
        let (error, no_retry) = (failure(), Some(failure()));
        CommandBody::StepFailed { step: "p".into(), attempt, error, timed_out: false, no_retry, left }
    };
    let mut failed = Driver::new(&definition);
    failed.tell(CommandBody::StepStarted { step: "p".into(), epoch: 1 }).unwrap();
    failed.tell(left(&failed)).unwrap();
    let step = failed.state.step("p").unwrap();
    assert_eq!((step.layer.as_deref(), step.exit_code), (Some("layer"), Some(3)));
    assert_eq!(failed.state.status, RunStatus::Failed);

    // A run that ends keeps why it does, and the files of what it ends.
    let mut cancelled = Driver::new(&definition);
    cancelled.tell(CommandBody::StepStarted { step: "p".into(), epoch: 1 }).unwrap();
    cancelled.tell(CommandBody::Cancel { by: "local:me".into(), reason: None }).unwrap();
    cancelled.tell(left(&cancelled)).unwrap();
    assert_eq!(cancelled.state.step("p").unwrap().layer.as_deref(), Some("layer"));
    assert_eq!(cancelled.state.status, RunStatus::Cancelled);
}
