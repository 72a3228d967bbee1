//! What acts by itself under another name is asked about: what links and Git's settings lead to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;
#[path = "workspace_support/run.rs"]
mod run;

use std::fs;
use std::os::unix::fs::symlink;

use project::{contents, rel};
use run::{Run, asked, paths};
use wflo_sandbox::workspace::{ApplyOptions, Confirmed, Reason, Sensitive};

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
    let mut run =
        linked(&[("conf/main.make", "old"), ("evil/main.make", "new")], &[("Makefile", "conf/main.make")]);
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

#[test]
fn settings_of_a_git_folder_that_is_a_link_count() {
    let files = [
        ("store/HEAD", "ref: refs/heads/main"),
        ("store/objects/x", ""),
        ("store/refs/x", ""),
        ("store/config", "[core]\n\thooksPath = hooks\n"),
        ("hooks/pre-commit", "old"),
    ];
    let mut run = linked(&files, &[(".git", "store")]);
    for path in ["hooks/pre-commit", "store/config", "store/hooks/h"] {
        run.writes(path, "new");
    }
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in ["hooks/pre-commit", "store/hooks/h"] {
        assert!(found.contains(&(path.to_owned(), Sensitive::Git)), "{path} in {found:?}");
    }
    assert_eq!(report.hidden, [(rel("store/config"), Reason::GitCredentials)]);
    assert_eq!(paths(&report), [""; 0]);
}

#[test]
fn a_folder_that_a_run_makes_one_of_gits_is_guarded_as_git() {
    let mut run = linked(&[("docs/i", "old"), ("half/head", "x"), ("half/objects/x", "x")], &[]);
    for path in ["docs/HEAD", "docs/config", "docs/objects/x", "docs/refs/x", "docs/notes", "docs/hooks/h"] {
        run.writes(path, "new");
    }
    for path in ["half/refs/x", "plain/HEAD", "plain/objects/x", "plain/config"] {
        run.writes(path, "new");
    }
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in ["docs/HEAD", "docs/objects/x", "docs/refs/x", "docs/hooks/h", "half/refs/x"] {
        assert!(found.contains(&(path.to_owned(), Sensitive::Git)), "{path} in {found:?}");
    }
    assert_eq!(report.hidden, [(rel("docs/config"), Reason::GitCredentials)]);
    let free = ["docs/notes", "plain", "plain/HEAD", "plain/config", "plain/objects", "plain/objects/x"];
    assert_eq!(paths(&report), free);
}

/// `git clone --bare` into `.bare`, with the work tree `main` beside it.
const BARE: [(&str, &str); 9] = [
    (".git", "gitdir: ./.bare\n"),
    (".bare/HEAD", "ref: refs/heads/main\n"),
    (".bare/objects/x", ""),
    (".bare/refs/x", ""),
    (
        ".bare/config",
        "[core]\n\tbare = true\n[http \"https://host/\"]\n\textraheader = AUTHORIZATION: basic SECRET\n",
    ),
    (".bare/annex/creds/x", "SECRET"),
    (".bare/logs/HEAD", "0 1 A <a@b> 1 +0\tclone: from https://SECRET@host/x\n"),
    ("main/.git", "gitdir: ../.bare/worktrees/main\n"),
    ("main/config", "size = 1\n"),
];

#[test]
fn the_folder_of_a_repository_that_lies_elsewhere_is_guarded_and_shown_as_git() {
    let mut run = linked(&BARE, &[]);
    let shown = contents(&run.view);
    let read = |path: &str| run.reads_sealed(path);
    assert!(shown.contains_key(&b"main/config"[..]) && !shown.contains_key(&b".bare/annex/creds/x"[..]));
    assert!(read(".bare/config").contains("bare = true") && !read(".bare/config").contains("SECRET"));
    assert!(!read(".bare/logs/HEAD").contains("SECRET"));
    for path in
        [".bare/config", ".bare/hooks/post-checkout", ".bare/info/attributes", "main/config", ".bare/x"]
    {
        run.writes(path, "new");
    }
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    assert_eq!(report.hidden, [(rel(".bare/config"), Reason::GitCredentials)]);
    assert_eq!(paths(&report), [".bare/x", "main/config"]);
    let found = asked(&report);
    for path in [".bare/hooks/post-checkout", ".bare/info/attributes"] {
        assert!(found.contains(&(path.to_owned(), Sensitive::Git)), "{path} in {found:?}");
    }
    assert_eq!(run.reads(".bare/config"), BARE[4].1);
}

#[test]
fn a_folder_that_a_git_file_leads_to_is_gits_before_it_is_whole() {
    let files = [
        (".git", "gitdir: store/own\n"),
        ("store/own/commondir", "../common\n"),
        ("store/common/config", ""),
    ];
    let mut run = linked(&files, &[]);
    for path in ["store/own/HEAD", "store/common/config", "store/common/hooks/h", "store/other"] {
        run.writes(path, "new");
    }
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in ["store/own/HEAD", "store/common/hooks/h"] {
        assert!(found.contains(&(path.to_owned(), Sensitive::Git)), "{path} in {found:?}");
    }
    assert_eq!(report.hidden, [(rel("store/common/config"), Reason::GitCredentials)]);
    assert_eq!(paths(&report), ["store/other"]);
}

#[test]
fn a_link_to_what_is_hidden_waits_for_the_users_word() {
    let files = [
        (".env", "SECRET"),
        ("conf/id_rsa", "SECRET"),
        ("conf/plain", "x"),
        ("conf-b", "x"),
        (".git/config", "x"),
    ];
    let mut run = linked(&files, &[("old", ".env")]);
    fs::create_dir_all(run.upper("web")).unwrap();
    fs::hard_link(run.project.path().join(".env"), run.project.path().join("name")).unwrap();
    for (path, target) in [
        ("web/config.js", "../.env"),
        ("web/through", "../old"),
        ("web/folder", "../conf"),
        ("web/all", ".."),
        ("git", ".git"),
        ("hard", "name"),
        ("missing", "sub/.env.local"),
        ("fine", "conf/plain"),
        ("near", "conf-b"),
        ("dangling", "nowhere"),
    ] {
        symlink(target, run.upper(path)).unwrap();
    }
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    let found = asked(&report);
    for path in ["web/config.js", "web/through", "web/folder", "web/all", "git", "hard", "missing"] {
        assert!(found.contains(&(path.to_owned(), Sensitive::LinkHidden)), "{path} in {found:?}");
    }
    assert_eq!(paths(&report), ["dangling", "fine", "near", "web"]);
}

#[test]
fn a_folder_of_a_guarded_or_hidden_name_is_left_with_what_is_in_it() {
    let mut run = linked(&[("x", "old"), (".git/config", "[core]\n")], &[]);
    for path in [
        "Makefile/a",
        "Makefile/b/c",
        "Makefile-x.mk/a",
        "k/id_rsa/a/b",
        "json.py/x",
        "bin/python/x",
        "flow.py/x",
        "y",
    ] {
        run.writes(path, "new");
    }
    run.removes(".git/config");
    run.ends();
    let options = ApplyOptions { definitions: vec![rel("flow.py")], ..ApplyOptions::default() };
    let report = run.apply(&options).unwrap();
    assert_eq!(report.conflicts, []);
    assert_eq!(paths(&report), ["bin", "bin/python", "bin/python/x", "k", "y"]);
    let found = asked(&report);
    for (path, why) in [
        ("Makefile/a", Sensitive::Ci),
        ("Makefile/b/c", Sensitive::Ci),
        ("Makefile-x.mk/a", Sensitive::Ci),
        ("json.py/x", Sensitive::Interpreter),
        ("flow.py/x", Sensitive::Definition),
    ] {
        assert!(found.contains(&(path.to_owned(), why)), "{path} in {found:?}");
    }
    assert!(report.hidden.contains(&(rel("k/id_rsa/a/b"), Reason::KeyFile)));
    let confirmed = Confirmed::Paths(vec![rel("Makefile/b")]);
    let report = run.apply(&ApplyOptions { confirmed, ..options }).unwrap();
    assert_eq!(report.conflicts, []);
    assert_eq!([run.reads("Makefile/b/c"), run.reads("y")], ["new", "new"]);
    assert!(!run.project.path().join("Makefile/a").exists());
}

#[test]
fn a_file_that_was_hidden_for_what_is_in_it_is_not_written() {
    let files = [("auth.json", r#"{"token": "0123456789"}"#), ("sub/auth.json", "{}"), (".npmrc", "x=1")];
    let mut run = linked(&files, &[]);
    assert!(!contents(&run.view).contains_key(&b"auth.json"[..]));
    for path in ["auth.json", "sub/auth.json", "new/auth.json"] {
        run.writes(path, "{\"a\": 1}");
    }
    run.ends();
    let report =
        run.apply(&ApplyOptions { force: vec![rel("auth.json")], ..ApplyOptions::default() }).unwrap();
    assert_eq!(report.hidden, [(rel("auth.json"), Reason::KeyFile)]);
    assert_eq!(paths(&report), ["new", "new/auth.json", "sub/auth.json"]);
    assert_eq!(run.reads("auth.json"), files[0].1);
}

#[test]
fn a_lock_file_waits_when_it_names_another_source() {
    let lock = |host: &str, more: &str| {
        format!(r#"{{"packages": {{"a": {{"resolved": "https://{host}/a.tgz"}}{more}}}}}"#)
    };
    let old = lock("registry.npmjs.org", "");
    let mut run = linked(&[("a/package-lock.json", &old), ("b/package-lock.json", &old)], &[]);
    run.writes("a/package-lock.json", &lock("registry.npmjs.org", r#", "b": {"version": "2"}"#));
    run.writes("b/package-lock.json", &lock("evil.example", ""));
    run.writes("c/uv.lock", "url = \"https://pypi.org/simple\"");
    run.ends();
    let report = run.apply(&ApplyOptions::default()).unwrap();
    assert_eq!(asked(&report), [("b/package-lock.json".to_owned(), Sensitive::Packages)]);
    assert_eq!(paths(&report), ["a/package-lock.json", "c", "c/uv.lock"]);
}
