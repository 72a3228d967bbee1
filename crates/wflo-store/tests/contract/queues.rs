//! The inbox, timers, engines.

use serde_json::json;
use wflo_core::id::RunId;
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::{EngineRow, Op, StoreError, Timer};

use super::ground::*;

fn message(run: RunId, n: u32) -> Op {
    Op::PushInbox { run, message: json!({"kind": "signal", "n": n}), at: at(1) }
}

pub async fn messages_reach_the_engine_of_the_run(fixture: &Fixture) {
    let (store, mine) = accepted(fixture).await;
    let (_, other) = accepted(fixture).await;
    commit(&*store, vec![message(mine.id, 1), message(other.id, 2)]).await.unwrap();
    commit(&*store, vec![message(mine.id, 3)]).await.unwrap();
    let inbox = store.inbox(mine.engine.unwrap()).await.unwrap();
    assert_eq!(
        inbox.iter().map(|m| (m.run, m.message["n"].as_u64())).collect::<Vec<_>>(),
        [(mine.id, Some(1)), (mine.id, Some(3))]
    );
    assert!(inbox[0].id < inbox[1].id);
    assert_eq!(store.run_inbox(mine.id).await.unwrap(), inbox);
    commit(&*store, vec![Op::DropInbox { ids: vec![inbox[0].id, inbox[1].id] }]).await.unwrap();
    assert!(store.run_inbox(mine.id).await.unwrap().is_empty());
    assert_eq!(store.run_inbox(other.id).await.unwrap().len(), 1);
    // A number is never used again.
    commit(&*store, vec![message(mine.id, 4)]).await.unwrap();
    assert!(store.run_inbox(mine.id).await.unwrap()[0].id > inbox[1].id);
    let unknown = commit(&*store, vec![message(run_id(), 1)]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "run", .. })));
}

pub async fn timers_are_replaced_and_removed(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let (_, other) = accepted(fixture).await;
    let set = Moment { wall: at(0), boot_ms: 42, boot_id: "b".to_owned() };
    let put = |run, key: &str, n| Op::PutTimer { run, key: key.to_owned(), due: at(n), set: set.clone() };
    // A sleep of centuries fits as well.
    let far = 200_000_000_000;
    commit(
        &*store,
        vec![put(run.id, "a", 10), put(run.id, "a", 20), put(run.id, "b", far), put(other.id, "a", 1)],
    )
    .await
    .unwrap();
    let timer = |run, key: &str, n| Timer { run, key: key.to_owned(), due: at(n), set: set.clone() };
    let mine = [timer(run.id, "a", 20), timer(run.id, "b", far)];
    assert_eq!(store.timers(None, Some(run.id)).await.unwrap(), mine);
    assert_eq!(store.timers(run.engine, None).await.unwrap(), mine);
    assert_eq!(store.timers(None, None).await.unwrap().len(), 3);
    commit(&*store, vec![Op::DropTimer { run: run.id, key: "a".to_owned() }]).await.unwrap();
    assert_eq!(store.timers(None, Some(run.id)).await.unwrap(), mine[1..]);
}

pub async fn engines_come_and_go(fixture: &Fixture) {
    let store = fixture.open();
    let (first, second) = (engine_id(), engine_id());
    let put = |id, pid| Op::PutEngine { id, pid, at: at(1) };
    commit(&*store, vec![put(first, 10), put(second, 11)]).await.unwrap();
    let row = |id, pid| EngineRow { id, pid, started_at: at(1) };
    assert_eq!(store.engines().await.unwrap(), [row(first, 10), row(second, 11)]);
    commit(&*store, vec![Op::DropEngine { id: first }]).await.unwrap();
    assert_eq!(store.engines().await.unwrap(), [row(second, 11)]);
}
