//! Large values, and values that look like ours.

use serde_json::json;
use wflo_core::effect::{CancelledWait, EffectRecord, EffectState, Kept, json_bytes};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::Op;
use wflo_core::run::RunStatus;

use super::ground::*;

pub async fn large_values_are_read_back(fixture: &Fixture) {
    let (store, mut run) = (fixture.open(), run_record());
    let large = |letter: &str| json!({"text": letter.repeat(100_000)});
    run.inputs = large("i");
    commit(&*store, acceptance(&run)).await.unwrap();
    let mut effect = intent(key("0", 0));
    effect.request = large("q").into();
    effect.attributes = large("a");
    let ops = vec![
        Op::PutEffect { run: run.id, effect: Box::new(effect.clone()) },
        Op::FinishEffect { run: run.id, key: key("0", 0), end: end(large("r"), usd("0")) },
        Op::SetRun {
            run: run.id,
            status: RunStatus::Completed,
            outputs: Some(large("o")),
            error: None,
            at: at(3),
        },
    ];
    commit(&*store, ops).await.unwrap();
    let read = store.run(run.id).await.unwrap().unwrap();
    assert_eq!((read.inputs, read.outputs), (large("i"), Some(large("o"))));
    let read = store.effect(run.id, key("0", 0)).await.unwrap().unwrap();
    assert_eq!((&read.request, &read.attributes), (&effect.request, &effect.attributes));
    assert_eq!(read.state, EffectState::Finished { order: 1, result: large("r").into() });
    assert_eq!(store.effect(run.id, key("0", 1)).await.unwrap(), None);
}

pub async fn a_journal_is_listed_without_its_large_values(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    // In a blob, in the row, and so small that it stays.
    let sizes = [100_000_usize, 20_000, 10];
    for (seq, size) in (0..).zip(sizes) {
        let effect = EffectRecord { request: json!("q".repeat(size)).into(), ..intent(key("0", seq)) };
        let ops = vec![
            Op::PutEffect { run: run.id, effect: Box::new(effect) },
            finish(run.id, key("0", seq), json!("r".repeat(2 * size))),
        ];
        commit(&*store, ops).await.unwrap();
    }
    let listed = store.run_effects(run.id).await.unwrap();
    assert_eq!(fixture.open().effects(run.id, "triage".to_owned(), 1).await.unwrap(), listed);
    let mut bytes = Vec::new();
    for row in &listed {
        let EffectState::Finished { result, .. } = &row.state else { panic!("{row:?}") };
        assert_eq!(result.here().is_some(), row.key.seq == 2);
        assert_eq!(row.request.here().is_some(), row.key.seq == 2);
        bytes.push(row.request.bytes() + result.bytes() + json_bytes(&row.attributes) + 4);
    }
    assert_eq!(bytes, sizes.map(|size| 3 * size as u64 + 4 + 13 + 4));
    let all = |least: u64| bytes.iter().map(|bytes| *bytes.max(&least)).sum::<u64>();
    for least in [0, 1_000, 100_000] {
        assert_eq!(store.journaled(run.id, least).await.unwrap(), all(least));
    }
    assert_eq!(store.journaled(run_id(), 1_000).await.unwrap(), 0);
    let whole = store.effect(run.id, key("0", 1)).await.unwrap().unwrap();
    assert_eq!(whole.request, Kept::Here(json!("q".repeat(20_000))));
}

pub async fn another_runs_effects_are_carried_whole_and_for_nothing(fixture: &Fixture) {
    let (store, old) = accepted(fixture).await;
    let new = run_record();
    commit(&*store, acceptance(&new)).await.unwrap();
    let large = json!("r".repeat(100_000));
    let ops = vec![
        put(old.id, key("0", 0)),
        put(old.id, key("0", 1)),
        put(old.id, key("0", 2)),
        finish(old.id, key("0", 1), large.clone()),
        finish(old.id, key("0", 0), json!(0)),
        Op::CancelWait { run: old.id, key: key("0", 2), after: 1 },
    ];
    commit(&*store, ops).await.unwrap();
    let keep = [("0", 1), ("0", 2)].map(|(path, seq)| (path.to_owned(), seq)).to_vec();
    let step = "triage".to_owned();
    let carry = Op::CarryEffects { source: old.id, run: new.id, step, generation: 1, keep };
    commit(&*store, vec![carry]).await.unwrap();
    let rows = store.run_effects(new.id).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].key.seq, rows[0].order(), rows[0].cost), (1, Some(1), NanoUsd::ZERO));
    assert_eq!((&rows[0].attributes["carried"], &rows[0].attributes["model"]), (&json!(true), &json!("m")));
    let whole = store.effect(new.id, key("0", 1)).await.unwrap().unwrap();
    assert_eq!(whole.state, EffectState::Finished { order: 1, result: large.into() });
    let given_up = store.cancelled_waits(new.id, "triage".to_owned(), 1).await.unwrap();
    assert_eq!(given_up, [CancelledWait { path: "0".to_owned(), seq: 2, after: 1 }]);
}

pub async fn a_forged_pointer_is_only_a_value(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let forged = json!({"$blob": "00".repeat(32), "bytes": 5});
    commit(&*store, vec![put(run.id, key("0", 0)), finish(run.id, key("0", 0), forged.clone())])
        .await
        .unwrap();
    let read = store.run_effects(run.id).await.unwrap().remove(0);
    assert_eq!(read.state, EffectState::Finished { order: 1, result: forged.clone().into() });
    // Its size is its own, not what it says.
    let bytes = read.request.bytes() + json_bytes(&forged) + json_bytes(&read.attributes) + 4;
    assert_eq!(store.journaled(run.id, 0).await.unwrap(), bytes);
}
