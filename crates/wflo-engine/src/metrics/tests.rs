//! What is counted is what happened, and nothing of it can become a label.

use jiff::Timestamp;
use serde_json::json;

use super::tally::{Seen, Tally};
use super::*;

fn id(n: u128) -> RunId {
    RunId::from_uuid(uuid::Uuid::from_u128(n))
}

/// Events a second apart.
fn told(tally: &mut Tally, n: u128, first: u64, events: &[serde_json::Value]) {
    for (seq, event) in (first..).zip(events) {
        let mut event = event.clone();
        let at = Timestamp::from_second(1_800_000_000 + seq as i64).unwrap();
        event["time"] = json!(at);
        let event: Event = serde_json::from_value(event).unwrap();
        tally.count(id(n), seq, &event);
    }
}

fn text(tally: &Tally) -> String {
    let mut page = Page::default();
    tally.write(&mut page);
    page.text()
}

fn started(step: &str) -> serde_json::Value {
    json!({"type": "step.started", "step": step, "generation": 1, "attempt": 1, "epoch": 1})
}

fn run_started() -> serde_json::Value {
    json!({"type": "run.started", "workflow": "w", "version": format!("blake3:{:064}", 0)})
}

#[test]
fn a_run_that_goes_on_is_a_gauge_and_one_that_has_ended_a_count() {
    let mut tally = Tally::default();
    tally.begin(id(1), "w", "budget");
    told(&mut tally, 1, 1, &[run_started(), started("a"), json!({"type": "run.waiting", "on": []})]);
    let page = text(&tally);
    for wanted in [
        "wflo_runs{workflow=\"w\",status=\"waiting\"} 1\n",
        "wflo_steps_running{workflow=\"w\",step=\"a\"} 1\n",
        "wflo_approvals_waiting{workflow=\"w\"} 0\n",
    ] {
        assert!(page.contains(wanted), "{wanted} is not in\n{page}");
    }
    let failed = json!({"type": "step.failed", "step": "a", "generation": 1, "timed_out": false, "then": "fail",
        "error": {"code": "E", "message": "a secret of a step"}});
    let error = json!({"type": "run.failed", "error": {"code": "E", "message": "a secret of a step"}});
    told(&mut tally, 1, 4, &[failed, error]);
    let page = text(&tally);
    for wanted in [
        "wflo_workflow_executions_total{workflow=\"w\",status=\"failed\"} 1\n",
        "wflo_workflow_duration_seconds_bucket{workflow=\"w\",le=\"5.000000\"} 1\n",
        "wflo_workflow_duration_seconds_bucket{workflow=\"w\",le=\"1.000000\"} 0\n",
        "wflo_workflow_duration_seconds_sum{workflow=\"w\"} 4.000000\n",
        "wflo_steps_total{workflow=\"w\",step=\"a\",status=\"failed\"} 1\n",
        "wflo_step_attempts_total{workflow=\"w\",step=\"a\",outcome=\"failed\"} 1\n",
        "wflo_step_duration_seconds_count{workflow=\"w\",step=\"a\"} 1\n",
    ] {
        assert!(page.contains(wanted), "{wanted} is not in\n{page}");
    }
    assert!(!page.contains("wflo_runs{") && !page.contains("wflo_steps_running{"), "{page}");
    assert!(!page.contains("secret") && !page.contains(&id(1).to_string()), "{page}");
    assert!(matches!(tally.seen(id(1)), Seen::Over), "what comes behind its end begins nothing anew");
}

#[test]
fn what_other_processes_did_before_is_followed_and_not_counted() {
    let mut tally = Tally::default();
    tally.begin(id(1), "w", "budget");
    let event: Event = serde_json::from_value({
        let mut event = run_started();
        event["time"] = json!("2026-01-01T00:00:00Z");
        event
    })
    .unwrap();
    tally.fold(id(1), 1, &event);
    told(&mut tally, 1, 2, &[started("a")]);
    let page = text(&tally);
    assert!(page.contains("wflo_runs{workflow=\"w\",status=\"running\"} 1\n"), "{page}");
    assert!(matches!(tally.seen(id(1)), Seen::To(2)));
}

#[test]
fn a_name_in_a_label_ends_no_line() {
    let mut tally = Tally::default();
    tally.begin(id(1), "a\"}\nwflo_runs 7\n", "budget");
    told(&mut tally, 1, 1, &[run_started()]);
    let page = text(&tally);
    assert!(page.contains("workflow=\"a\\\"}\\nwflo_runs 7\\n\""), "{page}");
    assert!(!page.lines().any(|line| line == "wflo_runs 7"), "{page}");
}
