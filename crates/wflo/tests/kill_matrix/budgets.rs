//! Runs whose budgets are used up: killed while they are queued, asked about and topped up. Nothing is paid or
//! counted twice, nobody is asked twice, nothing stays held, and no budget is ever above its limit.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Project, Row, SETTINGS, last_line, pending, print};

/// Three calls and two tools, of which each budget has room for one.
const CALLS: &str = r#"
from wflo import CostLimit, Workflow

workflow = Workflow("matrix")
workflow.set_budget(max_model_calls=1, action_on_exceeded="ACTION")
workflow.set_budget(max_tool_calls=1, action_on_exceeded="ACTION")

@workflow.step
async def work(context):
    said = []
    for n in range(3):
        reply = await context.llm.chat(model="small", messages=[{"role": "user", "content": str(n)}], max_tokens=20)
        said.append(reply.text)
    for n in range(2):
        await context.tools.run(["sh", "-c", "echo built >> built.txt"])
    return [said, (context.workspace / "built.txt").read_text()]
"#;

/// Works for longer than its time, in parts that it need not do again.
const TIME: &str = r#"
import time
from wflo import Workflow

workflow = Workflow("matrix")
workflow.set_budget(max_seconds=0.4, action_on_exceeded="ask")

@workflow.step
async def work(context):
    said = []
    for n in range(3):
        reply = await context.llm.chat(model="small", messages=[{"role": "user", "content": str(n)}], max_tokens=20)
        said.append(reply.text)
        time.sleep(0.1)
    return [said, "built\nbuilt\n"]
"#;

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Does something again and again until a command has ended.
fn beside(mut child: Child, what: &str, mut act: impl FnMut()) -> Output {
    let deadline = Instant::now() + Duration::from_secs(600);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("{what} hangs: {}", String::from_utf8_lossy(&output.stderr));
        }
        act();
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn start(project: &Project, args: &[&str], failpoint: Option<&str>) -> Child {
    let mut command = project.command(args, failpoint);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs it under a failpoint and, if it died of it, again without.
fn driven(project: &Project, failpoint: &str, mut act: impl FnMut(&Project)) -> bool {
    let first = beside(start(project, &["run", "--json"], Some(failpoint)), failpoint, || act(project));
    let died = first.status.signal() == Some(9);
    let listed = lines(&project.wflo(&["runs", "list", "--json"], None));
    match listed.first() {
        Some(run) if run["status"] == "completed" => {}
        Some(_) => {
            assert!(died, "{failpoint}: {}", String::from_utf8_lossy(&first.stderr));
            let resume = start(project, &["runs", "resume", "latest", "--json"], None);
            beside(resume, failpoint, || act(project));
        }
        None => {
            beside(start(project, &["run", "--json"], None), failpoint, || act(project));
        }
    }
    died
}

/// Kills it at each of these passes of failpoints, while somebody acts, and checks what is left each time.
fn killed(workflow: &str, answers: &str, act: impl Fn(&Project), failpoints: &[(&str, &[u32])]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, passes) in failpoints {
        for pass in *passes {
            let failpoint = format!("{name}:{pass}");
            let project = Project::new(workflow);
            let died = driven(&project, &failpoint, &act);
            rows.push(checked(&project, &failpoint, died, answers));
        }
    }
    print(&rows);
    rows
}

/// Its newest run waits.
fn waits(project: &Project) -> bool {
    let listed = lines(&project.wflo(&["runs", "list", "--json"], None));
    listed.first().is_some_and(|run| run["status"] == "waiting")
}

fn accounts(project: &Project) -> Vec<Value> {
    let listed = lines(&project.wflo(&["budgets", "list", "--all", "--json"], None));
    listed.into_iter().filter(|line| line["type"] == "budget").collect()
}

/// Accounts with no room left.
fn full(project: &Project) -> Vec<Value> {
    accounts(project).into_iter().filter(|account| account["settled"] == account["limit"]).collect()
}

/// What an account says of itself, whatever it measures.
fn number(account: &Value, name: &str) -> Option<i64> {
    account[name].as_i64().or_else(|| account[format!("{name}_ms")].as_i64())
}

/// It is within its limit, and nothing of it is held.
fn assert_settled(account: &Value, what: &str) {
    assert_eq!(number(account, "held"), Some(0), "{what}: {account}");
    assert!(number(account, "settled") <= number(account, "limit"), "{what}: {account}");
}

/// What must be so however often it died.
fn checked(project: &Project, failpoint: &str, died: bool, answers: &str) -> Row {
    let run = last_line(&project.wflo(&["runs", "show", "latest", "--json"], None));
    let events = lines(&project.wflo(&["runs", "events", "latest", "--json"], None));
    assert_eq!(run["status"], "completed", "{failpoint}: {run}");
    let said = serde_json::json!([["forty-two", "forty-two", "forty-two"], "built\nbuilt\n"]);
    assert_eq!(run["outputs"]["work"], said, "{failpoint}");
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let finished = |event: &&Value| {
        event["type"] == "effect.finished" && event["kind"] == "llm" && event["error"].is_null()
    };
    assert_eq!(events.iter().filter(finished).count(), 3, "{failpoint}: each call is answered once");
    let uncertain =
        events.iter().filter(|e| e["type"] == "effect.finished" && e["uncertain"] == true).count();
    let requests = project.model.counts().requests;
    // A call whose answer was lost may not have been sent yet.
    let sent = requests == 3 || requests == 3 + uncertain as u64;
    assert!(sent && uncertain <= 1, "{failpoint}: {requests}, {uncertain} uncertain");
    for account in accounts(project) {
        assert_settled(&account, failpoint);
        let settled = number(&account, "settled");
        match account["measure"].as_str() {
            Some("model_calls") => assert_eq!(settled, Some(3 + uncertain as i64), "{failpoint}: {account}"),
            Some("tool_calls") => assert_eq!(settled, Some(2), "{failpoint}: {account}"),
            _ => {}
        }
    }
    // Each yes and each top-up has raised its budget once.
    let given = project.wflo(&["budgets", "history", "--json"], None);
    let given = lines(&given).iter().filter(|line| line["change"] == "topped_up").count();
    match answers {
        "ask" => {
            let asked = lines(&project.wflo(&["approvals", "list", "--all", "--json"], None));
            let yes = |approval: &&Value| approval["status"] == "approved";
            assert_eq!(asked.iter().filter(yes).count(), asked.len(), "{failpoint}: {asked:?}");
            assert_eq!((of("budget.topped_up"), given), (asked.len(), asked.len()), "{failpoint}");
        }
        _ => {
            let queued = events.iter().filter(|event| event["type"] == "budget.queued");
            let mut queued: Vec<_> = queued.map(|event| event["key"].to_string()).collect();
            let all = queued.len();
            queued.dedup();
            assert!(all == queued.len() && all >= 2, "{failpoint}: each is queued once: {queued:?}");
        }
    }
    Row { failpoint: failpoint.to_owned(), died, requests, uncertain }
}

fn approve(project: &Project) {
    for id in pending(project) {
        project.wflo(&["approvals", "approve", &id, "--no-drive"], None);
    }
}

/// Tops up what has no room left, while its run waits for it.
fn top_up(project: &Project) {
    if !waits(project) {
        return;
    }
    for account in full(project) {
        project.wflo(&["budgets", "top-up", account["id"].as_str().unwrap(), "1"], None);
    }
}

#[test]
fn a_kill_around_a_budgets_question_asks_once_and_gives_once() {
    let rows = killed(
        &CALLS.replace("ACTION", "ask"),
        "ask",
        approve,
        &[
            ("run.commit.before", &[2, 4, 5, 6, 7]),
            ("run.commit.after", &[2, 4, 5, 6, 7]),
            ("llm.intent.before", &[2, 3]),
            ("llm.intent.after", &[2, 3]),
            ("llm.close.after", &[1, 2]),
            ("effect.intent.before", &[4, 5]),
            ("effect.intent.after", &[4, 5]),
        ],
    );
    assert!(rows.iter().filter(|row| row.died).count() >= 15, "the failpoints are passed");
}

#[test]
fn a_kill_around_a_queue_waits_once_and_goes_on_after_a_top_up() {
    let rows = killed(
        &CALLS.replace("ACTION", "queue"),
        "queue",
        top_up,
        &[
            ("budget.queued.before", &[1, 2]),
            ("budget.queued.after", &[1, 2]),
            ("run.commit.before", &[3, 4]),
            ("run.commit.after", &[3, 4]),
            ("llm.intent.before", &[2]),
            ("llm.intent.after", &[2]),
            ("effect.intent.before", &[4, 5]),
            ("effect.intent.after", &[4, 5]),
        ],
    );
    assert!(rows.iter().filter(|row| row.died).count() >= 10, "the failpoints are passed");
}

/// Its engine is killed while the run rests; whoever drives it next finds it queued, and wakes it.
#[test]
fn a_run_that_is_queued_outlives_its_engine_and_is_woken_in_another() {
    let project = Project::new(&CALLS.replace("ACTION", "queue"));
    let mut child = start(&project, &["run", "--json"], None);
    let deadline = Instant::now() + Duration::from_secs(600);
    while !waits(&project) {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not wait");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Nobody drives it: the message waits for whoever does.
    top_up(&project);
    assert!(waits(&project), "nobody is there to go on with it");
    let resume = start(&project, &["runs", "resume", "latest", "--json"], None);
    beside(resume, "the resume", || top_up(&project));
    checked(&project, "killed while it rests", true, "queue");
}

/// The limit is raised, and who did it dies before anybody is told.
#[test]
fn a_top_up_that_dies_halfway_has_raised_the_limit_once_and_a_further_one_tells_of_it() {
    for action in ["queue", "ask"] {
        let project = Project::new(&CALLS.replace("ACTION", action));
        let (mut deaths, failpoint) = (0, "inbox.send.before:1");
        let child = start(&project, &["run", "--json"], None);
        let ended = beside(child, failpoint, || {
            if !waits(&project) {
                return;
            }
            for account in full(&project) {
                let id = account["id"].as_str().unwrap();
                let first = project.wflo(&["budgets", "top-up", id, "1"], Some(failpoint));
                deaths += usize::from(first.status.signal() == Some(9));
                let now = accounts(&project).into_iter().find(|now| now["id"] == account["id"]).unwrap();
                assert_eq!(now["limit"].as_i64(), account["limit"].as_i64().map(|limit| limit + 1), "{now}");
                project.wflo(&["budgets", "top-up", id, "1"], None);
            }
        });
        assert!(deaths >= 2, "{action}: {}", String::from_utf8_lossy(&ended.stderr));
        let run = last_line(&project.wflo(&["runs", "show", "latest", "--json"], None));
        assert_eq!(
            (run["status"].as_str(), project.model.counts().requests),
            (Some("completed"), 3),
            "{action}"
        );
        for account in accounts(&project) {
            assert_settled(&account, action);
        }
    }
}

#[test]
fn a_kill_around_a_slice_of_time_counts_it_and_holds_nothing_for_ever() {
    let rows = killed(
        TIME,
        "ask",
        approve,
        &[
            ("time.slice.before", &[1, 2]),
            ("time.slice.after", &[1, 2]),
            ("time.settle.before", &[1, 2]),
            ("time.settle.after", &[1, 2]),
            ("run.commit.before", &[3, 4]),
            ("run.commit.after", &[2, 3, 4]),
            ("llm.close.after", &[1]),
        ],
    );
    for row in rows.iter().filter(|row| row.failpoint.starts_with("time.")) {
        assert!(row.died, "{} is passed", row.failpoint);
    }
}

/// Two engines at once, on budgets of every measure that all runs of the workflow share.
#[test]
fn two_engines_take_no_more_than_a_shared_budget_has() {
    let limits = "
[[budgets]]
scope = \"workflow\"
max_model_calls = 4

[[budgets]]
scope = \"org\"
period = \"month\"
time_zone = \"Europe/Berlin\"
max_tokens = 100000
max_tool_calls = 3

[[budgets]]
scope = \"workflow\"
period = \"day\"
max_seconds = 600
";
    let workflow = CALLS
        .replace("max_model_calls=1", "max_model_calls=9")
        .replace("max_tool_calls=1", "max_tool_calls=9");
    let project = Project::new(&workflow.replace("ACTION", "halt"));
    std::fs::write(project.folder.path().join("wflo.toml"), format!("{SETTINGS}{limits}")).unwrap();
    let runs: Vec<Child> = (0..3).map(|_| start(&project, &["run", "--json"], None)).collect();
    let mut codes: Vec<_> = runs.into_iter().map(|run| beside(run, "a run", || {}).status.code()).collect();
    codes.sort_unstable();
    // Three runs want nine calls, and there are four.
    assert!(codes.ends_with(&[Some(4), Some(4)]), "{codes:?}");
    assert_eq!(project.model.counts().requests, 4);
    for account in accounts(&project).iter().filter(|account| account["scope"] != "run") {
        assert_settled(account, "two engines");
        if account["measure"] == "model_calls" {
            assert_eq!(account["settled"], 4, "{account}");
        }
    }
}
