//! What acts by itself under another name is asked about: what links and Git's settings lead to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;
#[path = "workspace_support/run.rs"]
mod run;

use std::fs;
use std::os::unix::fs::symlink;

use run::{Run, asked, paths};
use wflo_sandbox::workspace::{ApplyOptions, Sensitive};

/// A project with these links, then sealed.
fn linked(files: &[(&str, &str)], links: &[(&str, &str)]) -> Run {
    Run::of(files, |project| {
        for (path, target) in links {
            let path = project.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }
    })
}

#[test]
fn what_links_of_guarded_names_lead_to_is_guarded() {
    let links = [
        ("Makefile", "conf/main.make"),
        ("AGENTS.md", "docs/for-agents.txt"),
        (".envrc", "one"),
        ("one", "./etc/../etc/two"),
        (".git/hooks/pre-push", "../../tools/pre-push"),
        (".github", "ci"),
        ("sub", "real"),
        (".gitlab-ci.yml", "sub/gitlab.txt"),
        (".vscode", "."),
        ("node_modules/own", "../packages/own"),
        ("plain", "src/main.py"),
    ];
    let targets = [
        ("conf/main.make", Sensitive::Ci),
        ("docs/for-agents.txt", Sensitive::Agent),
        ("etc/two", Sensitive::Shell),
        ("tools/pre-push", Sensitive::Git),
        ("ci/workflows/x", Sensitive::Ci),
        ("real/gitlab.txt", Sensitive::Ci),
    ];
    let free = ["packages/own/index.js", "src/main.py", "conf/other", "real/other"];
    let all = targets.iter().map(|(path, _)| *path).chain(free);
    let files: Vec<(&str, &str)> = all.clone().map(|path| (path, "old")).collect();
    let mut run = linked(&files, &links);
    all.for_each(|path| run.writes(path, "new"));
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let expected = targets.map(|(path, why)| (path.to_owned(), why));
    let mut found = asked(&report);
    found.sort_by_key(|(path, _)| targets.iter().position(|(known, _)| known == path));
    assert_eq!(found, expected);
    assert_eq!(paths(&report), ["conf/other", "packages/own/index.js", "real/other", "src/main.py"]);
}

#[test]
fn links_of_the_moment_and_links_of_the_run_count_too() {
    let mut run = linked(&[("conf/main.make", "old"), ("late/rules", "old")], &[]);
    run.writes("conf/main.make", "new");
    run.writes("late/rules", "new");
    run.writes("ci/x", "new");
    fs::create_dir_all(run.upper("d")).unwrap();
    symlink("late/rules", run.upper("Makefile")).unwrap();
    symlink("../ci", run.upper("d/.github")).unwrap();
    run.ends();
    symlink("conf/main.make", run.project.path().join("GNUmakefile")).unwrap();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in ["conf/main.make", "late/rules", "ci/x", "Makefile", "d/.github"] {
        assert!(found.contains(&(path.to_owned(), Sensitive::Ci)), "{path} in {found:?}");
    }
}

#[test]
fn a_link_in_the_way_of_what_is_guarded_is_guarded() {
    let mut run = linked(&[("conf/main.make", "old"), ("evil/main.make", "new")], &[("Makefile", "conf/main.make")]);
    symlink("evil", run.upper("conf")).unwrap();
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    assert!(asked(&report).contains(&("conf".to_owned(), Sensitive::Ci)), "{report:?}");
}

#[test]
fn what_git_settings_name_is_guarded() {
    let config = r#"[core]
        hooksPath = scripts/githooks
        fsmonitor = tools/watch
    [Filter "x"]
        clean = "python3 ./tools/clean.txt" %f
    [diff "pdf"]
        textconv = sh -c 'cat $(git rev-parse --show-toplevel)/tools/pdf'
    [merge "m"]
        driver = "tools/merge %O"
    [alias]
        go = "!f() { tools/go; }; f"
        plain = log src
    [include]
        path = ../conf/git.inc
    "#;
    let included = "[includeIf \"gitdir:x\"]\npath = more.inc\n";
    let more = "[diff]\n\texternal = tools/more\n";
    let files = [(".git/config", config), ("conf/git.inc", included), ("conf/more.inc", more)];
    let guarded = [
        "scripts/githooks/pre-commit",
        "tools/watch",
        "tools/clean.txt",
        "tools/pdf",
        "tools/merge",
        "tools/go",
        "tools/more",
        "conf/git.inc",
        "conf/more.inc",
    ];
    let free = ["src/main.py", "scripts/other", "tools/other"];
    let plain: Vec<(&str, &str)> = guarded.iter().take(7).chain(&free).map(|path| (*path, "old")).collect();
    let mut run = linked(&[&files[..], &plain].concat(), &[]);
    guarded.iter().chain(&free).for_each(|path| run.writes(path, "new"));
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in guarded {
        assert!(found.contains(&(path.to_owned(), Sensitive::Git)), "{path} in {found:?}");
    }
    assert_eq!(paths(&report), ["scripts/other", "src/main.py", "tools/other"]);
}

#[test]
fn settings_of_submodules_and_work_trees_count_where_they_hold() {
    let files = [
        (".git/modules/lib/HEAD", "ref: refs/heads/main"),
        (".git/modules/lib/objects/x", ""),
        (".git/modules/lib/refs/x", ""),
        (".git/modules/lib/config", "[core]\n\tworktree = ../../../lib\n\thooksPath = hooks\n"),
        ("lib/.git", "gitdir: ../.git/modules/lib\n"),
        (".git/config", "[core]\n\tbare = false\n"),
        ("lib/hooks/pre-commit", "old"),
        ("hooks/pre-commit", "old"),
    ];
    let mut run = linked(&files, &[]);
    run.writes("lib/hooks/pre-commit", "new");
    run.writes("hooks/pre-commit", "new");
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    assert_eq!(asked(&report), [("lib/hooks/pre-commit".to_owned(), Sensitive::Git)]);
}
