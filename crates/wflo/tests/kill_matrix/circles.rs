//! A run that goes round in circles, killed around the question: it is put once, and answered once.

use std::os::unix::process::ExitStatusExt as _;

use serde_json::Value;

use crate::{Project, Row, SETTINGS, approving, last_line, print};

/// The third call asks, and no further one: counts begin anew after the yes.
const WORKFLOW: &str = r#"
from wflo import Workflow

workflow = Workflow("matrix")

@workflow.step
async def work(context):
    said = []
    for n in range(5):
        reply = await context.llm.chat(model="small", messages=[{"role": "user", "content": "again"}], max_tokens=20)
        said.append(reply.text)
    return len(said)
"#;

fn at(failpoint: &str) -> Row {
    let project = Project::new(WORKFLOW);
    let settings = format!("{SETTINGS}\n[repeats]\nsame = 3\naction = \"ask\"\n");
    std::fs::write(project.folder.path().join("wflo.toml"), settings).unwrap();
    let mut meddle = false;
    let mut ended = approving(&project, &["run", "--json"], Some(failpoint), &mut meddle);
    let died = ended.status.signal() == Some(9);
    if died {
        ended = approving(&project, &["runs", "resume", "latest", "--json"], None, &mut meddle);
    }
    let run = last_line(&project.wflo(&["runs", "show", "latest", "--json"], None));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(
        (run["status"].as_str(), &run["outputs"]["work"]),
        (Some("completed"), &5.into()),
        "{failpoint}: {said}"
    );
    let listed = project.wflo(&["approvals", "list", "--all", "--json"], None);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let asked: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_one = asked.len() == 1 && asked[0]["purpose"] == "repeat" && asked[0]["status"] == "approved";
    assert!(is_one, "{failpoint}: {listed}");
    let events = project.wflo(&["runs", "events", "latest", "--json"], None);
    let uncertain = String::from_utf8_lossy(&events.stdout).matches("\"uncertain\":true").count();
    let requests = project.model.counts().requests;
    let sent = requests == 5 || requests == 5 + uncertain as u64;
    assert!(sent && uncertain <= 1, "{failpoint}: {requests} requests, {uncertain} uncertain");
    Row { failpoint: failpoint.to_owned(), died, requests, uncertain }
}

#[test]
fn a_kill_around_a_circle_asks_once() {
    let mut rows = Vec::new();
    for (name, passes) in [
        ("run.commit.before", &[2, 3, 4][..]),
        ("run.commit.after", &[2, 3, 4]),
        ("llm.intent.before", &[2, 3, 4]),
        ("llm.intent.after", &[2, 3, 4]),
        ("llm.close.after", &[1, 2, 3, 4]),
    ] {
        for pass in passes {
            rows.push(at(&format!("{name}:{pass}")));
        }
    }
    print(&rows);
    assert!(rows.iter().filter(|row| row.died).count() >= 12, "the failpoints are passed");
}
