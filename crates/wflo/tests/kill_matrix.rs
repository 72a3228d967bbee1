//! SIGKILL at every journal boundary, in the real binary: nothing finished is repeated or paid twice,
//! nothing is lost, and the run completes.
//!
//! One workflow with a model call, a database write, a file, a failing step that is rolled back and
//! retried, a step that goes on without an answer, a tool, and a last write. For each failpoint and each
//! of its first passes, a fresh project is run until it dies there and is then resumed. The table of
//! boundaries and results is printed.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy knows #[test] functions only"
)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::Value;
use wflo_testkit::model_server::{Answer, ModelServer};

mod kill_matrix {
    mod budgets;
    mod circles;
    mod given_up;
}

const WORKFLOW: &str = r#"
import asyncio
from wflo import Workflow

workflow = Workflow("matrix")
workflow.set_budget(max_cost_usd=1.00, action_on_exceeded="halt")

@workflow.step
async def ask(context):
    reply = await context.llm.chat(model="small", messages=[{"role": "user", "content": "hello"}], max_tokens=20)
    await context.db.execute("INSERT INTO log (what) VALUES (?)", [reply.text])
    (context.workspace / "report.txt").write_text(reply.text)
    return reply.text

@workflow.step(rollback_enabled=True, retries=1, retry_backoff=0.01)
async def flaky(context):
    tries = await context.db.query("SELECT count(*) FROM tries")
    await context.db.execute("INSERT INTO tries (what) VALUES ('tried')")
    if context.attempt == 1:
        raise ValueError("the first try fails")
    return context.attempt

@workflow.step
async def impatient(context):
    try:
        await asyncio.wait_for(context.sleep(600), 0.05)
    except asyncio.TimeoutError:
        await context.db.execute("INSERT INTO log (what) VALUES ('gave up')")
    nap = asyncio.create_task(context.sleep(0.3))
    done, _ = await asyncio.wait([nap], timeout=0.05)
    await context.db.execute("INSERT INTO log (what) VALUES (?)", [f"napped {len(done)}"])
    await nap
    return "impatient"

@workflow.step
async def build(context):
    await context.tools.run(["sh", "-c", "echo built >> built.txt"])
    await context.now()
    return (context.workspace / "built.txt").read_text()

@workflow.step
def last(context):
    text = (context.workspace / "report.txt").read_text()
    context.db.execute("INSERT INTO log (what) VALUES ('last')")
    return text
"#;

const SETTINGS: &str = r#"
[project]
name = "matrix"
workflow = "workflow.py"

[providers.mock]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"

[models.small]
provider = "mock"
input = "1.00"
output = "2.00"
context_tokens = 1000
max_output_tokens = 100

[databases.main]
url = "sqlite:data/main.db"
"#;

struct Project {
    folder: tempfile::TempDir,
    model: ModelServer,
}

impl Project {
    fn new(workflow: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("workflow.py"), workflow).unwrap();
        std::fs::write(folder.path().join("wflo.toml"), SETTINGS).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let db = rusqlite::Connection::open(folder.path().join("data/main.db")).unwrap();
        let tables = "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT);
                      CREATE TABLE tries (id INTEGER PRIMARY KEY, what TEXT);";
        db.execute_batch(tables).unwrap();
        let model = ModelServer::start().unwrap();
        model.answer_always(Answer::text("forty-two"));
        Project { folder, model }
    }

    fn wflo(&self, args: &[&str], failpoint: Option<&str>) -> Output {
        self.command(args, failpoint).output().unwrap()
    }

    fn command(&self, args: &[&str], failpoint: Option<&str>) -> Command {
        let sdk: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python").canonicalize().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wflo"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("PYTHONPATH", sdk)
            .env("WFLO_PYTHON", std::env::var_os("WFLO_PYTHON").unwrap_or_else(|| "python3".into()))
            .env("WFLO_PROVIDERS__MOCK__BASE_URL", self.model.openai_url())
            .env_remove("WFLO_FAILPOINT")
            .stdin(Stdio::null());
        if let Some(failpoint) = failpoint {
            command.env("WFLO_FAILPOINT", failpoint);
        }
        command
    }

    fn count(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(self.folder.path().join("data/main.db")).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or(Value::Null)
}

/// What one boundary came to.
struct Row {
    failpoint: String,
    died: bool,
    requests: u64,
    uncertain: usize,
}

fn at(failpoint: &str) -> Row {
    let project = Project::new(WORKFLOW);
    let first = project.wflo(&["run", "--json"], Some(failpoint));
    let died = first.status.signal() == Some(9);
    let said = |output: &Output| {
        format!(
            "{failpoint}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let listed = project.wflo(&["runs", "list", "--json"], None);
    let accepted = !String::from_utf8_lossy(&listed.stdout).trim().is_empty();
    let over = accepted && last_line(&listed)["status"] == "completed";
    let ended = if died && accepted && !over {
        project.wflo(&["runs", "resume", "latest", "--json"], None)
    } else if died && accepted {
        // It died after the run's last commit: there is nothing left to do.
        first
    } else if died {
        // It died before the run was accepted: nothing is there, and nothing was done.
        assert_eq!(project.model.counts().requests, 0, "{}", said(&first));
        project.wflo(&["run", "--json"], None)
    } else {
        first
    };
    let shown = project.wflo(&["runs", "show", "latest", "--json"], None);
    let run = &last_line(&shown);
    assert_eq!(run["status"], "completed", "{}", said(&ended));
    assert_eq!(run["outputs"]["last"], "forty-two", "{}", said(&ended));
    assert_eq!(run["outputs"]["build"], "built\n", "{failpoint}: a tool's files are there once");
    assert_eq!(
        project.count("SELECT count(*) FROM log WHERE what = 'forty-two'"),
        1,
        "{failpoint}: a write happens once"
    );
    assert_eq!(
        project.count("SELECT count(*) FROM log WHERE what = 'last'"),
        1,
        "{failpoint}: a write happens once"
    );
    assert_eq!(project.count("SELECT count(*) FROM tries"), 1, "{failpoint}: the failed try was undone");
    for what in ["gave up", "napped %"] {
        let sql = format!("SELECT count(*) FROM log WHERE what LIKE '{what}'");
        assert_eq!(project.count(&sql), 1, "{failpoint}: a step goes the way it went");
    }
    let events = project.wflo(&["runs", "events", "latest", "--json"], None);
    let events: Vec<Value> = String::from_utf8_lossy(&events.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<u64> = events.iter().filter_map(|e| e["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{failpoint}: events have no gaps");
    for step in ["ask", "flaky", "impatient", "build", "last"] {
        let done = events.iter().filter(|e| e["type"] == "step.succeeded" && e["step"] == step).count();
        assert_eq!(done, 1, "{failpoint}: step {step} succeeds once");
    }
    let uncertain =
        events.iter().filter(|e| e["type"] == "effect.finished" && e["uncertain"] == true).count();
    let requests = project.model.counts().requests;
    // A call whose answer was durable is never made again; one whose answer was lost is made once more
    // and listed as uncertain.
    assert!(
        requests == 1 || (requests == 2 && uncertain == 1),
        "{failpoint}: {requests} requests, {uncertain} uncertain"
    );
    let budget = &run["budget"];
    let amount = |name: &str| budget[name].as_str().unwrap().parse::<wflo_core::money::NanoUsd>().unwrap();
    assert_eq!(amount("held_usd"), wflo_core::money::NanoUsd::ZERO, "{failpoint}: no hold is left");
    assert!(amount("settled_usd") <= amount("limit_usd"));
    Row { failpoint: failpoint.to_owned(), died, requests, uncertain }
}

fn print(rows: &[Row]) {
    println!("{:<26} {:<8} {:>8} {:>10}", "boundary", "killed", "requests", "uncertain");
    for row in rows {
        println!("{:<26} {:<8} {:>8} {:>10}", row.failpoint, row.died, row.requests, row.uncertain);
    }
}

#[test]
fn a_kill_at_any_boundary_loses_and_repeats_nothing() {
    let mut rows = Vec::new();
    for name in wflo_engine::failpoint::ALL {
        let passes: &[u32] = match name {
            "run.commit.before" | "run.commit.after" => &[1, 2, 3, 5, 7],
            "effect.finish.before" | "effect.finish.after" => &[1, 2, 4, 5, 6, 7, 8, 9, 10, 11],
            "effect.intent.before" | "effect.intent.after" => &[1, 2, 3, 4, 5, 6, 7, 8, 9],
            // Passed where people are asked: the matrix below.
            name if ["chain.", "effect.preview.", "sealed."].iter().any(|p| name.starts_with(p)) => continue,
            // Passed where a disk fails: `tests/e2e/test_sealed_writes.py`.
            "db.commit.unknown" => continue,
            // Passed where a budget is used up: `budgets`.
            name if ["budget.", "time.", "inbox."].iter().any(|p| name.starts_with(p)) => continue,
            // Passed where a stock client is out of time: `given_up`.
            name if name.starts_with("call.") => continue,
            _ => &[1],
        };
        for pass in passes {
            rows.push(at(&format!("{name}:{pass}")));
        }
    }
    print(&rows);
    assert!(rows.iter().filter(|row| row.died).count() >= 20, "the failpoints are passed");
}

/// Two batches of writes that people approve, with a model call between them; the first batch is in two
/// databases, and somebody else changes a row of it before the first answer. Then a write that is run again.
const ASKED: &str = r#"
from wflo import Workflow

workflow = Workflow("matrix")
workflow.set_budget(max_cost_usd=1.00, action_on_exceeded="halt")

@workflow.step
async def both(context):
    await context.db["main"].execute("INSERT INTO log (what) VALUES ('first')")
    seen = await context.db["main"].query("SELECT count(*) FROM log")
    await context.db["side"].execute("INSERT INTO notes (what) VALUES (?)", [str(await context.random())])
    await context.db["main"].execute("UPDATE tries SET what = what || '+' WHERE id = 1")
    reply = await context.llm.chat(model="small", messages=[{"role": "user", "content": "hello"}], max_tokens=20)
    await context.db["main"].execute("INSERT INTO log (what) VALUES (?)", [reply.text])
    await context.db["main"].execute("INSERT INTO log (what) VALUES ('last')")
    await context.db["main"].execute("CREATE TABLE made (n INTEGER PRIMARY KEY)")
    return seen.scalar()
"#;

/// What the step does to the files, whatever happens on its way.
fn side(project: &Project) -> rusqlite::Connection {
    rusqlite::Connection::open(project.folder.path().join("data/side.db")).unwrap()
}

/// Runs a command and answers yes to every question, until it ends.
fn approving(project: &Project, args: &[&str], failpoint: Option<&str>, meddle: &mut bool) -> Output {
    let mut approve = |id: &str| {
        if std::mem::take(meddle) {
            let db = rusqlite::Connection::open(project.folder.path().join("data/main.db")).unwrap();
            db.execute("UPDATE tries SET what = 'theirs' WHERE id = 1", []).unwrap();
        }
        project.wflo(&["approvals", "approve", id, "--no-drive"], None);
    };
    // What was asked before it died is not asked again.
    pending(project).iter().for_each(|id| approve(id));
    let mut command = project.command(args, failpoint);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (told, events) = std::sync::mpsc::channel();
    let printed = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || printed.lines().try_for_each(|line| told.send(line.unwrap())));
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["type"] == "approval.requested" {
                    approve(event["approval_id"].as_str().unwrap());
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                let output = child.wait_with_output().unwrap();
                panic!("{failpoint:?} hangs: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    reader.join().unwrap().unwrap();
    child.wait_with_output().unwrap()
}

fn pending(project: &Project) -> Vec<String> {
    let listed = project.wflo(&["approvals", "list", "--json"], None);
    let lines = String::from_utf8_lossy(&listed.stdout).into_owned();
    let all = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|a| a["status"] == "pending").map(|a| a["id"].as_str().unwrap().to_owned()).collect()
}

fn asked_at(failpoint: &str) -> Row {
    let project = Project::new(ASKED);
    let settings = format!("{SETTINGS}\n[databases.side]\nurl = \"sqlite:data/side.db\"\n");
    std::fs::write(project.folder.path().join("wflo.toml"), settings).unwrap();
    let notes = "CREATE TABLE notes (id INTEGER PRIMARY KEY, what TEXT)";
    side(&project).execute_batch(notes).unwrap();
    let main = rusqlite::Connection::open(project.folder.path().join("data/main.db")).unwrap();
    main.execute("INSERT INTO tries VALUES (1, 'ours')", []).unwrap();

    let mut meddle = true;
    let mut ended =
        approving(&project, &["run", "--json", "--require-approval"], Some(failpoint), &mut meddle);
    let died = ended.status.signal() == Some(9);
    if died {
        let listed = project.wflo(&["runs", "list", "--json"], None);
        let accepted = !String::from_utf8_lossy(&listed.stdout).trim().is_empty();
        let again: &[&str] = if accepted {
            &["runs", "resume", "latest", "--json"]
        } else {
            &["run", "--json", "--require-approval"]
        };
        if last_line(&listed)["status"] != "completed" {
            ended = approving(&project, again, None, &mut meddle);
        }
    }
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let run = last_line(&project.wflo(&["runs", "show", "latest", "--json"], None));
    assert_eq!(run["status"], "completed", "{failpoint}: {said}");
    assert_eq!(run["outputs"]["both"], 1, "{failpoint}: its read saw its write, and no other");
    for what in ["first", "forty-two", "last"] {
        let sql = format!("SELECT count(*) FROM log WHERE what = '{what}'");
        assert_eq!(project.count(&sql), 1, "{failpoint}: {what} is written once");
    }
    assert_eq!(project.count("SELECT count(*) FROM log"), 3, "{failpoint}");
    assert_eq!(project.count("SELECT what = 'theirs+' FROM tries"), 1, "{failpoint}: on top of theirs, once");
    let notes: i64 = side(&project).query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(notes, 1, "{failpoint}");
    assert_eq!(
        project.count("SELECT count(*) FROM _wflo_effects"),
        5,
        "{failpoint}: each write is on record"
    );
    assert_eq!(project.count("SELECT count(*) FROM made"), 0, "{failpoint}: the table is there");
    let listed = project.wflo(&["approvals", "list", "--all", "--json"], None);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let statuses: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].as_str().unwrap().to_owned())
        .collect();
    let of = |status: &str| statuses.iter().filter(|s| *s == status).count();
    assert_eq!((of("consumed"), of("superseded"), statuses.len()), (3, 1, 4), "{failpoint}: {statuses:?}");
    let events = project.wflo(&["runs", "events", "latest", "--json"], None);
    let events: Vec<Value> = String::from_utf8_lossy(&events.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let finished =
        |kind: &str| events.iter().filter(|e| e["type"] == "effect.finished" && e["kind"] == kind).count();
    assert_eq!((finished("db"), finished("random")), (7, 1), "{failpoint}: each effect is finished once");
    let requests = project.model.counts().requests;
    let uncertain =
        events.iter().filter(|e| e["type"] == "effect.finished" && e["uncertain"] == true).count();
    assert!(
        requests == 1 || (requests == 2 && uncertain == 1),
        "{failpoint}: {requests} requests, {uncertain} uncertain"
    );
    Row { failpoint: failpoint.to_owned(), died, requests, uncertain }
}

#[test]
fn a_kill_around_a_question_writes_what_was_approved_once() {
    let mut rows = Vec::new();
    for (name, passes) in [
        ("effect.preview.before", &[1, 3, 5, 7, 12][..]),
        ("effect.preview.after", &[1, 3, 5, 7, 12]),
        ("chain.commit.before", &[1, 2, 3]),
        ("chain.commit.after", &[1, 2, 3]),
        ("chain.confirm.after", &[1, 2]),
        ("chain.rewind.after", &[1]),
        ("sealed.commit.before", &[1]),
        ("sealed.commit.after", &[1]),
        ("run.commit.before", &[2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("run.commit.after", &[2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("llm.intent.before", &[1]),
        ("llm.close.after", &[1]),
        ("layer.captured", &[1]),
    ] {
        for pass in passes {
            let failpoint = format!("{name}:{pass}");
            let mut row = asked_at(&failpoint);
            // A lease that a busy machine loses ends an attempt between two boundaries, and the next one passes fewer.
            for _ in 0..2 {
                if !row.died {
                    row = asked_at(&failpoint);
                }
            }
            rows.push(row);
        }
    }
    print(&rows);
    let chain =
        rows.iter().filter(|row| ["chain.", "preview", "sealed"].iter().any(|p| row.failpoint.contains(p)));
    for row in chain {
        assert!(row.died, "{} is passed", row.failpoint);
    }
}
