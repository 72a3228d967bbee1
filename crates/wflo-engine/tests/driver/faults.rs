//! The driver's kill matrix: every commit of a run fails once, before and after it is durable; another
//! engine then finishes the run, and nothing that had finished is done again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use wflo_core::run::RunStatus;
use wflo_engine::EngineError;

use crate::support::{
    Fail, Faulty, Host, Script, asks, budget_of, failed, open, pays, step, succeeded, successes, workflow,
};
use wflo_engine::executor::End;

fn story() -> Value {
    let mut flaky = step("flaky", &["paid"]);
    flaky["retries"] = json!(1);
    flaky["rollback_enabled"] = json!(true);
    flaky["retry_backoff"] = json!({"initial_seconds": 0.01, "jitter": false});
    let gate = json!({"name": "gate", "type": "approval", "depends_on": ["paid"]});
    let last = step("last", &["flaky", "gate", "asking"]);
    workflow(vec![step("paid", &[]), flaky, gate, step("asking", &["paid"]), last])
}

fn script() -> Arc<Script> {
    let script = Arc::new(Script::default());
    for name in ["paid", "last"] {
        script.on(name, |attempt, store| async move {
            match pays(&attempt, &store).await {
                Ok(()) => succeeded(&attempt.step),
                Err(e) => End::Lost { reason: e.to_string() },
            }
        });
    }
    script.on("flaky", |attempt, _| async move {
        if attempt.generation == 1 { failed() } else { succeeded(&attempt.step) }
    });
    script.on("asking", asks);
    script
}

/// How many fenced commits an undisturbed run makes.
fn undisturbed() -> i64 {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Arc::new(Faulty { inner: open(dir.path()), left: 1_000.into(), fail: Fail::Before });
    let host = Host::over(dir.path(), &script(), Arc::clone(&faulty) as _, 4);
    let run = host.submit(&story());
    assert_eq!(host.finish(run), RunStatus::Completed);
    1_000 - faulty.left.load(Ordering::SeqCst)
}

#[test]
fn whichever_commit_fails_another_engine_finishes_the_run() {
    let commits = undisturbed();
    println!("boundary | fails  | first engine | then      | attempts | undone | uncertain");
    let bad = AtomicUsize::new(0);
    for n in 0..commits {
        for fail in [Fail::Before, Fail::After] {
            let dir = tempfile::tempdir().unwrap();
            let script = script();
            let faulty = Arc::new(Faulty { inner: open(dir.path()), left: n.into(), fail });
            let first = Host::over(dir.path(), &script, faulty, 4);
            let run = match first.block_on(first.try_submit(&story())) {
                Ok(run) => run,
                // Refused as a whole, or accepted without its submitter learning of it.
                Err(EngineError::Store(_)) => {
                    let known = first.block_on(first.store.runs(Default::default())).unwrap();
                    match known.first() {
                        Some(record) => record.id,
                        None => {
                            println!("{n:8} | {fail:?} | not accepted");
                            first.kill();
                            continue;
                        }
                    }
                }
                Err(e) => panic!("{e}"),
            };
            first.until("the fault strikes or the run ends", || {
                for approval in first.pending(run) {
                    first.send(run, &crate::support::decide(approval.id, true, &*first.clock));
                }
                let said = first.runtime_settled(run);
                said != "driven" && said != "waiting"
            });
            let said = first.runtime_settled(run);
            first.kill();
            let second = Host::start(dir.path(), &script);
            if !second.status(run).is_terminal() {
                second.block_on(second.engine.drive(run)).unwrap();
            }
            let status = second.finish(run);
            let mut done = successes(&second.events(run));
            done.sort();
            let budget = second.block_on(second.store.budgets(vec![budget_of(run).key])).unwrap();
            let cost = second.block_on(second.store.run_cost(run)).unwrap();
            let effects = second.block_on(second.store.run_effects(run)).unwrap();
            let uncertain = effects.iter().filter(|row| row.uncertain.nanos() > 0).count();
            let good = status == RunStatus::Completed
                && done == ["asking", "flaky", "gate", "last", "paid"]
                && script.repeated.lock().unwrap().is_empty()
                && budget.iter().all(|b| b.held.units() == 0 && b.settled.money() == cost);
            if !good {
                bad.fetch_add(1, Ordering::SeqCst);
                println!("  {done:?} {budget:?} {cost} {:?}", script.repeated.lock().unwrap());
            }
            println!(
                "{n:8} | {:6} | {said:12} | {status} | {:8} | {:6} | {uncertain}",
                format!("{fail:?}"),
                script.began.lock().unwrap().len(),
                script.undone.load(Ordering::SeqCst),
            );
        }
    }
    assert_eq!(bad.load(Ordering::SeqCst), 0);
}
