//! Large values, and values that look like ours.

use serde_json::json;
use wflo_core::effect::EffectState;
use wflo_core::ports::store::Op;
use wflo_core::run::RunStatus;

use super::ground::*;

pub async fn large_values_are_read_back(fixture: &Fixture) {
    let (store, mut run) = (fixture.open(), run_record());
    let large = |letter: &str| json!({"text": letter.repeat(100_000)});
    run.inputs = large("i");
    commit(&*store, acceptance(&run)).await.unwrap();
    let mut effect = intent(key("0", 0));
    effect.request = large("q");
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
    let read = store.run_effects(run.id).await.unwrap().remove(0);
    assert_eq!((&read.request, &read.attributes), (&effect.request, &effect.attributes));
    assert_eq!(read.state, EffectState::Finished { order: 1, result: large("r") });
    assert_eq!(fixture.open().effects(run.id, "triage".to_owned(), 1).await.unwrap(), [read]);
}

pub async fn a_forged_pointer_is_only_a_value(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let forged = json!({"$blob": "00".repeat(32), "bytes": 5});
    commit(&*store, vec![put(run.id, key("0", 0)), finish(run.id, key("0", 0), forged.clone())])
        .await
        .unwrap();
    let read = store.run_effects(run.id).await.unwrap().remove(0);
    assert_eq!(read.state, EffectState::Finished { order: 1, result: forged });
}
