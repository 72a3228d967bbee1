//! Atomicity, fences, and what others see.

use std::sync::Arc;

use serde_json::json;
use wflo_core::ports::store::{Batch, Fence, Op, OpResult, StoreError};
use wflo_core::run::RunStatus;

use super::ground::*;

pub async fn a_batch_is_whole_or_absent(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let ops = vec![
        Op::AppendEvents { run: run.id, events: vec![machine_event(1)] },
        Op::SetRun { run: run.id, status: RunStatus::Running, outputs: None, error: None, at: at(1) },
        put(run.id, key("0", 0)),
        Op::PushInbox { run: run.id, message: json!(1), at: at(1) },
        Op::SupersedeApproval { id: approval_id() },
    ];
    assert!(commit(&*store, ops).await.is_err());
    assert!(store.events(run.id, 0, 0).await.unwrap().is_empty());
    assert!(store.run_effects(run.id).await.unwrap().is_empty());
    assert!(store.run_inbox(run.id).await.unwrap().is_empty());
    assert_eq!(store.run(run.id).await.unwrap(), Some(run.clone()));
    // The numbers that it had taken are given to the next.
    let next = commit(&*store, vec![Op::AppendEvents { run: run.id, events: vec![machine_event(2)] }]).await;
    assert_eq!(next.unwrap(), [OpResult::Seq(1)]);
    assert_eq!(commit(&*store, Vec::new()).await.unwrap(), []);
}

pub async fn a_failing_batch_does_not_touch_its_neighbours(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let mut tasks = Vec::new();
    for n in 0..60_u32 {
        let store = Arc::clone(&store);
        let run = run.id;
        tasks.push(tokio::spawn(async move {
            let mut ops = vec![
                Op::AppendEvents { run, events: vec![journal_event(i64::from(n))] },
                put(run, key("0", n)),
            ];
            if n % 3 == 0 {
                ops.push(Op::SupersedeApproval { id: approval_id() });
            }
            (n, commit(&*store, ops).await)
        }));
    }
    for task in tasks {
        let (n, outcome) = task.await.unwrap();
        assert_eq!(outcome.is_err(), n % 3 == 0, "{n}: {outcome:?}");
    }
    let events = store.events(run.id, 0, 0).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=40).collect::<Vec<u64>>());
    let effects = store.run_effects(run.id).await.unwrap();
    assert!(effects.len() == 40 && effects.iter().all(|effect| effect.key.seq % 3 != 0));
}

pub async fn a_stale_writer_changes_nothing(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let write = |epoch| Batch {
        fence: Some(Fence { run: run.id, epoch }),
        ops: vec![Op::AppendEvents { run: run.id, events: vec![machine_event(1)] }],
    };
    store.commit(write(1)).await.unwrap();
    commit(&*store, vec![Op::Claim { run: run.id, expected: 1, engine: engine_id() }]).await.unwrap();
    let stale = store.commit(write(1)).await.unwrap_err();
    assert_eq!(stale, StoreError::LeaseLost { run: run.id, current: 2, held: 1 });
    store.commit(write(2)).await.unwrap();
    assert_eq!(store.events(run.id, 0, 0).await.unwrap().len(), 2);
    // The claim of another process is seen as well.
    commit(&*fixture.open(), vec![Op::Claim { run: run.id, expected: 2, engine: engine_id() }])
        .await
        .unwrap();
    assert!(matches!(store.commit(write(2)).await, Err(StoreError::LeaseLost { current: 3, .. })));
    let unknown = Batch { fence: Some(Fence { run: run_id(), epoch: 1 }), ops: Vec::new() };
    assert!(matches!(store.commit(unknown).await, Err(StoreError::NotFound { noun: "run", .. })));
    // A batch that makes the run is its first writer.
    let fresh = run_record();
    let fence = Some(Fence { run: fresh.id, epoch: fresh.lease_epoch });
    store.commit(Batch { fence, ops: acceptance(&fresh) }).await.unwrap();
}

pub async fn two_stores_see_each_other_at_once(fixture: &Fixture) {
    let (one, run) = accepted(fixture).await;
    let two = fixture.open();
    let append = |n| vec![Op::AppendEvents { run: run.id, events: vec![machine_event(n)] }];
    for n in 0..10 {
        let (before_one, before_two) =
            (one.change_counter().await.unwrap(), two.change_counter().await.unwrap());
        assert_eq!(before_one, one.change_counter().await.unwrap());
        let writer = if n % 2 == 0 { &one } else { &two };
        assert_eq!(commit(&**writer, append(n)).await.unwrap(), [OpResult::Seq(n as u64 + 1)]);
        assert_ne!(before_one, one.change_counter().await.unwrap());
        assert_ne!(before_two, two.change_counter().await.unwrap());
    }
    let write = |store: Arc<dyn wflo_core::ports::store::Store>| async move {
        for n in 0..50 {
            commit(&*store, append(n)).await.unwrap();
        }
    };
    tokio::join!(write(Arc::clone(&one)), write(Arc::clone(&two)));
    let seen: Vec<_> = two.events(run.id, 0, 0).await.unwrap().into_iter().map(|event| event.seq).collect();
    assert_eq!(seen, (1..=110).collect::<Vec<u64>>());
}

pub async fn posted_batches_are_committed_in_their_order(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let fence = Some(Fence { run: run.id, epoch: run.lease_epoch });
    let mut receipts = Vec::new();
    for n in 0..50 {
        // Some are large enough to be kept apart from the database first.
        let size = if n % 7 == 0 { 100_000 } else { 10 };
        let message = json!("x".repeat(size));
        let events = vec![journal_event(n)];
        let ops =
            vec![Op::AppendEvents { run: run.id, events }, Op::PushInbox { run: run.id, message, at: at(n) }];
        receipts.push(store.post(Batch { fence, ops }).await.unwrap());
    }
    // A commit behind them is durable with them.
    store.commit(Batch { fence, ops: Vec::new() }).await.unwrap();
    let events = store.events(run.id, 0, 0).await.unwrap();
    let bodies: Vec<_> = events.into_iter().map(|recorded| recorded.event).collect();
    assert_eq!(bodies, (0..50).map(journal_event).collect::<Vec<_>>());
    for (n, receipt) in (1..).zip(receipts) {
        assert_eq!(receipt.await.unwrap().first(), Some(&OpResult::Seq(n)));
    }
    let unfenced = store.post(Batch { fence: None, ops: Vec::new() }).await;
    assert!(unfenced.is_err(), "nothing could be kept from building on it");
}

pub async fn nothing_builds_on_a_posted_batch_that_was_refused(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let (_, neighbour) = accepted(fixture).await;
    let fence = |epoch| Some(Fence { run: run.id, epoch });
    let append = |n| Op::AppendEvents { run: run.id, events: vec![machine_event(n)] };
    let refused = Op::SupersedeApproval { id: approval_id() };
    // Alone it fails before it has written anything; behind an event it fails half-way.
    for (epoch, ops) in [(1, vec![refused.clone()]), (2, vec![append(1), refused])] {
        let first = store.post(Batch { fence: fence(epoch), ops }).await.unwrap();
        let second = store.post(Batch { fence: fence(epoch), ops: vec![append(2)] }).await.unwrap();
        let other = Op::AppendEvents { run: neighbour.id, events: vec![machine_event(3)] };
        commit(&*store, vec![other]).await.unwrap();
        let why = first.await.unwrap_err();
        assert!(matches!(why, StoreError::NotFound { noun: "approval", .. }), "{why:?}");
        assert_eq!(second.await.unwrap_err(), why);
        assert_eq!(store.commit(Batch { fence: fence(epoch), ops: vec![append(4)] }).await.unwrap_err(), why);
        assert!(store.events(run.id, 0, 0).await.unwrap().is_empty());
        // Who takes the run over has read what is there, and goes on.
        let claim = Op::Claim { run: run.id, expected: epoch, engine: engine_id() };
        commit(&*store, vec![claim]).await.unwrap();
    }
    store.commit(Batch { fence: fence(3), ops: vec![append(5)] }).await.unwrap();
    let stale = store.commit(Batch { fence: fence(2), ops: vec![append(6)] }).await.unwrap_err();
    assert!(matches!(stale, StoreError::LeaseLost { current: 3, held: 2, .. }), "{stale:?}");
    assert_eq!(store.events(run.id, 0, 0).await.unwrap().len(), 1);
    assert_eq!(store.events(neighbour.id, 0, 0).await.unwrap().len(), 2);
    // A commit that nobody builds on is refused alone.
    let alone = vec![Op::SupersedeApproval { id: approval_id() }];
    store.commit(Batch { fence: fence(3), ops: alone }).await.unwrap_err();
    store.commit(Batch { fence: fence(3), ops: vec![append(7)] }).await.unwrap();
}
