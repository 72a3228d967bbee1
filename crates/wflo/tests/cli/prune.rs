//! Removing runs: what goes, what stays, what is given back; killed at each step, beside other processes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use wflo_engine::retention::FAILPOINTS;

use super::documents::assert_fits;
use super::run::python;
use super::wflo::{Ended, Folder, shown};

/// Writes 2 MiB that nothing else in the world has.
const FLOW: &str = "\
apiVersion: wflo.dev/v1
kind: Workflow
name: nightly
steps:
  - {name: write, type: tool, run: [sh, -c, \"head -c 2097152 /dev/urandom > data.bin; echo 1 > a.txt\"]}
";

const WORKFLOW: &str = r#"
from wflo import Workflow

workflow = Workflow("notes")

@workflow.step
async def note(context):
    for what in ("a", "b", "c"):
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [what])
    (context.workspace / "report.txt").write_text(context.run)
    return "x" * 50_000
"#;

fn project() -> Folder {
    Folder::with(&[("wflo.toml", "[project]\nworkflow = \"flow.yaml\"\n"), ("flow.yaml", FLOW)])
}

fn noting() -> Folder {
    let settings =
        "[project]\nworkflow = \"workflow.py\"\n\n[databases.main]\nurl = \"sqlite:data/main.db\"\n";
    let files = [("wflo.toml", settings), ("workflow.py", WORKFLOW), (".gitignore", "data/\n.wflo/\n")];
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python").canonicalize().unwrap();
    let folder =
        Folder::with(&files).setting("WFLO_PYTHON", &python()).setting("PYTHONPATH", sdk.to_str().unwrap());
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    database(&folder).execute_batch("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)").unwrap();
    folder
}

fn database(folder: &Folder) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.path().join("data/main.db")).unwrap()
}

fn records(folder: &Folder) -> u32 {
    let sql = "SELECT count(*) FROM _wflo_effects";
    database(folder).query_row(sql, [], |row| row.get(0)).unwrap()
}

fn done(folder: &Folder, arguments: &[&str]) -> Ended {
    let ended = folder.run(arguments);
    assert_eq!(ended.code, 0, "{}", shown(arguments, &ended));
    ended
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(ended.stdout.lines().last().unwrap_or_default()).unwrap()
}

fn prune(folder: &Folder, more: &[&str]) -> Value {
    let arguments = [&["runs", "prune", "--older-than", "0s", "--json"], more].concat();
    let ended = done(folder, &arguments);
    assert_fits("runs-prune", ended.stdout.trim());
    json(&ended)
}

fn ids(folder: &Folder) -> Vec<String> {
    let listed = done(folder, &["runs", "list", "--json"]).stdout;
    let runs = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    runs.map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

/// Bytes of everything below: the project's data and the user's state.
fn disk(folder: &Folder) -> u64 {
    fn below(path: &Path) -> u64 {
        let meta = path.symlink_metadata().unwrap();
        if !meta.is_dir() {
            use std::os::unix::fs::MetadataExt as _;
            return meta.blocks() * 512 / meta.nlink();
        }
        std::fs::read_dir(path).unwrap().map(|entry| below(&entry.unwrap().path())).sum()
    }
    below(folder.path().parent().unwrap())
}

#[test]
fn what_was_decided_goes_and_the_rest_only_when_asked() {
    let folder = project();
    done(&folder, &["run"]);
    done(&folder, &["run"]);
    done(&folder, &["apply", "latest", "--yes"]);
    let [applied, open] = ids(&folder).try_into().unwrap();
    let before = disk(&folder);
    let planned = prune(&folder, &["--dry-run"]);
    assert_eq!((&planned["removed"][0]["run_id"], ids(&folder).len()), (&Value::from(applied.clone()), 2));
    let first = prune(&folder, &[]);
    assert_eq!(first["removed"], planned["removed"]);
    assert_eq!(
        (&first["kept"][0]["run_id"], &first["kept"][0]["reason"], &first["kept"][0]["files"]),
        (&Value::from(open.clone()), &Value::from("unapplied"), &Value::from(2))
    );
    assert!(first["freed"]["files_bytes"].as_u64().unwrap() >= 2 << 20, "{first}");
    assert!(disk(&folder) + (3 << 19) < before, "{before} {}", disk(&folder));
    assert_eq!(ids(&folder), std::slice::from_ref(&open));
    assert_eq!(folder.run(&["runs", "show", &applied]).code, 1);
    // What stays can still be applied.
    done(&folder, &["diff", &open]);
    let second = prune(&folder, &["--discard-changes"]);
    assert_eq!(second["removed"][0]["discarded"], 2);
    assert!(second["freed"]["files_bytes"].as_u64().unwrap() >= 2 << 20, "{second}");
    assert_eq!(ids(&folder), Vec::<String>::new());
    assert_eq!(prune(&folder, &[])["freed"]["files_bytes"], 0);
}

#[test]
fn the_newest_are_kept_and_the_default_is_old_runs() {
    let folder = project();
    for _ in 0..3 {
        done(&folder, &["run"]);
    }
    let all = ids(&folder);
    let untouched = json(&done(&folder, &["runs", "prune", "--json", "--discard-changes"]));
    assert_eq!(untouched["removed"], Value::Array(Vec::new()), "none is 30 days old");
    json(&done(&folder, &["runs", "prune", "--keep", "2", "--discard-changes", "--json"]));
    assert_eq!(ids(&folder), all[..2]);
    json(&done(
        &folder,
        &["runs", "prune", "--keep", "2", "--older-than", "0s", "--discard-changes", "--json"],
    ));
    assert_eq!(ids(&folder), all[..2]);
}

#[test]
fn discarding_frees_what_only_that_run_held() {
    let folder = project();
    done(&folder, &["run"]);
    done(&folder, &["run"]);
    let [_, first] = ids(&folder).try_into().unwrap();
    let before = disk(&folder);
    let ended = done(&folder, &["discard", &first, "--json"]);
    assert_fits("discard", ended.stdout.trim());
    assert!(json(&ended)["freed_bytes"].as_u64().unwrap() >= 2 << 20);
    assert!(disk(&folder) + (3 << 19) < before);
    // The other's files are there, and the first's are known to be gone.
    done(&folder, &["diff", "latest"]);
    done(&folder, &["runs", "show", &first]);
    let retried = folder.run(&["runs", "retry", &first]);
    assert_eq!(retried.code, 1);
    assert!(retried.stderr.contains("WFLO-3015"), "{}", retried.stderr);
    done(&folder, &["apply", "latest", "--yes"]);
    assert_eq!(folder.read("a.txt"), "1\n");
}

/// Killed after each step of a removal: nothing that lives is lost, and the next pass ends it.
#[test]
fn a_removal_that_was_killed_is_ended_by_the_next() {
    for place in FAILPOINTS {
        let folder = noting();
        done(&folder, &["run"]);
        done(&folder, &["run"]);
        let [stays, gone] = ids(&folder).try_into().unwrap();
        done(&folder, &["apply", &gone, "--yes"]);
        assert_eq!(records(&folder), 6);
        let arguments = ["runs", "prune", "--older-than", "0s", "--json"];
        let killed = folder.start_under(&arguments, &[("WFLO_FAILPOINT", place)]);
        let killed = folder.ended(killed);
        assert_eq!(killed.code, 137, "{place}: {}", shown(&arguments, &killed));
        done(&folder, &["diff", &stays]);
        prune(&folder, &[]);
        assert_eq!(ids(&folder), std::slice::from_ref(&stays), "{place}");
        assert_eq!(folder.run(&["runs", "show", &gone]).code, 1);
        assert_eq!(records(&folder), 3, "{place}");
        let freed = &prune(&folder, &[])["freed"];
        assert_eq!((&freed["files_bytes"], &freed["values_bytes"]), (&0.into(), &0.into()), "{place}");
        done(&folder, &["apply", &stays, "--yes", "--force", "report.txt"]);
        assert_eq!(folder.read("report.txt"), stays, "{place}");
    }
}

/// What a tool left belongs to its run from the commit of its result on, and is there when that resumes.
#[test]
fn files_of_a_tool_are_there_when_its_run_resumes() {
    let folder = noting();
    folder.write(
        "workflow.py",
        r#"
from wflo import Workflow

workflow = Workflow("tool")

@workflow.step
async def make(context):
    await context.tools.run(["sh", "-c", "test ! -e made.txt && cat /proc/sys/kernel/random/uuid > made.txt"])
    return (context.workspace / "made.txt").read_text()
"#,
    );
    let killed = folder.start_under(&["run"], &[("WFLO_FAILPOINT", "effect.finish.after")]);
    assert_eq!(folder.ended(killed).code, 137);
    prune(&folder, &["--discard-changes"]);
    done(&folder, &["runs", "resume", "latest"]);
    assert!(done(&folder, &["diff", "latest"]).stdout.contains("made.txt"));
}

#[test]
fn a_database_that_is_away_keeps_its_records_until_it_is_back() {
    let folder = noting();
    done(&folder, &["run"]);
    done(&folder, &["run"]);
    done(&folder, &["discard", "latest"]);
    let at = |name: &str| folder.path().join("data").join(name);
    std::fs::rename(at("main.db"), at("away.db")).unwrap();
    let first = prune(&folder, &["--discard-changes"]);
    assert_eq!(first["removed"].as_array().unwrap().len(), 2);
    let waiting = &first["records"]["waiting"][0];
    assert_eq!((&waiting["database"], &waiting["runs"]), (&"main".into(), &2.into()), "{first}");
    assert!(waiting["reason"].is_string());
    std::fs::rename(at("away.db"), at("main.db")).unwrap();
    assert_eq!(prune(&folder, &[])["records"]["removed"], 5);
    assert_eq!(records(&folder), 1, "the newest stays");
}

/// Several processes submit and run while others remove: every run completes, with its files.
#[test]
fn removing_beside_others_takes_nothing_from_them() {
    let folder = noting();
    let mut runs: Vec<_> = (0..4).map(|_| folder.start(&["run"])).collect();
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut passes = 0;
    while runs.iter_mut().any(|run| run.try_wait().unwrap().is_none()) {
        assert!(Instant::now() < deadline);
        let arguments = ["runs", "prune", "--older-than", "0s", "--json"];
        let others = [folder.start(&arguments), folder.start(&arguments)];
        for other in others {
            let ended = folder.ended(other);
            assert_eq!(ended.code, 0, "{}", shown(&arguments, &ended));
        }
        passes += 1;
    }
    assert!(passes > 0);
    for run in runs {
        let ended = folder.ended(run);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let all = ids(&folder);
    assert_eq!(all.len(), 4, "files that nobody decided about keep their runs");
    for run in &all {
        assert!(done(&folder, &["diff", run]).stdout.contains(run));
    }
    // Two at once remove each run once.
    let arguments = ["runs", "prune", "--older-than", "0s", "--json", "--discard-changes"];
    let both = [folder.start(&arguments), folder.start(&arguments)];
    for one in both {
        let ended = folder.ended(one);
        assert_eq!(ended.code, 0, "{}", shown(&arguments, &ended));
    }
    assert_eq!(ids(&folder), Vec::<String>::new());
    let freed = &prune(&folder, &[])["freed"];
    assert_eq!((&freed["files_bytes"], &freed["values_bytes"]), (&0.into(), &0.into()));
}
