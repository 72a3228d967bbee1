//! Sealing and viewing: what is in a workspace, what is not, and what a second seal costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/overlay.rs"]
mod overlay;
#[path = "workspace_support/project.rs"]
mod project;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use overlay::{Upper, can_mount, in_overlay};
use project::{Project, rel, tree, write};
use wflo_sandbox::workspace::{Hidden, HideRules, LiveView, Reason, Sealed, Store, WorkspaceError, seal};

fn names(folder: &Path) -> Vec<String> {
    tree(folder).into_keys().map(|path| String::from_utf8_lossy(&path).into_owned()).collect()
}

#[test]
fn seals_what_git_does_not_ignore_and_nothing_hidden() {
    let project = Project::new();
    for (path, content) in [
        ("src/main.py", "print()"),
        (".gitignore", "build/\n*.log\n!keep.log\n"),
        ("build/out.bin", "x"),
        ("a.log", "x"),
        ("keep.log", "x"),
        ("sub/.gitignore", "/local\n"),
        ("sub/local/x", "x"),
        ("sub/deep/local", "x"),
        (".env", "TOKEN=1"),
        ("sub/.env.local", "TOKEN=1"),
        ("keys/id_rsa", "x"),
        (".wflo/wflo.db", "x"),
    ] {
        project.write(path, content);
    }
    fs::set_permissions(project.path().join("src/main.py"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/passwd", project.path().join("link")).unwrap();
    let sealed = project.seal();
    let stored = project.store.tree(&sealed.digest);
    let expected = [
        ".gitignore",
        "keep.log",
        "keys",
        "link",
        "src",
        "src/main.py",
        "sub",
        "sub/.gitignore",
        "sub/deep",
        "sub/deep/local",
    ];
    assert_eq!(names(&stored), expected);
    assert_eq!(stored.join("src/main.py").metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(stored.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(
        names(&project.store.tree(&sealed.rest.digest)),
        ["a.log", "build", "build/out.bin", "sub", "sub/local", "sub/local/x"]
    );
    let times = |root: &Path| root.join("src/main.py").metadata().unwrap().modified().unwrap();
    assert_eq!(times(&stored), times(&project.path()));
    let reasons: Vec<Reason> = sealed.hidden.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, [Reason::Environment, Reason::DataDirectory, Reason::KeyFile, Reason::Environment]);
    let again = Sealed::open(&project.store, &sealed.id).unwrap();
    assert_eq!((again.digest, again.manifest), (sealed.digest, sealed.manifest));
}

#[test]
fn another_name_of_a_hidden_file_is_hidden() {
    let project = Project::new();
    project.write(".env", "SECRET");
    project.write("plain.txt", "fine");
    project.write(".wflo/wflo.db", "SECRET");
    let at = |path: &str| project.path().join(path);
    fs::hard_link(at(".env"), at("notes.txt")).unwrap();
    fs::hard_link(at(".wflo/wflo.db"), at("copy.db")).unwrap();
    fs::hard_link(at("plain.txt"), at("also.txt")).unwrap();
    let sealed = project.seal();
    assert_eq!(names(&project.store.tree(&sealed.digest)), ["also.txt", "plain.txt"]);
    assert!(sealed.hidden.contains(&(rel("notes.txt"), Reason::HardLink)));
    assert!(sealed.hidden.contains(&(rel("copy.db"), Reason::HardLink)));
}

#[test]
fn git_is_there_without_its_credentials() {
    let project = Project::new();
    project.write(".git/HEAD", "ref: refs/heads/main\n");
    project.write(".git/config", "[remote \"origin\"]\n\turl = https://me:SECRET@host/x.git\n");
    project.write(".git/modules/m/config", "[remote \"origin\"]\n\turl = https://SECRET@host/m.git\n");
    project.write(".git/credentials", "https://me:SECRET@host\n");
    project.write(".git/logs/HEAD", "clone: from https://SECRET@host/x.git\n");
    project.write(".git/objects/ab/cd", "object");
    let sealed = project.seal();
    let stored = project.store.tree(&sealed.digest);
    for (path, node) in tree(&stored) {
        assert!(!format!("{node:?}").contains("SECRET"), "{}", String::from_utf8_lossy(&path));
        if let project::Node::File(_, content, _) = node {
            assert!(!String::from_utf8_lossy(&content).contains("SECRET"));
        }
    }
    assert!(fs::read_to_string(stored.join(".git/config")).unwrap().contains("url = https://host/x.git"));
    assert!(stored.join(".git/objects/ab/cd").exists());
    assert!(!stored.join(".git/credentials").exists());
}

#[test]
fn a_second_seal_of_ten_thousand_files_copies_nothing() {
    let project = Project::new();
    for folder in 0..100 {
        let folder = project.path().join(format!("d{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(format!("f{file}")), format!("{} {file}", folder.display())).unwrap();
        }
    }
    let timed = |what: &str| {
        let start = std::time::Instant::now();
        let sealed = project.seal();
        eprintln!("{what} seal of 10,000 files: {:?}", start.elapsed());
        sealed
    };
    let first = timed("first");
    let inode =
        |sealed: &Sealed, path: &str| project.store.tree(&sealed.digest).join(path).metadata().unwrap().ino();
    let second = timed("second");
    assert_eq!(first.id, second.id);
    timed("third");
    project.write("d5/f5", "changed");
    let changed = timed("changed");
    assert_ne!(changed.digest, first.digest);
    assert_eq!(inode(&changed, "d7/f7"), inode(&first, "d7/f7"), "an unchanged file is not copied again");
    assert_eq!(
        fs::read_to_string(project.store.tree(&first.digest).join("d5/f5")).unwrap(),
        format!("{} 5", project.path().join("d5").display())
    );
}

#[test]
fn a_change_of_the_same_length_in_the_same_instant_is_seen() {
    let project = Project::new();
    for round in 0..20 {
        let content = format!("round {round:02}");
        project.write("f", &content);
        let sealed = project.seal();
        assert_eq!(fs::read_to_string(project.store.tree(&sealed.digest).join("f")).unwrap(), content);
    }
}

#[test]
fn a_store_inside_the_project_is_refused() {
    let project = Project::new();
    let inside = Store::open(project.path().join(".wflo/state")).unwrap();
    let refused = seal(&project.path(), &project.hidden(), &inside);
    assert!(matches!(refused, Err(WorkspaceError::StateInside { .. })));
    let refused = LiveView::new(&project.path(), &project.hidden(), &inside);
    assert!(matches!(refused, Err(WorkspaceError::StateInside { .. })));
}

/// A project with a dependency folder too large to copy, and hidden files in large folders.
fn with_dependencies() -> Project {
    let project = Project::new();
    project.write(".gitignore", "node_modules/\ndata/\n*.bin\n");
    project.write("main.py", "sealed");
    for index in 0..2_100 {
        project.write(&format!("node_modules/p{}/f{index}", index % 300), "dependency");
    }
    project.write("node_modules/p7/test/server.key", "SECRET");
    let big = fs::File::create(project.path().join("model.bin")).unwrap();
    big.set_len(40 << 20).unwrap();
    project.write("data/.env", "SECRET");
    let big = fs::File::create(project.path().join("data/set")).unwrap();
    big.set_len(40 << 20).unwrap();
    project.write("data/in/small", "small");
    project.write(".env", "SECRET");
    fs::hard_link(project.path().join(".env"), project.path().join("data/in/other-name")).unwrap();
    project
}

#[test]
fn a_view_shows_sealed_files_and_live_dependencies_and_nothing_new() {
    if !can_mount() {
        return;
    }
    let project = with_dependencies();
    let view = project.view();
    assert_eq!(view.sealed.rest.live, [rel("data"), rel("model.bin"), rel("node_modules")]);
    let upper = Upper::new();
    let mounts = view.mounts(&project.store, &project.path(), &project.hidden(), &upper.target()).unwrap();
    in_overlay(&mounts, &upper, |root| {
        project.write("main.py", "changed on the host");
        project.write("new.py", "created on the host");
        project.write(".env.new", "SECRET");
        // As an editor saves: a new file renamed over the old one.
        project.write("data/tmp", "SECRET TOO");
        fs::rename(project.path().join("data/tmp"), project.path().join("data/.env")).unwrap();
        project.write("node_modules/p1/f1", "live");
        let read = |path: &str| fs::read_to_string(root.join(path));
        assert_eq!(read("main.py").unwrap(), "sealed");
        assert_eq!(read("node_modules/p1/f1").unwrap(), "live");
        assert_eq!(read("data/in/small").unwrap(), "small");
        assert_eq!(fs::metadata(root.join("data/set")).unwrap().len(), 40 << 20);
        assert_eq!(fs::metadata(root.join("model.bin")).unwrap().len(), 40 << 20);
        for absent in ["new.py", ".env", ".env.new", "data/.env", "data/in/other-name", "data/tmp"] {
            assert!(!root.join(absent).exists(), "{absent}");
        }
        assert_eq!(read("node_modules/p7/test/server.key").unwrap_or_default(), "");
        assert!(fs::write(root.join("node_modules/p1/f1"), "x").is_err(), "live folders are read-only");
        fs::write(root.join("main.py"), "changed in the sandbox").unwrap();
        assert_eq!(read("main.py").unwrap(), "changed in the sandbox");
    });
    assert_eq!(fs::read_to_string(project.path().join("main.py")).unwrap(), "changed on the host");
}

#[test]
fn a_live_view_hides_what_is_hidden_and_discards_what_is_written() {
    if !can_mount() {
        return;
    }
    let project = with_dependencies();
    project.write(".git/config", "[remote \"o\"]\n\turl = https://SECRET@host/x\n");
    fs::create_dir(project.path().join("db")).unwrap();
    project.write("db/main.db", "SECRET");
    let databases = [project.path().join("db/main.db")];
    let rules = HideRules::default().with_databases(databases).with_globs(["data/in".into()]);
    let hidden = Hidden::new(&project.path(), &rules).unwrap();
    let live = LiveView::new(&project.path(), &hidden, &project.store).unwrap();
    let before = tree(&project.path());
    let upper = Upper::new();
    in_overlay(&live.mounts(), &upper, |root| {
        fs::write(project.path().join("db/main.db-wal"), "SECRET").unwrap();
        fs::write(project.path().join("db/tmp"), "SECRET").unwrap();
        fs::rename(project.path().join("db/tmp"), project.path().join("db/main.db")).unwrap();
        for absent in [
            ".env",
            "db/main.db",
            "db/main.db-wal",
            "data/in",
            "node_modules/p7/test/server.key",
            "data/.env",
        ] {
            assert!(!root.join(absent).exists(), "{absent}");
        }
        let config = fs::read_to_string(root.join(".git/config")).unwrap();
        assert!(config.contains("https://host/x") && !config.contains("SECRET"), "{config}");
        assert_eq!(fs::read_to_string(root.join("main.py")).unwrap(), "sealed");
        write(&root.join("main.py"), "discarded");
        write(&root.join("node_modules/p1/new"), "discarded");
    });
    let mut after = tree(&project.path());
    after.remove(&b"db/main.db-wal"[..]);
    assert_eq!(after, before);
}

#[test]
fn damage_in_the_store_is_found() {
    let project = Project::new();
    project.write("f", "content");
    let view = project.view();
    let stored = project.store.tree(&view.sealed.digest).join("f");
    fs::write(&stored, "CONTENT").unwrap();
    assert!(matches!(view.verify(&project.store), Err(WorkspaceError::Damaged { .. })));
}
