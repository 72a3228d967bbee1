//! Runs that another process carries on: `--apply` is still meant, `--detach` leaves, `--follow` ends.

use std::io::{BufRead, BufReader};
use std::process::Child;

use serde_json::Value;

use super::runs::{left_behind, project, signal, until, until_asked};
use super::wflo::Folder;

/// A run that was started so, waits for its approval, and whose process was killed.
fn left_behind_with(folder: &Folder, arguments: &[&str]) {
    let child = folder.start(&[&["run"], arguments].concat());
    until_asked(folder);
    signal(&child, rustix::process::Signal::KILL);
    folder.ended(child);
}

/// A run's own status: its steps have one, too.
fn status_in(shown: &str) -> String {
    let run: Value = serde_json::from_str(shown).unwrap();
    run["status"].as_str().unwrap().to_owned()
}

fn status(folder: &Folder) -> String {
    status_in(&folder.run(&["runs", "show", "latest", "--json"]).stdout)
}

fn until_status(folder: &Folder, run: &str, wanted: &str) {
    until(folder, &["runs", "show", run, "--json"], |ended| status_in(&ended.stdout) == wanted);
}

#[test]
fn whoever_completes_a_run_brings_its_files_in() {
    let folder = project();
    left_behind_with(&folder, &["--apply"]);
    let approved = folder.run(&["approvals", "approve", "latest"]);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    assert_eq!(folder.read("report.md"), "# Report\npublished\n");
    assert!(approved.stderr.contains("2 changed files are in the project now"), "{}", approved.stderr);
    assert!(!folder.exists("deploy.sh"), "what acts by itself is asked about");
    assert!(approved.stderr.contains("deploy.sh was left out"), "{}", approved.stderr);
}

#[test]
fn a_retried_run_brings_its_files_in_as_well() {
    let folder = project();
    left_behind_with(&folder, &["--apply"]);
    assert_eq!(folder.run(&["runs", "cancel", "latest"]).code, 0);
    let child = folder.start(&["runs", "retry", "latest"]);
    until_asked(&folder);
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    assert_eq!(folder.ended(child).code, 0);
    assert!(folder.exists("report.md"));
}

#[test]
fn where_approvals_are_required_the_files_wait_for_somebody() {
    let folder = project();
    left_behind_with(&folder, &["--apply", "--require-approval"]);
    let approved = folder.run(&["approvals", "approve", "latest"]);
    assert_eq!((approved.code, status(&folder).as_str()), (75, "completed"), "{}", approved.stderr);
    assert!(approved.stderr.contains("wflo apply run_"), "{}", approved.stderr);
    assert_eq!(
        folder.run(&["runs", "resume", "latest"]).code,
        75,
        "resuming asks again, and nobody is there"
    );
    assert!(!folder.exists("report.md"));
    assert_eq!(folder.run(&["apply", "latest", "--yes"]).code, 0);
    assert!(folder.exists("report.md"));
    let again = folder.run(&["runs", "resume", "latest"]);
    assert!(again.code == 1 && again.stderr.contains("WFLO-3012"), "{}", again.stderr);
}

#[test]
fn a_conflict_writes_nothing_and_loses_nothing() {
    let folder = project();
    left_behind_with(&folder, &["--apply"]);
    folder.write("notes.txt", "mine\n");
    let approved = folder.run(&["approvals", "approve", "latest", "--json"]);
    assert_eq!((approved.code, status(&folder).as_str()), (1, "completed"), "{}", approved.stderr);
    assert!(
        approved.stderr.contains("notes.txt") && approved.stderr.contains("WFLO-5111"),
        "{}",
        approved.stderr
    );
    let last: Value = serde_json::from_str(approved.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "run.finished", "the last line is the run's whatever else happened");
    assert_eq!(folder.read("notes.txt"), "mine\n");
    assert!(!folder.exists("report.md"));
    assert_eq!(folder.run(&["apply", "latest", "--force", "notes.txt"]).code, 0);
    assert_eq!(folder.read("notes.txt"), "one\nmore\n");
}

/// A flow without a question, so that one process runs to the end.
const STRAIGHT: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: straight
steps:
  - {name: write, type: tool, run: [sh, -c, \"echo made > made.txt\"]}
";

#[test]
fn a_process_that_dies_between_the_end_and_the_files_leaves_them_to_resume() {
    // The commit that ends the run is the last one before its files: it is found by trying.
    for commit in 1.. {
        assert!(commit < 50, "no commit ends the run");
        let folder = Folder::with(&[("flow.yaml", STRAIGHT)])
            .setting("WFLO_FAILPOINT", &format!("run.commit.after:{commit}"));
        let died = folder.run(&["run", "--apply"]);
        let folder = folder.setting("WFLO_FAILPOINT", "none");
        assert_eq!(died.code, 137, "{}", died.stderr);
        if status(&folder) != "completed" {
            continue;
        }
        assert!(!folder.exists("made.txt"));
        let resumed = folder.run(&["runs", "resume", "latest"]);
        assert_eq!(resumed.code, 0, "{}", resumed.stderr);
        assert_eq!(folder.read("made.txt"), "made\n");
        return;
    }
}

#[test]
fn a_run_is_resumed_in_the_background() {
    let folder = project();
    left_behind(&folder);
    let decided = folder.run(&["approvals", "approve", "latest", "--no-drive"]);
    assert_eq!(decided.code, 0, "{}", decided.stderr);
    let resumed = folder.run(&["runs", "resume", "latest", "--detach", "--json"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    let line: Value = serde_json::from_str(resumed.stdout.trim()).unwrap();
    let run = line["run_id"].as_str().unwrap();
    until_status(&folder, run, "completed");
    let again = folder.run(&["runs", "resume", run, "--detach"]);
    assert!(again.code == 1 && again.stderr.contains("WFLO-3012"), "{}", again.stderr);
}

#[test]
fn a_run_is_retried_in_the_background() {
    let folder = project();
    left_behind(&folder);
    assert_eq!(folder.run(&["runs", "cancel", "latest"]).code, 0);
    let retried = folder.run(&["runs", "retry", "latest", "--detach"]);
    assert_eq!(retried.code, 0, "{}", retried.stderr);
    let run = retried.stdout.trim();
    until_status(&folder, run, "waiting");
    // A process that waits for a person is no longer there once the run rests.
    let newest = |said: &str| said.lines().next().unwrap_or_default().to_owned();
    until(&folder, &["runs", "list", "--json"], |ended| newest(&ended.stdout).contains("\"driver\":null"));
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
}

/// Fails once, then works, with a pause in between.
const AGAIN: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: again
steps:
  - name: work
    type: tool
    run: [sh, -c, \"test -e $WFLO_TEST_MARK || { touch $WFLO_TEST_MARK; exit 1; }\"]
    retries: 1
    retry_backoff: {initial_seconds: 0.2}
";

#[test]
fn a_background_process_does_not_leave_a_run_between_two_tries() {
    let folder = Folder::new().setting("WFLO_TRUST", "1");
    let marks = folder.path().join("marks");
    std::fs::create_dir_all(&marks).unwrap();
    let mark = marks.join("mark").display().to_string();
    folder.write("flow.yaml", &AGAIN.replace("$WFLO_TEST_MARK", &mark));
    folder.write("wflo.toml", &format!("[sandbox]\nrw = [\"{}\"]\n", marks.display()));
    let started = folder.run(&["run", "--detach"]);
    assert_eq!(started.code, 0, "{}", started.stderr);
    until_status(&folder, started.stdout.trim(), "completed");
}

/// `runs events --follow`, once it has said this.
fn following(folder: &Folder, wanted: &str) -> Child {
    let mut child = folder.start(&["runs", "events", "latest", "--follow"]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    while !all.contains(wanted) {
        assert_ne!(said.read_line(&mut all).unwrap(), 0, "it ended without {wanted}: {all}");
    }
    child.stderr = Some(said.into_inner());
    child
}

#[test]
fn following_a_run_that_waits_says_what_for_and_ends_with_it() {
    let folder = project();
    left_behind(&folder);
    let follower = following(&folder, "Waits for a decision: Publish the report?");
    assert_eq!(folder.run(&["approvals", "reject", "latest"]).code, 3);
    let followed = folder.ended(follower);
    assert_eq!(followed.code, 0, "it ends by itself, however the run ended: {}", followed.stderr);
    assert!(followed.stdout.contains("rejected"), "{}", followed.stdout);
}

#[test]
fn following_says_when_nobody_drives() {
    let folder = project();
    let recorded = folder.run(&["run", "--no-drive"]);
    assert_eq!(recorded.code, 0, "{}", recorded.stderr);
    let follower = following(&folder, "Nobody drives this run: `wflo runs resume run_");
    assert_eq!(folder.run(&["runs", "cancel", "latest"]).code, 0);
    assert_eq!(folder.ended(follower).code, 0);
}

#[test]
fn who_asks_for_a_question_too_early_is_told_which_run_has_not_asked_yet() {
    let folder = Folder::with(&[("flow.yaml", &STRAIGHT.replace("echo made", "sleep 600; echo made"))]);
    assert_eq!(folder.run(&["run", "--no-drive"]).code, 0);
    let recorded = folder.run(&["approvals", "show", "latest"]);
    assert_eq!(recorded.code, 1);
    assert!(recorded.stderr.contains("no process drives it: `wflo runs resume run_"), "{}", recorded.stderr);
    assert_eq!(folder.run(&["runs", "cancel", "latest"]).code, 0);
    let ended = folder.run(&["approvals", "show", "latest"]);
    assert!(ended.stderr.contains("`wflo approvals list --all`"), "{}", ended.stderr);

    assert_eq!(folder.run(&["run", "--detach"]).code, 0);
    for arguments in [["approvals", "show", "latest"], ["approvals", "approve", "latest"]] {
        let early = folder.run(&arguments);
        assert_eq!(early.code, 1);
        assert!(
            early.stderr.contains("still goes and asks nothing now: `wflo runs events run_"),
            "{}",
            early.stderr
        );
    }
    let list = folder.run(&["approvals", "list"]);
    assert_eq!((list.code, list.stdout.as_str()), (0, ""));
    assert!(list.stderr.contains("--follow` shows when it does"), "{}", list.stderr);
    assert_eq!(folder.run(&["runs", "cancel", "latest"]).code, 0);
}

#[test]
fn inputs_that_a_written_workflow_does_not_declare_are_refused() {
    let folder = Folder::with(&[("flow.yaml", STRAIGHT)]);
    let refused = folder.run(&["run", "--input", "age=365"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("[WFLO-1022]"), "{}", refused.stderr);
    assert!(refused.stderr.contains("`inputs: {age: {type: string}}`"), "{}", refused.stderr);
}

#[test]
fn following_notices_that_the_process_has_died() {
    let folder = Folder::with(&[("flow.yaml", &STRAIGHT.replace("echo made", "sleep 600; echo made"))]);
    let child = folder.start(&["run", "--detach"]);
    assert_eq!(folder.ended(child).code, 0);
    let listed = until(&folder, &["runs", "list", "--json"], |ended| ended.stdout.contains("\"pid\""));
    let line: Value = serde_json::from_str(listed.stdout.trim()).unwrap();
    let pid = i32::try_from(line["driver"]["pid"].as_i64().unwrap()).unwrap();
    let mut follower = folder.start(&["runs", "events", "latest", "--follow"]);
    let mut events = BufReader::new(follower.stdout.take().unwrap());
    let mut first = String::new();
    assert_ne!(events.read_line(&mut first).unwrap(), 0);
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut said = BufReader::new(follower.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Nobody drives this run") {
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "{line}");
    }
    assert_eq!(folder.run(&["runs", "cancel", "latest"]).code, 0);
    follower.stdout = Some(events.into_inner());
    follower.stderr = Some(said.into_inner());
    assert_eq!(folder.ended(follower).code, 0);
}
