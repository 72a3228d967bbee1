//! Restoring: what comes out is what went in, whole or not at all, and nothing beside the target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use project::{Node, Project, rel, set_attribute, tree, write};
use proptest::prelude::*;
use wflo_core::error::Coded as _;
use wflo_sandbox::workspace::{
    Attributes, Bounds, Collected, RESTORE_EVENTS, RestoreError, RestoreOptions, Restored, View,
    WorkspaceError, capture, restore,
};

fn all(view: &View, project: &Project, target: &Path) -> Result<Restored, RestoreError> {
    restore(view, &project.store, target, &RestoreOptions::default(), &|_| {})
}

fn forced() -> RestoreOptions {
    RestoreOptions { over: true, ..RestoreOptions::default() }
}

/// The project's view with what `fill` writes into an upper directory as one layer.
fn after(project: &Project, fill: impl FnOnce(&Path)) -> View {
    let upper = tempfile::tempdir().unwrap();
    fill(upper.path());
    let folder = fs::File::open(upper.path()).unwrap();
    let captured = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap();
    View { layers: vec![captured.layer], ..project.view() }
}

#[test]
fn every_kind_comes_back_with_what_belongs_to_it() {
    let project = Project::new();
    project.write("src/main.py", "print()\n");
    let odd = OsStr::from_bytes(b"odd \xff\n\x1b[2J name");
    let view = after(&project, |upper| {
        write(&upper.join("bin/tool"), "#!/bin/sh\n");
        fs::set_permissions(upper.join("bin/tool"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::write(upper.join(odd), "odd").unwrap();
        symlink("../../../etc/passwd", upper.join("out")).unwrap();
        symlink("/etc", upper.join("etc")).unwrap();
        fs::create_dir(upper.join("empty")).unwrap();
        fs::set_permissions(upper.join("empty"), fs::Permissions::from_mode(0o1700)).unwrap();
        let sparse = fs::File::create(upper.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"end", 64 << 20).unwrap();
        sparse.set_modified(std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789)).unwrap();
    });
    let target = project.home.path().join("restored");
    let done = all(&view, &project, &target).unwrap();
    assert_eq!((done.files, done.links), (4, 2));
    assert_eq!(fs::read(target.join("src/main.py")).unwrap(), b"print()\n");
    assert_eq!(fs::read(target.join(odd)).unwrap(), b"odd");
    assert_eq!(target.join("bin/tool").metadata().unwrap().mode() & 0o7777, 0o751, "setuid is not kept");
    assert_eq!(target.join("empty").metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_link(target.join("out")).unwrap(), Path::new("../../../etc/passwd"));
    let sparse = target.join("sparse").metadata().unwrap();
    assert_eq!(sparse.len(), (64 << 20) + 3);
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
    assert_eq!((sparse.mtime(), sparse.mtime_nsec()), (1_000_000_000, 123_456_789));
    assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o700, "the folder is its owner's");
}

#[test]
fn only_what_is_named_and_nothing_that_is_not_there() {
    let project = Project::new();
    for name in ["a/x", "a/y", "b"] {
        project.write(name, name);
    }
    let view = project.view();
    let target = project.home.path().join("out");
    let options = RestoreOptions { paths: vec![rel("a/x")], ..RestoreOptions::default() };
    restore(&view, &project.store, &target, &options, &|_| {}).unwrap();
    assert_eq!(tree(&target).keys().map(|path| path.as_slice()).collect::<Vec<_>>(), [&b"a"[..], b"a/x"]);
    let other = project.home.path().join("other");
    let options = RestoreOptions { paths: vec![rel("a/z")], ..RestoreOptions::default() };
    let refused = restore(&view, &project.store, &other, &options, &|_| {}).unwrap_err();
    assert_eq!(refused.code().0, 5241);
    assert!(!other.exists());
}

#[test]
fn what_is_there_is_left_alone_unless_that_is_asked_for() {
    let project = Project::new();
    project.write("f", "of the snapshot");
    project.write("d/g", "of the snapshot");
    let view = project.view();
    let target = project.home.path().join("mine");
    write(&target.join("f"), "mine");
    write(&target.join("other"), "mine");
    let before = tree(&target);
    assert!(matches!(all(&view, &project, &target), Err(RestoreError::TargetExists { .. })));
    assert_eq!(tree(&target), before);
    restore(&view, &project.store, &target, &forced(), &|_| {}).unwrap();
    assert_eq!(fs::read_to_string(target.join("f")).unwrap(), "of the snapshot");
    assert_eq!(fs::read_to_string(target.join("d/g")).unwrap(), "of the snapshot");
    assert_eq!(fs::read_to_string(target.join("other")).unwrap(), "mine");
    // A folder is never replaced by a file, and nothing else is touched then.
    fs::remove_file(target.join("f")).unwrap();
    fs::remove_file(target.join("d/g")).unwrap();
    write(&target.join("f/inner"), "mine");
    let refused = restore(&view, &project.store, &target, &forced(), &|_| {}).unwrap_err();
    assert!(matches!(refused, RestoreError::InTheWay { .. }), "{refused}");
    assert!(!target.join("d/g").exists());
}

#[test]
fn links_lead_nowhere_out_of_the_target() {
    let project = Project::new();
    project.write("d/f", "of the snapshot");
    project.write("x", "of the snapshot");
    let view = project.view();
    let outside = project.home.path().join("outside");
    write(&outside.join("f"), "precious");
    let target = project.home.path().join("mine");
    fs::create_dir(&target).unwrap();
    symlink(&outside, target.join("d")).unwrap();
    symlink(outside.join("f"), target.join("x")).unwrap();
    restore(&view, &project.store, &target, &forced(), &|_| {}).unwrap();
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "precious");
    assert!(target.join("d").symlink_metadata().unwrap().is_dir());
    assert!(target.join("x").symlink_metadata().unwrap().is_file());
    // A run's own links are data as well: a later layer has a folder where an earlier one had a link.
    let view = {
        let linked = after(&project, |upper| symlink(&outside, upper.join("y")).unwrap());
        let folder = after(&project, |upper| write(&upper.join("y/f"), "of the run"));
        View { layers: [linked.layers, folder.layers].concat(), ..linked }
    };
    let target = project.home.path().join("fresh");
    all(&view, &project, &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("y/f")).unwrap(), "of the run");
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "precious");
}

#[test]
fn hidden_paths_of_a_project_are_never_written() {
    let project = Project::new();
    project.write("f", "f");
    let view = after(&project, |upper| {
        write(&upper.join(".env"), "KEY=1");
        write(&upper.join("g"), "g");
    });
    let root = project.path().canonicalize().unwrap();
    let options = RestoreOptions { hidden: Some((root.clone(), project.hidden())), ..forced() };
    let done = restore(&view, &project.store, &root, &options, &|_| {}).unwrap();
    assert_eq!(done.hidden, [rel(".env")]);
    assert!(root.join("g").exists() && !root.join(".env").exists());
    // A target beside the project is beside it however it is written.
    let beside = root.join("../beside");
    let options =
        RestoreOptions { hidden: Some((root.clone(), project.hidden())), ..RestoreOptions::default() };
    assert!(restore(&view, &project.store, &beside, &options, &|_| {}).unwrap().hidden.is_empty());
    assert!(beside.join(".env").exists());
}

/// Everything that a run may not put into a project by itself, in a project's own view.
fn acting(project: &Project) -> View {
    project.write("wflo.toml", "[project]\n");
    project.write("Makefile", "all:\n");
    project.write("f", "f");
    after(project, |upper| {
        write(&upper.join(".vscode/tasks.json"), "{}");
        write(&upper.join("Makefile"), "all: evil\n");
        write(&upper.join("wtool"), "#!/bin/sh\n");
        symlink("/etc/passwd", upper.join("lnk")).unwrap();
        write(&upper.join("open/plain"), "plain");
        fs::set_permissions(upper.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(upper.join("open/plain"), fs::Permissions::from_mode(0o666)).unwrap();
    })
}

#[test]
fn a_project_gets_nothing_that_an_apply_would_ask_about() {
    let project = Project::new();
    let view = acting(&project);
    let before = tree(&project.path());
    let inside = project.path().join("inside");
    for (target, options) in [(project.path(), forced()), (inside.clone(), RestoreOptions::default())] {
        let refused = restore(&view, &project.store, &target, &options, &|_| {}).unwrap_err();
        let RestoreError::AsksFirst { paths, .. } = &refused else { panic!("{refused}") };
        let asked = [".vscode", ".vscode/tasks.json", "Makefile", "lnk", "wtool"].map(rel);
        assert_eq!((paths.as_slice(), refused.code().0), (&asked[..], 5245));
        assert_eq!(tree(&project.path()), before);
    }
    // A definition of the project is one of them, whatever its name is.
    let plain = || vec![rel("open")];
    let defines = RestoreOptions {
        paths: plain(),
        definitions: vec![rel("inside/open/plain")],
        ..RestoreOptions::default()
    };
    let refused = restore(&view, &project.store, &inside, &defines, &|_| {}).unwrap_err();
    assert!(matches!(refused, RestoreError::AsksFirst { .. }), "{refused}");
    // What needs no word is written, and opens nothing to others.
    let options = RestoreOptions { paths: plain(), ..forced() };
    restore(&view, &project.store, &project.path(), &options, &|_| {}).unwrap();
    let mode = |path: &str| project.path().join(path).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("open"), mode("open/plain")), (0o755, 0o644));
    // What the user submitted is the user's.
    fs::write(project.path().join("Makefile"), "mine").unwrap();
    restore(&project.view(), &project.store, &project.path(), &forced(), &|_| {}).unwrap();
}

#[test]
fn outside_of_a_project_all_is_restored_also_again() {
    let project = Project::new();
    let view = acting(&project);
    // Whichever file it is killed after: the settings come last, until then the folder is no project.
    for killed_after in 0..=7 {
        let target = project.home.path().join(format!("after-{killed_after}"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("mine"), "mine").unwrap();
        let placed = std::cell::Cell::new(0);
        let _killed = catch_unwind(AssertUnwindSafe(|| {
            restore(&view, &project.store, &target, &forced(), &|passed| {
                assert_ne!(placed.get(), killed_after, "killed");
                placed.set(placed.get() + usize::from(passed == "restore.placed.one"));
            })
        }));
        restore(&view, &project.store, &target, &forced(), &|_| {}).unwrap();
        assert_eq!(fs::read_to_string(target.join("Makefile")).unwrap(), "all: evil\n");
        assert!(target.join("wtool").exists() && target.join("wflo.toml").exists());
    }
}

/// Where the content of a view's file is stored.
fn stored(project: &Project, view: &View, path: &str) -> PathBuf {
    project.store.tree(&view.sealed.digest).join(path)
}

#[test]
fn a_damaged_content_is_named_and_nothing_is_written() {
    for over in [false, true] {
        let project = Project::new();
        for name in ["a", "b", "c"] {
            project.write(name, format!("content of {name}"));
        }
        let view = project.view();
        let target = project.home.path().join("out");
        if over {
            write(&target.join("a"), "mine");
        }
        let options = if over { forced() } else { RestoreOptions::default() };
        let place = stored(&project, &view, "b");
        // As long as before, longer, shorter, gone.
        for damage in [Some("CONTENT of b"), Some("content of b, and more"), Some("cont"), None] {
            match damage {
                Some(text) => {
                    fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).unwrap();
                    fs::write(&place, text).unwrap();
                }
                None => fs::remove_file(&place).unwrap(),
            }
            let refused = restore(&view, &project.store, &target, &options, &|_| {}).unwrap_err();
            assert!(matches!(&refused, RestoreError::Lost { path, .. } if *path == rel("b")), "{refused}");
            if over {
                assert_eq!(tree(&target).len(), 1);
                assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "mine");
            } else {
                assert!(!target.exists());
            }
        }
        let rest = RestoreOptions { paths: vec![rel("a"), rel("c")], ..options };
        restore(&view, &project.store, &target, &rest, &|_| {}).unwrap();
        assert_eq!(fs::read_to_string(target.join("c")).unwrap(), "content of c");
    }
}

/// Ends a restore at the n-th pass of a place, as hard as a killed process does: nothing is tidied up.
fn cut_short(
    view: &View,
    project: &Project,
    target: &Path,
    options: &RestoreOptions,
    place: &str,
    nth: usize,
) -> bool {
    let passes = std::cell::Cell::new(0);
    let cut = catch_unwind(AssertUnwindSafe(|| {
        restore(view, &project.store, target, options, &|passed| {
            if passed == place {
                passes.set(passes.get() + 1);
                if passes.get() == nth {
                    std::panic::resume_unwind(Box::new("cut"));
                }
            }
        })
    }));
    cut.is_err()
}

/// Restores. A test beside this one may just have forked: until its child has executed something, it has the lock of
/// the restore that was cut short, too.
fn restore_once_free(view: &View, project: &Project, target: &Path, options: &RestoreOptions) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match restore(view, &project.store, target, options, &|_| {}) {
            Err(RestoreError::UnderWay { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return drop(done.unwrap()),
        }
    }
}

#[test]
fn a_restore_that_is_cut_short_leaves_nothing_half_and_is_ended_by_the_next() {
    for over in [false, true] {
        for place in RESTORE_EVENTS {
            for nth in 1..=3 {
                let project = Project::new();
                for name in ["a", "d/b", "d/c"] {
                    project.write(name, format!("new {name}"));
                }
                let view = project.view();
                let home = tempfile::tempdir().unwrap();
                let target = home.path().join("out");
                let options = if over { forced() } else { RestoreOptions::default() };
                if over {
                    write(&target.join("a"), "old");
                    write(&target.join("mine"), "mine");
                }
                let cut = cut_short(&view, &project, &target, &options, place, nth);
                if over {
                    // Each file is the old one or the new one.
                    let a = fs::read_to_string(target.join("a")).unwrap();
                    assert!(["old", "new a"].contains(&a.as_str()), "{place} {nth}: {a}");
                } else if cut && place != "restore.placed.all" {
                    assert!(!target.exists(), "{place} {nth}");
                }
                if over || !target.exists() {
                    restore_once_free(&view, &project, &target, &options);
                }
                assert_eq!(fs::read_to_string(target.join("d/c")).unwrap(), "new d/c", "{place} {nth}");
                assert_eq!(target.join("mine").exists(), over);
                let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
                assert_eq!(names(home.path()), 1, "{place} {nth}: nothing is left beside the target");
                assert_eq!(names(&target), if over { 3 } else { 2 }, "{place} {nth}: nothing is left in it");
            }
        }
    }
}

#[test]
fn two_restores_to_one_place_do_not_meet() {
    let project = Project::new();
    project.write("f", "f");
    let view = project.view();
    let target = project.home.path().join("out");
    let met = std::cell::RefCell::new(None);
    restore(&view, &project.store, &target, &RestoreOptions::default(), &|place| {
        if place == "restore.staged.one" {
            *met.borrow_mut() = Some(all(&view, &project, &target));
        }
    })
    .unwrap();
    assert!(matches!(met.take(), Some(Err(RestoreError::UnderWay { .. }))));
    assert_eq!(fs::read_to_string(target.join("f")).unwrap(), "f");
}

#[test]
fn a_held_view_outlives_a_removal_and_one_that_is_gone_is_not_held() {
    let project = Project::new();
    project.write("f", "f");
    let (seal, layers) = {
        let view = after(&project, |upper| write(&upper.join("g"), "g"));
        (view.sealed.id, view.layers.iter().map(|layer| layer.id).collect::<Vec<_>>())
    };
    let collect =
        || project.store.collect(Duration::from_secs(20), || Ok::<_, WorkspaceError>(Vec::new())).unwrap();
    let (view, pin) = View::hold(&project.store, &seal, &layers).unwrap();
    let target = project.home.path().join("out");
    // A removal at each event of the restore.
    restore(&view, &project.store, &target, &RestoreOptions::default(), &|_| {
        assert!(matches!(collect(), Collected::Done(freed) if freed.trees == 0));
    })
    .unwrap();
    assert_eq!(fs::read_to_string(target.join("g")).unwrap(), "g");
    drop(pin);
    assert!(matches!(collect(), Collected::Done(freed) if freed.trees > 0));
    assert!(matches!(View::hold(&project.store, &seal, &layers), Err(WorkspaceError::Missing { .. })));
}

/// What a program may leave: any name, any mode, nested at will.
fn node() -> impl Strategy<Value = (Vec<u8>, Node)> {
    let name =
        prop::collection::vec(any::<u8>().prop_filter("no separator", |b| *b != 0 && *b != b'/'), 1..12)
            .prop_filter("a name", |name| {
                name != b"." && name != b".." && !name.to_ascii_lowercase().starts_with(b".wflo")
            });
    let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join(&b'/'));
    let mode = prop::sample::select(vec![0o600_u32, 0o644, 0o755, 0o400, 0o4755, 0o2711]);
    let name = prop::collection::vec(1_u8.., 1..8).prop_map(|name| [b"user.".as_slice(), &name].concat());
    let set = prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..8), 0..3)
        .prop_map(|set| Attributes::new(set).unwrap_or_default());
    let node = prop_oneof![
        4 => (mode.clone(), prop::collection::vec(any::<u8>(), 0..300), set.clone())
            .prop_map(|(mode, bytes, set)| Node::File(mode, bytes, set)),
        1 => (prop::sample::select(vec![0o700_u32, 0o755, 0o1777]), set).prop_map(|(mode, set)| Node::Dir(mode, set)),
        1 => prop::collection::vec(1_u8.., 1..40).prop_map(Node::Link),
    ];
    (path, node)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_a_step_left_comes_back_as_it_was(nodes in prop::collection::vec(node(), 1..16)) {
        let project = Project::new();
        let made = tempfile::tempdir().unwrap();
        let view = after(&project, |upper| {
            fs::write(upper.join("always"), "there").unwrap();
            for (path, node) in &nodes {
                let full = upper.join(Path::new(OsStr::from_bytes(path)));
                let _refused = fs::create_dir_all(full.parent().unwrap());
                let _refused = match node {
                    Node::Dir(mode, _) => fs::create_dir(&full).and_then(|()| fs::set_permissions(&full, fs::Permissions::from_mode(*mode))),
                    Node::File(mode, bytes, _) => {
                        let new = !full.exists();
                        fs::write(&full, bytes).and_then(|()| if new { fs::set_permissions(&full, fs::Permissions::from_mode(*mode)) } else { Ok(()) })
                    }
                    Node::Link(target) => symlink(OsStr::from_bytes(target), &full),
                };
                if let Node::Dir(_, set) | Node::File(_, _, set) = node
                    && full.symlink_metadata().is_ok_and(|meta| !meta.is_symlink())
                {
                    set.iter().for_each(|(name, value)| drop(set_attribute(&full, name, value)));
                }
            }
            // A copy of what was made: the upper directory goes.
            assert!(std::process::Command::new("cp").arg("-a").arg(upper).arg(made.path().join("upper")).status().unwrap().success());
        });
        let target = project.home.path().join("out");
        all(&view, &project, &target).unwrap();
        prop_assert_eq!(tree(&target), tree(&made.path().join("upper")));
    }
}
