//! Effects.

use serde_json::{Value, json};
use wflo_core::effect::{CancelledWait, EffectKey, EffectRecord, EffectState};
use wflo_core::error::{Code, Failure};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{EffectEnd, Op, OpResult, StoreError};

use super::ground::*;

pub async fn an_effect_goes_from_intent_to_result(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    commit(&*store, vec![put(run.id, key("0", 0))]).await.unwrap();
    assert_eq!(store.effects(run.id, "triage".to_owned(), 1).await.unwrap(), [intent(key("0", 0))]);
    let twice = commit(&*store, vec![put(run.id, key("0", 0))]).await.unwrap_err();
    assert_eq!(twice, StoreError::EffectExists(key("0", 0)));

    let results = commit(&*store, vec![finish(run.id, key("0", 0), json!({"text": "hi"}))]).await.unwrap();
    assert_eq!(results, [OpResult::Order(1)]);
    let finished = EffectRecord {
        state: EffectState::Finished { order: 1, result: json!({"text": "hi"}).into() },
        cost: usd("0.01"),
        finished_at: Some(at(2)),
        ..intent(key("0", 0))
    };
    assert_eq!(store.run_effects(run.id).await.unwrap(), [finished]);
    for closed in [key("0", 0), key("0", 9)] {
        let error = commit(&*store, vec![finish(run.id, closed.clone(), Value::Null)]).await.unwrap_err();
        assert_eq!(error, StoreError::EffectNotOpen(closed));
    }
    assert_eq!(store.run_cost(run.id).await.unwrap(), usd("0.01"));
    assert_eq!(store.run_cost(run_id()).await.unwrap(), NanoUsd::ZERO);
    let made = EffectRecord {
        state: EffectState::Finished { order: 1, result: Value::Null.into() },
        ..intent(key("0", 1))
    };
    assert!(commit(&*store, vec![Op::PutEffect { run: run.id, effect: Box::new(made) }]).await.is_err());
}

pub async fn results_are_ordered_by_generation(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let second = |path: &str, seq| EffectKey { generation: 2, ..key(path, seq) };
    let keys = [key("0", 0), key("0.1", 0), second("0", 0), key("0", 1)];
    commit(&*store, keys.iter().cloned().map(|key| put(run.id, key)).collect()).await.unwrap();
    let error = Failure::new(Code(4001), "no");
    let failed = EffectEnd { outcome: Err(error.clone()), ..end(Value::Null, NanoUsd::ZERO) };
    let results = commit(
        &*store,
        vec![
            finish(run.id, keys[1].clone(), json!(1)),
            Op::FinishEffect { run: run.id, key: keys[3].clone(), end: failed },
            finish(run.id, keys[2].clone(), json!(3)),
            finish(run.id, keys[0].clone(), json!(4)),
        ],
    );
    let orders = [1, 2, 1, 3].map(OpResult::Order);
    assert_eq!(results.await.unwrap(), orders);
    let journal = store.effects(run.id, "triage".to_owned(), 1).await.unwrap();
    let places: Vec<_> = journal.iter().map(|e| (e.key.path.as_str(), e.key.seq, e.order())).collect();
    assert_eq!(places, [("0", 0, Some(3)), ("0", 1, Some(2)), ("0.1", 0, Some(1))]);
    assert_eq!(journal[1].state, EffectState::Failed { order: 2, error });
    let all: Vec<_> = store.run_effects(run.id).await.unwrap().into_iter().map(|effect| effect.key).collect();
    assert_eq!(all, keys);
}

pub async fn a_lost_try_is_carried(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    commit(&*store, vec![put(run.id, key("0", 0))]).await.unwrap();
    let hold = hold_id();
    let reopen = Op::ReopenEffect {
        run: run.id,
        key: key("0", 0),
        hold: Some(hold),
        carried: usd("0.50"),
        attributes: json!({"tries": 2}),
    };
    commit(&*store, vec![reopen.clone()]).await.unwrap();
    let open = store.run_effects(run.id).await.unwrap().remove(0);
    assert_eq!(
        (open.hold, open.cost, open.uncertain, open.order()),
        (Some(hold), usd("0.50"), usd("0.50"), None)
    );
    commit(&*store, vec![finish(run.id, key("0", 0), json!(1))]).await.unwrap();
    let done = store.run_effects(run.id).await.unwrap().remove(0);
    assert_eq!(
        (done.cost, done.uncertain, done.attributes),
        (usd("0.51"), usd("0.50"), json!({"model": "m", "tries": 2}))
    );
    assert_eq!(commit(&*store, vec![reopen]).await.unwrap_err(), StoreError::EffectNotOpen(key("0", 0)));
}

pub async fn a_retry_keeps_what_it_is_told_to(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let keys = [key("0", 0), key("0", 1), key("0.1", 0), key("0", 2)];
    commit(&*store, keys.iter().cloned().map(|key| put(run.id, key)).collect()).await.unwrap();
    let finished = [2, 0, 1].map(|n: usize| finish(run.id, keys[n].clone(), json!(n)));
    commit(&*store, finished.to_vec()).await.unwrap();
    let copy = |keep: &[(&str, u32)]| Op::CopyEffects {
        run: run.id,
        step: "triage".to_owned(),
        from: 1,
        to: 2,
        keep: keep.iter().map(|(path, seq)| ((*path).to_owned(), *seq)).collect(),
    };
    for missing in [("0", 2), ("0.7", 0)] {
        let error = commit(&*store, vec![copy(&[("0", 0), missing])]).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { noun: "finished effect", .. }), "{error}");
    }
    assert!(store.effects(run.id, "triage".to_owned(), 2).await.unwrap().is_empty());
    commit(&*store, vec![copy(&[("0", 1), ("0.1", 0)])]).await.unwrap();
    let kept = store.effects(run.id, "triage".to_owned(), 2).await.unwrap();
    let of: Vec<_> = kept.iter().map(|e| (e.key.path.as_str(), e.key.seq, e.state.clone())).collect();
    let done = |order, n: usize| EffectState::Finished { order, result: json!(n).into() };
    assert_eq!(of, [("0", 1, done(2, 1)), ("0.1", 0, done(1, 2))]);
    assert!(
        kept.iter()
            .all(|e| e.cost == NanoUsd::ZERO && e.hold.is_none() && e.request == intent(key("0", 0)).request)
    );
    // What was kept is not paid again, and the journal goes on after it.
    assert_eq!(store.run_cost(run.id).await.unwrap(), usd("0.03"));
    let next = EffectKey { generation: 2, ..key("0", 2) };
    let results =
        commit(&*store, vec![put(run.id, next.clone()), finish(run.id, next, json!(9))]).await.unwrap();
    assert_eq!(results[1], OpResult::Order(3));
}

pub async fn a_cancelled_wait_keeps_its_first_place_and_a_retry_moves_it(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let cancel = |key: EffectKey, after| Op::CancelWait { run: run.id, key, after };
    let late = EffectRecord { after: 2, ..intent(key("0", 3)) };
    let mut ops: Vec<Op> = (0..3).map(|seq| put(run.id, key("0", seq))).collect();
    ops.extend((0..3).map(|seq| finish(run.id, key("0", seq), json!(seq))));
    ops.push(Op::PutEffect { run: run.id, effect: Box::new(late.clone()) });
    ops.push(finish(run.id, key("0", 3), json!(3)));
    // Neither needs a row of its own: what was given up may never have been journaled.
    ops.extend([cancel(key("0", 1), 2), cancel(key("0.1", 0), 3), cancel(key("0.2", 0), 0)]);
    commit(&*store, ops).await.unwrap();
    commit(&*store, vec![cancel(key("0", 1), 9)]).await.unwrap();
    let at = |path: &str, seq, after| CancelledWait { path: path.to_owned(), seq, after };
    let first = store.cancelled_waits(run.id, "triage".to_owned(), 1).await.unwrap();
    assert_eq!(first, [at("0", 1, 2), at("0.1", 0, 3), at("0.2", 0, 0)]);
    assert_eq!(store.effects(run.id, "triage".to_owned(), 1).await.unwrap()[3].after, 2);

    // Of the orders 1 to 4 only 2 and 4 are kept: they become 1 and 2, and every place moves with them.
    let keep = [("0", 1), ("0", 3), ("0.1", 0)].map(|(path, seq)| (path.to_owned(), seq)).to_vec();
    let copy = Op::CopyEffects { run: run.id, step: "triage".to_owned(), from: 1, to: 2, keep };
    commit(&*store, vec![copy]).await.unwrap();
    let kept = store.cancelled_waits(run.id, "triage".to_owned(), 2).await.unwrap();
    assert_eq!(kept, [at("0", 1, 1), at("0.1", 0, 1)]);
    let rows = store.effects(run.id, "triage".to_owned(), 2).await.unwrap();
    assert_eq!(rows.iter().map(|e| (e.order(), e.after)).collect::<Vec<_>>(), [(Some(1), 0), (Some(2), 1)]);
}

pub async fn attributes_are_merged_by_key(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    commit(&*store, vec![put(run.id, key("0", 0))]).await.unwrap();
    let attributes = json!({"tokens": {"in": 3}, "model": "other", "gone": null});
    let end = EffectEnd { attributes: attributes.clone(), uncertain: true, ..end(json!(1), usd("1")) };
    commit(&*store, vec![Op::FinishEffect { run: run.id, key: key("0", 0), end }]).await.unwrap();
    let read = store.run_effects(run.id).await.unwrap().remove(0);
    assert_eq!((read.attributes, read.uncertain), (attributes, usd("1")));
}

fn preview(run: wflo_core::id::RunId, key: EffectKey, outcome: Result<Value, Failure>) -> Op {
    Op::PreviewEffect { run, key, outcome, attributes: json!({"previews": 1}) }
}

pub async fn a_previewed_effect_is_confirmed_once(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let keys = [key("0", 0), key("0", 1), key("0", 2)];
    commit(&*store, keys.iter().cloned().map(|key| put(run.id, key)).collect()).await.unwrap();
    let error = Failure::new(Code(6001), "no such table");
    let results = commit(
        &*store,
        vec![
            preview(run.id, keys[0].clone(), Ok(json!({"rows": 1}))),
            finish(run.id, keys[1].clone(), json!(2)),
            preview(run.id, keys[2].clone(), Err(error.clone())),
        ],
    );
    assert_eq!(results.await.unwrap(), [1, 2, 3].map(OpResult::Order));
    let journal = store.effects(run.id, "triage".to_owned(), 1).await.unwrap();
    let told = Ok(json!({"rows": 1}).into());
    assert_eq!(journal[0].state, EffectState::Previewed { order: 1, outcome: told });
    assert_eq!((journal[0].finished_at, &journal[0].attributes["previews"]), (None, &json!(1)));
    assert_eq!(journal[2].state, EffectState::Previewed { order: 3, outcome: Err(error.clone()) });
    // It is neither open nor finished: nothing but its confirmation ends it, and a retry cannot keep it.
    let refused = StoreError::EffectNotOpen(keys[0].clone());
    assert_eq!(commit(&*store, vec![finish(run.id, keys[0].clone(), json!(9))]).await.unwrap_err(), refused);
    let copy = Op::CopyEffects {
        run: run.id,
        step: "triage".to_owned(),
        from: 1,
        to: 2,
        keep: vec![("0".to_owned(), 0)],
    };
    assert!(matches!(commit(&*store, vec![copy]).await.unwrap_err(), StoreError::NotFound { .. }));

    let confirm = |n: usize| Op::ConfirmEffect { run: run.id, key: keys[n].clone(), at: at(5) };
    commit(&*store, vec![confirm(0), confirm(2)]).await.unwrap();
    let journal = store.effects(run.id, "triage".to_owned(), 1).await.unwrap();
    assert_eq!(journal[0].state, EffectState::Finished { order: 1, result: json!({"rows": 1}).into() });
    assert_eq!(journal[0].finished_at, Some(at(5)));
    assert_eq!(journal[2].state, EffectState::Failed { order: 3, error });
    assert_eq!(commit(&*store, vec![confirm(0)]).await.unwrap_err(), refused);
    assert!(matches!(commit(&*store, vec![confirm(1)]).await.unwrap_err(), StoreError::EffectNotOpen(_)));
}

pub async fn a_rewind_drops_what_was_previewed_and_nothing_else(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let other = EffectKey { generation: 2, ..key("0", 0) };
    let keys = [key("0", 0), key("0", 1), key("0", 2), key("0.1", 0), other.clone()];
    commit(&*store, keys.iter().cloned().map(|key| put(run.id, key)).collect()).await.unwrap();
    let told = || Ok(json!("x".repeat(40_000)));
    commit(
        &*store,
        vec![
            finish(run.id, keys[0].clone(), json!(0)),
            preview(run.id, keys[1].clone(), told()),
            preview(run.id, keys[2].clone(), told()),
            finish(run.id, keys[3].clone(), json!(3)),
            preview(run.id, other.clone(), told()),
        ],
    )
    .await
    .unwrap();
    let rewind = |first: &EffectKey| Op::RewindEffects {
        run: run.id,
        first: first.clone(),
        attributes: json!({"previews": 2}),
    };
    for not_previewed in [&keys[0], &key("0", 7)] {
        let error = commit(&*store, vec![rewind(not_previewed)]).await.unwrap_err();
        assert_eq!(error, StoreError::EffectNotOpen(not_previewed.clone()));
    }
    commit(&*store, vec![rewind(&keys[1])]).await.unwrap();
    let journal = store.effects(run.id, "triage".to_owned(), 1).await.unwrap();
    let left: Vec<_> = journal.iter().map(|e| (e.key.clone(), e.order())).collect();
    let wanted = [(keys[0].clone(), Some(1)), (keys[1].clone(), None), (keys[3].clone(), Some(4))];
    assert_eq!(left, wanted);
    assert_eq!(journal[1].attributes, json!({"model": "m", "previews": 2}));
    assert_eq!(journal[1].request, intent(key("0", 0)).request);
    let untouched = store.effects(run.id, "triage".to_owned(), 2).await.unwrap();
    assert!(untouched[0].is_previewed(), "another generation is left alone");
    // What was dropped can be asked for again, as something else.
    commit(&*store, vec![put(run.id, keys[2].clone())]).await.unwrap();
    let again = vec![preview(run.id, keys[1].clone(), told()), finish(run.id, keys[2].clone(), json!(2))];
    assert_eq!(commit(&*store, again).await.unwrap(), [5, 6].map(OpResult::Order));
}
