//! A stock client that is out of time: its step writes what became of it, and the call's answer is late.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wflo_core::money::NanoUsd;

use crate::{Project, Row, last_line, print};

/// The client knows nothing of wflo.
const WORKFLOW: &str = r#"
import json, os, urllib.request
from wflo import Workflow

workflow = Workflow("matrix")
workflow.set_budget(max_cost_usd=1.00, action_on_exceeded="halt")

@workflow.step
def ask(context):
    question = {"model": "small", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=1) as response:
            said = json.load(response)["choices"][0]["message"]["content"]
    except TimeoutError:
        said = "gave up"
    context.db.execute("INSERT INTO log (what) VALUES (?)", [said])
    context.db.execute("INSERT INTO log (what) VALUES ('last')")
    return said
"#;

/// Runs it; the model answers once the step has gone on without it, or died.
fn run(project: &Project, failpoint: &str) -> Output {
    project.model.hold();
    let mut command = project.command(&["run", "--json"], Some(failpoint));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(600);
    while child.try_wait().unwrap().is_none() && project.count("SELECT count(*) FROM log") == 0 {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{failpoint} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    project.model.release();
    child.wait_with_output().unwrap()
}

fn at(failpoint: &str) -> Row {
    let project = Project::new(WORKFLOW);
    let first = run(&project, failpoint);
    let died = std::os::unix::process::ExitStatusExt::signal(&first.status) == Some(9);
    assert!(died, "{failpoint} is passed: {}", String::from_utf8_lossy(&first.stderr));
    let ended = project.wflo(&["runs", "resume", "latest", "--json"], None);
    let run = last_line(&project.wflo(&["runs", "show", "latest", "--json"], None));
    assert_eq!(run["status"], "completed", "{failpoint}: {}", String::from_utf8_lossy(&ended.stderr));

    // Until the end of the wait is durable nothing follows from it, and the resume may go the other way.
    let said = run["outputs"]["ask"].as_str().unwrap();
    let open = failpoint.starts_with("llm.intent.") || failpoint.starts_with("call.given_up.before");
    assert!(said == "gave up" || (open && said == "forty-two"), "{failpoint}: {said}");
    let written = format!("SELECT count(*) FROM log WHERE what IN ('{said}', 'last')");
    assert_eq!(project.count(&written), 2, "{failpoint}: a step goes the way it went");
    assert_eq!(project.count("SELECT count(*) FROM log"), 2, "{failpoint}: a write happens once");

    let events = project.wflo(&["runs", "events", "latest", "--json"], None);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let uncertain = events.filter(|e| e["type"] == "effect.finished" && e["uncertain"] == true).count();
    // Nobody asks again for what was given up, so an answer that was lost is charged and not repeated.
    let requests = project.model.counts().requests;
    assert!(
        (requests == 1 && uncertain <= 1) || (open && requests == 2 && uncertain == 1),
        "{failpoint}: {requests} requests, {uncertain} uncertain"
    );
    let held = run["budget"]["held_usd"].as_str().unwrap().parse::<NanoUsd>().unwrap();
    assert_eq!(held, NanoUsd::ZERO, "{failpoint}: no hold is left");
    Row { failpoint: failpoint.to_owned(), died, requests, uncertain }
}

#[test]
fn a_kill_around_a_call_that_was_given_up_gives_it_up_again() {
    let mut rows = Vec::new();
    for (name, passes) in [
        ("llm.intent.before", &[1][..]),
        ("llm.intent.after", &[1]),
        ("call.given_up.before", &[1]),
        ("call.given_up.after", &[1]),
        // The first is the call's own.
        ("effect.intent.before", &[2, 3]),
        ("effect.intent.after", &[2, 3]),
        ("effect.finish.before", &[1, 2, 3]),
        ("effect.finish.after", &[1, 2, 3]),
        ("llm.close.before", &[1]),
        ("llm.close.after", &[1]),
    ] {
        for pass in passes {
            rows.push(at(&format!("{name}:{pass}")));
        }
    }
    print(&rows);
}
