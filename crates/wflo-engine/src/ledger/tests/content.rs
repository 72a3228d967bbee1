//! What is kept of requests to models.

use std::sync::mpsc;

use bytes::Bytes;
use wflo_core::content::{MOST_OF_RUN, Outline};
use wflo_core::effect::EffectKind;

use super::*;

/// A conversation of about a megabyte, in messages of its own.
fn long(name: &str) -> Bytes {
    let messages: Vec<Value> = (0..1_000)
        .map(|n| json!({"role": "user", "content": format!("{name} {n} {}", "word ".repeat(200))}))
        .collect();
    json!({"model": "smol", "max_tokens": 100, "messages": messages}).to_string().into()
}

async fn ask(gateway: &Gateway, calls: &Arc<Calls>, seq: u32, body: &Bytes) {
    let chat = ChatCall {
        model: "smol".into(),
        request: serde_json::from_slice::<Value>(body).unwrap().as_object().unwrap().clone(),
        stream: false,
        positional: Some(("0".into(), seq)),
    };
    gateway.call(Caller::new("test", Arc::clone(calls)), chat, None).await.unwrap();
}

/// The calls of another attempt of the same step, which remembers nothing of what is kept.
async fn forgetful(calls: &Calls) -> Arc<Calls> {
    let Services { store, clock, .. } = &*calls.services;
    let (attempt, meter) =
        (calls.attempt.clone(), calls.services.meters.of(store.as_ref(), calls.attempt.run));
    let journal = Journal::load(
        Arc::clone(store),
        Arc::clone(clock),
        attempt.fence(),
        &attempt.step,
        attempt.generation,
    );
    let journal = Arc::new(journal.await.unwrap().metered(meter.await.unwrap()));
    Arc::clone(&Broker::new(attempt, journal, Arc::clone(&calls.services)).calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_again_by_another_attempt_takes_no_room() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        let store = Arc::clone(&calls.services.store);
        let run = calls.attempt.run;
        let first = forgetful(&calls).await;
        ask(&gateway, &first, 0, &long("one")).await;
        let kept = store.kept_content(run).await.unwrap();
        assert!(kept > 1_000_000);
        let meter = calls.services.meters.of(store.as_ref(), run).await.unwrap();
        let room = MOST_OF_RUN - kept;
        assert!(meter.has_room(room) && !meter.has_room(room + 1));
        // Again, by attempts that do not know what is there.
        for seq in 1..5 {
            ask(&gateway, &forgetful(&calls).await, seq, &long("one")).await;
        }
        assert_eq!(store.kept_content(run).await.unwrap(), kept);
        assert!(meter.has_room(room) && !meter.has_room(room + 1), "it counts once");
        // Where nothing more fits, what is there already still does, and nothing else.
        meter.add_content(room);
        ask(&gateway, &forgetful(&calls).await, 5, &long("one")).await;
        ask(&gateway, &forgetful(&calls).await, 6, &long("two")).await;
        let mut rows = store.run_effects(run).await.unwrap();
        rows.retain(|row| row.kind == EffectKind::Llm);
        let is_kept = |seq: u32| {
            let row = rows.iter().find(|row| row.key.seq == seq).unwrap();
            let outline: Outline = serde_json::from_value(row.request.field("content").clone()).unwrap();
            outline.blake3.is_none()
        };
        assert_eq!((is_kept(4), is_kept(5), is_kept(6)), (true, true, false));
        done(json!("ok"))
    });
    let run = world.submit(&json!({})).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
}

#[test]
fn nobody_waits_for_a_large_request_to_be_looked_through() {
    // On one thread: whoever is looked through there keeps all others waiting, for ever in this test.
    let (over, is_over) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            world.on(|_, calls, _| async move {
                let services = Arc::clone(&calls.services);
                let (locked, is_locked) = mpsc::channel();
                let (release, released) = mpsc::channel::<()>();
                let held = std::thread::spawn(move || {
                    services.hosts.held_while(|| {
                        locked.send(()).unwrap();
                        let _ = released.recv();
                    });
                });
                is_locked.recv().unwrap();
                let of = Arc::clone(&calls);
                let asked =
                    tokio::spawn(async move { crate::ledger::content::Asked::of(&of, &long("x")).await });
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                assert!(!asked.is_finished());
                release.send(()).unwrap();
                asked.await.unwrap();
                held.join().unwrap();
                done(json!("ok"))
            });
            let run = world.submit(&json!({})).await;
            assert_eq!(world.ended(run).await, RunStatus::Completed);
        });
        over.send(()).unwrap();
    });
    is_over.recv_timeout(Duration::from_secs(60)).expect("the one thread waits for a body");
}
