//! Every error says what is wrong, what to do, and ends with the promised code.

use insta::assert_snapshot;

use super::wflo::{Folder, shown};

const WORKFLOW: (&str, &str) = ("workflow.py", "");
const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: demo
steps:
  - {name: work, type: tool, run: [\"true\"]}
";

#[test]
fn version_is_a_result() {
    assert_snapshot!(Folder::new().shown(&["--version"]));
}

#[test]
fn nothing_typed_shows_the_first_steps() {
    assert_snapshot!(Folder::new().shown(&[]));
}

#[test]
fn an_unknown_command_names_the_nearest() {
    assert_snapshot!(Folder::new().shown(&["rnus", "list"]));
}

#[test]
fn a_command_of_one_level_below_is_named_whole() {
    for (given, hint) in [
        ("list", "wflo runs list"),
        ("status", "wflo runs show latest"),
        ("logs", "wflo runs events latest --follow"),
        ("resume", "wflo runs resume latest"),
        ("approve", "wflo approvals approve latest"),
        ("exec", "wflo sandbox exec -- CMD"),
    ] {
        let said = Folder::new().shown(&[given]);
        assert!(said.contains(&format!("hint: did you mean `{hint}`?")), "{given}: {said}");
    }
}

#[test]
fn an_unknown_option_names_the_nearest() {
    assert_snapshot!(Folder::new().shown(&["run", "--bugdet", "5"]));
}

#[test]
fn a_wrong_amount_is_refused() {
    assert_snapshot!(Folder::new().shown(&["run", "--budget", "ten"]));
}

#[test]
fn a_wrong_id_says_what_ids_look_like() {
    assert_snapshot!(Folder::new().shown(&["runs", "show", "42"]));
}

#[test]
fn an_input_without_a_value_is_refused() {
    assert_snapshot!(Folder::new().shown(&["run", "--input", "age"]));
}

#[test]
fn a_program_that_is_not_there_is_refused_before_a_run_is_made() {
    assert_snapshot!(Folder::new().shown(&["run", "--budget", "2", "--", "no-such-program"]));
}

#[test]
fn who_forgets_the_dashes_before_a_program_is_told() {
    let said = |words: &[&str]| Folder::with(&[("agent.py", "print('hi')\n")]).run(words).stderr;
    for words in [&["run", "--budget", "2", "python", "agent.py"][..], &["run", "python", "agent.py"]] {
        assert!(said(words).contains("`wflo run --budget 2 -- python agent.py`"), "{}", said(words));
    }
    assert!(said(&["run", "python"]).contains("`wflo run -- python ARGS`"), "{}", said(&["run", "python"]));
}

#[test]
fn a_backend_that_is_a_runtime_is_named() {
    assert_snapshot!(Folder::with(&[WORKFLOW]).shown(&["run", "--sandbox", "gvisor"]));
}

#[test]
fn without_a_workflow_the_ways_to_get_one_are_named() {
    assert_snapshot!(Folder::new().shown(&["run"]));
}

#[test]
fn a_missing_workflow_names_the_nearest_file() {
    assert_snapshot!(Folder::with(&[WORKFLOW]).shown(&["run", "worfklow.py"]));
}

#[test]
fn a_missing_workflow_that_the_settings_name_is_said_to_be_theirs() {
    let names = ("wflo.toml", "[project]\nworkflow = \"worfklow.py\"\n");
    let named = "there is no workflow file worfklow.py, which wflo.toml names";
    let folder = Folder::with(&[WORKFLOW, names]);
    refused(
        &folder,
        &["run"],
        2,
        &[named, "`workflow` under [project] in wflo.toml: did you mean `workflow.py`?"],
    );
    refused(
        &Folder::with(&[names]),
        &["run"],
        2,
        &[named, "`workflow` under [project] in wflo.toml, or give"],
    );
}

#[test]
fn a_misspelt_setting_is_named_with_its_line() {
    let folder = Folder::with(&[WORKFLOW, ("wflo.toml", "[sandbox]\n\nmemory_limt = \"1g\"\n")]);
    assert_snapshot!(folder.shown(&["run"]));
}

#[test]
fn a_setting_of_a_later_release_is_refused() {
    let folder = Folder::with(&[WORKFLOW, ("wflo.toml", "[sandbox]\nnetwork_enabled = true\n")]);
    assert_snapshot!(folder.shown(&["run"]));
}

#[test]
fn a_wrong_variable_is_named() {
    let folder = Folder::with(&[WORKFLOW]).setting("WFLO_SANDBOX__MEMORY_LIMIT", "lots");
    assert_snapshot!(folder.shown(&["run"]));
}

#[test]
fn a_wrong_yaml_key_is_named_with_its_line() {
    let text =
        "apiVersion: wflo.dev/v1\nkind: Workflow\nname: w\nsteps:\n  - {name: a, type: tool, rum: [date]}\n";
    assert_snapshot!(Folder::with(&[("flow.yaml", text)]).shown(&["run", "flow.yaml"]));
}

#[test]
fn every_mistake_of_a_definition_is_named() {
    let text = "apiVersion: wflo.dev/v1\nkind: Workflow\nname: w\nsteps:\n\
                \x20 - {name: first, type: tool, run: [date], depends_on: [secnd]}\n\
                \x20 - {name: second, type: condition, when: 'mystery > 1'}\n";
    assert_snapshot!(Folder::with(&[("flow.yaml", text)]).shown(&["run", "flow.yaml"]));
}

#[test]
fn inputs_must_be_an_object() {
    let folder = Folder::with(&[WORKFLOW]);
    let arguments = ["run", "--input-file", "-"];
    assert_snapshot!(shown(&arguments, &folder.run_with(&arguments, "[1, 2]")));
}

#[test]
fn with_json_the_error_is_an_object_on_standard_output() {
    assert_snapshot!(Folder::with(&[WORKFLOW]).shown(&["run", "worfklow.py", "--json"]));
}

#[test]
fn colours_come_when_they_are_asked_for() {
    let folder = Folder::new();
    let coloured = folder.run(&["run", "--color", "always"]).stderr;
    assert!(coloured.contains("\u{1b}[31m"), "{coloured:?}");
    for folder in [Folder::new(), Folder::new().setting("NO_COLOR", "1").setting("CLICOLOR_FORCE", "1")] {
        assert!(!folder.run(&["run"]).stderr.contains('\u{1b}'));
    }
    assert!(Folder::new().setting("CLICOLOR_FORCE", "1").run(&["run"]).stderr.contains('\u{1b}'));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_wflo"))
        .args(["completions", "bash"])
        .stdout(writer)
        .status()
        .unwrap();
    assert!(status.success());
}

/// How a command that is refused ends: its code, and what it says.
fn refused(folder: &Folder, arguments: &[&str], code: i32, says: &[&str]) {
    let ended = folder.run(arguments);
    assert_eq!(ended.code, code, "{}{}", ended.stdout, ended.stderr);
    for word in says.iter().chain(&["hint: "]) {
        assert!(ended.stderr.contains(word), "no {word:?} in {}", ended.stderr);
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_not_taken_for_an_empty_one() {
    let folder = Folder::with(&[("flow.yaml", FLOW), ("taken", "a file"), ("wflo.toml", "")]);
    for command in [&["runs", "list"][..], &["approvals", "list"], &["run"]] {
        refused(&folder, &[&["--data-dir", "taken"], command].concat(), 1, &["WFLO-2008", "taken"]);
    }
    let text = "this is not a database\n".repeat(50);
    let folder = Folder::with(&[("flow.yaml", FLOW), (".wflo/wflo.db", &text)]).setting("WFLO_TRUST", "1");
    refused(&folder, &["runs", "list"], 1, &["WFLO-2005", "wflo changed nothing"]);
    assert_eq!(folder.read(".wflo/wflo.db"), text);
}

#[test]
fn without_python_a_workflow_in_code_says_what_to_install() {
    let folder = Folder::with(&[("workflow.py", "import wflo\n")]).setting("PATH", "/nowhere");
    refused(&folder, &["run"], 1, &["no Python was found", "WFLO-3040", "wflo's wheel"]);
}

#[test]
fn a_file_of_another_kind_is_not_called_missing() {
    let folder = Folder::with(&[("notes.txt", "hello")]);
    refused(&folder, &["run", "notes.txt"], 2, &["notes.txt is no workflow file", "WFLO-8007"]);
}

#[test]
fn a_missing_argument_says_where_it_comes_from() {
    let folder = Folder::new();
    for verb in [&["apply"][..], &["discard"], &["runs", "cancel"]] {
        refused(&folder, verb, 2, &["wflo runs list", "latest"]);
    }
    refused(&folder, &["approvals", "approve"], 2, &["wflo approvals list"]);
    let short = folder.run(&["runs", "show", "run_ab"]);
    assert!(short.code == 2 && short.stderr.contains("at least 4 digits"), "{}", short.stderr);
    let dashes = folder.run(&["run", "-x"]);
    assert!(dashes.code == 2 && !dashes.stderr.contains("use '--"), "{}", dashes.stderr);
}
