//! `wflo run`: each way a run can end, as a person and as a script meets it.

use std::io::Write;
use std::process::Child;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::Value;
use wflo_testkit::model_server::ModelServer;

use super::documents::assert_fits;
use super::wflo::{Ended, Folder, shown};

/// How long anything here may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The interpreter itself, not a shim that finds one: only itself is seen in a sandbox.
pub fn python() -> String {
    let named = std::env::var("WFLO_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let asked = std::process::Command::new(named)
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .expect("these tests need python3 (3.11 or newer) on the path, or WFLO_PYTHON");
    String::from_utf8(asked.stdout).unwrap().trim().to_owned()
}

fn project(files: &[(&str, &str)]) -> Folder {
    let sdk = format!("{}/../../python", env!("CARGO_MANIFEST_DIR"));
    let sdk = std::fs::canonicalize(sdk).unwrap().display().to_string();
    Folder::with(files).setting("WFLO_PYTHON", &python()).setting("PYTHONPATH", &sdk)
}

fn workflow(steps: &str) -> String {
    format!("from wflo import Workflow, ApprovalGate\n\nworkflow = Workflow(\"demo\")\n\n\n{steps}")
}

const GREET: &str = "\
@workflow.step()
async def greet(context):
    print('hello')
    open('greeting.txt', 'w').write('hello\\n')
    return {'greeting': 'hello'}
";

const GATE: &str = "\
workflow.add(ApprovalGate('sign_off', approvers=['ops'], message='Ship it?'))
";

/// A snapshot without what differs from run to run.
macro_rules! assert_run {
    ($shown:expr) => {
        insta::with_settings!({filters => vec![
            (r"run_[0-9a-f]{32}", "[RUN]"),
            (r"apr_[0-9a-f]{32}", "[APPROVAL]"),
            (r"\d\d:\d\d:\d\d\.\d{3}", "[TIME]"),
            (r"in \d+(\.\d+)? (ms|s|min)\b( \d\d s\b)?", "in [TOOK]"),
            (r"demo [0-9a-f]{12}\b", "demo [VERSION]"),
            (r"local:[a-z0-9_-]+", "local:[USER]"),
            (r"\(here: .*", "(here: [PLACE])"),
            // What a host enforces only by watching is said once a run, and differs from host to host.
            (r"(?m)^.*watched over by wflo.*\n", ""),
        ]}, { assert_snapshot!($shown) });
    };
}

/// Runs a command again and again until its output says so.
fn wait_for(folder: &Folder, arguments: &[&str], is_so: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let said = folder.run(arguments);
        if is_so(&said.stdout) {
            return said.stdout;
        }
        assert!(Instant::now() < end, "{arguments:?} still says {}{}", said.stdout, said.stderr);
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn ended(folder: &Folder, mut child: Child) -> Ended {
    drop(child.stdin.take());
    folder.ended(child)
}

#[test]
fn a_run_that_completes_prints_its_outputs() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    assert_run!(folder.shown(&["run"]));
    assert!(!folder.exists("greeting.txt"), "nothing reaches the project before it is applied");
}

#[test]
fn quiet_leaves_only_the_result() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    let ended = folder.run(&["run", "-q"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let outputs: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(outputs["greet"]["greeting"], "hello");
}

#[test]
fn apply_brings_the_files_in_at_the_end() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    let ended = folder.run(&["run", "--apply"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(folder.read("greeting.txt"), "hello\n");
}

#[test]
fn apply_under_require_approval_waits_for_a_person() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    let ended = folder.run(&["run", "--apply", "--require-approval"]);
    assert_eq!(ended.code, 75, "{}", ended.stderr);
    assert!(ended.stderr.contains("no step needed one"), "{}", ended.stderr);
    assert!(ended.stderr.contains("wflo apply run_"), "{}", ended.stderr);
    assert!(!folder.exists("greeting.txt"));
}

#[test]
fn a_run_that_fails_shows_the_users_own_lines() {
    let steps = "\
@workflow.step()
async def divide(context):
    return share(0)


def share(people):
    return 10 / people
";
    assert_run!(project(&[("workflow.py", &workflow(steps))]).shown(&["run"]));
}

#[test]
fn a_budget_that_is_too_small_halts_the_run() {
    let model = ModelServer::start().unwrap();
    let settings = "\
[providers.local]
dialect = \"openai\"

[models.\"tiny\"]
provider = \"local\"
input = \"1000\"
output = \"1000\"
context_tokens = 4096
max_output_tokens = 1024
";
    let steps = "\
@workflow.step()
async def ask(context):
    answer = await context.llm.chat(
        model='tiny', max_tokens=100, messages=[{'role': 'user', 'content': 'hello'}]
    )
    return answer.text
";
    let folder = project(&[("workflow.py", &workflow(steps)), ("wflo.toml", settings)])
        .setting("WFLO_PROVIDERS__LOCAL__BASE_URL", &model.openai_url());
    let ended = folder.run(&["run", "--budget", "0.001"]);
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("[WFLO-4001]"), "{}", ended.stderr);
    assert!(ended.stderr.contains("run budget"), "{}", ended.stderr);
    assert_eq!(model.counts().requests, 0, "a call that does not fit is never sent");
    let within = folder.run(&["run", "--budget", "10", "--json"]);
    assert_eq!(within.code, 0, "{}{}", within.stdout, within.stderr);
    assert_eq!(model.counts().requests, 1);
    let last: Value = serde_json::from_str(within.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["run"]["cost_usd"], last["run"]["budget"]["settled_usd"]);
}

#[test]
fn a_rejection_from_another_process_ends_the_run_with_3() {
    let folder = project(&[("workflow.py", &workflow(GATE))]);
    let child = folder.start(&["run"]);
    wait_for(&folder, &["approvals", "list", "--json"], |said| said.contains("apr_"));
    let rejected = folder.run(&["approvals", "reject", "latest", "--comment", "not on a Friday"]);
    assert_eq!(rejected.code, 0, "{}", rejected.stderr);
    assert_run!(shown(&["run"], &ended(&folder, child)));
}

#[test]
fn an_approval_from_another_process_lets_the_run_go_on() {
    let folder = project(&[("workflow.py", &workflow(GATE))]);
    let child = folder.start(&["run"]);
    wait_for(&folder, &["approvals", "list", "--json"], |said| said.contains("apr_"));
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    let ended = ended(&folder, child);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("1 approved"), "{}", ended.stderr);
}

#[test]
fn a_signal_leaves_a_run_that_can_be_resumed() {
    let folder = project(&[("workflow.py", &workflow(GATE))]);
    let child = folder.start(&["run"]);
    wait_for(&folder, &["approvals", "list", "--json"], |said| said.contains("apr_"));
    signal(&child, rustix::process::Signal::TERM);
    assert_run!(shown(&["run"], &ended(&folder, child)));
    // Nobody drives it any more, so whoever approves does.
    let approved = folder.run(&["approvals", "approve", "latest"]);
    assert_eq!(approved.code, 0, "{}{}", approved.stdout, approved.stderr);
}

#[test]
fn a_wrong_definition_is_refused_before_anything_runs() {
    let steps = "@workflow.step(depends_on=['fetch'])\nasync def report(context):\n    pass\n";
    assert_run!(project(&[("workflow.py", &workflow(steps))]).shown(&["run"]));
}

#[test]
fn a_workflow_that_cannot_be_imported_shows_why() {
    let ended = project(&[("workflow.py", "import wflo\n\nraise ValueError('not today')\n")]).run(&["run"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("not today") && ended.stderr.contains("workflow.py"), "{}", ended.stderr);
}

const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: demo
inputs:
  text: {type: string, required: true}
steps:
  - {name: work, type: tool, run: [\"true\"]}
";

#[test]
fn a_missing_input_is_named() {
    assert_run!(project(&[("flow.yaml", FLOW)]).shown(&["run", "flow.yaml"]));
}

#[test]
fn a_run_without_isolation_says_so_once() {
    assert_run!(project(&[("workflow.py", &workflow(GREET))]).shown(&["run", "--sandbox", "none"]));
}

#[test]
fn json_is_one_event_a_line_and_the_run_at_the_end() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    let ended = folder.run(&["run", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let (last, events) = lines.split_last().unwrap();
    for (index, event) in events.iter().enumerate() {
        assert_fits("event", event);
        assert_eq!(serde_json::from_str::<Value>(event).unwrap()["seq"], index + 1);
    }
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["type"], "run.finished");
    assert_fits("run", &last["run"].to_string());
}

#[test]
fn a_failed_run_ends_its_json_with_the_run_as_well() {
    let steps = "@workflow.step()\nasync def broken(context):\n    raise ValueError('no')\n";
    let ended = project(&[("workflow.py", &workflow(steps))]).run(&["run", "--json"]);
    assert_eq!(ended.code, 1);
    let last: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["run"]["status"]), (&"run.finished".into(), &"failed".into()));
    assert_eq!(last["run"]["error"]["code"], "ValueError");
    assert_fits("run", &last["run"].to_string());
}

#[test]
fn a_recorded_run_waits_for_somebody_to_begin_it() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    let recorded = folder.run(&["run", "--no-drive"]);
    assert_eq!(recorded.code, 0, "{}", recorded.stderr);
    let id = recorded.stdout.trim().to_owned();
    let shown: Value = serde_json::from_str(&folder.run(&["runs", "show", &id, "--json"]).stdout).unwrap();
    assert_eq!(shown["status"], "pending");
    // Whoever comes next is told.
    let next = folder.run(&["run"]);
    assert!(next.stderr.contains(&format!("wflo runs resume {id}")), "{}", next.stderr);
    let resumed = folder.run(&["runs", "resume", &id]);
    assert_eq!(resumed.code, 0, "{}{}", resumed.stdout, resumed.stderr);
}

#[test]
fn a_detached_run_goes_on_after_its_command_has_ended() {
    let folder = project(&[("workflow.py", &workflow(GREET))]);
    let started = folder.run_with(&["run", "--detach", "--json", "--input-file", "-"], "{}");
    assert_eq!(started.code, 0, "{}{}", started.stdout, started.stderr);
    let line: Value = serde_json::from_str(&started.stdout).unwrap();
    let id = line["run_id"].as_str().unwrap();
    wait_for(&folder, &["runs", "show", id, "--json"], |said| said.contains("\"completed\""));
    let log = folder.read(&format!(".wflo/logs/{id}.log"));
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["level"].is_string() && line["time"].is_string());
        assert!(line["run_id"] == id && line["trace_id"].is_string(), "{line}");
    }
    assert!(log.contains("step.succeeded"), "{log}");
    assert_eq!(mode(&folder, &format!(".wflo/logs/{id}.log")), 0o600);
    assert_eq!(mode(&folder, ".wflo"), 0o700);
    assert_eq!(folder.read(".wflo/.gitignore"), "*\n", "it is made as by any other command");
}

fn mode(folder: &Folder, path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    folder.path().join(path).metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_link_that_was_brought_into_the_data_folder_leads_no_command_out() {
    let folder = project(&[("workflow.py", &workflow(GREET)), ("elsewhere/theirs", "theirs")]);
    for (link, to) in
        [(".wflo/blobs/tmp", "../../elsewhere"), (".wflo/logs/starting-1.log", "../../elsewhere/theirs")]
    {
        let link = folder.path().join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, &link).unwrap();
        for command in [&["run"][..], &["run", "--detach"], &["runs", "list"]] {
            let refused = folder.run(command);
            assert!(refused.code != 0 && refused.stderr.contains("it is a link"), "{}", refused.stderr);
        }
        std::fs::remove_file(link).unwrap();
    }
    assert_eq!(folder.read("elsewhere/theirs"), "theirs");
    assert_eq!(folder.run(&["run"]).code, 0);
}

#[test]
fn a_detached_run_that_is_refused_says_so_like_any_other() {
    let steps = "@workflow.step(depends_on=['fetch'])\nasync def report(context):\n    pass\n";
    let folder = project(&[("workflow.py", &workflow(steps))]);
    let (here, there) = (folder.run(&["run"]), folder.run(&["run", "--detach"]));
    assert_eq!((here.code, here.stdout, here.stderr), (there.code, there.stdout, there.stderr));
    assert_eq!(here.code, 2);
}

#[test]
fn inputs_on_standard_input_reach_the_run() {
    let folder = project(&[("flow.yaml", FLOW)]);
    let mut child = folder.start(&["run", "flow.yaml", "--input-file", "-"]);
    child.stdin.take().unwrap().write_all(b"{\"text\": \"hello\"}").unwrap();
    assert_eq!(ended(&folder, child).code, 0);
}
