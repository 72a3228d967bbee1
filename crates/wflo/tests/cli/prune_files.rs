//! Removing runs' files: what goes, what stays, what comes back; killed at each step, beside other processes.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;
use wflo_engine::retention::FILES_FAILPOINTS;

use super::documents::assert_fits;
use super::wflo::{Ended, Folder, shown};

/// Writes 1 MiB that nothing else in the world has, beside 1 MiB that all runs share.
const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly
steps:
  - {name: write, type: tool, run: [sh, -c, \"head -c 1048576 /dev/urandom > own.bin\"]}
";
const MIB: u64 = 1 << 20;

fn project(more: &str) -> Folder {
    let settings = format!("[project]\nworkflow = \"flow.yaml\"\n{more}");
    let folder = Folder::with(&[("wflo.toml", &settings), ("flow.yaml", FLOW)]);
    folder.write("shared.bin", &"shared by all\n".repeat(80_000));
    folder
}

fn done(folder: &Folder, arguments: &[&str]) -> Ended {
    let ended = folder.run(arguments);
    assert_eq!(ended.code, 0, "{}", shown(arguments, &ended));
    ended
}

fn read(ended: &Ended) -> Value {
    let line = ended.stdout.lines().next().unwrap_or_default();
    assert_fits("snapshots-prune", line);
    serde_json::from_str(line).unwrap()
}

fn prune(folder: &Folder, more: &[&str]) -> Value {
    read(&done(folder, &[&["snapshots", "prune", "--json"], more].concat()))
}

/// Runs whose changes are in the project, oldest first.
fn applied(folder: &Folder, number: usize) -> Vec<String> {
    (0..number)
        .map(|_| {
            done(folder, &["run"]);
            done(folder, &["apply", "latest", "--yes", "--force", "own.bin"]);
            let listed = done(folder, &["runs", "list", "--json", "-n", "1"]).stdout;
            let run: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
            run["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn removed(report: &Value) -> Vec<&str> {
    report["removed"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect()
}

fn has_files(folder: &Folder, run: &str) -> bool {
    folder.run(&["snapshots", "show", run]).code == 0
}

#[test]
fn files_go_by_number_and_their_runs_stay() {
    let folder = project("");
    let all = applied(&folder, 3);
    let planned = prune(&folder, &["--keep-last", "1", "--dry-run"]);
    assert_eq!(removed(&planned), all[..2], "oldest first");
    assert!(all.iter().all(|run| has_files(&folder, run)), "nothing was removed");
    let report = prune(&folder, &["--keep-last", "1"]);
    assert_eq!((&report["removed"], &report["left_bytes"]), (&planned["removed"], &planned["left_bytes"]));
    // What the first two wrote, and what the second had sealed of the first, which apply gave a time of its own.
    assert_eq!(report["freed_bytes"].as_u64().unwrap() / MIB, 3, "{report}");
    let each: u64 =
        report["removed"].as_array().unwrap().iter().map(|run| run["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["freed_bytes"], each);
    assert_eq!(all.iter().map(|run| has_files(&folder, run)).collect::<Vec<_>>(), [false, false, true]);
    // What the run did is still there, and what of it is gone is said.
    done(&folder, &["runs", "show", &all[0]]);
    let gone = folder.run(&["snapshots", "show", &all[0]]);
    assert!(gone.stderr.contains("WFLO-5251"), "{}", gone.stderr);
    done(&folder, &["snapshots", "restore", "latest", "--to", "../out"]);
    assert_eq!(folder.read("../out/shared.bin"), folder.read("shared.bin"));
    let again = prune(&folder, &["--keep-last", "1"]);
    assert_eq!((removed(&again).len(), &again["freed_bytes"]), (0, &Value::from(0)));
}

#[test]
fn files_go_by_age_and_by_size_the_oldest_first() {
    let folder = project("");
    let all = applied(&folder, 3);
    assert_eq!(removed(&prune(&folder, &[])).len(), 0, "none is 30 days old");
    assert_eq!(removed(&prune(&folder, &["--older-than", "1h"])).len(), 0);
    // The shared content once, three of their own, and two of these as the next run has sealed them.
    let whole = prune(&folder, &["--max-size", "1t", "--dry-run"])["left_bytes"].as_u64().unwrap();
    assert!((6 * MIB..7 * MIB).contains(&whole), "{whole}");
    let report = prune(&folder, &["--max-size", &format!("{}b", whole - 1)]);
    assert_eq!(removed(&report), all[..1], "one is enough");
    let left = prune(&folder, &["--max-size", "3500k"]);
    assert!(left["left_bytes"].as_u64().unwrap() <= 3500 << 10, "{left}");
    assert!(has_files(&folder, &all[2]));
    // A quota that what is kept does not fit is no success.
    let arguments = ["snapshots", "prune", "--max-size", "1m", "--keep-last", "1", "--json"];
    let full = folder.run(&arguments);
    assert!(full.code == 1 && full.stdout.contains("WFLO-5253"), "{}", shown(&arguments, &full));
    assert!(read(&full)["left_bytes"].as_u64().unwrap() > MIB);
    assert!(has_files(&folder, &all[2]) && !has_files(&folder, &all[1]));
    let last = prune(&folder, &["--older-than", "0s"]);
    assert_eq!((removed(&last), &last["left_bytes"]), (vec![all[2].as_str()], &Value::from(0)));
}

#[test]
fn the_settings_say_it_where_the_command_does_not() {
    let folder = project("");
    let all = applied(&folder, 3);
    let set = "[snapshots]\nkeep_last = 2\nolder_than = \"0s\"\nmax_size = \"1t\"\n";
    folder.write("wflo.toml", &format!("[project]\nworkflow = \"flow.yaml\"\n{set}"));
    assert_eq!(removed(&prune(&folder, &["--dry-run"])), all[..1]);
    assert_eq!(removed(&prune(&folder, &["--keep-last", "0", "--dry-run"])), all);
    assert_eq!(removed(&prune(&folder, &["--older-than", "1d"])).len(), 0);
}

#[test]
fn what_is_hidden_is_left_to_nobodys_decision() {
    let folder = project("");
    let everything = ["--older-than", "0s", "--keep-last", "0"];
    folder.write("flow.yaml", &FLOW.replace("> own.bin", "> own.bin; echo KEY=1 > .env.local"));
    done(&folder, &["run"]);
    let report = prune(&folder, &everything);
    assert_eq!((removed(&report).len(), &report["kept"][0]["files"]), (0, &Value::from(1)), "{report}");
    done(&folder, &["apply", "latest", "--yes"]);
    assert!(folder.exists("own.bin") && !folder.exists(".env.local"));
    assert_eq!(removed(&prune(&folder, &everything)).len(), 1, "nothing that could be applied is left");
    // Where there is nothing else, nobody has to decide at all.
    folder.write("flow.yaml", &FLOW.replace("> own.bin", "> .env.local"));
    done(&folder, &["run"]);
    assert_eq!(removed(&prune(&folder, &everything)).len(), 1);
}

#[test]
fn what_nobody_decided_about_stays_whatever_is_asked() {
    let folder = project("");
    done(&folder, &["run"]);
    let everything = ["--older-than", "0s", "--keep-last", "0"];
    let report = prune(&folder, &everything);
    assert_eq!((removed(&report).len(), &report["kept"][0]["reason"]), (0, &Value::from("unapplied")));
    done(&folder, &["apply", "latest", "--yes"]);
    assert!(folder.exists("own.bin"));
    assert_eq!(removed(&prune(&folder, &everything)).len(), 1);
    // A run that was rolled back to needs what it takes back, until that is decided.
    let second = applied(&folder, 1);
    done(&folder, &["snapshots", "rollback", &second[0], "write"]);
    let report = prune(&folder, &everything);
    assert_eq!((removed(&report), report["kept"].as_array().unwrap().len()), (vec![second[0].as_str()], 1));
    done(&folder, &["apply", "latest", "--yes"]);
}

/// The file whose lock and time say when somebody freed old files.
fn pass_file(folder: &Folder) -> std::path::PathBuf {
    folder.path().join(".wflo/snapshots.pruned")
}

/// As if the last pass were long ago.
fn age(folder: &Folder) {
    let file = std::fs::File::options().write(true).open(pass_file(folder)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
}

/// Waits until a pass has begun since then, and until it has ended.
fn passed(folder: &Folder) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let fresh = |file: &std::fs::File| {
        file.metadata().unwrap().modified().unwrap() > UNIX_EPOCH + Duration::from_secs(2_000_000)
    };
    loop {
        assert!(Instant::now() < deadline, "nobody has begun to free files");
        if let Ok(file) = std::fs::File::open(pass_file(folder))
            && file.metadata().unwrap().len() > 0
            && fresh(&file)
        {
            // Held by whoever is at it.
            return rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_run_that_has_ended_has_the_files_of_old_ones_freed_by_themselves() {
    let folder = project("[snapshots]\nkeep_last = 1\nolder_than = \"0s\"\n");
    let first = applied(&folder, 1).remove(0);
    passed(&folder);
    assert!(has_files(&folder, &first), "nothing else is there that could be kept");
    // Not before some time has gone by.
    let second = applied(&folder, 1).remove(0);
    let when = || std::fs::metadata(pass_file(&folder)).unwrap().modified().unwrap();
    let last = when();
    done(&folder, &["run"]);
    assert_eq!(when(), last);
    assert!(has_files(&folder, &first));
    age(&folder);
    let third = done(&folder, &["run", "--json"]).stdout;
    let third: Value = serde_json::from_str(third.lines().last().unwrap()).unwrap();
    passed(&folder);
    assert!(!has_files(&folder, &first) && !has_files(&folder, &second));
    let events = done(&folder, &["runs", "events", &first, "--json"]).stdout;
    let said: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<&str> = said
        .iter()
        .filter(|event| event["notice"] == "snapshots.pruned")
        .map(|event| event["message"].as_str().unwrap())
        .collect();
    assert!(
        said.len() == 1 && said[0].ends_with("[snapshots] in wflo.toml says older_than = 0ms"),
        "{said:?}"
    );
    // Beyond the newest is one, too, about which nobody has decided.
    let undecided = done(&folder, &["runs", "list", "--json"]).stdout;
    let undecided: Value = serde_json::from_str(undecided.lines().nth(1).unwrap()).unwrap();
    assert!(has_files(&folder, undecided["id"].as_str().unwrap()));
    assert!(has_files(&folder, third["run_id"].as_str().unwrap()));
}

#[test]
fn a_pass_goes_on_behind_the_run_at_which_the_last_one_stopped() {
    let folder = project("");
    let all = applied(&folder, 3);
    let whole = prune(&folder, &["--max-size", "1t", "--dry-run"])["left_bytes"].as_u64().unwrap();
    // As one leaves it that was ended in the middle of its first look.
    let at = folder.path().join(".wflo/snapshots.looked");
    std::fs::write(&at, &all[0]).unwrap();
    let set = format!("[snapshots]\nmax_size = \"{whole}b\"\n");
    folder.write("wflo.toml", &format!("[project]\nworkflow = \"flow.yaml\"\n{set}"));
    done(&folder, &["run"]);
    passed(&folder);
    assert!(has_files(&folder, &all[0]) && !has_files(&folder, &all[1]));
    assert!(!at.exists(), "that one came to its end");
}

/// Killed after each step, the run that began it has ended as it did, and the next pass ends it.
#[test]
fn a_pass_that_was_killed_is_ended_by_the_next() {
    for place in FILES_FAILPOINTS {
        let folder = project("");
        let first = applied(&folder, 1).remove(0);
        let set = "[snapshots]\nkeep_last = 1\nolder_than = \"0s\"\n";
        folder.write("wflo.toml", &format!("[project]\nworkflow = \"flow.yaml\"\n{set}"));
        let began = folder.ended(folder.start_under(&["run"], &[("WFLO_FAILPOINT", place)]));
        assert_eq!(began.code, 0, "{place}: {}", shown(&["run"], &began));
        passed(&folder);
        assert!(has_files(&folder, "latest"), "{place}");
        age(&folder);
        done(&folder, &["run"]);
        passed(&folder);
        assert!(!has_files(&folder, &first), "{place}");
        assert_eq!(prune(&folder, &["--keep-last", "9"])["freed_bytes"], 0, "{place}: nothing is left over");
    }
}

/// Killed after each step: nothing that lives is lost, and the next pass ends it.
#[test]
fn a_removal_that_was_killed_is_ended_by_the_next() {
    for place in FILES_FAILPOINTS {
        let folder = project("");
        let all = applied(&folder, 2);
        let arguments = ["snapshots", "prune", "--keep-last", "1", "--json"];
        let killed = folder.start_under(&arguments, &[("WFLO_FAILPOINT", place)]);
        let killed = folder.ended(killed);
        assert_eq!(killed.code, 137, "{place}: {}", shown(&arguments, &killed));
        assert!(has_files(&folder, &all[1]), "{place}");
        prune(&folder, &["--keep-last", "1"]);
        assert!(!has_files(&folder, &all[0]) && has_files(&folder, &all[1]), "{place}");
        done(&folder, &["snapshots", "restore", &all[1], "--to", "../out"]);
        assert_eq!(prune(&folder, &["--keep-last", "1"])["freed_bytes"], 0, "{place}");
    }
}

/// Two that remove, others that seal and restore, all at once: each of these finds everything it needs.
#[test]
fn removing_beside_others_takes_nothing_from_them() {
    let folder = project("");
    let kept = applied(&folder, 1);
    let mut runs: Vec<_> = (0..3).map(|_| folder.start(&["run"])).collect();
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut round = 0;
    while runs.iter_mut().any(|run| run.try_wait().unwrap().is_none()) {
        assert!(Instant::now() < deadline);
        let arguments = ["snapshots", "prune", "--older-than", "0s", "--keep-last", "1", "--json"];
        let target = format!("../out-{round}");
        let others = [folder.start(&arguments), folder.start(&arguments)];
        let restored = folder.run(&["snapshots", "restore", &kept[0], "--to", &target]);
        // Whole, or told that it is gone: never a part.
        match restored.code {
            0 => assert_eq!(folder.read(&format!("{target}/shared.bin")), folder.read("shared.bin")),
            _ => assert!(
                restored.stderr.contains("WFLO-5251") && !folder.exists(&target),
                "{}",
                restored.stderr
            ),
        }
        for other in others {
            let ended = folder.ended(other);
            assert_eq!(ended.code, 0, "{}", shown(&arguments, &ended));
        }
        round += 1;
    }
    assert!(round > 0);
    for run in runs {
        let ended = folder.ended(run);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let listed = done(&folder, &["runs", "list", "--json"]).stdout;
    let open: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for run in open.iter().filter(|run| run["id"] != kept[0].as_str()) {
        done(&folder, &["diff", run["id"].as_str().unwrap()]);
    }
}
