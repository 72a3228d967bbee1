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
