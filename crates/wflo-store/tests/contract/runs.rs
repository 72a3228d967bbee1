//! Runs, definitions, leases.

use serde_json::json;
use wflo_core::error::{Code, Failure};
use wflo_core::ports::store::{Op, RunFilter, StoreError};
use wflo_core::run::{RunRecord, RunStatus};

use super::ground::*;

pub async fn a_run_is_read_back_as_it_was_accepted(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    assert_eq!(store.run(run.id).await.unwrap().as_ref(), Some(&run));
    assert_eq!(store.run(run_id()).await.unwrap(), None);
    assert_eq!(commit(&*store, acceptance(&run)).await.unwrap_err(), StoreError::RunExists(run.id));
    let unknown = Op::CreateRun { run: Box::new(run_record()), definition: "d2".to_owned() };
    assert!(matches!(
        commit(&*store, vec![unknown]).await,
        Err(StoreError::NotFound { noun: "definition", .. })
    ));
}

pub async fn runs_are_listed_newest_first_and_filtered(fixture: &Fixture) {
    let store = fixture.open();
    let mut all = Vec::new();
    for status in [RunStatus::Running, RunStatus::Waiting, RunStatus::Completed] {
        let mut run = RunRecord { status, workflow: format!("w-{}", status.as_str()), ..run_record() };
        run.finished_at = status.is_terminal().then(|| at(5));
        commit(&*store, acceptance(&run)).await.unwrap();
        all.insert(0, run);
    }
    let list = async |filter: RunFilter| store.runs(filter).await.unwrap();
    assert_eq!(list(RunFilter::default()).await, all);
    assert_eq!(list(RunFilter { limit: 2, ..RunFilter::default() }).await, all[..2]);
    let open = RunFilter { statuses: vec![RunStatus::Running, RunStatus::Waiting], ..RunFilter::default() };
    assert_eq!(list(open).await, all[1..]);
    let ended =
        RunFilter { statuses: vec![RunStatus::Completed, RunStatus::Waiting], ..RunFilter::default() };
    assert_eq!(list(ended).await, all[..2]);
    let named = RunFilter { workflow: Some("w-waiting".to_owned()), ..RunFilter::default() };
    assert_eq!(list(named).await, all[1..2]);
    let driven = RunFilter { engine: all[2].engine, ..RunFilter::default() };
    assert_eq!(list(driven).await, all[2..]);
}

pub async fn a_run_ends_once_and_keeps_its_end(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let set = |status, outputs, n| Op::SetRun { run: run.id, status, outputs, error: None, at: at(n) };
    commit(&*store, vec![set(RunStatus::Running, None, 1)]).await.unwrap();
    let read = store.run(run.id).await.unwrap().unwrap();
    assert_eq!((read.status, read.updated_at, read.finished_at), (RunStatus::Running, at(1), None));
    commit(&*store, vec![set(RunStatus::Completed, Some(json!({"n": 1})), 2)]).await.unwrap();
    let read = store.run(run.id).await.unwrap().unwrap();
    assert_eq!(
        (read.status, read.outputs.clone(), read.finished_at),
        (RunStatus::Completed, Some(json!({"n": 1})), Some(at(2)))
    );
    assert!(commit(&*store, vec![set(RunStatus::Running, None, 3)]).await.is_err());
    assert_eq!(store.run(run.id).await.unwrap(), Some(read));

    let (_, failed) = accepted(fixture).await;
    let error = Failure::new(Code(3001), "it broke").at("workflow.py:3");
    let op = Op::SetRun {
        run: failed.id,
        status: RunStatus::Failed,
        outputs: None,
        error: Some(error.clone()),
        at: at(4),
    };
    commit(&*store, vec![op]).await.unwrap();
    assert_eq!(store.run(failed.id).await.unwrap().unwrap().error, Some(error));
    let unknown =
        Op::SetRun { run: run_id(), status: RunStatus::Running, outputs: None, error: None, at: at(1) };
    assert!(matches!(commit(&*store, vec![unknown]).await, Err(StoreError::NotFound { noun: "run", .. })));
}

pub async fn a_definition_is_kept_once_and_found_by_run(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let again = Op::PutDefinition { digest: DEFINITION.to_owned(), definition: json!({"name": "other"}) };
    commit(&*store, vec![again]).await.unwrap();
    assert_eq!(store.definition(run.id).await.unwrap(), json!({"name": "nightly", "steps": []}));
    assert!(matches!(store.definition(run_id()).await, Err(StoreError::NotFound { noun: "run", .. })));
}

pub async fn a_lease_is_claimed_by_one(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let (first, second) = (engine_id(), engine_id());
    let claim = |engine, expected| Op::Claim { run: run.id, expected, engine };
    commit(&*store, vec![claim(first, 1)]).await.unwrap();
    let lost = commit(&*store, vec![claim(second, 1)]).await.unwrap_err();
    assert_eq!(lost, StoreError::LeaseLost { run: run.id, current: 2, held: 1 });
    let read = store.run(run.id).await.unwrap().unwrap();
    assert_eq!((read.lease_epoch, read.engine), (2, Some(first)));
    commit(&*store, vec![Op::Release { run: run.id }]).await.unwrap();
    let read = store.run(run.id).await.unwrap().unwrap();
    assert_eq!((read.lease_epoch, read.engine), (2, None));
}
