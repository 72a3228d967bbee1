//! What was asked of models.

use serde_json::json;
use wflo_core::content::{Outline, Part, Piece, cut, name};
use wflo_core::ports::store::{Op, OpResult};

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
        let bytes: u64 = pieces.iter().map(Piece::bytes).sum();
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
    for (outline, text) in &outlines {
        assert_eq!(store.kept_request(run.id, outline.clone()).await.unwrap().as_ref(), Some(text));
    }
    // A list from its end, in pieces.
    let Some(Part::List { list }) =
        outlines[38].0.parts.iter().find(|part| matches!(part, Part::List { .. }))
    else {
        panic!("a conversation is a list")
    };
    let (mut next, mut texts) = (name(list), Vec::new());
    while let Some(last) = next {
        let links = store.content_links(run.id, last, 7).await.unwrap();
        assert!((1..=7).contains(&links.len()) && links[0].name == last);
        for link in &links {
            texts.push(store.content_text(run.id, link.text).await.unwrap().unwrap());
        }
        next = links.last().unwrap().before;
    }
    texts.reverse();
    assert!(outlines[38].1.contains(&texts.concat()));
    assert!(store.content_links(run.id, [7; 32], 7).await.unwrap().is_empty());
    let end = Op::SetRun {
        run: run.id,
        status: wflo_core::run::RunStatus::Completed,
        outputs: None,
        error: None,
        at: at(9),
    };
    let op = Op::RemoveRun { run: run.id, epoch: run.lease_epoch, spent: Vec::new(), databases: Vec::new() };
    commit(&*store, vec![end, op]).await.unwrap();
    for (outline, text) in &outlines {
        assert_eq!(store.kept_request(run.id, outline.clone()).await.unwrap(), None);
        assert_eq!(store.kept_request(other.id, outline.clone()).await.unwrap().as_ref(), Some(text));
    }
}

pub async fn what_is_kept_already_is_not_counted_again(fixture: &Fixture) {
    let store = fixture.open();
    let run = run_record();
    commit(&*store, acceptance(&run)).await.unwrap();
    let keep = async |pieces: &[Piece]| {
        let op = Op::KeepContent { run: run.id, pieces: pieces.to_vec() };
        match commit(&*store, vec![op]).await.unwrap().as_slice() {
            [OpResult::Kept(bytes)] => *bytes,
            other => panic!("{other:?}"),
        }
    };
    let bytes = |pieces: &[Piece]| pieces.iter().map(Piece::bytes).sum::<u64>();
    let (_, first) = cut(&asked(10));
    let (_, second) = cut(&asked(20));
    let names = |pieces: &[Piece]| pieces.iter().map(|piece| *piece.name()).collect::<Vec<_>>();
    assert_eq!(store.new_content(run.id, names(&first)).await.unwrap().len(), first.len());
    assert_eq!(keep(&first).await, bytes(&first));
    assert_eq!(keep(&first).await, 0);
    let new = store.new_content(run.id, names(&second)).await.unwrap();
    let new: Vec<Piece> = second.iter().filter(|piece| new.contains(piece.name())).cloned().collect();
    assert!(!new.is_empty() && new.len() < second.len());
    assert_eq!(keep(&second).await, bytes(&new));
    assert_eq!(store.kept_content(run.id).await.unwrap(), bytes(&first) + bytes(&new));
}
