//! Drivers that die, and the ones that take over.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;

use serde_json::json;
use wflo_core::canonical::Digest;
use wflo_core::effect::EffectKind;
use wflo_core::run::RunStatus;
use wflo_engine::clock::SystemClock;
use wflo_engine::journal::{Intent, Journal};
use wflo_engine::{EngineError, engine};

use crate::support::{
    Fail, Faulty, Host, Script, asks, budget_of, cancel, open, pays, step, succeeded, successes, until,
    until_stopped, workflow,
};

#[test]
fn a_run_whose_driver_died_is_taken_over_where_it_stood() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    script.on("b", |attempt, _| async move { until_stopped(&attempt).await });
    let first = Host::start(dir.path(), &script);
    let run = first.submit(&workflow(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]));
    first.until("b runs", || script.times("b") == 1);
    let second = Host::start(dir.path(), &script);
    let refused = second.block_on(second.engine.drive(run));
    assert!(matches!(refused, Err(EngineError::DrivenElsewhere { .. })), "{refused:?}");
    assert!(second.block_on(second.engine.left_behind()).unwrap().is_empty());
    first.kill();
    script.on("b", |attempt, _| async move { succeeded(&attempt.step) });
    let left = second.block_on(second.engine.left_behind()).unwrap();
    assert_eq!(left.iter().map(|r| r.id).collect::<Vec<_>>(), [run]);
    second.block_on(second.engine.drive(run)).unwrap();
    assert_eq!(second.finish(run), RunStatus::Completed);
    assert_eq!(successes(&second.events(run)), ["a", "b", "c"]);
    assert_eq!((script.times("a"), script.times("b")), (1, 2));
}

#[test]
fn a_run_that_was_cancelled_while_nobody_drove_starts_nothing_and_charges_the_lost_call() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    script.on("a", |attempt, store| async move {
        // The intent is written and the answer never comes.
        let left = 1.into();
        let dying: Arc<dyn wflo_core::ports::store::Store> =
            Arc::new(Faulty { inner: store, left, fail: Fail::Before });
        assert!(pays(&attempt, &dying).await.is_err());
        until_stopped(&attempt).await
    });
    let first = Host::start(dir.path(), &script);
    let run = first.submit(&workflow(vec![step("a", &[]), step("b", &["a"])]));
    first.until("money is held", || held(&first, run) == (0, crate::support::PRICE));
    first.kill();
    let second = Host::start(dir.path(), &script);
    second.block_on(engine::send(&*second.store, &*second.clock, run, &cancel())).unwrap();
    second.block_on(second.engine.drive(run)).unwrap();
    assert_eq!(second.finish(run), RunStatus::Cancelled);
    assert_eq!(script.times("a"), 1, "a cancelled run starts nothing again");
    assert_eq!(held(&second, run), (crate::support::PRICE, 0), "held for ever is neither spent nor free");
    let row = &second.block_on(second.store.run_effects(run)).unwrap()[0];
    assert_eq!((row.uncertain, row.cost.nanos()), (row.cost, crate::support::PRICE));
}

fn held(host: &Host, run: wflo_core::id::RunId) -> (i64, i64) {
    let budgets = host.block_on(host.store.budgets(vec![budget_of(run).key])).unwrap();
    budgets.first().map_or((0, 0), |b| (b.settled.units(), b.held.units()))
}

#[test]
fn an_engine_that_gave_a_run_up_can_take_it_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    script.on("a", |attempt, _| async move {
        if attempt.attempt > 1 { succeeded(&attempt.step) } else { until_stopped(&attempt).await }
    });
    let faulty = Arc::new(Faulty { inner: open(dir.path()), left: 1_000.into(), fail: Fail::Before });
    let host = Host::over(dir.path(), &script, Arc::clone(&faulty) as _, 4);
    let run = host.submit(&workflow(vec![step("a", &[])]));
    host.until("a runs", || script.times("a") == 1);
    faulty.left.store(0, std::sync::atomic::Ordering::SeqCst);
    host.send(run, &wflo_engine::inbox::Message::Signal { name: "x".into(), payload: 1.into() });
    let said = host.block_on(host.engine.ended(run)).unwrap();
    assert!(matches!(said, wflo_engine::Progress::GivenUp(_)), "{said:?}");
    faulty.left.store(1_000, std::sync::atomic::Ordering::SeqCst);
    host.block_on(host.engine.drive(run)).unwrap();
    assert_eq!(host.finish(run), RunStatus::Completed);
}

#[test]
fn a_step_that_ends_every_engine_is_parked_and_one_that_gets_on_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    script.on("gets_on", |attempt, store| async move {
        // One more answer in each attempt, then the engine dies.
        let clock: Arc<dyn wflo_core::ports::clock::Clock> = Arc::new(SystemClock::default());
        let (step, generation) = (&attempt.step, attempt.generation);
        let journal = Journal::load(store, clock, attempt.fence(), step, generation).await.unwrap();
        let intent = Intent {
            path: "0".into(),
            seq: attempt.attempt,
            kind: EffectKind::Random,
            name: "random".into(),
            fingerprint: Digest::of_bytes(b"x"),
            request: json!({}),
            hold: None,
            attributes: json!({}),
            after: 0,
        };
        journal.record(intent, journal.ok(json!(1)), Vec::new()).await.unwrap();
        until_stopped(&attempt).await
    });
    script.on("ends_it", |attempt, _| async move { until_stopped(&attempt).await });
    let host = Host::start(dir.path(), &script);
    let run = host.submit(&workflow(vec![step("gets_on", &[]), step("ends_it", &[])]));
    let answers = |host: &Host| host.block_on(host.store.run_effects(run)).unwrap().len();
    let limit = wflo_core::machine::CRASH_LIMIT as usize;
    let mut host = Some(host);
    for crash in 1..=limit {
        let living = host.take().unwrap();
        living.until("both run", || script.times("ends_it") == crash && answers(&living) == crash);
        living.kill();
        let next = Host::start(dir.path(), &script);
        next.block_on(next.engine.drive(run)).unwrap();
        host = Some(next);
    }
    let host = host.unwrap();
    host.until_status(run, RunStatus::Failed);
    let record = host.block_on(host.store.run(run)).unwrap().unwrap();
    let error = record.error.unwrap();
    assert_eq!(error.code, "WFLO-3001");
    assert!(error.message.contains("`ends_it`"), "{}", error.message);
    assert_eq!(script.times("ends_it"), limit);
}

const DIR: &str = "WFLO_TEST_DRIVER_DIR";

/// Not a test by itself: what the process does that the next test kills.
#[test]
#[ignore = "runs in a child process"]
fn child_that_drives_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let script = Arc::new(Script::default());
    script.on("b", |attempt, _| async move { until_stopped(&attempt).await });
    script.on("asking", asks);
    let host = Host::start(dir.as_ref(), &script);
    host.submit(&workflow(vec![step("a", &[]), step("b", &["a"]), step("asking", &["b"])]));
    loop {
        std::thread::park();
    }
}

#[test]
fn a_process_that_is_killed_is_proven_dead_and_its_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let name = "takeover::child_that_drives_until_it_is_killed";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .env(DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let script = Arc::new(Script::default());
    script.on("asking", asks);
    let host = Host::start(dir.path(), &script);
    let mut run = None;
    until("the child runs step b", || {
        let runs = host.block_on(host.store.runs(wflo_core::ports::store::RunFilter::default())).unwrap();
        run = runs.first().map(|r| r.id);
        run.is_some_and(|run| successes(&host.events(run)) == ["a"])
    });
    let run = run.unwrap();
    match host.block_on(host.engine.drive(run)) {
        Err(EngineError::DrivenElsewhere { pid, .. }) => assert_eq!(pid, child.id()),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    host.block_on(host.engine.drive(run)).unwrap();
    assert_eq!(host.finish(run), RunStatus::Completed);
    assert_eq!(successes(&host.events(run)), ["a", "b", "asking"]);
    assert_eq!(script.times("a"), 0);
}
