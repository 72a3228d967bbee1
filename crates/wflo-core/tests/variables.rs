//! What steps see of the run's variables, and what becomes of what they change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wflo_core::approval::Decision;
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::event::{Event, EventBody};
use wflo_core::machine::{
    Action, Attempt, Changes, Command, CommandBody, RunState, outstanding, replay, step,
};
use wflo_core::money::NanoUsd;
use wflo_core::run::{Carried, RunStatus};

struct Run {
    initial: RunState,
    state: RunState,
    events: Vec<Event>,
    seeds: u128,
}

impl Run {
    /// Steps of code: each with the positions of those it depends on.
    fn of(steps: &[(&str, &[&str])]) -> Self {
        let step = |(name, on): &(&str, &[&str])| json!({"name": name, "type": "agent", "handler": "code", "depends_on": on});
        Run::start(&json!({"name": "w", "steps": steps.iter().map(step).collect::<Vec<_>>()}), vec![])
    }

    fn start(definition: &Value, carried: Vec<Carried>) -> Self {
        let definition = Arc::new(Definition::parse(definition).unwrap());
        let initial = RunState::new(definition, Arc::new(json!({})), Digest::of_bytes(b"code"));
        let mut run = Run { state: initial.clone(), initial, events: vec![], seeds: 0 };
        run.tell(CommandBody::Start { version: Digest::of_bytes(b"v"), carried });
        run
    }

    fn tell(&mut self, body: CommandBody) {
        self.seeds += 1;
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let seed = uuid::Uuid::from_u128(self.seeds << 64);
        let (events, next) = step(&self.state, Command { at, seed, draw: 0.5, body }).unwrap();
        self.events.extend(events);
        self.state = next;
    }

    fn ready(&self) -> Vec<String> {
        let name = |action| match action {
            Action::RunStep { step, .. } => Some(step),
            _ => None,
        };
        outstanding(&self.state).into_iter().filter_map(name).collect()
    }

    /// Begins a step; what it sees.
    fn begin(&mut self, name: &str) -> Map<String, Value> {
        self.tell(CommandBody::StepStarted { step: name.into(), epoch: 1 });
        self.sees(name)
    }

    fn sees(&self, name: &str) -> Map<String, Value> {
        serde_json::from_value(self.state.variables_for(name)).unwrap()
    }

    /// Ends a step that leaves these variables.
    fn end(&mut self, name: &str, left: Value) {
        let found = self.state.step(name).unwrap();
        let attempt = Attempt { generation: found.generation, attempt: found.attempt };
        self.tell(CommandBody::StepSucceeded {
            step: name.into(),
            attempt,
            output: json!(null),
            state: Some(left),
            cost: NanoUsd::ZERO,
            layer: None,
        });
    }

    /// A whole step that changes what it sees.
    fn does(&mut self, name: &str, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut variables = self.begin(name);
        change(&mut variables);
        self.end(name, variables.into());
    }

    fn recorded(&self, name: &str) -> Changes {
        let found = self.events.iter().rev().find_map(|event| match &event.body {
            EventBody::StepSucceeded { step, changes, .. } if step == name => Some(changes.clone()),
            _ => None,
        });
        found.unwrap()
    }
}

fn set(key: &'static str, value: Value) -> impl FnOnce(&mut Map<String, Value>) {
    move |variables| {
        variables.insert(key.to_owned(), value);
    }
}

const FORK: &[(&str, &[&str])] =
    &[("first", &[]), ("a", &["first"]), ("b", &["first"]), ("join", &["a", "b"])];

#[test]
fn what_two_branches_changed_lies_beside_each_other_whoever_ends_last() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut run = Run::of(FORK);
        run.does("first", |v| v.extend([("n".to_owned(), json!(1)), ("old".to_owned(), json!("x"))]));
        let seen: Vec<_> = ["a", "b"].map(|name| run.begin(name)).to_vec();
        assert_eq!(seen[0], seen[1]);
        for name in order {
            let mut left = seen[0].clone();
            if name == "a" {
                left.insert("a".to_owned(), json!([1]));
                left.remove("old");
            } else {
                left.insert("n".to_owned(), json!(2));
            }
            run.end(name, left.into());
        }
        assert_eq!(Value::from(run.begin("join")), json!({"n": 2, "a": [1]}));
        assert_eq!(run.recorded("b").set, *json!({"n": 2}).as_object().unwrap(), "no more than it changed");
        run.end("join", json!({}));
        assert_eq!(run.state.status, RunStatus::Completed);
        assert_eq!(replay(run.initial.clone(), &run.events), run.state);
    }
}

#[test]
fn one_key_changed_by_two_branches_is_an_error_where_they_meet() {
    let mut errors = Vec::new();
    for (order, second) in [(["a", "b"], 7), (["b", "a"], 7), (["a", "b"], 8)] {
        let mut run = Run::of(FORK);
        run.does("first", set("n", json!(6)));
        run.begin("a");
        run.begin("b");
        for name in order {
            // Both to the same value is lost as well: each had added one.
            run.end(name, json!({"n": if name == "b" { second } else { 7 }}));
        }
        assert_eq!(run.state.status, RunStatus::Failed);
        let error = run.state.step("join").unwrap().error.clone().unwrap();
        assert_eq!(run.state.error.as_ref(), Some(&error));
        assert_eq!(error.code, "WFLO-3027");
        for part in ["steps `a` and `b`", "`n` of context.state", "step `join` comes after both"] {
            assert!(error.message.contains(part), "{error:?}");
        }
        assert!(error.hint.as_deref().unwrap().contains("--from a --from b"), "{error:?}");
        assert_eq!(replay(run.initial.clone(), &run.events), run.state);
        errors.push(error);
    }
    assert!(errors.windows(2).all(|two| two[0] == two[1]), "whoever ends last: {errors:?}");
}

#[test]
fn branches_meet_at_the_end_of_the_run_at_the_latest() {
    let mut run = Run::of(&[("a", &[]), ("b", &[])]);
    run.does("a", set("n", json!(1)));
    run.does("b", set("n", json!(1)));
    assert_eq!(run.state.status, RunStatus::Failed);
    let error = run.state.error.clone().unwrap();
    assert!(error.code == "WFLO-3027" && error.message.contains("the run ends"), "{error:?}");
    let mut run = Run::of(&[("a", &[]), ("b", &[])]);
    run.does("a", set("n", json!(1)));
    run.does("b", set("m", json!(1)));
    assert_eq!(run.state.status, RunStatus::Completed);
}

#[test]
fn of_steps_one_after_the_other_the_last_one_counts() {
    let mut run = Run::of(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["a", "c"])]);
    run.does("a", set("n", json!(1)));
    run.does("b", |v| drop(v.remove("n")));
    assert_eq!(Value::from(run.sees("c")), json!({}));
    run.does("c", set("m", json!(3)));
    assert_eq!(Value::from(run.sees("d")), json!({"m": 3}), "removed by `b`, which comes after `a`");
    run.does("d", |_| {});
    assert_eq!(run.state.status, RunStatus::Completed);
}

#[test]
fn a_step_that_goes_on_sees_what_it_began_with() {
    let mut run = Run::of(&[("a", &[]), ("b", &[])]);
    assert_eq!(Value::from(run.begin("a")), json!({}));
    run.does("b", set("b", json!(1)));
    let attempt = Attempt { generation: 1, attempt: 1 };
    run.tell(CommandBody::StepLost {
        step: "a".into(),
        attempt,
        reason: "killed".into(),
        active_ms: 0,
        answered: None,
    });
    assert_eq!(Value::from(run.begin("a")), json!({}), "whatever has ended beside it");
    run.end("a", json!({"a": 1}));
    assert_eq!(run.recorded("a").set, *json!({"a": 1}).as_object().unwrap());
}

#[test]
fn what_a_retry_keeps_has_its_changes() {
    let fork = json!({"name": "w", "steps": FORK.iter().map(|(name, on)| {
        json!({"name": name, "type": "agent", "handler": "code", "depends_on": on})
    }).collect::<Vec<_>>()});
    let kept = |step: &str, value: Value| Carried {
        step: step.to_owned(),
        output: json!(null),
        changes: Changes { set: value.as_object().unwrap().clone(), removed: Default::default() },
        layer: None,
    };
    // In any order: a step is ready only when all that comes before it is there.
    let kept = vec![kept("a", json!({"n": 2})), kept("first", json!({"n": 1, "m": 1}))];
    let mut run = Run::start(&fork, kept);
    assert_eq!(run.ready(), ["b"]);
    assert_eq!(Value::from(run.begin("b")), json!({"n": 1, "m": 1}));
    run.end("b", json!({"n": 1, "m": 2}));
    assert_eq!(Value::from(run.sees("join")), json!({"n": 2, "m": 2}));
    assert_eq!(run.ready(), ["join"]);
}

#[test]
fn nothing_passes_a_gate_that_asks_again_behind_what_is_kept() {
    let gated = json!({"name": "w", "steps": [
        {"name": "go", "type": "approval"},
        {"name": "kept", "type": "agent", "handler": "code", "depends_on": ["go"]},
        {"name": "next", "type": "agent", "handler": "code", "depends_on": ["kept"]},
    ]});
    let kept = Carried { step: "kept".into(), output: json!(1), changes: Changes::default(), layer: None };
    let mut run = Run::start(&gated, vec![kept]);
    assert_eq!(run.ready(), [""; 0], "`next` comes after the gate too");
    let approval = *run.state.approvals.keys().next().unwrap();
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let decision =
        Decision { approved: true, by: "local:me".into(), comment: None, amount: None, lasts: None, at };
    run.tell(CommandBody::ApprovalDecided { approval, decision });
    assert_eq!(run.ready(), ["next"]);
}

type Story = (Vec<Vec<usize>>, Vec<Vec<(u8, u8)>>, Vec<usize>, Vec<usize>);

/// A graph by its edges, what each step changes, and an order of the ends.
fn story() -> impl Strategy<Value = Story> {
    (2_usize..7).prop_flat_map(|steps| {
        let edges = (0..steps).map(|to| proptest::collection::vec(0..to.max(1), 0..3)).collect::<Vec<_>>();
        let changes = proptest::collection::vec((0_u8..3, 0_u8..4), 0..2);
        (
            edges,
            proptest::collection::vec(changes, steps),
            proptest::collection::vec(0_usize..64, 40),
            proptest::collection::vec(0_usize..64, 40),
        )
    })
}

/// Runs to the end, choosing what begins and what ends next by numbers: what each step saw, and the error.
fn told(edges: &[Vec<usize>], changes: &[Vec<(u8, u8)>], order: &[usize]) -> (BTreeMap<String, Value>, Run) {
    let steps: Vec<Value> = edges
        .iter()
        .enumerate()
        .map(|(at, on)| {
            let on: std::collections::BTreeSet<String> =
                on.iter().filter(|from| **from < at).map(|from| format!("s{from}")).collect();
            json!({"name": format!("s{at}"), "type": "agent", "handler": "code", "depends_on": on})
        })
        .collect();
    let mut run = Run::start(&json!({"name": "w", "steps": steps}), vec![]);
    let (mut live, mut seen) = (Vec::<String>::new(), BTreeMap::new());
    let mut order = order.iter().copied().cycle();
    while !run.state.status.is_terminal() {
        let ready: Vec<String> = run.ready().into_iter().filter(|name| !live.contains(name)).collect();
        let choice = order.next().unwrap();
        if choice < ready.len() || live.is_empty() && !ready.is_empty() {
            let name = ready[choice % ready.len()].clone();
            seen.insert(name.clone(), run.begin(&name).into());
            live.push(name);
            continue;
        }
        let name = live.swap_remove(choice % live.len());
        if run.state.ending.is_some() {
            let found = run.state.step(&name).unwrap();
            let attempt = Attempt { generation: found.generation, attempt: found.attempt };
            run.tell(CommandBody::StepStopped { step: name, attempt, active_ms: 0 });
            continue;
        }
        let mut left = run.sees(&name);
        assert_eq!(seen[&name], Value::from(left.clone()), "the same at its end");
        let index: usize = name[1..].parse().unwrap();
        for (key, value) in &changes[index] {
            match value {
                0 => drop(left.remove(&key.to_string())),
                value => drop(left.insert(key.to_string(), json!(value))),
            }
        }
        run.end(&name, left.into());
    }
    assert_eq!(replay(run.initial.clone(), &run.events), run.state);
    (seen, run)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn what_a_step_sees_does_not_depend_on_the_order_of_the_ends((edges, changes, one, other) in story()) {
        let (seen, run) = told(&edges, &changes, &one);
        let (seen_too, run_too) = told(&edges, &changes, &other);
        for (name, saw) in &seen {
            if let Some(saw_too) = seen_too.get(name) {
                prop_assert_eq!(saw, saw_too);
            }
        }
        prop_assert_eq!(run.state.status, run_too.state.status);
        if run.state.status == RunStatus::Completed {
            // A key that was changed is never lost: it is what one of its writers made it, and no writer
            // stands beside that one.
            for index in 0..edges.len() {
                let before = run.state.definition.before(index);
                let sees = run.sees(&format!("s{index}"));
                for at in &before {
                    for (key, value) in &run.recorded(&format!("s{at}")).set {
                        let later = before.iter().any(|other| {
                            let changed = run.recorded(&format!("s{other}"));
                            run.state.definition.before(*other).contains(at)
                                && (changed.set.contains_key(key) || changed.removed.contains(key))
                        });
                        prop_assert!(later || sees.get(key) == Some(value));
                    }
                }
            }
        }
    }
}
