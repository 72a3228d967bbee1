//! A kill between the commit of a write in its database and the journal's, in the real binary, and then
//! whatever people do: go on, say no, cancel, retry. No write is made twice, and each that was made is in the
//! journal and is released by an approval that is used up.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows #[test] functions only"
)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER);
                     INSERT INTO t VALUES (1, 100), (2, 100);";
const BOTH: &str = "[databases.a]\nurl = \"sqlite:a.db\"\n[databases.b]\nurl = \"sqlite:b.db\"\n";
/// A debit in `a` and a credit in `b`, by code that looks at what is there.
const TRANSFER: &str = r#"
from wflo import Workflow
workflow = Workflow("w")

@workflow.step(approval_required=True)
async def go(context):
    a, b = context.db["a"], context.db["b"]
    who = (await b.query("SELECT v FROM t WHERE id = 1"))[0]["v"]
    if who == 777:
        await context.now()
    await a.execute("UPDATE t SET v = v - 10 WHERE id = 1")
    await b.execute("UPDATE t SET v = v + 10 WHERE id = 1")
"#;
/// The same with a write to `a` behind that to `b`.
const INTERLEAVED: &str = r#"
from wflo import Workflow
workflow = Workflow("w")

@workflow.step(approval_required=True)
async def go(context):
    a, b = context.db["a"], context.db["b"]
    await a.execute("UPDATE t SET v = v - 10 WHERE id = 1")
    await b.execute("UPDATE t SET v = v + 10 WHERE id = 1")
    await context.random()
    await a.execute("UPDATE t SET v = v - 1 WHERE id = 1")
"#;
/// Two writes that nobody is asked about.
const PLAIN: &str = r#"
from wflo import Workflow
workflow = Workflow("w")

@workflow.step
async def go(context):
    await context.db["a"].execute("UPDATE t SET v = v - 10 WHERE id = 1")
    await context.db["a"].execute("UPDATE t SET v = v - 10 WHERE id = 2")
"#;

struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new(workflow: &str) -> Self {
        let project = Project { folder: tempfile::tempdir().unwrap() };
        project.write("workflow.py", workflow);
        project.settings(BOTH);
        for name in ["a.db", "b.db"] {
            project.db(name).execute_batch(TABLE).unwrap();
        }
        project
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn settings(&self, databases: &str) {
        self.write("wflo.toml", &format!("[project]\nname = \"w\"\nworkflow = \"workflow.py\"\n{databases}"));
    }

    fn db(&self, name: &str) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join(name)).unwrap()
    }

    /// The value of a row.
    fn v(&self, name: &str, id: i64) -> i64 {
        self.db(name).query_row("SELECT v FROM t WHERE id = ?1", [id], |row| row.get(0)).unwrap()
    }

    /// What another program does.
    fn edit(&self, name: &str) {
        self.db(name).execute("UPDATE t SET v = 777 WHERE id = 1", []).unwrap();
    }

    fn command(&self, args: &[&str], failpoint: Option<&str>) -> Command {
        let sdk: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python").canonicalize().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wflo"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("PYTHONPATH", sdk)
            .env("WFLO_PYTHON", std::env::var_os("WFLO_PYTHON").unwrap_or_else(|| "python3".into()))
            .env_remove("WFLO_FAILPOINT")
            .stdin(Stdio::null());
        if let Some(failpoint) = failpoint {
            command.env("WFLO_FAILPOINT", failpoint);
        }
        command
    }

    fn wflo(&self, args: &[&str]) -> Output {
        self.command(args, None).output().unwrap()
    }

    /// Lines of JSON that a command prints.
    fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.wflo(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Runs a command, answers every question, and gives how it ended.
    fn answering(&self, args: &[&str], failpoint: Option<&str>, answer: &str) -> Output {
        let mut command = self.command(args, failpoint);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(600);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                let output = child.wait_with_output().unwrap();
                panic!("{args:?} hangs: {}", String::from_utf8_lossy(&output.stderr));
            }
            let asked = self.json(&["approvals", "list", "--json"]);
            for question in asked.iter().filter(|a| a["status"] == "pending") {
                self.wflo(&["approvals", answer, question["id"].as_str().unwrap(), "--no-drive"]);
            }
        }
        child.wait_with_output().unwrap()
    }

    /// A run that is approved and killed at a failpoint.
    fn killed(&self, failpoint: &str) {
        let ended = self.answering(&["run", "--json"], Some(failpoint), "approve");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.signal(), Some(9), "{failpoint} is passed: {said}");
    }

    fn status(&self) -> String {
        let run = self.json(&["runs", "show", "latest", "--json"]).pop().unwrap();
        run["status"].as_str().unwrap().to_owned()
    }

    /// Finished writes of the newest run.
    fn finished(&self, run: &str) -> usize {
        let events = self.json(&["runs", "events", run, "--json"]);
        let is_write =
            |e: &&Value| e["type"] == "effect.finished" && e["kind"] == "db" && e["name"] == "execute";
        events.iter().filter(is_write).count()
    }

    fn questions(&self, status: &str) -> usize {
        let all = self.json(&["approvals", "list", "--all", "--json"]);
        all.iter().filter(|a| a["status"] == status).count()
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_one_database_has_is_finished_and_the_rest_is_asked_about_anew() {
    for (workflow, taken) in [(TRANSFER, 10), (INTERLEAVED, 11)] {
        for edited in [false, true] {
            let project = Project::new(workflow);
            project.killed("chain.commit.after:1");
            assert_eq!((project.v("a.db", 1), project.v("b.db", 1)), (100 - taken, 100));
            if edited {
                project.edit("b.db");
            }
            let ended = project.answering(&["runs", "resume", "latest", "--json"], None, "approve");
            assert_eq!(project.status(), "completed", "{edited}: {}", text(&ended));
            let wanted = if edited { 787 } else { 110 };
            assert_eq!((project.v("a.db", 1), project.v("b.db", 1)), (100 - taken, wanted), "{edited}");
            assert_eq!(project.questions("consumed"), 1 + usize::from(edited), "{edited}");
            let writes = if taken == 10 { 2 } else { 3 };
            assert_eq!(project.finished("latest"), writes, "each is finished once");
        }
    }
}

#[test]
fn a_no_to_the_rest_leaves_a_record_of_what_was_made() {
    let project = Project::new(TRANSFER);
    project.killed("chain.commit.after:1");
    project.edit("b.db");
    let ended = project.answering(&["runs", "resume", "latest", "--json"], None, "reject");
    assert_eq!(project.status(), "rejected", "{}", text(&ended));
    assert_eq!((project.v("a.db", 1), project.v("b.db", 1)), (90, 777));
    assert_eq!(project.finished("latest"), 1, "the debit is in the journal");
    assert_eq!((project.questions("consumed"), project.questions("rejected")), (1, 1));
}

#[test]
fn a_cancelled_chain_keeps_what_was_made_and_its_retry_makes_the_rest() {
    for (failpoint, edited) in
        [("chain.commit.after:1", false), ("chain.commit.after:1", true), ("chain.commit.after:2", false)]
    {
        let project = Project::new(TRANSFER);
        project.killed(failpoint);
        let both = failpoint.ends_with('2');
        if edited {
            project.edit("b.db");
        }
        let cancelled = project.wflo(&["runs", "cancel", "latest"]);
        assert_eq!(project.status(), "cancelled", "{}", text(&cancelled));
        assert_eq!(project.finished("latest"), if both { 2 } else { 1 }, "{failpoint}");
        assert_eq!(project.questions("consumed"), 1, "{failpoint}");
        let ended = project.answering(&["runs", "retry", "latest", "--json"], None, "approve");
        assert_eq!(project.status(), "completed", "{failpoint} {edited}: {}", text(&ended));
        let wanted = if edited { 787 } else { 110 };
        assert_eq!((project.v("a.db", 1), project.v("b.db", 1)), (90, wanted), "{failpoint} {edited}");
    }
}

#[test]
fn a_write_that_nobody_was_asked_about_is_not_made_again_by_a_retry() {
    for (failpoint, made) in [("db.apply.before:1", 0), ("db.apply.after:1", 1), ("db.apply.after:2", 2)] {
        let project = Project::new(PLAIN);
        project.killed(failpoint);
        let cancelled = project.wflo(&["runs", "cancel", "latest"]);
        assert_eq!(project.status(), "cancelled", "{}", text(&cancelled));
        assert_eq!(project.finished("latest"), made, "{failpoint}");
        let retried = project.wflo(&["runs", "retry", "latest"]);
        assert_eq!(project.status(), "completed", "{failpoint}: {}", text(&retried));
        assert_eq!((project.v("a.db", 1), project.v("a.db", 2)), (90, 90), "{failpoint}");
    }
}

#[test]
fn a_retry_asks_a_database_that_was_away_when_its_run_ended() {
    let project = Project::new(PLAIN);
    project.killed("db.apply.after:1");
    project.settings("[databases.b]\nurl = \"sqlite:b.db\"\n");
    project.wflo(&["runs", "cancel", "latest"]);
    assert_eq!((project.status().as_str(), project.finished("latest")), ("cancelled", 0));
    let refused = project.wflo(&["runs", "retry", "latest"]);
    assert!(text(&refused).contains("WFLO-3006"), "{}", text(&refused));
    project.settings(BOTH);
    let old = project.json(&["runs", "show", "latest", "--json"]).pop().unwrap()["id"].clone();
    let retried = project.wflo(&["runs", "retry", "latest"]);
    assert_eq!(project.status(), "completed", "{}", text(&retried));
    assert_eq!((project.v("a.db", 1), project.v("a.db", 2)), (90, 90));
    assert_eq!(project.finished(old.as_str().unwrap()), 1, "it is in the journal of the run that made it");
}

#[test]
fn where_nobody_can_look_a_retry_is_refused_unless_the_step_says_so() {
    for (choice, again) in [("fail", false), ("skip", false), ("rerun", true)] {
        let project = Project::new(
            &PLAIN.replace("@workflow.step\n", &format!("@workflow.step(on_ambiguous=\"{choice}\")\n")),
        );
        project.db("a.db").execute_batch("CREATE TABLE _wflo_effects (theirs)").unwrap();
        project.killed("db.apply.after:1");
        project.wflo(&["runs", "cancel", "latest"]);
        let retried = project.wflo(&["runs", "retry", "latest"]);
        let said = text(&retried);
        assert_eq!(said.contains("WFLO-3006"), !again, "{choice}: {said}");
        assert_eq!(project.v("a.db", 1), if again { 80 } else { 90 }, "{choice}");
    }
}
