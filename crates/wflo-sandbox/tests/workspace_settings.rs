//! What Git's settings name is asked about, and what they do not name is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;
#[path = "workspace_support/run.rs"]
mod run;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use project::Project;
use run::{Run, asked, paths};
use wflo_sandbox::workspace::{ApplyOptions, Sensitive};

/// What a run may change of a project with these files, once `more` was done to it: `guarded` is asked about as Git's,
/// `free` is not asked about.
fn judged(files: &[(&str, &str)], more: impl FnOnce(&Project), guarded: &[&str], free: &[&str]) {
    let old: Vec<(&str, &str)> = guarded.iter().chain(free).map(|path| (*path, "old")).collect();
    let mut run = Run::of(&[files, &old].concat(), more);
    guarded.iter().chain(free).for_each(|path| run.writes(path, "new"));
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in guarded {
        assert!(found.contains(&((*path).to_owned(), Sensitive::Git)), "{path} in {found:?}");
    }
    let mut free = free.to_vec();
    free.sort_unstable();
    assert_eq!(paths(&report), free);
}

#[test]
fn files_of_commands_are_guarded_however_they_are_written() {
    let config = r#"
    [filter "a"]
        clean = "python3 'my tools/c.py' %f"
        smudge = node lib/smudge
    [diff "b"]
        textconv = sh -c 'cd deep && python3 e.py'
        command = python3 -m pkg.mod
    [core]
        fsmonitor = "\"$PWD\"/my\\ tools/watch"
        alternateRefsCommand = tools/refs
    [gc]
        recentObjectsHook = tools/recent
    [imap]
        tunnel = tools/tunnel
    [instaweb]
        httpd = tools/httpd
    [lfs "customtransfer.x"]
        args = tools/transfer.py
    [annex "x"]
        youtube-dl-command = tools/dl
    [alias]
        one = "!python3 $PWD/tools/one.py"
        two = -c core.fsmonitor=tools/two status
        three = "!f() { python3 three.py \"$@\"; }; f"
    "#;
    let guarded = [
        "my tools/c.py",
        "lib/smudge.js",
        "lib/smudge/index.js",
        "deep/e.py",
        "pkg/__init__.py",
        "pkg/mod.py",
        "my tools/watch",
        "tools/refs",
        "tools/recent",
        "tools/tunnel",
        "tools/httpd",
        "tools/transfer.py",
        "tools/dl",
        "tools/one.py",
        "tools/two",
        "three.py",
    ];
    judged(
        &[(".git/config", config)],
        |_| (),
        &guarded,
        &["lib/other.js", "tools/other", "c.py", "pkg/x.py"],
    );
}

#[test]
fn words_that_are_no_files_are_not_asked_about() {
    let config = r#"
    [alias]
        l = "!git log --oneline -- README.md docs/a"
        p = "!git push origin main && git branch -d feature/x"
        t = "!npm test"
        s = status
    [credential]
        helper = store
    [submodule "x"]
        update = merge
        path = lib
    [core]
        editor = vim
        fsmonitor = true
        pager = less -R
    [merge "m"]
        name = name
    "#;
    let free =
        ["README.md", "docs/a", "main", "feature/x", "log", "store", "merge", "test/a", "lib/a", "vim"];
    judged(&[(".git/config", config)], |_| (), &[], &free);
}

#[test]
fn hooks_in_the_projects_root_are_guarded_by_their_names() {
    for hooks in [".", "$ROOT"] {
        let set = |project: &Project| {
            let root = project.path().canonicalize().unwrap();
            let hooks = hooks.replace("$ROOT", root.to_str().unwrap());
            project.write(".git/config", format!("[core]\n\thooksPath = {hooks}\n"));
        };
        judged(&[], set, &["pre-commit", "reference-transaction"], &["README.md", "src/pre-commit"]);
    }
}

#[test]
fn a_link_in_a_folder_of_hooks_is_followed() {
    let link = |project: &Project| symlink("../tools/check", project.path().join("hk/pre-push")).unwrap();
    let files = [(".git/config", "[core]\n\thooksPath = hk\n"), ("hk/x", "")];
    judged(&files, link, &["tools/check"], &["tools/other"]);
}

#[test]
fn commands_run_in_every_work_tree_that_is_named() {
    let twice = "[core]\n\tworktree = ../none\n\tworktree = ../src\n\thooksPath = hk\n";
    let own = "[core]\n\trepositoryformatversion = 1\n\thooksPath = hk\n";
    let files = [
        (".git/config", twice),
        ("meta/HEAD", ""),
        ("meta/objects/x", ""),
        ("meta/refs/x", ""),
        ("meta/config", own),
        ("meta/config.worktree", "[core]\n\tworktree = ../other\n"),
    ];
    judged(&files, |_| (), &["src/hk/pre-commit", "other/hk/pre-commit"], &["src/pre-commit"]);
}

#[test]
fn long_settings_are_read_to_their_end() {
    let branches: String = (0..40_000).map(|n| format!("[branch \"b{n}\"]\n\tremote = origin\n")).collect();
    let config = format!("{branches}[core]\n\thooksPath = hk\n");
    judged(&[(".git/config", &config)], |_| (), &["hk/pre-commit"], &["src/main.py"]);
}

#[test]
fn where_settings_are_too_long_to_be_read_every_file_is_asked_about() {
    let long = |project: &Project| {
        let file = fs::File::options().append(true).open(project.path().join(".git/config")).unwrap();
        file.set_len(17 * 1024 * 1024).unwrap();
    };
    judged(&[(".git/config", "[core]\n")], long, &["src/main.py"], &[]);
}

#[test]
fn settings_that_include_themselves_are_read_once() {
    let includes = "[include]\n".to_owned() + &"\tpath = config\n".repeat(20);
    let files = [
        ("fix/HEAD", ""),
        ("fix/objects/x", ""),
        ("fix/refs/x", ""),
        ("fix/config", &format!("{includes}[core]\n\thooksPath = hk\n")),
    ];
    judged(&files, |_| (), &["fix/hk/pre-commit"], &["src/main.py"]);
}

#[test]
fn files_of_a_repository_above_that_lead_into_the_project_are_guarded() {
    let above = |project: &Project| {
        let git = project.home.path().join(".git");
        fs::create_dir_all(git.join("info")).unwrap();
        symlink("../project/conf", git.join("config")).unwrap();
        symlink("../project/hk", git.join("hooks")).unwrap();
        symlink("../../project/attr", git.join("info/attributes")).unwrap();
    };
    judged(&[], above, &["conf", "hk/pre-commit", "attr"], &["src/main.py"]);
}

/// Names the home of the one test that needs its own.
const HOME: &str = "WFLO_TEST_HOME_OF_GIT";

/// `~/.gitconfig` and `~/.config/git` are links into a project of settings, as `stow` makes them.
#[test]
fn the_users_own_settings_are_guarded_where_they_lie_in_the_project() {
    let Some(home) = std::env::var_os(HOME) else {
        let home = tempfile::tempdir().unwrap();
        let name = "the_users_own_settings_are_guarded_where_they_lie_in_the_project";
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name]).env(HOME, home.path()).env("HOME", home.path());
        again.env_remove("XDG_CONFIG_HOME").env_remove("GIT_CONFIG_GLOBAL");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let home = Path::new(&home);
    let link = |project: &Project| {
        fs::create_dir(home.join(".config")).unwrap();
        symlink(project.path().join("gitconfig"), home.join(".gitconfig")).unwrap();
        symlink(project.path().join("git"), home.join(".config/git")).unwrap();
        let root = project.path();
        let alias = format!("[alias]\n\ta = !python3 $HOME/{}/tools/a.py\n", root.display());
        project.write("more", alias.replace("$HOME//", "$HOME/../../../../../../"));
        project.write("gitconfig", "[include]\n\tpath = ~/more\n");
        symlink(project.path().join("more"), home.join("more")).unwrap();
    };
    let guarded = ["gitconfig", "git/config", "git/attributes", "more", "tools/a.py"];
    let files = guarded.map(|path| (path, "old"));
    let mut run = Run::of(&files, link);
    guarded.iter().chain(&["zshrc.txt"]).for_each(|path| run.writes(path, "new"));
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    assert_eq!(paths(&report), ["zshrc.txt"]);
}
