//! Writes that were made behind the back of their journal, because an engine died in between: however the
//! generation ends, they are finished before it has.

use std::sync::Arc;

use serde_json::json;
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKind, EffectState};
use wflo_core::event::EventBody;
use wflo_core::run::RunStatus;
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::{Attempt, End};
use wflo_engine::journal::{Intent, Journal};

use crate::support::{Host, Script, cancel, decide, step, succeeded, until_stopped, workflow};

/// Begins a write in the first attempt; later ones end as told.
async fn writes(attempt: Attempt, store: Arc<dyn wflo_core::ports::store::Store>, goes_on: bool) -> End {
    let clock = Arc::new(SystemClock::default());
    let (step, generation) = (attempt.step.clone(), attempt.generation);
    let journal = Journal::load(store, clock, attempt.fence(), &step, generation).await.unwrap();
    if journal.get("0", 0).is_none() {
        let intent = Intent {
            path: "0".into(),
            seq: 0,
            kind: EffectKind::Db,
            name: "execute".into(),
            fingerprint: Digest::of_bytes(b"write"),
            request: json!({}),
            hold: None,
            attributes: json!({ "write": true, "database": "main" }),
            after: 0,
        };
        journal.intend(intent, Vec::new()).await.unwrap();
    } else if goes_on {
        return succeeded(&step);
    }
    until_stopped(&attempt).await
}

#[test]
fn a_write_that_was_made_is_finished_however_its_generation_ends() {
    for (how, wanted) in
        [("cancel", RunStatus::Cancelled), ("reject", RunStatus::Rejected), ("succeed", RunStatus::Completed)]
    {
        for made in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let script = Arc::new(Script::default());
            script.on("a", move |attempt, store| writes(attempt, store, how == "succeed"));
            let first = Host::start(dir.path(), &script);
            let gate = json!({ "name": "gate", "type": "approval", "depends_on": [] });
            let run = first.submit(&workflow(vec![step("a", &[]), gate]));
            let rows = |host: &Host| host.block_on(host.store.run_effects(run)).unwrap();
            first.until("the write is begun", || !rows(&first).is_empty());
            first.until("people are asked", || !first.pending(run).is_empty());
            first.kill();
            script.made.store(made, std::sync::atomic::Ordering::SeqCst);
            let second = Host::start(dir.path(), &script);
            let message = match how {
                "cancel" => Some(cancel()),
                "reject" => Some(decide(second.pending(run)[0].id, false, &*second.clock)),
                _ => None,
            };
            if let Some(message) = message {
                second.send(run, &message);
            }
            second.block_on(second.engine.drive(run)).unwrap();
            assert_eq!(second.finish(run), wanted, "{how}");
            let row = &rows(&second)[0];
            assert_eq!(matches!(row.state, EffectState::Finished { .. }), made, "{how}: {row:?}");
            let told = second.events(run);
            let finished = |e: &EventBody| matches!(e, EventBody::EffectFinished { .. });
            let over = |e: &EventBody| matches!(e, EventBody::StepCancelled { step, .. } | EventBody::StepSucceeded { step, .. } if step == "a");
            let at = |is: &dyn Fn(&EventBody) -> bool| told.iter().position(|e| is(&e.event.body));
            assert_eq!(at(&finished).is_some(), made, "{how}");
            assert!(at(&finished) < at(&over), "{how}: before the end of its generation");
        }
    }
}
