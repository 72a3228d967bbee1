use console::measure_text_width;
use serde_json::json;

use super::*;
use crate::printer::Printer;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

fn tree(steps: &[&str]) -> Tree {
    let steps: Vec<_> = steps
        .iter()
        .map(|name| json!({"name": name, "type": "tool", "run": ["true"], "depends_on": []}))
        .collect();
    let definition = Definition::parse(&json!({"name": "demo", "steps": steps})).unwrap();
    Tree::new(&definition, "run_1")
}

fn happen(tree: &mut Tree, millis: i64, body: serde_json::Value) {
    let mut whole = json!({
        "run_id": "run_01a1fdff9e05747f84bef241171debe5", "seq": 1, "time": at(millis),
    });
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    tree.fold(&serde_json::from_value(whole).unwrap());
}

fn shown(tree: &Tree, millis: i64, size: (usize, usize)) -> Vec<String> {
    let plain = Printer::bare(&crate::settings::Environment::of(&[("NO_COLOR", "1")]));
    tree.lines(plain.beside(), at(millis), 0, size)
}

#[test]
fn a_step_shows_how_long_it_ran_what_it_does_and_what_it_cost() {
    let mut tree = tree(&["fetch", "report"]);
    happen(&mut tree, 0, json!({"type": "run.started", "workflow": "demo", "version": "0".repeat(64)}));
    let started = json!({"type": "step.started", "step": "fetch", "generation": 1, "attempt": 1, "epoch": 1});
    happen(&mut tree, 0, started);
    let effect = json!({"step": "fetch", "generation": 1, "path": "0", "effect_seq": 0, "kind": "llm", "name": "chat"});
    let mut begun = effect.clone();
    begun["type"] = json!("effect.started");
    happen(&mut tree, 100, begun);
    let lines = shown(&tree, 1_500, (80, 24));
    assert!(lines[0].starts_with("demo  run_1  1.5 s"), "{lines:?}");
    assert!(lines[1].contains("⠋ fetch") && lines[1].contains("1.5 s") && lines[1].contains("llm chat"));
    assert!(lines[2].contains("· report"), "{lines:?}");
    let mut ended = effect;
    ended["type"] = json!("effect.finished");
    ended["cost_usd"] = json!("0.0021");
    happen(&mut tree, 2_000, ended);
    let done = json!({
        "type": "step.succeeded", "step": "fetch", "generation": 1, "output": null, "cost_usd": "0.0021"
    });
    happen(&mut tree, 2_000, done);
    let lines = shown(&tree, 9_000, (80, 24));
    assert!(lines[1].contains("✓ fetch") && lines[1].contains("2.0 s") && lines[1].contains("$0.0021"));
}

#[test]
fn the_tree_never_leaves_its_room() {
    let names: Vec<String> = (0..50).map(|n| format!("step-with-a-rather-long-name-{n}")).collect();
    let mut tree = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let started =
        json!({"type": "step.started", "step": names[40], "generation": 1, "attempt": 1, "epoch": 1});
    happen(&mut tree, 0, started);
    let lines = shown(&tree, 10, (30, 10));
    assert!(lines.len() <= 10 && lines.iter().all(|line| measure_text_width(line) <= 30), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains('⠋')), "what runs is shown: {lines:?}");
    assert!(lines.last().unwrap().contains("more steps"), "{lines:?}");
}

#[test]
fn only_what_was_written_is_said_to_be_undone() {
    let undone = |report: serde_json::Value| {
        let mut tree = tree(&["book"]);
        let error = json!({"code": "WFLO-5001", "message": "the write was rejected"});
        happen(
            &mut tree,
            0,
            json!({"type": "step.failed", "step": "book", "generation": 1, "error": error, "timed_out": false, "then": "undo_then_fail"}),
        );
        happen(
            &mut tree,
            10,
            json!({"type": "step.undone", "step": "book", "generation": 1, "report": report, "retry": false}),
        );
        shown(&tree, 20, (80, 24))[1].clone()
    };
    let nothing = json!({"app": {"tables": {}}});
    for report in [json!({}), nothing] {
        let line = undone(report);
        assert!(line.contains("the write was rejected") && !line.contains("undone"), "{line}");
    }
    let line = undone(json!({"app": {"tables": {"bookings": {"inserted": 1, "updated": 0, "deleted": 0}}}}));
    assert!(line.contains("its data changes were undone"), "{line}");
}

#[test]
fn calls_are_under_way_from_their_start_to_their_end_or_that_of_their_step() {
    let mut tree = tree(&["ask"]);
    let effect = |path: &str, of: &str, kind: &str| {
        json!({
            "type": of, "step": "ask", "generation": 1, "path": path, "effect_seq": 0, "kind": kind, "name": "chat",
            "cost_usd": "0.01"
        })
    };
    for (path, kind) in [("0", "llm"), ("1", "llm"), ("2", "db")] {
        happen(&mut tree, 0, effect(path, "effect.started", kind));
    }
    assert_eq!(tree.calling(), 2);
    happen(&mut tree, 1, effect("2", "effect.finished", "db"));
    happen(&mut tree, 1, effect("0", "effect.finished", "llm"));
    assert_eq!(tree.calling(), 1);
    happen(
        &mut tree,
        2,
        json!({"type": "step.lost", "step": "ask", "generation": 1, "attempt": 1, "reason": "its sandbox is gone"}),
    );
    assert_eq!(tree.calling(), 0);
}
