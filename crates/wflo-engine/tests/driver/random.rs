//! Any workflow, any failures, any deaths of the driver: the run ends, each success stands once, and the
//! money adds up.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use wflo_core::event::{EventBody, Wait};
use wflo_engine::executor::End;

use crate::support::{
    Fail, Faulty, Host, Script, asks, budget_of, decide, failed, open, pays, step, succeeded, successes,
    workflow,
};

#[derive(Debug, Clone)]
struct Node {
    after: Vec<prop::sample::Index>,
    retries: u8,
    rollback: bool,
    /// What each attempt does, by number; the last goes on for ever.
    acts: Vec<u8>,
}

fn node() -> impl Strategy<Value = Node> {
    let after = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let acts = prop::collection::vec(0..6_u8, 1..5);
    (after, 0..3_u8, any::<bool>(), acts).prop_map(|(after, retries, rollback, acts)| Node {
        after,
        retries,
        rollback,
        acts,
    })
}

fn definition(nodes: &[Node]) -> Value {
    let steps = nodes.iter().enumerate().map(|(at, node)| {
        let mut after: Vec<String> =
            node.after.iter().filter(|_| at > 0).map(|i| format!("s{}", i.index(at))).collect();
        after.sort();
        after.dedup();
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        let mut one = step(&format!("s{at}"), &after);
        one["retries"] = json!(node.retries);
        one["rollback_enabled"] = json!(node.rollback);
        one["retry_backoff"] = json!({"initial_seconds": 0.005, "jitter": true});
        one
    });
    workflow(steps.collect())
}

fn script(nodes: &[Node]) -> Arc<Script> {
    let script = Arc::new(Script::default());
    for (at, node) in nodes.iter().enumerate() {
        let acts = node.acts.clone();
        script.on(&format!("s{at}"), move |attempt, store| {
            let turn = (attempt.generation + attempt.attempt - 2) as usize;
            let act = acts.get(turn).copied().unwrap_or(0);
            async move {
                match act {
                    1 => failed(),
                    2 => End::Lost { reason: "on purpose".into() },
                    3 => asks(attempt, store).await,
                    4 => {
                        let due = attempt.context.record.created_at;
                        End::Suspended { on: vec![Wait::Timer { path: "0".into(), seq: 9, due }] }
                    }
                    5 => match pays(&attempt, &store).await {
                        Ok(()) => failed(),
                        Err(e) => End::Lost { reason: e.to_string() },
                    },
                    _ => match pays(&attempt, &store).await {
                        Ok(()) => succeeded(&attempt.step),
                        Err(e) => End::Lost { reason: e.to_string() },
                    },
                }
            }
        });
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_run_ends_whatever_dies(
        nodes in prop::collection::vec(node(), 1..6),
        deaths in prop::collection::vec((1..14_i64, any::<bool>()), 0..4),
        slots in 1..4_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (script, definition) = (script(&nodes), definition(&nodes));
        let mut run = None;
        for (commits, after) in deaths {
            let fail = if after { Fail::After } else { Fail::Before };
            let faulty = Arc::new(Faulty { inner: open(dir.path()), left: commits.into(), fail });
            let host = Host::over(dir.path(), &script, faulty, slots);
            let id = match run {
                Some(id) => id,
                None => host.submit(&definition),
            };
            if run.is_some() && !host.status(id).is_terminal() {
                host.block_on(host.engine.drive(id)).unwrap();
            }
            run = Some(id);
            host.until("it dies or ends", || {
                for approval in host.pending(id) {
                    host.send(id, &decide(approval.id, true, &*host.clock));
                }
                !matches!(host.runtime_settled(id), "driven" | "waiting")
            });
            host.kill();
        }
        let host = Host::over(dir.path(), &script, open(dir.path()), slots);
        let run = run.unwrap_or_else(|| host.submit(&definition));
        let record = host.block_on(host.store.run(run)).unwrap().unwrap();
        if !record.status.is_terminal() && record.engine != Some(host.engine.id()) {
            host.block_on(host.engine.drive(run)).unwrap();
        }
        let status = host.finish(run);
        prop_assert!(status.is_terminal());
        let events = host.events(run);
        let mut done = successes(&events);
        let before = done.len();
        done.sort();
        done.dedup();
        prop_assert_eq!(before, done.len(), "each success stands once");
        prop_assert!(script.repeated.lock().unwrap().is_empty());
        let ends = events.iter().filter(|e| matches!(e.event.body,
            EventBody::RunCompleted {} | EventBody::RunFailed { .. } | EventBody::RunRejected { .. })).count();
        prop_assert_eq!(ends, 1);
        let budgets = host.block_on(host.store.budgets(vec![budget_of(run).key])).unwrap();
        let cost = host.block_on(host.store.run_cost(run)).unwrap();
        for budget in budgets {
            prop_assert_eq!(budget.held.units(), 0, "nothing is held once a run has ended");
            prop_assert_eq!(budget.settled.money(), cost, "what was settled is what the effects cost");
        }
    }
}
