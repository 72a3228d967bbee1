//! `wflo budgets …` and `wflo costs estimate`.

use insta::assert_snapshot;
use wflo_testkit::model_server::{Answer, ModelServer};

use super::documents::assert_fits;
use super::wflo::{Folder, within_one_day};

/// Ids and times differ each time; so do the widths of the columns that hold them.
const FILTERS: [(&str, &str); 8] = [
    (r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\dT[\d:.]+Z", "[WHEN]"),
    (r"local:[\w.-]+", "local:[USER]"),
    (r"run_[0-9a-f]{32}", "run_[ID]"),
    (r"run_[0-9a-f]+…", "run_[ID]"),
    (r"bud_[0-9a-f]{32}", "bud_[ID]"),
    (r"\b\d+(\.\d+)? (ms|s|min)\b( \d\d s\b)?", "[T]"),
    // How tight bounds are is told elsewhere.
    (r"\$[\d.]+(\s+)(2 earlier runs, )?bound", "[BOUND]$1${2}bound"),
    (r"[ ─]{3,}", "  "),
];

macro_rules! assert_page {
    ($page:expr) => {
        insta::with_settings!({ filters => FILTERS.to_vec() }, { assert_snapshot!($page) })
    };
}

const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly
steps:
  - {name: first, type: agent, model: small, prompt: Say hello, max_tokens: 300, budget: {max_cost_usd: \"0.50\"}}
  - {name: second, type: agent, model: small, prompt: \"Say {{ outputs.first.text }}\", max_tokens: 300}
";

fn project(server: &ModelServer) -> Folder {
    server.answer_always(Answer::billed(100, 200));
    let settings = format!(
        "[project]\nworkflow = \"flow.yaml\"\n\n[budget]\nmax_cost_usd = \"1.00\"\n\n\
         [providers.local]\ndialect = \"openai\"\nbase_url = \"{}\"\n\n\
         [models.\"small\"]\nprovider = \"local\"\ninput = \"10.00\"\noutput = \"20.00\"\n\
         context_tokens = 4096\nmax_output_tokens = 1024\n",
        server.openai_url()
    );
    Folder::with(&[("wflo.toml", &settings), ("flow.yaml", FLOW)])
}

fn pages(folder: &Folder, commands: &[&[&str]]) -> String {
    commands.iter().map(|command| folder.shown(command)).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_step_that_called_no_model_is_forecast_to_cost_nothing() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server);
    folder.write("flow.yaml", &format!("{FLOW}  - {{name: third, type: tool, run: [\"true\"]}}\n"));
    let third = || {
        let lines = folder.run(&["costs", "estimate", "--json"]).stdout;
        let found = lines.lines().find(|line| line.contains("\"step\":\"third\"")).unwrap();
        serde_json::from_str::<serde_json::Value>(found).unwrap()
    };
    assert!(third()["p90_usd"].is_null(), "nobody knows before it has run");
    assert_eq!(folder.run(&["run"]).code, 0);
    assert_eq!((third()["p90_usd"].clone(), third()["runs"].clone()), ("0.00".into(), 1.into()));
}

/// The id of the one account of these.
fn id_of(folder: &Folder, name: &str) -> String {
    let listed = folder.run(&["budgets", "list", "--all", "--json"]).stdout;
    let lines = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut named = lines.filter(|line| line["name"] == name);
    let id =
        named.next().unwrap_or_else(|| panic!("no {name} in {listed}"))["id"].as_str().unwrap().to_owned();
    assert!(named.next().is_none(), "{listed}");
    id
}

#[test]
fn standing_budgets_are_set_used_shown_topped_up_and_told_of() {
    within_one_day();
    let server = ModelServer::start().unwrap();
    let folder = project(&server);
    let set = |more: &[&str]| {
        let arguments: Vec<&str> = ["budgets", "set"].iter().chain(more).copied().collect();
        folder.shown(&arguments)
    };
    let mut page = vec![
        folder.shown(&["budgets", "list"]),
        set(&["--scope", "org", "--max-cost-usd", "5"]),
        set(&["--scope", "org", "--max-seconds", "2h", "--action", "queue"]),
        set(&["--scope", "workflow", "--key", "nightly", "--max-model-calls", "10", "--alert", "0.2"]),
        set(&["--scope", "org", "--period", "day", "--time-zone", "Europe/Berlin", "--max-tokens", "100000"]),
        set(&["--scope", "org"]),
        set(&["--scope", "label", "--max-cost-usd", "5"]),
        set(&["--scope", "key", "--key", "anna", "--max-seconds", "5s"]),
    ];
    let ran = folder.run(&["run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    page.push(folder.shown(&["budgets", "list"]));
    let (money, time) =
        (id_of(&folder, "budget of org `local`"), id_of(&folder, "budget of time for org `local`"));
    // The beginning of an id is one, as it is of a run.
    page.push(folder.shown(&["budgets", "show", &money[..20]]).replace(&money[..20], "BEGINNING"));
    page.push(folder.shown(&["budgets", "show", &time]));
    page.push(folder.shown(&["budgets", "top-up", &money[..20], "2.50"]).replace(&money[..20], "BEGINNING"));
    page.push(folder.shown(&["budgets", "top-up", &time, "90.5"]));
    page.push(folder.shown(&["budgets", "top-up", &money, "0"]));
    page.push(set(&["--scope", "workflow", "--key", "nightly", "--max-model-calls", "3"]));
    page.push(set(&["--scope", "workflow", "--key", "nightly", "--remove"]));
    page.push(folder.shown(&["budgets", "history"]));
    page.push(folder.shown(&["budgets", "history", &time]));
    assert_page!(page.join("\n\n"));
}

#[test]
fn a_budget_that_is_not_there_is_named() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server);
    folder.run(&["budgets", "set", "--scope", "org", "--max-cost-usd", "5"]);
    assert_page!(pages(
        &folder,
        &[
            &["budgets", "show", "bud_00000000000000000000000000000000"],
            &["budgets", "show", "bud_ffff"],
            &["budgets", "show", "bud_ff"],
            &["budgets", "top-up", "run_0190f2e4", "5"],
            &["budgets", "history", "latest"],
        ]
    ));
}

#[test]
fn lines_of_budgets_fit_their_published_schema() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server);
    let fits = |arguments: &[&str]| {
        let ended = folder.run(arguments);
        assert!(ended.code == 0 && !ended.stdout.is_empty(), "{arguments:?}: {}", ended.stderr);
        ended.stdout.lines().for_each(|line| assert_fits("budgets", line));
    };
    fits(&["budgets", "set", "--scope", "org", "--max-cost-usd", "5", "--max-seconds", "2h", "--json"]);
    assert_eq!(folder.run(&["run"]).code, 0);
    fits(&["budgets", "list", "--all", "--json"]);
    let time = id_of(&folder, "budget of time for org `local`");
    fits(&["budgets", "show", &time, "--json"]);
    fits(&["budgets", "top-up", &time, "5", "--json"]);
    fits(&["budgets", "history", "--json"]);
    fits(&["budgets", "set", "--scope", "org", "--remove", "--json"]);
}

#[test]
fn a_forecast_says_what_it_is_from() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server);
    let before = folder.shown(&["costs", "estimate"]);
    for _ in 0..2 {
        assert_eq!(folder.run(&["run"]).code, 0);
    }
    assert_page!([before, folder.shown(&["costs", "estimate", "flow.yaml"])].join("\n\n"));
    let lines = folder.run(&["costs", "estimate", "--json"]).stdout;
    assert_eq!(lines.lines().count(), 3);
    lines.lines().for_each(|line| assert_fits("costs-estimate", line));
}
