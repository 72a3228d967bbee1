//! Runs that go their way: order, retries, timers, people, stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use wflo_core::approval::ApprovalStatus;
use wflo_core::event::{EventBody, Wait};
use wflo_core::ports::store::ApprovalFilter;
use wflo_core::run::RunStatus;
use wflo_engine::executor::End;
use wflo_engine::inbox::Message;
use wflo_engine::{EngineError, Progress};

use crate::support::{
    Host, PATIENCE, Script, asks, cancel, decide, failed, open, step, succeeded, successes, until,
    until_stopped, workflow,
};

fn world() -> (tempfile::TempDir, Arc<Script>, Host) {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let host = Host::start(dir.path(), &script);
    (dir, script, host)
}

#[test]
fn a_line_of_steps_is_carried_out_once_each_in_order() {
    let (_dir, script, host) = world();
    let run = host.submit(&workflow(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]));
    assert_eq!(host.block_on(host.engine.settled(run)).unwrap(), Progress::Ended(RunStatus::Completed));
    let began: Vec<String> = script.began.lock().unwrap().iter().map(|(s, ..)| s.clone()).collect();
    assert_eq!(began, ["a", "b", "c"]);
    assert_eq!(host.block_on(host.engine.ended(run)).unwrap(), Progress::Ended(RunStatus::Completed));
}

#[test]
fn nothing_that_was_made_for_a_run_is_left_when_it_is_said_to_be_over() {
    for end in [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled] {
        let (_dir, script, host) = world();
        script.on("b", move |attempt, _| async move {
            match end {
                RunStatus::Failed => failed(),
                RunStatus::Cancelled => until_stopped(&attempt).await,
                _ => succeeded("b"),
            }
        });
        let run = host.submit(&workflow(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]));
        if end == RunStatus::Cancelled {
            host.until("b runs", || script.times("b") == 1);
            host.send(run, &cancel());
        }
        assert_eq!(host.finish(run), end);
        let left = script.left.lock().unwrap().clone();
        let (live, status) = left[0];
        assert_eq!(live, 0, "{end:?}: no attempt can ask for more");
        assert!(!status.is_terminal(), "{end:?}: it was left before that was durable, at {status:?}");
    }
}

#[test]
fn a_run_that_rests_keeps_nothing_that_was_made_for_it() {
    let (_dir, script, host) = world();
    let asking = json!({ "name": "b", "type": "approval", "depends_on": ["a"] });
    let run = host.submit(&workflow(vec![step("a", &[]), asking]));
    let parked = host.block_on(host.engine.settled(run)).unwrap();
    assert_eq!(parked, Progress::Parked(RunStatus::Waiting));
    assert_eq!(*script.left.lock().unwrap(), [(0, RunStatus::Waiting)]);
}

#[test]
fn branches_run_beside_each_other_within_the_slots() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let host = Host::over(dir.path(), &script, open(dir.path()), 2);
    let names = ["b", "c", "d", "e"];
    let together = Arc::new(tokio::sync::Barrier::new(2));
    for name in names {
        let together = Arc::clone(&together);
        script.on(name, move |attempt, _| {
            let together = Arc::clone(&together);
            async move {
                together.wait().await;
                succeeded(&attempt.step)
            }
        });
    }
    let mut steps = vec![step("a", &[])];
    steps.extend(names.map(|name| step(name, &["a"])));
    steps.push(step("f", &names));
    let run = host.submit(&workflow(steps));
    assert_eq!(host.finish(run), RunStatus::Completed);
    assert_eq!(script.most_live.load(Ordering::SeqCst), 2, "never more than there are slots");
}

#[test]
fn a_slot_that_nobody_needs_any_more_is_another_runs() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let host = Host::over(dir.path(), &script, open(dir.path()), 1);
    let go = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&go);
    script.on("first", move |attempt, _| {
        let held = Arc::clone(&held);
        async move {
            while !held.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            succeeded(&attempt.step)
        }
    });
    let first = host.submit(&workflow(vec![step("first", &[])]));
    host.until("the slot is taken", || script.times("first") == 1);
    let second = host.submit(&workflow(vec![step("x", &[]), step("y", &[])]));
    host.send(second, &cancel());
    host.until_status(second, RunStatus::Cancelled);
    let third = host.submit(&workflow(vec![step("z", &[])]));
    go.store(true, Ordering::SeqCst);
    assert_eq!((host.finish(first), host.finish(third)), (RunStatus::Completed, RunStatus::Completed));
    assert_eq!(script.times("x") + script.times("y"), 0);
}

#[test]
fn a_retry_waits_and_begins_a_new_generation() {
    let (_dir, script, host) = world();
    let tries = Arc::new(AtomicUsize::new(0));
    script.on("a", move |attempt, _| {
        let last = tries.fetch_add(1, Ordering::SeqCst) == 2;
        async move { if last { succeeded(&attempt.step) } else { failed() } }
    });
    let mut a = step("a", &[]);
    a["retries"] = json!(2);
    a["retry_backoff"] = json!({"initial_seconds": 0.05, "factor": 2.0, "max_seconds": 1.0, "jitter": false});
    let run = host.submit(&workflow(vec![a]));
    assert_eq!(host.finish(run), RunStatus::Completed);
    let generations: Vec<u32> = script.began.lock().unwrap().iter().map(|(_, g, _)| *g).collect();
    assert_eq!(generations, [1, 2, 3]);
}

#[test]
fn a_worker_that_always_dies_is_given_up_and_the_run_fails() {
    let (_dir, script, host) = world();
    script.on("a", |_, _| async { End::Lost { reason: "killed".into() } });
    let run = host.submit(&workflow(vec![step("a", &[])]));
    assert_eq!(host.finish(run), RunStatus::Failed);
    assert_eq!(script.times("a"), 5);
}

#[test]
fn a_panicking_executor_loses_an_attempt_and_not_the_run() {
    let (_dir, script, host) = world();
    let first = AtomicBool::new(true);
    script.on("a", move |attempt, _| {
        let panics = first.swap(false, Ordering::SeqCst);
        async move {
            assert!(!panics, "on purpose");
            succeeded(&attempt.step)
        }
    });
    let run = host.submit(&workflow(vec![step("a", &[])]));
    assert_eq!(host.finish(run), RunStatus::Completed);
}

#[test]
fn the_runs_time_out_ends_it() {
    let (_dir, script, host) = world();
    script.on("a", |attempt, _| async move { until_stopped(&attempt).await });
    let mut definition = workflow(vec![step("a", &[])]);
    definition["timeout_seconds"] = json!(0.2);
    let run = host.submit(&definition);
    assert_eq!(host.finish(run), RunStatus::TimedOut);
}

#[test]
fn pause_stops_and_resume_goes_on() {
    let (_dir, script, host) = world();
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    script.on("a", move |attempt, _| {
        let open = gate.load(Ordering::SeqCst);
        async move { if open { succeeded(&attempt.step) } else { until_stopped(&attempt).await } }
    });
    let run = host.submit(&workflow(vec![step("a", &[]), step("b", &["a"])]));
    host.until("a runs", || script.times("a") == 1);
    host.send(run, &Message::Pause { by: "me".into() });
    let parked = host.block_on(async {
        loop {
            match host.engine.settled(run).await.unwrap() {
                Progress::Parked(status) => return status,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    assert_eq!(parked, RunStatus::Paused);
    go.store(true, Ordering::SeqCst);
    host.send(run, &Message::Resume { by: "me".into() });
    assert_eq!(host.finish(run), RunStatus::Completed);
}

#[test]
fn cancel_ends_what_runs_undoes_it_and_starts_nothing_more() {
    let (_dir, script, host) = world();
    script.on("a", |attempt, _| async move { until_stopped(&attempt).await });
    let mut a = step("a", &[]);
    a["rollback_enabled"] = json!(true);
    let run = host.submit(&workflow(vec![a, step("b", &["a"])]));
    host.until("a runs", || script.times("a") == 1);
    host.send(run, &cancel());
    assert_eq!(host.finish(run), RunStatus::Cancelled);
    assert_eq!((script.undone.load(Ordering::SeqCst), script.times("b")), (1, 0));
}

#[test]
fn a_run_that_is_cancelled_in_the_queue_starts_nothing() {
    let (_dir, script, host) = world();
    script.on("long", |attempt, _| async move { until_stopped(&attempt).await });
    let longs: Vec<_> = (0..4).map(|_| host.submit(&workflow(vec![step("long", &[])]))).collect();
    host.until("all places are taken", || script.times("long") == 4);
    let queued = host.submit(&workflow(vec![step("never", &[])]));
    host.send(queued, &cancel());
    host.send(longs[0], &cancel());
    host.until_status(queued, RunStatus::Cancelled);
    assert_eq!(script.times("never"), 0);
    host.block_on(host.engine.shutdown());
}

#[test]
fn a_queued_run_does_not_keep_messages_from_the_others() {
    let (_dir, script, host) = world();
    script.on("long", |attempt, _| async move { until_stopped(&attempt).await });
    let longs: Vec<_> = (0..4).map(|_| host.submit(&workflow(vec![step("long", &[])]))).collect();
    host.until("all places are taken", || script.times("long") == 4);
    let queued = host.submit(&workflow(vec![step("q", &[])]));
    for _ in 0..400 {
        host.send(queued, &Message::Signal { name: "x".into(), payload: json!(null) });
    }
    host.send(longs[3], &cancel());
    host.until_status(longs[3], RunStatus::Cancelled);
    assert_eq!(host.finish(queued), RunStatus::Completed);
    host.block_on(host.engine.shutdown());
}

#[test]
fn gates_start_questions_and_steps_that_ask_wait_for_people() {
    let (_dir, script, host) = world();
    script.on("asking", asks);
    let mut start = step("start", &["gate"]);
    start["approval"] = json!({"required": true, "when": "start"});
    let gate = json!({"name": "gate", "type": "approval", "depends_on": []});
    let run = host.submit(&workflow(vec![gate, start, step("asking", &["start"])]));
    assert_eq!(host.block_on(host.engine.settled(run)).unwrap(), Progress::Parked(RunStatus::Waiting));
    assert_eq!(host.finish(run), RunStatus::Completed);
    assert_eq!(script.times("asking"), 2, "once to ask, once to go on");
}

#[test]
fn what_people_allowed_before_a_step_begins_is_one_generation() {
    let (_dir, script, host) = world();
    script.on("a", |attempt, _| async move {
        if attempt.generation == 1 { failed() } else { succeeded(&attempt.step) }
    });
    let mut a = step("a", &[]);
    a["retries"] = json!(1);
    a["retry_backoff"] = json!({"initial_seconds": 0.01});
    a["approval"] = json!({"required": true, "when": "start"});
    let run = host.submit(&workflow(vec![a]));
    assert_eq!(host.finish(run), RunStatus::Completed);
    let filter = ApprovalFilter { run: Some(run), ..ApprovalFilter::default() };
    let asked = host.block_on(host.store.approvals(filter)).unwrap();
    let mut generations: Vec<u32> = asked.iter().map(|a| a.request.generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, [1, 2]);
    assert!(asked.iter().all(|a| a.status == ApprovalStatus::Consumed), "each is used once");
}

#[test]
fn a_no_at_a_gate_rejects_the_run() {
    let (_dir, _script, host) = world();
    let gate = json!({"name": "gate", "type": "approval", "depends_on": []});
    let run = host.submit(&workflow(vec![gate, step("a", &["gate"])]));
    host.until("it asks", || host.pending(run).len() == 1);
    host.send(run, &decide(host.pending(run)[0].id, false, &*host.clock));
    assert_eq!(host.finish(run), RunStatus::Rejected);
}

#[test]
fn a_decision_that_comes_while_the_step_is_being_suspended_is_not_lost() {
    let (_dir, script, host) = world();
    let decided = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&decided);
    script.on("a", move |attempt, store| {
        let told = Arc::clone(&told);
        async move {
            let again = attempt.attempt > 1;
            let end = asks(attempt, store).await;
            if !again {
                told.notified().await;
            }
            end
        }
    });
    let run = host.submit(&workflow(vec![step("a", &[])]));
    host.until("it asks", || host.pending(run).len() == 1);
    host.send(run, &decide(host.pending(run)[0].id, true, &*host.clock));
    host.until("it is decided", || host.pending(run).is_empty());
    decided.notify_one();
    assert_eq!(host.finish(run), RunStatus::Completed);
}

#[test]
fn a_message_from_another_process_wakes_a_waiting_run_at_once() {
    let (dir, script, host) = world();
    script.on("a", asks);
    let run = host.submit(&workflow(vec![step("a", &[])]));
    host.until("it waits", || host.status(run) == RunStatus::Waiting);
    host.block_on(host.engine.settled(run)).unwrap();
    // Another connection, as another process would have.
    let other = open(dir.path());
    let approval = host.pending(run)[0].id;
    let since = Instant::now();
    let message = decide(approval, true, &*host.clock);
    host.block_on(wflo_engine::engine::send(&*other, &*host.clock, run, &message)).unwrap();
    host.block_on(host.engine.ended(run)).unwrap();
    let took = since.elapsed();
    println!("woken, run and completed {took:?} after the decision");
    // At once, as far as a busy machine can tell: not when a timer happens to be looked at.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_durable_sleep_wakes_the_run() {
    let (_dir, script, host) = world();
    script.on("a", |attempt, _| async move {
        if attempt.attempt > 1 {
            return succeeded(&attempt.step);
        }
        let due = attempt.context.record.created_at + Duration::from_millis(150);
        End::Suspended { on: vec![Wait::Timer { path: "0".into(), seq: 0, due }] }
    });
    let run = host.submit(&workflow(vec![step("a", &[])]));
    assert_eq!(host.finish(run), RunStatus::Completed);
    assert_eq!(script.times("a"), 2);
}

#[test]
fn shutdown_ends_attempts_and_nobody_waits_for_ever() {
    let (dir, script, host) = world();
    script.on("long", |attempt, _| async move { until_stopped(&attempt).await });
    script.on("asking", asks);
    let long = host.submit(&workflow(vec![step("long", &[])]));
    let waiting = host.submit(&workflow(vec![step("asking", &[])]));
    host.until("both are there", || script.times("long") == 1 && host.status(waiting) == RunStatus::Waiting);
    let engine = host.engine.clone();
    let (ended_long, ended_waiting, ()) = host
        .block_on(async { tokio::join!(engine.ended(long), engine.ended(waiting), host.engine.shutdown()) });
    for said in [ended_long, ended_waiting] {
        assert!(matches!(said, Ok(Progress::GivenUp(_)) | Err(EngineError::ShuttingDown)), "{said:?}");
    }
    assert!(matches!(host.block_on(host.engine.ended(long)), Err(EngineError::ShuttingDown)));
    let refused = host.block_on(host.try_submit(&workflow(vec![step("late", &[])])));
    assert!(matches!(refused, Err(EngineError::ShuttingDown)));
    let next = Host::start(dir.path(), &script);
    script.on("long", |attempt, _| async move { succeeded(&attempt.step) });
    next.block_on(next.engine.drive(long)).unwrap();
    next.block_on(next.engine.drive(waiting)).unwrap();
    assert_eq!((next.finish(long), next.finish(waiting)), (RunStatus::Completed, RunStatus::Completed));
}

#[test]
fn an_end_that_the_store_refuses_is_tried_again_by_another_attempt() {
    let (_dir, script, host) = world();
    script.on("a", |attempt, _| async move {
        let mut end = succeeded(&attempt.step);
        if let (End::Succeeded { ops, .. }, 1) = (&mut end, attempt.attempt) {
            // Not an approval of anything: the commit of this success cannot be made.
            let id = wflo_core::id::ApprovalId::from_uuid(attempt.run.uuid());
            ops.push(wflo_core::ports::store::Op::ConsumeApproval {
                id,
                at: attempt.context.record.created_at,
            });
        }
        end
    });
    let run = host.submit(&workflow(vec![step("a", &[])]));
    assert_eq!(host.finish(run), RunStatus::Completed);
    let events = host.events(run);
    assert!(events.iter().any(|e| matches!(e.event.body, EventBody::StepLost { .. })));
}

#[test]
fn what_a_retry_keeps_is_copied_only_when_there_is_one() {
    let (_dir, script, host) = world();
    script.on("a", |attempt, store| async move {
        crate::support::pays(&attempt, &store).await.unwrap();
        let End::Failed { error, .. } = failed() else { unreachable!() };
        End::Failed { error, timed_out: false, no_retry: None, keep: vec![("0".into(), 0)], left: None }
    });
    let mut a = step("a", &[]);
    a["retries"] = json!(1);
    a["retry_backoff"] = json!({"initial_seconds": 0.01});
    let run = host.submit(&workflow(vec![a]));
    assert_eq!(host.finish(run), RunStatus::Failed);
    let rows = host.block_on(host.store.run_effects(run)).unwrap();
    let generations: Vec<u32> = rows.iter().map(|row| row.key.generation).collect();
    assert_eq!(generations, [1, 2], "kept for the one retry and for no third generation");
    assert_eq!(host.block_on(host.store.run_cost(run)).unwrap().nanos(), crate::support::PRICE / 2);
}

#[test]
fn many_messages_and_runs_at_once_all_arrive() {
    let (_dir, script, host) = world();
    script.on("a", asks);
    let runs: Vec<_> =
        (0..20).map(|_| host.submit(&workflow(vec![step("a", &[]), step("b", &["a"])]))).collect();
    let since = Instant::now();
    until("all have ended", || {
        assert!(since.elapsed() < PATIENCE);
        for run in &runs {
            for approval in host.pending(*run) {
                host.send(*run, &decide(approval.id, true, &*host.clock));
                host.send(*run, &Message::Signal { name: "noise".into(), payload: json!(1) });
            }
        }
        runs.iter().all(|run| host.status(*run) == RunStatus::Completed)
    });
    for run in runs {
        assert_eq!(successes(&host.events(run)), ["a", "b"]);
    }
}
