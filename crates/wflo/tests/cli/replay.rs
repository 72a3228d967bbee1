//! `wflo run --record` and `--replay`: what is said when a recording cannot be kept, or tests nothing.

use std::os::unix::fs::PermissionsExt as _;

use wflo_testkit::model_server::{Answer, ModelServer};

use super::documents::assert_fits;
use super::wflo::Folder;

fn flow(steps: &[&str]) -> String {
    let head = "apiVersion: wflo.dev/v1\nkind: Workflow\nname: nightly\nsteps:\n";
    steps.iter().fold(head.to_owned(), |text, step| text + "  - " + step + "\n")
}

const FIRST: &str = "{name: first, type: agent, model: small, prompt: Say hello, max_tokens: 300}";
const SECOND: &str = "{name: second, type: agent, model: small, prompt: Say it again, max_tokens: 300}";
const NOTHING: &str = "{name: first, type: tool, run: [\"true\"]}";

fn project(server: &ModelServer, steps: &[&str]) -> Folder {
    server.answer_always(Answer::billed(100, 20));
    let settings = format!(
        "[project]\nworkflow = \"flow.yaml\"\n\n[providers.local]\ndialect = \"openai\"\nbase_url = \"{}\"\n\n\
         [models.\"small\"]\nprovider = \"local\"\ninput = \"10.00\"\noutput = \"20.00\"\n\
         context_tokens = 4096\nmax_output_tokens = 1024\n",
        server.openai_url()
    );
    Folder::with(&[("wflo.toml", &settings), ("flow.yaml", &flow(steps))])
}

#[test]
fn a_recording_goes_into_a_folder_that_is_made_for_it() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server, &[FIRST, SECOND]);
    let ran = folder.run(&["run", "--record", "tests/replay/calls.jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(folder.read("tests/replay/calls.jsonl").starts_with("{\"wflo_recording\":1"));
    assert_eq!(server.counts().requests, 2);
    let replayed = folder.run(&["run", "--replay", "tests/replay/calls.jsonl"]);
    assert_eq!((replayed.code, server.counts().requests), (0, 2), "{}", replayed.stderr);
    assert!(!replayed.stderr.contains("not used"), "{}", replayed.stderr);
}

#[test]
fn a_recording_that_cannot_be_written_stops_the_run_before_it_is_paid_for() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server, &[FIRST]);
    folder.write("tests", "a file");
    let refused = folder.run(&["run", "--record", "tests/calls.jsonl"]);
    assert_eq!((refused.code, server.counts().requests), (1, 0), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("WFLO-4098") && refused.stderr.contains("cannot be written"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("make one by"), "{}", refused.stderr);
    assert!(folder.run(&["runs", "list"]).stderr.contains("No runs yet"));
}

#[test]
fn a_place_that_is_lost_during_the_run_leaves_a_way_to_the_recording() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server, &[FIRST]);
    let here = folder.path().display().to_string();
    let spoil = format!(
        "{{name: spoil, type: tool, depends_on: [first], run: [sh, -c, \"rm -r {here}/tests && touch {here}/tests\"]}}"
    );
    folder.write("flow.yaml", &flow(&[FIRST, &spoil]));
    let ran = folder.run(&["run", "--sandbox", "none", "--record", "tests/calls.jsonl", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let run = folder.run(&["runs", "show", "latest", "--json"]).stdout;
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["status"], "completed", "{}", ran.stderr);
    let way = format!("`wflo runs record {} FILE`", run["id"].as_str().unwrap());
    assert!(ran.stderr.contains(&way), "{}", ran.stderr);
    let written = folder.run(&["runs", "record", "latest", "calls.jsonl"]);
    assert_eq!(written.code, 0, "{}", written.stderr);
}

#[test]
fn a_replay_that_leaves_answers_says_so_and_is_marked() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server, &[FIRST, SECOND]);
    assert_eq!(folder.run(&["run", "--record", "calls.jsonl"]).code, 0);
    folder.write("flow.yaml", &flow(&[FIRST]));
    let one = folder.run(&["run", "--replay", "calls.jsonl"]);
    assert_eq!(one.code, 0, "{}", one.stderr);
    assert!(
        one.stderr.contains("1 of 2 recorded answers of [DIR]/here/calls.jsonl was not used"),
        "{}",
        one.stderr
    );
    let page = folder.run(&["runs", "show", "latest"]).stdout;
    assert!(page.contains("replayed: its model calls are answered from [DIR]/here/calls.jsonl"), "{page}");
    let line = folder.run(&["runs", "show", "latest", "--json"]).stdout;
    assert_fits("run", &line);
    assert!(line.contains("\"replayed_from\":\"[DIR]/here/calls.jsonl\""), "{line}");
    folder.write("flow.yaml", &flow(&[NOTHING]));
    let none = folder.run(&["run", "--replay", "calls.jsonl", "--json"]);
    assert_eq!(none.code, 0, "{}", none.stderr);
    assert!(none.stderr.contains("none of the 2 recorded answers"), "{}", none.stderr);
    assert!(none.stderr.contains("hint: a replayed run begins where"), "{}", none.stderr);
    assert_eq!(server.counts().requests, 2);
}

#[test]
fn a_call_that_is_not_recorded_says_what_is_another_in_it() {
    let server = ModelServer::start().unwrap();
    let folder = project(&server, &[FIRST, SECOND]);
    assert_eq!(folder.run(&["run", "--record", "calls.jsonl"]).code, 0);
    let replayed = |first: &str| {
        folder.write("flow.yaml", &flow(&[first, SECOND]));
        let ended = folder.run(&["run", "--replay", "calls.jsonl"]);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("WFLO-4099"), "{}", ended.stderr);
        ended.stderr.replace('\n', " ")
    };
    let prompt = replayed(&FIRST.replace("Say hello", "Say hullo"));
    assert!(prompt.contains("call 1 of the step, the most like it: messages[0] (user) differs;"), "{prompt}");
    let limit = replayed(&FIRST.replace("300", "301"));
    assert!(limit.contains("max_tokens differs;") && !limit.contains("messages"), "{limit}");
    assert_eq!(server.counts().requests, 2);
}

/// The head of a recording, as one is known by.
const KEPT: &str = "{\"wflo_recording\":1,\"workflow\":\"sh\"}\n";

#[test]
fn a_recording_is_left_as_it_was_when_there_is_nothing_to_record() {
    let folder = Folder::with(&[("calls.jsonl", KEPT)]);
    let ran = folder.run(&["run", "--sandbox", "none", "--record", "calls.jsonl", "--", "true"]);
    assert!(ran.code == 0 && ran.stderr.contains("called no model"), "{}", ran.stderr);
    assert_eq!(folder.read("calls.jsonl"), KEPT);
    let shown = folder.run(&["runs", "show", "latest"]).stdout;
    assert!(shown.contains("  runs true\n"), "{shown}");
    assert_eq!(folder.read(".wflo/.gitignore"), "*\n");
    let mode = std::fs::metadata(folder.path().join(".wflo/.gitignore")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "as all that the folder holds");
}
