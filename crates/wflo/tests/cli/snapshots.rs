//! Snapshots: what a run's files were after each step; restored, killed in the middle, beside a removal.

use std::path::Path;

use serde_json::Value;
use wflo_engine::rollback::FAILPOINTS;
use wflo_sandbox::workspace::RESTORE_EVENTS;

use super::documents::assert_fits;
use super::wflo::{Ended, Folder, shown};

const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly
steps:
  - {name: draft, type: tool, run: [sh, -c, \"echo draft > report.md; mkdir data; echo 1 > data/a; ln -s /etc/passwd out\"]}
  - {name: look, type: tool, run: [cat, report.md]}
  - {name: review, type: tool, run: [sh, -c, \"echo reviewed >> report.md; rm notes.txt\"]}
";

fn project() -> Folder {
    let settings = "[project]\nworkflow = \"flow.yaml\"\n";
    Folder::with(&[("wflo.toml", settings), ("flow.yaml", FLOW), ("notes.txt", "one\n")])
}

fn done(folder: &Folder, arguments: &[&str]) -> Ended {
    let ended = folder.run(arguments);
    assert_eq!(ended.code, 0, "{}", shown(arguments, &ended));
    ended
}

/// The lines of a command with `--json`, each as its schema says.
fn lines(folder: &Folder, schema: &str, arguments: &[&str]) -> Vec<Value> {
    let printed = done(folder, &[arguments, &["--json"]].concat()).stdout;
    printed.lines().for_each(|line| assert_fits(schema, line));
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn refused(folder: &Folder, arguments: &[&str], code: &str) {
    let ended = folder.run(arguments);
    assert!(ended.code == 1 && ended.stderr.contains(code), "{}", shown(arguments, &ended));
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn each_step_that_wrote_has_one_and_they_can_be_compared_and_restored() {
    let folder = project();
    done(&folder, &["run"]);
    let listed = lines(&folder, "snapshots-list", &["snapshots", "list", "latest"]);
    let steps: Vec<&Value> = listed.iter().map(|one| &one["step"]).collect();
    assert_eq!(steps, [&Value::Null, &Value::from("draft"), &Value::from("review")]);
    // The report, what is in the folder, and the link; then the report and what was removed.
    assert_eq!((&listed[1]["files"], &listed[2]["files"]), (&Value::from(3), &Value::from(2)));
    assert_eq!(lines(&folder, "snapshots-list", &["snapshots", "list"]), listed);
    // Of a step, what it changed; of the first, the whole project.
    let shown = folder.run(&["snapshots", "list"]).stdout;
    for (line, one) in shown.lines().skip(1).zip(&listed) {
        assert_eq!(line.contains(" changed "), !one["step"].is_null(), "{shown}");
    }

    let files = lines(&folder, "snapshots-show", &["snapshots", "show", "latest@draft"]);
    let report = files.iter().find(|file| file["path"] == "report.md").unwrap();
    assert_eq!((&report["type"], &report["bytes"]), (&Value::from("file"), &Value::from(6)));
    let link = files.iter().find(|file| file["path"] == "out").unwrap();
    assert_eq!((&link["type"], &link["target"]), (&Value::from("link"), &Value::from("/etc/passwd")));

    let changed = lines(&folder, "diff", &["snapshots", "diff", "latest@draft", "latest@review"]);
    let kinds: Vec<_> = changed.iter().map(|one| (one["path"].as_str(), one["kind"].as_str())).collect();
    assert_eq!(kinds, [(Some("notes.txt"), Some("deleted")), (Some("report.md"), Some("modified"))]);
    assert!(
        lines(&folder, "diff", &["snapshots", "diff", "latest@0"]).is_empty(),
        "the project has not changed"
    );
    folder.write("notes.txt", "two\n");
    let changed = lines(&folder, "diff", &["snapshots", "diff", "latest@0"]);
    assert_eq!(changed[0]["path"], "notes.txt");

    let restored =
        lines(&folder, "snapshots-restore", &["snapshots", "restore", "latest@draft", "--to", "../out"]);
    assert_eq!(restored[0]["links"], 1);
    assert_eq!(folder.read("../out/report.md"), "draft\n");
    assert_eq!(folder.read("../out/notes.txt"), "one\n");
    // After a step that wrote nothing: as before it.
    done(&folder, &["snapshots", "restore", "latest@look", "report.md", "--to", "../one"]);
    assert_eq!(names(&folder.path().join("../one")), ["report.md"]);
    done(&folder, &["snapshots", "restore", "latest", "--to", "../end"]);
    assert_eq!(folder.read("../end/report.md"), "draft\nreviewed\n");
    assert!(!folder.exists("../end/notes.txt"));
    assert_eq!(folder.read("notes.txt"), "two\n", "the project is as it was");
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_made() {
    let folder = project();
    refused(&folder, &["snapshots", "show", "latest"], "WFLO-2002");
    done(&folder, &["run"]);
    refused(&folder, &["snapshots", "show", "latest@nothing"], "WFLO-5250");
    refused(&folder, &["snapshots", "restore", "latest", "nothing", "--to", "../out"], "WFLO-5241");
    refused(&folder, &["snapshots", "restore", "latest", "--to", "."], "WFLO-5240");
    assert!(!folder.exists("../out"));
    assert_eq!(folder.read("notes.txt"), "one\n");
    done(&folder, &["snapshots", "restore", "latest@draft", "--to", "../out"]);
    folder.write("../out/mine", "mine");
    folder.write("../out/report.md", "mine");
    refused(&folder, &["snapshots", "restore", "latest@draft", "--to", "../out"], "WFLO-5240");
    assert_eq!(folder.read("../out/report.md"), "mine");
    done(&folder, &["snapshots", "restore", "latest@draft", "--to", "../out", "--force"]);
    assert_eq!(
        (folder.read("../out/report.md"), folder.read("../out/mine")),
        ("draft\n".into(), "mine".into())
    );
    done(&folder, &["discard", "latest"]);
    refused(&folder, &["snapshots", "restore", "latest@draft", "--to", "../again"], "WFLO-5251");
    let listed = lines(&folder, "snapshots-list", &["snapshots", "list"]);
    assert!(listed.iter().all(|one| one["kept"] == false && one["files"].is_null()), "{listed:?}");
}

#[test]
fn a_restore_is_no_way_around_an_apply() {
    let folder = project();
    let acts = "mkdir .vscode open; echo {} > .vscode/tasks.json; echo plain > open/plain; chmod 777 open; \
                printf '#!/bin/sh\\n' > tool; chmod 755 tool; ln -s /etc/passwd lnk; echo '[project]' > wflo.toml";
    let flow = FLOW.replace(
        "echo draft > report.md;",
        &format!("echo draft > report.md; {};", acts.replace('\\', "\\\\")),
    );
    folder.write("flow.yaml", &flow);
    done(&folder, &["run"]);
    let before = (names(&folder.path()), folder.read("wflo.toml"));
    for arguments in [
        &["snapshots", "restore", "latest@draft", "--to", ".", "--force"][..],
        &["snapshots", "restore", "latest@draft", "--to", "inside"],
        &["snapshots", "restore", "latest@draft", "wflo.toml", "--to", ".", "--force"],
    ] {
        refused(&folder, arguments, "WFLO-5245");
        assert_eq!((names(&folder.path()), folder.read("wflo.toml")), before, "{arguments:?}");
    }
    done(&folder, &["snapshots", "restore", "latest@draft", "open", "--to", ".", "--force"]);
    let open = std::fs::metadata(folder.path().join("open")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&open) & 0o777, 0o755);
    // What was submitted is the user's own; and another folder may have everything.
    done(&folder, &["snapshots", "restore", "latest@0", "--to", ".", "--force"]);
    done(&folder, &["snapshots", "restore", "latest@draft", "--to", "../all"]);
    assert!(folder.exists("../all/.vscode/tasks.json"));
}

#[test]
fn a_killed_restore_leaves_no_folder_and_the_next_one_ends_it() {
    let folder = project();
    done(&folder, &["run"]);
    let home = tempfile::tempdir().unwrap();
    for (index, place) in RESTORE_EVENTS.iter().enumerate() {
        let target = home.path().join(format!("to-{index}"));
        let arguments = ["snapshots", "restore", "latest@draft", "--to", target.to_str().unwrap()];
        let killed = folder.ended(folder.start_under(&arguments, &[("WFLO_FAILPOINT", place)]));
        let placed = *place == "restore.placed.all";
        // A new folder has no files that are placed one by one.
        let wanted = if *place == "restore.placed.one" { 0 } else { 137 };
        assert_eq!(killed.code, wanted, "{place}: {}", shown(&arguments, &killed));
        assert_eq!(target.exists(), placed || wanted == 0, "{place}");
        if !target.exists() {
            done(&folder, &arguments);
        }
        assert_eq!(std::fs::read_to_string(target.join("data/a")).unwrap(), "1\n");
        assert_eq!(names(home.path()).len(), index + 1, "{place}: {:?}", names(home.path()));
    }
}

#[test]
fn a_removal_that_comes_meanwhile_takes_nothing_from_a_restore() {
    let folder = project();
    done(&folder, &["run"]);
    let target = folder.path().join("../out");
    let restoring = ["snapshots", "restore", "latest@draft", "--to", target.to_str().unwrap(), "--json"];
    let removing = ["runs", "prune", "--older-than", "0s", "--discard-changes", "--json"];
    // Whichever comes first: the folder is whole, or it is said that there is nothing.
    let (restore, remove) = (folder.start(&restoring), folder.start(&removing));
    let (restore, remove) = (folder.ended(restore), folder.ended(remove));
    assert_eq!(remove.code, 0, "{}", shown(&removing, &remove));
    if restore.code == 0 {
        assert_eq!(folder.read("../out/data/a"), "1\n");
    } else {
        assert!(
            ["WFLO-5251", "WFLO-2002"].iter().any(|code| restore.stdout.contains(code)),
            "{}",
            restore.stdout
        );
        assert!(!target.exists());
    }
}

/// Rolls the run back to before a step; gives the new run.
fn rolled_back(folder: &Folder, run: &str, step: &str) -> String {
    let made = lines(folder, "snapshots-rollback", &["snapshots", "rollback", run, step]);
    made[0]["run_id"].as_str().unwrap().to_owned()
}

fn run_of(folder: &Folder, run: &str) -> Value {
    let shown = done(folder, &["runs", "show", run, "--json"]).stdout;
    assert_fits("run", shown.trim());
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn a_rollback_is_a_run_with_the_files_of_before_the_step() {
    let folder = project();
    done(&folder, &["run"]);
    let old = run_of(&folder, "latest");
    let id = old["id"].as_str().unwrap();
    let new = rolled_back(&folder, id, "review");
    let shown = run_of(&folder, &new);
    assert_eq!((&shown["status"], &shown["rolls_back"]), (&Value::from("rolled_back"), &old["id"]));
    assert_eq!(run_of(&folder, id), old, "the old run is as it was");
    let events = done(&folder, &["runs", "events", &new, "--json"]).stdout;
    events.lines().for_each(|line| assert_fits("event", line));
    assert!(events.lines().last().unwrap().contains("run.rolled_back"), "{events}");
    let changed = lines(&folder, "diff", &["diff", &new]);
    let kinds: Vec<_> = changed.iter().map(|one| (one["path"].as_str(), one["kind"].as_str())).collect();
    assert_eq!(kinds, [(Some("notes.txt"), Some("added")), (Some("report.md"), Some("modified"))]);
    // Nothing had been applied: the project gets what was kept.
    done(&folder, &["apply", &new, "--yes"]);
    assert_eq!((folder.read("report.md"), folder.read("notes.txt")), ("draft\n".into(), "one\n".into()));
}

#[test]
fn a_rollback_takes_applied_changes_back_and_keeps_what_people_edited() {
    let folder = project();
    done(&folder, &["run"]);
    let id = run_of(&folder, "latest")["id"].as_str().unwrap().to_owned();
    done(&folder, &["apply", &id, "--yes"]);
    assert!(!folder.exists("notes.txt"));
    let new = rolled_back(&folder, &id, "review");
    // An edit since is a conflict, and nothing is written.
    folder.write("report.md", "mine\n");
    refused(&folder, &["apply", &new, "--yes"], "WFLO-5111");
    assert!(!folder.exists("notes.txt") && folder.read("report.md") == "mine\n");
    folder.write("report.md", "draft\nreviewed\n");
    done(&folder, &["apply", &new, "--yes"]);
    assert_eq!((folder.read("report.md"), folder.read("notes.txt")), ("draft\n".into(), "one\n".into()));
    // Further back, from the rollback itself: the project is as it was submitted.
    let further = rolled_back(&folder, &new, "draft");
    done(&folder, &["apply", &further, "--yes"]);
    assert_eq!(names(&folder.path()), [".wflo", "flow.yaml", "notes.txt", "wflo.toml"]);
    refused(&folder, &["snapshots", "rollback", &further, "draft"], "WFLO-5252");
    refused(&folder, &["snapshots", "rollback", &id, "nothing"], "WFLO-5252");
}

#[test]
fn a_killed_rollback_is_a_run_or_nothing_and_outlives_the_old_one() {
    let folder = project();
    done(&folder, &["run"]);
    let id = run_of(&folder, "latest")["id"].as_str().unwrap().to_owned();
    let arguments = ["snapshots", "rollback", id.as_str(), "review", "--json"];
    let runs = || done(&folder, &["runs", "list", "--json"]).stdout.lines().count();
    for (place, left) in FAILPOINTS.iter().zip([1, 2]) {
        let killed = folder.ended(folder.start_under(&arguments, &[("WFLO_FAILPOINT", place)]));
        assert_eq!((killed.code, runs()), (137, left), "{place}");
    }
    // The old run goes; what the rollback needs stays, as a file that nobody has decided about.
    done(&folder, &["discard", &id]);
    done(&folder, &["runs", "prune", "--older-than", "0s", "--json"]);
    assert_eq!(runs(), 1);
    done(&folder, &["apply", "latest", "--yes"]);
    assert_eq!(folder.read("report.md"), "draft\n");
    refused(&folder, &["snapshots", "show", &id], "WFLO-2002");
}
