//! Events.

use wflo_core::ports::store::{Op, OpResult, StoreError};

use super::ground::*;

pub async fn numbers_are_dense_over_both_families(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let append = |events| Op::AppendEvents { run: run.id, events };
    let results = commit(
        &*store,
        vec![append(vec![machine_event(1), journal_event(2)]), append(vec![journal_event(3)])],
    )
    .await;
    assert_eq!(results.unwrap(), [OpResult::Seq(1), OpResult::Seq(3)]);
    assert_eq!(commit(&*store, vec![append(vec![machine_event(4)])]).await.unwrap(), [OpResult::Seq(4)]);
    let events = store.events(run.id, 0, 0).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let sent = [machine_event(1), journal_event(2), journal_event(3), machine_event(4)];
    assert!(events.iter().zip(&sent).all(|(read, sent)| read.event == *sent && read.run_id == run.id));
    // The row's time is its last event's.
    assert_eq!(store.run(run.id).await.unwrap().unwrap().updated_at, at(4));
    let unknown = Op::AppendEvents { run: run_id(), events: vec![machine_event(1)] };
    assert!(matches!(commit(&*store, vec![unknown]).await, Err(StoreError::NotFound { noun: "run", .. })));
}

pub async fn pages_meet_without_gap_or_overlap(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let events = (1..=20).map(|n| if n % 3 == 0 { machine_event(n) } else { journal_event(n) }).collect();
    commit(&*store, vec![Op::AppendEvents { run: run.id, events }]).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let page = store.events(run.id, seen.len() as u64, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        seen.extend(page.into_iter().map(|event| event.seq));
    }
    assert_eq!(seen, (1..=20).collect::<Vec<u64>>());
    assert!(store.events(run_id(), 0, 0).await.unwrap().is_empty());
}

pub async fn the_machine_gets_its_own_events_only(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let events = vec![journal_event(1), machine_event(2), journal_event(3), machine_event(4)];
    commit(&*store, vec![Op::AppendEvents { run: run.id, events }]).await.unwrap();
    let machine = store.machine_events(run.id).await.unwrap();
    assert_eq!(machine.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 4]);
    assert!(machine.iter().all(|event| !event.event.body.is_journal()));
}
