//! Applying: conflicts, hidden and sensitive paths, and somebody who writes at the same moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;
#[path = "workspace_support/run.rs"]
mod run;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use project::{rel, tree, write};
use run::{Run, everything, paths};
use rustix::fs::{CWD, RenameFlags};
use wflo_sandbox::workspace::{
    ApplyOptions, ChangeKind, Confirmed, Conflict, ConflictReason, Hidden, HideRules, Reason, Sensitive,
    TextLimits, WorkspaceError, diff, discard,
};

#[test]
fn a_conflict_writes_nothing_and_force_takes_the_runs_version_of_that_path() {
    let mut run = Run::new(&[("a", "old"), ("b", "old"), ("same", "old"), ("mine", "old"), ("gone", "old")]);
    for (path, content) in [("a", "run"), ("b", "run"), ("same", "both"), ("new", "run")] {
        run.writes(path, content);
    }
    run.removes("gone");
    run.ends();
    for (path, content) in
        [("a", "host"), ("same", "both"), ("mine", "host"), ("new", "host"), ("gone", "host")]
    {
        run.project.write(path, content);
    }
    let before = tree(&run.project.path());
    let report = run.apply(&everything()).unwrap();
    let conflicts: Vec<String> = report.conflicts.iter().map(|conflict| conflict.path.to_string()).collect();
    assert_eq!(conflicts, ["a", "gone", "new"]);
    assert!(report.applied.is_empty());
    assert!(
        matches!(report.or_conflict(), Err(WorkspaceError::Conflict { conflicts }) if conflicts.len() == 3)
    );
    assert_eq!(tree(&run.project.path()), before);

    let options = ApplyOptions { force: vec![rel("a"), rel("gone"), rel("new")], ..everything() };
    let dry = run.apply(&ApplyOptions { dry_run: true, ..options.clone() }).unwrap();
    assert_eq!(tree(&run.project.path()), before);
    let report = run.apply(&options).unwrap();
    assert_eq!(paths(&report), ["a", "b", "gone", "new"]);
    assert_eq!(paths(&dry), paths(&report));
    assert_eq!(report.already, [rel("same")]);
    assert_eq!([run.reads("a"), run.reads("b"), run.reads("mine")], ["run", "run", "host"]);
    assert!(!run.project.path().join("gone").exists());
    assert_eq!(run.apply(&options).unwrap().applied, [], "a second time there is nothing to do");
}

#[test]
fn neither_end_of_a_long_change_is_out_of_sight_above_a_question() {
    let mut run = Run::new(&[("a", "first\n")]);
    let lines: String = (0..3_000).map(|n| format!("line {n}\n")).collect();
    run.writes("a", &format!("first\n{lines}os.system('payload')\n"));
    run.writes("one_line", &format!("x{}payload", "y".repeat(100_000)));
    run.ends();
    let changes = diff(&run.view, &run.project.store).unwrap();
    let limits = TextLimits::above_a_question();
    let text = |index: usize| changes[index].text(&run.project.store, &limits).unwrap();
    let body = text(0).body;
    assert!(body.contains("+line 0\n") && body.contains("payload"), "{body}");
    assert!(body.contains("2943 of 3003 lines are NOT SHOWN here: the file has "), "{body}");
    assert!(body.contains(", BLAKE3 ") && body.lines().count() < 70, "{body}");
    assert_eq!((text(0).added, text(0).shortened), (3_001, true));
    let body = text(1).body;
    assert!(
        body.contains("characters NOT SHOWN⟩") && body.contains("payload") && body.len() < 2_000,
        "{body}"
    );
    let whole = changes[0].text(&run.project.store, &TextLimits::default()).unwrap();
    assert!(!whole.shortened && whole.body.contains("+line 1500\n"));
}

#[test]
fn hidden_paths_survive_whatever_the_run_did() {
    let mut run =
        Run::new(&[("dir/visible", "x"), ("dir/.env", "SECRET"), ("keys/id_rsa", "SECRET"), ("plain", "x")]);
    let secret = run.project.path().join("dir/.env");
    fs::hard_link(&secret, run.project.path().join("other")).unwrap();
    run.removes("dir");
    run.writes("keys/id_rsa", "replaced");
    run.writes(".env.new", "created");
    run.writes("other", "over the hard link");
    run.writes(".wflo/wflo.db", "created");
    run.removes("plain");
    run.ends();
    let force = ["dir", "keys", "other", ".wflo", ".env.new"].map(rel).to_vec();
    let report = run.apply(&ApplyOptions { force, ..everything() }).unwrap();
    assert_eq!(report.conflicts, []);
    let hidden: Vec<(String, Reason)> =
        report.hidden.iter().map(|(path, reason)| (path.to_string(), *reason)).collect();
    assert_eq!(
        hidden,
        [
            (".env.new".to_owned(), Reason::Environment),
            (".wflo".to_owned(), Reason::DataDirectory),
            (".wflo/wflo.db".to_owned(), Reason::DataDirectory),
            ("keys/id_rsa".to_owned(), Reason::KeyFile),
            ("other".to_owned(), Reason::HardLink),
        ]
    );
    assert_eq!(report.kept_folders, [rel("dir")]);
    assert_eq!(paths(&report), ["dir/visible", "plain"]);
    assert_eq!(run.reads("dir/.env"), "SECRET");
    assert_eq!(run.reads("other"), "SECRET");
    assert_eq!(run.reads("keys/id_rsa"), "SECRET");
    assert!(!run.project.path().join("dir/visible").exists());
    assert!(!run.project.path().join(".env.new").exists() && !run.project.path().join(".wflo").exists());
}

#[test]
fn a_folder_with_a_hidden_file_does_not_give_way_to_a_file_or_link() {
    for link in [false, true] {
        let mut run = Run::new(&[("dir/visible", "x"), ("dir/.env", "SECRET")]);
        if link {
            symlink("elsewhere", run.upper("dir")).unwrap();
        } else {
            run.writes("dir", "a file now");
        }
        run.ends();
        let options = ApplyOptions { force: vec![rel("dir")], ..everything() };
        let report = run.apply(&options).unwrap();
        let reason = ConflictReason::FolderNotEmpty;
        assert_eq!(report.conflicts, [Conflict { path: rel("dir"), reason }]);
        assert_eq!([run.reads("dir/.env"), run.reads("dir/visible")], ["SECRET", "x"]);
    }
}

#[test]
fn a_folder_that_became_a_link_leads_nowhere() {
    let mut run = Run::new(&[("dir/f", "x"), (".gitignore", "/secret\n")]);
    run.writes("dir/f", "changed");
    run.writes("dir/new", "created");
    run.ends();
    let outside = run.project.home.path().join("outside");
    write(&outside.join("f"), "x");
    fs::remove_dir_all(run.project.path().join("dir")).unwrap();
    symlink(&outside, run.project.path().join("dir")).unwrap();
    let options = ApplyOptions { force: vec![rel("dir")], ..everything() };
    let report = run.apply(&options).unwrap();
    assert_eq!(report.conflicts.len(), 2, "{report:?}");
    assert!(report.conflicts.iter().all(|conflict| conflict.reason == ConflictReason::NoFolder));
    assert_eq!(tree(&outside).len(), 1);
}

#[test]
fn sensitive_paths_wait_for_the_users_word() {
    let mut run = Run::new(&[
        ("main.py", "old"),
        (".git/config", "[core]\n"),
        ("wflo.toml", "old"),
        ("flow.py", "old"),
    ]);
    for path in
        ["main.py", "wflo.toml", "flow.py", ".git/hooks/post-checkout", ".github/workflows/ci.yml", "x.sh"]
    {
        run.writes(path, "new");
    }
    run.writes(".git/config", "[core]\n\tsshCommand = evil\n");
    symlink("../../etc", run.upper("out")).unwrap();
    run.writes(".venv/bin/python", "#!/bin/sh\n");
    run.writes("tool", "#!/bin/sh\n");
    run.writes("open", "to all");
    fs::set_permissions(run.upper("open"), fs::Permissions::from_mode(0o666)).unwrap();
    run.ends();
    let options = ApplyOptions { definitions: vec![rel("flow.py")], ..ApplyOptions::default() };
    let report = run.apply(&options).unwrap();
    assert_eq!(paths(&report), ["main.py", "open"]);
    assert_eq!(run.project.path().join("open").metadata().unwrap().permissions().mode() & 0o777, 0o644);
    let asked: Vec<(String, Sensitive)> =
        report.unconfirmed.iter().map(|(change, why)| (change.path.to_string(), *why)).collect();
    for expected in [
        ("wflo.toml", Sensitive::Settings),
        ("flow.py", Sensitive::Definition),
        (".git/hooks/post-checkout", Sensitive::Git),
        (".github/workflows/ci.yml", Sensitive::Ci),
        ("x.sh", Sensitive::Shell),
        (".venv/bin/python", Sensitive::Interpreter),
        ("tool", Sensitive::Executable),
        ("out", Sensitive::LinkOutside),
    ] {
        assert!(asked.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} in {asked:?}");
    }
    assert_eq!([run.reads("wflo.toml"), run.reads("flow.py")], ["old", "old"]);
    let confirmed = Confirmed::Paths(vec![rel("wflo.toml"), rel(".git"), rel(".venv/bin/python")]);
    let report = run.apply(&ApplyOptions { confirmed, ..options }).unwrap();
    assert!(run.project.path().join(".venv/bin/python").is_file(), "its folders come with it");
    assert!(paths(&report).contains(&"wflo.toml".to_owned()));
    assert_eq!(run.reads(".git/config"), "[core]\n", "Git's configuration is never written");
    assert_eq!(run.reads(".git/hooks/post-checkout"), "new");
}

#[test]
fn modes_and_contents_merge_separately_and_links_are_written_as_they_are() {
    let mut run = Run::new(&[("script", "old"), ("data", "old")]);
    run.writes("script", "old");
    fs::set_permissions(run.upper("script"), fs::Permissions::from_mode(0o755)).unwrap();
    run.writes("data", "run");
    symlink("data", run.upper("link")).unwrap();
    run.ends();
    run.project.write("script", "host");
    fs::set_permissions(run.project.path().join("data"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run.apply(&everything()).unwrap().conflicts, []);
    let mode = |path: &str| run.project.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((run.reads("script"), mode("script")), ("host".to_owned(), 0o755));
    assert_eq!((run.reads("data"), mode("data")), ("run".to_owned(), 0o600));
    assert_eq!(fs::read_link(run.project.path().join("link")).unwrap(), PathBuf::from("data"));
}

#[test]
fn a_mode_reaches_no_other_name_of_the_file() {
    let mut run = Run::new(&[("script", "old"), ("merged", "old")]);
    let elsewhere = ["script", "merged"].map(|name| run.project.home.path().join(format!("other-{name}")));
    for (name, other) in ["script", "merged"].iter().zip(&elsewhere) {
        fs::set_permissions(run.project.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
        fs::hard_link(run.project.path().join(name), other).unwrap();
        run.writes(name, "old");
        fs::set_permissions(run.upper(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    run.ends();
    run.project.write("merged", "host");
    let report = run.apply(&everything()).unwrap();
    assert_eq!(paths(&report), ["merged", "script"]);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for (name, other) in ["script", "merged"].iter().zip(&elsewhere) {
        assert_eq!(mode(&run.project.path().join(name)), 0o755);
        assert_eq!(mode(other), 0o644, "a store of packages that links files keeps its own mode");
    }
    assert_eq!([run.reads("script"), run.reads("merged")], ["old", "host"]);
}

#[test]
fn selecting_takes_what_is_needed_and_refuses_what_is_not_there() {
    let mut run = Run::new(&[("a", "old")]);
    run.writes("new/deep/file", "x");
    run.writes("new/other", "x");
    run.ends();
    let report = run.apply(&ApplyOptions { paths: vec![rel("new/deep/file")], ..everything() }).unwrap();
    assert_eq!(paths(&report), ["new", "new/deep", "new/deep/file"]);
    assert!(!run.project.path().join("new/other").exists());
    let refused = run.apply(&ApplyOptions { paths: vec![rel("nowhere")], ..everything() });
    assert!(matches!(refused, Err(WorkspaceError::NotChanged { .. })));
}

#[test]
fn a_folder_goes_with_the_last_file_that_is_to_go() {
    let mut run = Run::new(&[(".github/w/one.yml", "1"), (".github/w/two.yml", "2")]);
    run.removes(".github");
    run.ends();
    let paths_of = |paths: &[&str]| Confirmed::Paths(paths.iter().map(|path| rel(path)).collect());
    let confirmed = paths_of(&[".github/w/one.yml"]);
    let report = run.apply(&ApplyOptions { confirmed, ..ApplyOptions::default() }).unwrap();
    assert_eq!((paths(&report), report.kept_folders.len()), (vec![".github/w/one.yml".to_owned()], 2));
    assert_eq!(run.reads(".github/w/two.yml"), "2");
    run.apply(&ApplyOptions { confirmed: paths_of(&[".github/w/two.yml"]), ..ApplyOptions::default() })
        .unwrap();
    assert!(!run.project.path().join(".github").exists(), "the last takes its folders along");
}

#[test]
fn what_only_looks_like_an_object_of_git_is_asked_about_as_what_it_is() {
    let object = "objects/ab/0123456789012345678901234567890123456a";
    let mut run = Run::new(&[("HEAD", "no repository")]);
    run.writes(object, "content");
    run.writes("src", "x");
    run.writes(&format!(".git/{object}"), "object");
    run.writes(".git/objects/pack/pack-ab.sh", "#!/bin/sh");
    for name in [".git/objects/pack/pack-ab.pack", ".git/objects/pack/pack-cd.pack"] {
        run.writes(name, "pack");
    }
    fs::set_permissions(run.upper(".git/objects/pack/pack-cd.pack"), fs::Permissions::from_mode(0o755))
        .unwrap();
    run.ends();
    let report = run.apply(&ApplyOptions { dry_run: true, ..ApplyOptions::default() }).unwrap();
    let of = |why: Sensitive| {
        let those = report.unconfirmed.iter().filter(|(change, found)| *found == why && !change.is_folder());
        those.map(|(change, _)| change.path.to_string()).collect::<Vec<_>>()
    };
    let own = [format!(".git/{object}"), ".git/objects/pack/pack-ab.pack".to_owned()];
    assert_eq!(of(Sensitive::GitObject), own);
    assert_eq!(of(Sensitive::Git), [".git/objects/pack/pack-ab.sh", ".git/objects/pack/pack-cd.pack"]);
    let only = ApplyOptions { paths: vec![rel("src")], ..everything() };
    assert_eq!(run.apply(&only).unwrap().conflicts, [], "a store of another kind, and no repository");
}

#[test]
fn what_was_applied_before_and_edited_since_holds_nothing_up() {
    let mut run = Run::new(&[("a", "old"), ("gone", "old"), ("b", "old")]);
    for path in ["a", "gone", "b"] {
        run.writes(path, "run");
    }
    run.ends();
    let some = |paths: &[&str]| paths.iter().map(|path| rel(path)).collect::<Vec<_>>();
    run.apply(&ApplyOptions { paths: some(&["a", "gone"]), ..everything() }).unwrap();
    run.project.write("a", "edited");
    fs::remove_file(run.project.path().join("gone")).unwrap();
    assert_eq!(run.apply(&everything()).unwrap().conflicts.len(), 2, "of whom nothing is known");

    let settled = ApplyOptions { settled: some(&["a", "gone"]).into_iter().collect(), ..everything() };
    let named = run.apply(&ApplyOptions { paths: some(&["a"]), ..settled.clone() }).unwrap();
    assert_eq!(named.conflicts.len(), 1, "who names it means it");
    let report = run.apply(&settled).unwrap();
    assert_eq!((paths(&report), report.edited.clone()), (vec!["b".to_owned()], some(&["a", "gone"])));
    assert_eq!([run.reads("a"), run.reads("b")], ["edited", "run"]);
    assert!(!run.project.path().join("gone").exists());
    let forced = ApplyOptions { force: some(&["a"]), ..settled };
    run.apply(&forced).unwrap();
    assert_eq!(run.reads("a"), "run");
}

#[test]
fn a_branch_of_git_comes_with_the_objects_that_it_may_name_or_not_at_all() {
    let objects =
        ["ab", "cd"].map(|two| format!(".git/objects/{two}/{}", "0123456789012345678901234567890123456a"));
    let mut run = Run::new(&[(".git/HEAD", "ref: refs/heads/main"), (".git/refs/heads/main", "old")]);
    for object in &objects {
        run.writes(object, "object");
    }
    run.writes(".git/refs/heads/main", "new");
    run.writes("src", "x");
    run.ends();
    let only =
        |paths: &[&str]| ApplyOptions { paths: paths.iter().map(|path| rel(path)).collect(), ..everything() };
    let torn = [Conflict { path: rel(".git/refs/heads/main"), reason: ConflictReason::ObjectsLeft }];
    assert_eq!(run.apply(&only(&[".git/refs"])).unwrap().conflicts, torn);
    assert_eq!(run.apply(&only(&[".git/refs", &objects[0]])).unwrap().conflicts, torn);
    let forced = ApplyOptions { force: vec![rel(".git")], ..only(&[".git/refs"]) };
    assert_eq!(run.apply(&forced).unwrap().conflicts, torn);
    assert_eq!(run.reads(".git/refs/heads/main"), "old");
    // What names none, and objects alone, harm nobody; what is there already is not missed.
    assert_eq!(run.apply(&only(&["src"])).unwrap().conflicts, []);
    assert_eq!(run.apply(&only(&[&objects[0]])).unwrap().conflicts, []);
    assert_eq!(run.apply(&only(&[".git/refs", &objects[1]])).unwrap().conflicts, []);
    assert_eq!(run.reads(".git/refs/heads/main"), "new");
}

#[test]
fn the_diff_is_net_and_safe_to_print() {
    let mut run = Run::new(&[
        ("a", "one\ntwo\nthree\n"),
        ("touched", "same"),
        ("bin", "\0old"),
        ("dir/x", "1"),
        ("dir/y", "2"),
    ]);
    run.writes("a", "one\n\x1b[2Jtwo\nthree\n");
    run.writes("touched", "same");
    run.writes("bin", "\0new");
    run.removes("dir");
    run.writes("big", &"line\n".repeat(300_000));
    run.ends();
    let changes = diff(&run.view, &run.project.store).unwrap();
    let shown: Vec<(String, ChangeKind, bool)> =
        changes.iter().map(|change| (change.path.to_string(), change.kind, change.binary)).collect();
    let expected = [
        ("a", ChangeKind::Modified, false),
        ("big", ChangeKind::Added, false),
        ("bin", ChangeKind::Modified, true),
        ("dir", ChangeKind::Deleted, false),
        ("dir/x", ChangeKind::Deleted, false),
        ("dir/y", ChangeKind::Deleted, false),
    ];
    assert_eq!(shown, expected.map(|(path, kind, binary)| (path.to_owned(), kind, binary)));
    let text = |index: usize| changes[index].text(&run.project.store, &TextLimits::default()).unwrap();
    assert_eq!(text(0).body, "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n one\n-two\n+\\u{1b}[2Jtwo\n three\n");
    assert!(text(1).shortened && text(1).body.len() < 200, "{}", text(1).body);
    assert!(text(1).body.contains("NOT SHOWN: nothing -> 1500000 bytes, BLAKE3 "), "{}", text(1).body);
    assert!(text(2).body.contains("NOT SHOWN: binary, 4 -> 4 bytes, BLAKE3 "), "{}", text(2).body);
    assert_eq!(text(3).body, "--- a/dir/\n+++ /dev/null\nfolder removed\n");
    assert!(text(4).body.starts_with("--- a/dir/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n"));
    assert!(diff(&discard(run.view.clone()), &run.project.store).unwrap().is_empty());
}

#[test]
fn rules_that_came_after_the_seal_protect_too() {
    let mut run = Run::new(&[("config/prod.sql", "theirs"), ("main.db", "theirs")]);
    run.writes("config/prod.sql", "run");
    run.removes("main.db");
    run.ends();
    let databases = [run.project.path().join("main.db")];
    let rules = HideRules::default().with_databases(databases).with_globs(["*.sql".into()]);
    let hidden = Hidden::new(&run.project.path(), &rules).unwrap();
    let report = run.apply_hiding(&hidden, &everything()).unwrap();
    assert_eq!((report.applied.len(), report.hidden.len()), (0, 2));
    assert_eq!([run.reads("config/prod.sql"), run.reads("main.db")], ["theirs", "theirs"]);
}

/// The header of a database; with an application id, of a store of wflo's.
fn database(id: &[u8; 4]) -> Vec<u8> {
    let mut header = vec![0; 4096];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[68..72].copy_from_slice(id);
    header
}

#[test]
fn what_the_next_opening_of_a_database_would_carry_out_does_not_come_in_unasked() {
    let mut run = Run::new(&[("plain", "x"), ("empty.db", "")]);
    // Beside what is there when the run ends, whoever has put it there.
    for (path, id) in [("app.db", [0; 4]), ("notes", [0; 4]), ("old/runs.db", *b"wflo")] {
        run.project.write(path, database(&id));
    }
    run.project.write("cipher.sqlite", "no header that says it");
    run.project.write("ledger", database(&[0; 4]));
    let asked = ["app.db-journal", "app.db-WAL", "notes-wal", "cipher.sqlite-shm"];
    let hidden = ["old/runs.db-journal", "old/runs.db-wal", "ledger-journal"];
    let free = ["plain-journal", "empty.db-journal", "new.db", "new.db-wal"];
    for path in asked.iter().chain(&hidden).chain(&free) {
        run.writes(path, "rolled back");
    }
    run.ends();
    let rules = HideRules::default().with_globs(["ledger".into()]);
    let rules = Hidden::new(&run.project.path(), &rules).unwrap();
    let report = run.apply_hiding(&rules, &ApplyOptions::default()).unwrap();
    assert_eq!(paths(&report), sorted(&free));
    let of = |path: &(wflo_sandbox::workspace::RelPath, Reason)| path.0.to_string();
    assert_eq!(report.hidden.iter().map(of).collect::<Vec<_>>(), sorted(&hidden));
    let unconfirmed: Vec<String> =
        report.unconfirmed.iter().map(|(change, _)| change.path.to_string()).collect();
    assert_eq!(unconfirmed, sorted(&asked));
    assert!(report.unconfirmed.iter().all(|(_, why)| *why == Sensitive::Database));
    let report = run.apply_hiding(&rules, &everything()).unwrap();
    assert_eq!(paths(&report), sorted(&asked), "whoever is asked may say yes");
    assert_eq!(report.hidden.len(), hidden.len());
}

#[test]
fn neither_the_side_files_of_a_hidden_files_other_name_come_in_nor_those_of_a_store() {
    let mut run = Run::new(&[]);
    fs::create_dir(run.project.path().join("data")).unwrap();
    run.project.write("main.db", database(&[0; 4]));
    fs::hard_link(run.project.path().join("main.db"), run.project.path().join("other")).unwrap();
    let wanted = ["data/blobs/ab", "data/engines/e.lock", "data/runs.db-journal", "other-journal"];
    for path in wanted {
        run.writes(path, "x");
    }
    run.ends();
    let project = run.project.path();
    let rules = HideRules::new(&project.join(".wflo"), &project.join("data/runs.db"))
        .with_databases([project.join("main.db")]);
    let report = run.apply_hiding(&Hidden::new(&project, &rules).unwrap(), &everything()).unwrap();
    let hidden: Vec<String> = report.hidden.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths(&report), Vec::<String>::new());
    for path in wanted {
        assert!(hidden.iter().any(|found| found == path), "{path}: {hidden:?}");
    }
}

#[test]
fn what_wflo_runs_of_the_project_and_its_neighbours_are_asked_about() {
    let mut run = Run::new(&[("tools/key.py", "old"), ("src/main.py", "old")]);
    for path in ["tools/key.py", "Tools/helper.py", "src/main.py", "toolset.md"] {
        run.writes(path, "new");
    }
    run.ends();
    let programs = vec![rel("tools"), rel("tools/key.py")];
    let report = run.apply(&ApplyOptions { programs, ..ApplyOptions::default() }).unwrap();
    assert_eq!(paths(&report), ["src/main.py", "toolset.md"]);
    let asked: Vec<Sensitive> = report.unconfirmed.iter().map(|(_, why)| *why).collect();
    assert!(asked.len() >= 2 && asked.iter().all(|why| *why == Sensitive::Program), "{asked:?}");
}

fn sorted(paths: &[&str]) -> Vec<String> {
    let mut paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    paths.sort();
    paths
}

#[test]
fn somebody_who_writes_at_the_same_moment_loses_nothing() {
    let mut run = Run::new(&[("f", "start"), ("dir/g", "start"), ("z", "start")]);
    for path in ["f", "dir/g", "z"] {
        run.writes(path, "run");
    }
    run.ends();
    let outside = run.project.home.path().join("outside");
    write(&outside.join("g"), "start");
    let at = |path: &str| run.project.path().join(path);
    for round in 0..60 {
        for path in ["f", "dir/g", "z"] {
            run.project.write(path, "start");
        }
        symlink(&outside, at("link")).unwrap();
        let stop = AtomicBool::new(false);
        let saved = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut saved = None;
                while !stop.load(Ordering::Relaxed) {
                    // A folder that is a link now and then, and an editor that saves.
                    rustix::fs::renameat_with(CWD, at("dir"), CWD, at("link"), RenameFlags::EXCHANGE)
                        .unwrap();
                    rustix::fs::renameat_with(CWD, at("dir"), CWD, at("link"), RenameFlags::EXCHANGE)
                        .unwrap();
                    if saved.is_none() {
                        fs::write(at("tmp"), "saved by hand").unwrap();
                        fs::rename(at("tmp"), at("z")).unwrap();
                        saved = Some(());
                    }
                }
                saved
            });
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            let _result = run.apply(&everything());
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        assert_eq!(tree(&outside).len(), 1, "round {round}");
        assert_eq!(
            fs::read_to_string(outside.join("g")).unwrap(),
            "start",
            "nothing is written through a link"
        );
        let names: Vec<Vec<u8>> = tree(&run.project.path()).into_keys().collect();
        assert!(!names.iter().any(|name| name.starts_with(b".wflo-apply")), "round {round}: staging is left");
        if saved.is_some() {
            // Before the check it is a conflict, after the rename it is newer, in between it is put back.
            assert_eq!(run.reads("z"), "saved by hand", "round {round}");
        }
        fs::remove_file(at("link")).unwrap();
    }
}
