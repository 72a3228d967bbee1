//! What people and scripts do with runs: see them, decide, go on, stop, bring files in.

use std::process::Child;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use wflo_testkit::model_server::{Answer, ModelServer};

use super::documents::assert_fits;
use super::wflo::{Ended, Folder, shown, within_one_day};

/// Ids, times and process ids differ each time; so do the widths of the columns that hold them.
const FILTERS: [(&str, &str); 13] = [
    (r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\d\b", "[DAY]"),
    (r"freed \d+(\.\d+)? (B|kB)", "freed [SIZE]"),
    (r"local:[\w.-]+", "local:[USER]"),
    (r"run_[0-9a-f]{32}", "run_[ID]"),
    (r"apr_[0-9a-f]{32}", "apr_[ID]"),
    (r"version [0-9a-f]{12}", "version [HASH]"),
    (r": nightly [0-9a-f]{12}", ": nightly [HASH]"),
    (r"\b\d\d:\d\d:\d\d\.\d{3} ", "[TIME] "),
    (r"\b\d+(\.\d+)? (ms|s|min)\b( \d\d s\b)?", "[T]"),
    (r"\[T\] of a core(, \d+(\.\d+)? [kM]?B)?", "[RESOURCES]"),
    (r"process \d+", "process [PID]"),
    (r"(waiting|running|paused)  \[T\]  (\S+)  \d+", "$1  [T]  $2  [PID]"),
    (r"[ ─]{3,}", "  "),
];

const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly
steps:
  - {name: write, type: tool, run: [sh, -c, \"echo '# Report' > report.md; echo more >> notes.txt; echo true > deploy.sh\"]}
  - {name: sign_off, type: approval, approvers: [ops-team], message: Publish the report?, depends_on: [write]}
  - {name: publish, type: tool, run: [sh, -c, \"echo published >> report.md\"], depends_on: [sign_off]}
";

macro_rules! assert_page {
    ($page:expr) => {
        insta::with_settings!({ filters => FILTERS.to_vec() }, { assert_snapshot!($page) })
    };
}

pub fn project() -> Folder {
    Folder::with(&[
        ("wflo.toml", "[project]\nworkflow = \"flow.yaml\"\n\n[budget]\nmax_cost_usd = \"1.00\"\n"),
        ("flow.yaml", FLOW),
        ("notes.txt", "one\n"),
    ])
}

/// Waits until a command prints something that is wanted.
pub fn until(folder: &Folder, arguments: &[&str], wanted: impl Fn(&Ended) -> bool) -> Ended {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let ended = folder.run(arguments);
        if wanted(&ended) {
            return ended;
        }
        assert!(Instant::now() < deadline, "{}", shown(arguments, &ended));
    }
}

pub fn until_asked(folder: &Folder) {
    until(folder, &["approvals", "list", "--json"], |ended| ended.stdout.contains("\"pending\""));
    // The step's attempt is over, too, when the run has said that it waits.
    until(folder, &["runs", "list", "--json"], |ended| ended.stdout.contains("\"waiting\""));
}

/// A run that waits for its approval, driven by this process.
fn waiting(folder: &Folder) -> Child {
    let child = folder.start(&["run"]);
    until_asked(folder);
    child
}

pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A run that waits for its approval and whose process was killed.
pub fn left_behind(folder: &Folder) {
    let child = waiting(folder);
    signal(&child, rustix::process::Signal::KILL);
    assert_eq!(folder.ended(child).code, 137);
}

fn pages(folder: &Folder, commands: &[&[&str]]) -> String {
    commands.iter().map(|command| folder.shown(command)).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_project_without_runs_says_so_and_makes_nothing() {
    let folder = project();
    assert_page!(pages(
        &folder,
        &[
            &["runs", "list"],
            &["runs", "show", "latest"],
            &["approvals", "list"],
            &["approvals", "approve", "latest"],
            &["costs", "report"],
            &["runs", "list", "--status", "wating"],
        ]
    ));
    assert!(!folder.exists(".wflo"));
}

#[test]
fn a_run_whose_process_died_is_seen_and_decided_from_another() {
    let folder = project();
    left_behind(&folder);
    assert_page!(pages(
        &folder,
        &[
            &["runs", "list"],
            &["runs", "show", "latest"],
            &["approvals", "list"],
            &["approvals", "show", "latest"],
            &["apply", "latest"],
            &["approvals", "approve", "latest", "--amount", "2"],
            &["approvals", "approve", "latest", "--comment", "looks good"],
            &["approvals", "approve", "latest"],
            &["approvals", "list", "--all"],
            &["runs", "show", "latest"],
            &["runs", "resume", "latest"],
        ]
    ));
}

#[test]
fn what_a_run_changed_is_shown_and_brought_in_once() {
    let folder = project();
    left_behind(&folder);
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    assert_page!(pages(
        &folder,
        &[
            &["diff", "latest"],
            &["diff", "latest", "report.md", "--stat"],
            &["diff", "latest", "other.md"],
            &["apply", "latest"],
            &["apply", "latest", "deploy.sh", "--yes"],
            &["apply", "latest"],
            &["discard", "latest"],
        ]
    ));
    assert_eq!(folder.read("report.md"), "# Report\npublished\n");
    assert_eq!(folder.read("notes.txt"), "one\nmore\n");
}

#[test]
fn what_an_apply_left_out_can_be_discarded_and_is_said() {
    let folder = project();
    left_behind(&folder);
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    assert_eq!(folder.run(&["apply", "latest", "notes.txt"]).code, 0);
    // One that was applied and changed since is not left out.
    folder.write("notes.txt", "one\nmore\nmine\n");
    assert_eq!(folder.run(&["apply", "latest", "report.md"]).code, 0);
    assert_page!(pages(
        &folder,
        &[
            &["apply", "latest", "report.md"],
            &["runs", "show", "latest"],
            &["discard", "latest"],
            &["runs", "show", "latest"],
            &["apply", "latest", "deploy.sh"],
            &["discard", "latest"],
        ]
    ));
    assert_eq!(folder.read("notes.txt"), "one\nmore\nmine\n");
    assert!(folder.exists("report.md") && !folder.exists("deploy.sh"));
}

#[test]
fn a_run_that_is_not_the_newest_is_named_by_its_id_at_its_end() {
    let folder = project();
    assert_eq!(folder.run(&["run", "--no-wait"]).code, 75);
    let waiting = folder.run(&["approvals", "list", "--json"]).stdout;
    let waiting: serde_json::Value = serde_json::from_str(waiting.trim()).unwrap();
    assert_eq!(folder.run(&["run", "--no-wait"]).code, 75);
    let ended = folder.run(&["approvals", "approve", waiting["id"].as_str().unwrap()]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for verb in ["diff", "apply", "discard"] {
        let named = format!("wflo {verb} {}", waiting["run_id"].as_str().unwrap());
        let line = ended.stderr.lines().find(|line| line.ends_with(&named));
        assert!(line.is_some_and(|line| line.len() <= 80), "no {named:?} in {}", ended.stderr);
    }
}

#[test]
fn what_only_reads_takes_the_newest_run() {
    let folder = project();
    left_behind(&folder);
    for verb in [&["diff"][..], &["runs", "show"], &["runs", "events"], &["runs", "trace"]] {
        let named = folder.run(&[verb, &["latest"]].concat());
        let ended = folder.run(verb);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        // Ages and times of what goes on move.
        assert_eq!(ended.stdout.lines().next(), named.stdout.lines().next());
    }
    let path = folder.run(&["diff", "report.md"]);
    assert!(path.code == 2 && path.stderr.contains("wflo diff latest report.md"), "{}", path.stderr);
}

#[test]
fn a_conflict_writes_nothing() {
    let folder = project();
    left_behind(&folder);
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    folder.write("notes.txt", "mine\n");
    assert_page!(pages(&folder, &[&["apply", "latest"]]));
    assert!(!folder.exists("report.md"));
    assert_eq!(folder.run(&["apply", "latest", ".", "--force", "notes.txt", "--yes"]).code, 0);
    assert_eq!(folder.read("notes.txt"), "one\nmore\n");
    assert!(folder.exists("report.md") && folder.exists("deploy.sh"));
}

#[test]
fn discarded_changes_are_gone_for_good() {
    let folder = project();
    left_behind(&folder);
    assert_eq!(folder.run(&["runs", "cancel", "latest", "--reason", "no need"]).code, 0);
    let commands: [&[&str]; 4] =
        [&["discard", "latest"], &["apply", "latest"], &["diff", "latest"], &["discard", "latest"]];
    assert_page!(pages(&folder, &commands));
}

#[test]
fn a_decision_reaches_the_process_that_drives_the_run() {
    let folder = project();
    let child = waiting(&folder);
    let approved = folder.run(&["approvals", "approve", "latest", "--json"]);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    assert_fits("approval-recorded", approved.stdout.trim());
    assert!(approved.stdout.contains("\"taken\":true"), "{}", approved.stdout);
    assert_eq!(folder.ended(child).code, 0);
}

#[test]
fn a_rejection_ends_the_run_with_3() {
    let folder = project();
    left_behind(&folder);
    let rejected = folder.run(&["approvals", "reject", "latest", "--comment", "not on a Friday"]);
    assert_eq!(rejected.code, 3);
    let retried = folder.run(&["runs", "events", "latest"]);
    assert!(retried.stdout.contains("rejected by local:"), "{}", retried.stdout);
}

#[test]
fn a_recorded_decision_waits_for_the_next_driver() {
    let folder = project();
    left_behind(&folder);
    assert_page!(pages(
        &folder,
        &[
            &["approvals", "approve", "latest", "--no-drive"],
            &["approvals", "list"],
            &["approvals", "reject", "latest"],
            &["runs", "resume", "latest", "--quiet"],
        ]
    ));
}

#[test]
fn a_resumed_run_says_that_the_project_has_changed_and_keeps_its_own_code() {
    let folder = project();
    left_behind(&folder);
    folder.write("flow.yaml", &FLOW.replace("echo published", "echo published anew"));
    assert_eq!(folder.run(&["approvals", "approve", "latest", "--no-drive"]).code, 0);
    let resumed = folder.run(&["runs", "resume", "latest", "--json"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    let (first, last) = (resumed.stdout.lines().next().unwrap(), resumed.stdout.lines().last().unwrap());
    assert!(first.contains("\"notice\":\"code.changed\""), "{first}");
    assert!(last.contains("\"type\":\"run.finished\""), "{last}");
    assert!(!folder.run(&["diff", "latest"]).stdout.contains("anew"));
}

#[test]
fn the_beginning_of_an_id_is_enough_when_only_one_has_it() {
    let folder = project();
    left_behind(&folder);
    let listed = folder.run(&["runs", "list", "--json"]).stdout;
    let line: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    // Four digits of the time, which runs within weeks share.
    let beginning = &line["id"].as_str().unwrap()[..8];
    assert_eq!(folder.run(&["runs", "show", beginning]).code, 0);
    assert_eq!(folder.run(&["runs", "cancel", beginning]).code, 0);
    left_behind(&folder);
    let several = folder.run(&["runs", "show", beginning]);
    assert!(several.code == 2 && several.stderr.contains("WFLO-8020"), "{}", several.stderr);
    let none = folder.run(&["runs", "show", "run_ffffff"]);
    assert!(none.code == 1 && none.stderr.contains("WFLO-2002"), "{}", none.stderr);
}

#[test]
fn nobody_takes_over_from_a_stopped_process() {
    let folder = project();
    let child = waiting(&folder);
    signal(&child, rustix::process::Signal::STOP);
    until(&folder, &["runs", "list"], |ended| ended.stdout.contains("(stopped)"));
    let pid = child.id().to_string();
    let resumed = folder.run(&["runs", "resume", "latest"]);
    assert_eq!(resumed.code, 1);
    assert!(resumed.stderr.contains("WFLO-3011"), "{}", resumed.stderr);
    assert!(resumed.stderr.contains(&format!("kill -CONT {pid}")), "{}", resumed.stderr);
    let cancelled = folder.run(&["runs", "cancel", "latest"]);
    assert_eq!(cancelled.code, 75, "{}", cancelled.stderr);
    signal(&child, rustix::process::Signal::CONT);
    assert_eq!(folder.ended(child).code, 5);
}

#[test]
fn a_paused_run_goes_on_and_a_cancelled_one_does_not() {
    let folder = project();
    left_behind(&folder);
    assert_eq!(folder.run(&["runs", "pause", "latest"]).code, 0);
    assert!(folder.run(&["runs", "list"]).stdout.contains("paused"));
    let resume = folder.start(&["runs", "resume", "latest"]);
    until(&folder, &["runs", "list", "--json"], |ended| ended.stdout.contains("\"waiting\""));
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    assert_eq!(folder.ended(resume).code, 0);
    let cancelled = folder.run(&["runs", "cancel", "latest"]);
    assert!(cancelled.code == 1 && cancelled.stderr.contains("WFLO-3012"), "{}", cancelled.stderr);
}

#[test]
fn a_waiting_run_is_retried_on_the_projects_new_code() {
    let folder = project();
    left_behind(&folder);
    folder.write("flow.yaml", &FLOW.replace("echo published", "echo published anew"));
    let retry = folder.start(&["runs", "retry", "latest", "--budget", "0.50"]);
    until(&folder, &["runs", "list", "--json"], |ended| ended.stdout.contains("\"cancelled\""));
    until_asked(&folder);
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    assert_eq!(folder.ended(retry).code, 0);
    assert_page!(pages(&folder, &[&["runs", "list"], &["runs", "show", "latest"]]));
    assert!(folder.run(&["diff", "latest"]).stdout.contains("+published anew"));
}

#[test]
fn events_are_followed_to_the_runs_end() {
    let folder = project();
    let child = waiting(&folder);
    let follower = folder.start(&["runs", "events", "latest", "--follow", "--json"]);
    assert_eq!(folder.run(&["approvals", "approve", "latest"]).code, 0);
    assert_eq!(folder.ended(child).code, 0);
    let followed = folder.ended(follower);
    let lines: Vec<&str> = followed.stdout.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        assert_fits("event", line);
        assert!(
            line.contains(&format!("\"seq\":{},", index + 1))
                || line.ends_with(&format!("\"seq\":{}}}", index + 1)),
            "{line}"
        );
    }
    assert!(lines.last().unwrap().contains("run.completed"));
}

#[test]
fn the_json_of_every_command_fits_its_schema() {
    let folder = project();
    left_behind(&folder);
    let fits = |schema: &str, arguments: &[&str]| {
        let ended = folder.run(arguments);
        assert!(!ended.stdout.is_empty(), "{}", shown(arguments, &ended));
        ended.stdout.lines().for_each(|line| assert_fits(schema, line));
    };
    fits("approval", &["approvals", "list", "--json"]);
    fits("approval", &["approvals", "show", "latest", "--json"]);
    fits("runs-stop", &["runs", "pause", "latest", "--json"]);
    fits("runs-list", &["runs", "list", "--json"]);
    fits("runs-stop", &["runs", "cancel", "latest", "--json"]);
    fits("approval", &["approvals", "list", "--all", "--json"]);
    fits("run", &["runs", "show", "latest", "--json"]);
    fits("event", &["runs", "events", "latest", "--json"]);
    fits("span", &["runs", "trace", "latest", "--json"]);
    fits("diff", &["diff", "latest", "--json"]);
    fits("diff", &["diff", "latest", "--stat", "--json"]);
    fits("apply", &["apply", "latest", "notes.txt", "--json"]);
    fits("apply-interrupted", &["apply", "--resume", "--json"]);
    fits("costs-report", &["costs", "report", "--json"]);
    let other = project();
    left_behind(&other);
    other.run(&["runs", "cancel", "latest"]);
    assert_fits("discard", other.run(&["discard", "latest", "--json"]).stdout.trim());
}

#[test]
fn costs_are_added_up_by_run_step_and_model() {
    within_one_day();
    let server = ModelServer::start().unwrap();
    server.answer_always(Answer::billed(1_000, 200));
    let settings = format!(
        "[project]\nworkflow = \"flow.yaml\"\n\n[budget]\nmax_cost_usd = \"1.00\"\n\n\
         [providers.local]\ndialect = \"openai\"\nbase_url = \"{}\"\n\n\
         [models.\"small\"]\nprovider = \"local\"\ninput = \"10.00\"\noutput = \"20.00\"\n\
         context_tokens = 4096\nmax_output_tokens = 1024\n",
        server.openai_url()
    );
    let flow = "apiVersion: wflo.dev/v1\nkind: Workflow\nname: nightly\nsteps:\n  \
                - {name: first, type: agent, model: small, prompt: Say hello, max_tokens: 300}\n  \
                - {name: second, type: agent, model: small, prompt: Say it again, max_tokens: 300}\n";
    let folder = Folder::with(&[("wflo.toml", &settings), ("flow.yaml", flow)]);
    let ran = folder.run(&["run", "--label", "user=anna", "--label", "team=blue"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_page!(pages(
        &folder,
        &[
            &["costs", "report"],
            &["costs", "report", "--by", "step", "--run", "latest"],
            &["costs", "report", "--by", "model"],
            &["costs", "report", "--by", "agent"],
            &["costs", "report", "--by", "label"],
            &["costs", "report", "--by", "label", "--label", "user"],
            &["costs", "report", "--by", "day"],
            &["costs", "report", "--by", "provider", "--csv"],
            &["costs", "report", "--until", "2020-01-01"],
        ]
    ));
    let total = folder.run(&["costs", "report", "--by", "model", "--json"]);
    for line in total.stdout.lines() {
        assert_fits("costs-report", line);
    }
    assert!(total.stdout.lines().last().unwrap().contains("\"cost_usd\":\"0.028\""), "{}", total.stdout);
    let spans = folder.run(&["runs", "trace", "latest", "--json"]).stdout;
    assert!(spans.contains("\"gen_ai.request.model\":\"small\""), "{spans}");
    let by_day = folder.run(&["costs", "report", "--by", "day", "--json"]).stdout;
    let day: serde_json::Value = serde_json::from_str(by_day.lines().next().unwrap()).unwrap();
    reconciled(&folder, day["day"].as_str().unwrap());
}

/// The same folder's calls of one day against invoices.
fn reconciled(folder: &Folder, day: &str) {
    let reconcile = ["costs", "reconcile", "invoice.csv"];
    let invoice = |rows: &str| {
        let text = format!("usage_date_utc,model,cost_usd\n{}", rows.replace("DAY", day));
        std::fs::write(folder.path().join("invoice.csv"), text).unwrap();
        pages(folder, &[&reconcile])
    };
    assert_page!(invoice("DAY,Small,0.02\nDAY,Small,0.008\n"));
    assert_page!(invoice("DAY,Small,0.02\nDAY,other,$1.50\n2026-01-01,small,0.5\n"));
    let other = folder.run(&["costs", "reconcile", "invoice.csv", "--provider", "opnai"]).stderr;
    assert!(
        other.contains("no calls of the provider opnai in these days; it made some of: local"),
        "{other}"
    );
    let column = folder.run(&["costs", "reconcile", "invoice.csv", "--cost-column", "Cost (USD)"]).stderr;
    assert!(
        column.contains("no column of invoice.csv is called `Cost (USD)`; it has: usage_date_utc"),
        "{column}"
    );
    let lines = folder.run(&["costs", "reconcile", "invoice.csv", "--json"]);
    lines.stdout.lines().for_each(|line| assert_fits("costs-reconcile", line));
    assert_page!(invoice("DAY,Small,0.02\nTotal,,0.02\n"));
}

/// What a provider that ignores every limit bills, wherever wflo dies on the way: the run ends by it, and
/// nothing more is sent.
#[test]
fn a_bill_that_overdraws_a_budget_ends_the_run_whatever_crash_comes_between() {
    for place in ["none", "llm.close.after", "run.commit.before:3"] {
        let server = ModelServer::start().unwrap();
        server.read_limits(&[]);
        server.answer_always(Answer::billed(10, 100_000));
        let settings = format!(
            "[project]\nworkflow = \"flow.yaml\"\n\n\
             [providers.local]\ndialect = \"openai\"\nbase_url = \"{}\"\n\n\
             [models.\"small\"]\nprovider = \"local\"\ninput = \"10.00\"\noutput = \"20.00\"\n\
             context_tokens = 4096\nmax_output_tokens = 1024\n",
            server.openai_url()
        );
        let flow = "apiVersion: wflo.dev/v1\nkind: Workflow\nname: nightly\nsteps:\n  \
                    - {name: first, type: agent, model: small, prompt: Say hello, max_tokens: 30}\n  \
                    - {name: second, type: tool, run: [\"true\"]}\n";
        let folder =
            Folder::with(&[("wflo.toml", &settings), ("flow.yaml", flow)]).setting("WFLO_FAILPOINT", place);
        let mut ended = folder.run(&["run", "--budget", "1"]);
        let folder = folder.setting("WFLO_FAILPOINT", "none");
        if ended.code == 137 {
            ended = folder.run(&["runs", "resume", "latest"]);
        }
        assert_eq!(ended.code, 4, "{place}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains("[WFLO-4023]"), "{place}: {}", ended.stderr);
        assert_eq!(server.counts().requests, 1, "{place}");
        let shown = folder.run(&["runs", "show", "latest", "--json"]);
        assert_fits("run", shown.stdout.trim());
        assert!(shown.stdout.contains("\"cost_usd\":\"2.0001\""), "{place}: {}", shown.stdout);
    }
}
