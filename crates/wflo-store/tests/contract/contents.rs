//! What was asked of models.

use serde_json::json;
use wflo_core::content::{Outline, cut};
use wflo_core::ports::store::Op;

use super::ground::*;

/// A conversation's request after so many messages.
fn asked(messages: usize) -> String {
    let all: Vec<_> = (0..messages)
        .map(|n| json!({"role": "user", "content": format!("{n} {}", "é".repeat(400))}))
        .collect();
    json!({"model": "m", "messages": all}).to_string()
}

pub async fn what_was_asked_is_kept_once_a_run_and_goes_with_it(fixture: &Fixture) {
    let store = fixture.open();
    let (run, other) = (run_record(), run_record());
    for run in [&run, &other] {
        commit(&*store, acceptance(run)).await.unwrap();
    }
    let mut outlines: Vec<(Outline, String)> = Vec::new();
    for n in 1..40 {
        let text = asked(n);
        let (outline, pieces) = cut(&text);
        let bytes: u64 = pieces.iter().map(wflo_core::content::Piece::bytes).sum();
        for run in [&run, &other] {
            // Twice, as after a commit whose answer was lost.
            for _ in 0..2 {
                commit(&*store, vec![Op::KeepContent { run: run.id, pieces: pieces.clone() }]).await.unwrap();
            }
        }
        // What the longest takes, and the end of each of the others.
        let kept = store.kept_content(run.id).await.unwrap();
        assert!(bytes <= kept && kept <= bytes + 200 * n as u64, "{n}: {kept} of {bytes}");
        outlines.push((outline, text));
    }
    let contents = store.contents(run.id).await.unwrap();
    for (outline, text) in &outlines {
        assert_eq!(contents.request(outline).as_ref(), Some(text));
    }
    let end = Op::SetRun {
        run: run.id,
        status: wflo_core::run::RunStatus::Completed,
        outputs: None,
        error: None,
        at: at(9),
    };
    let op = Op::RemoveRun { run: run.id, epoch: run.lease_epoch, spent: Vec::new(), databases: Vec::new() };
    commit(&*store, vec![end, op]).await.unwrap();
    assert!(store.contents(run.id).await.unwrap().is_empty());
    let contents = store.contents(other.id).await.unwrap();
    assert!(outlines.iter().all(|(outline, text)| contents.request(outline).as_ref() == Some(text)));
}
