//! Somebody swaps folders and files for links that lead out, all the time: nothing outside is read into the
//! store, and nothing outside is written, whatever the moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use project::{Node, Project, tree, write};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, Digest, Direction, Kind, Manifest, RestoreOptions, Store, View, WorkspaceError,
    apply, capture, pending_apply, restore, resume_apply, seal,
};

/// How often each is tried.
const ROUNDS: usize = 150;

/// Calls `work` while `real` and `link` of `folder` change places, as fast as it goes.
fn while_swapping(folder: &Path, real: &str, link: &str, mut work: impl FnMut()) {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (a, b) = (folder.join(real), folder.join(link));
                // Either may be gone for a moment: what is tested replaces and removes.
                let _absent = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        while swaps.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..ROUNDS).for_each(|_| work());
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(failed) = done {
            std::panic::resume_unwind(failed);
        }
    });
}

/// Outside of everything: a secret to be read, and names to be written over.
fn outside(project: &Project) -> PathBuf {
    let outside = project.home.path().join("outside");
    for name in ["f", "g", "deep/f"] {
        write(&outside.join(name), "SECRET");
    }
    outside
}

fn untouched(outside: &Path) {
    let all = tree(outside);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.values().all(|node| match node {
        Node::File(_, content, _) => content == b"SECRET",
        Node::Dir(..) => true,
        Node::Link(_) => false,
    }));
}

fn holds_only_ours(store: &Store, id: &Digest, manifest: &Manifest) {
    for (path, entry) in &manifest.entries {
        if let Kind::File { .. } = entry.kind {
            let content = fs::read(store.tree(id).join(path.as_path())).unwrap();
            assert_eq!(content, b"mine", "{path}");
        }
    }
}

#[test]
fn sealing_a_project() {
    let project = Project::new();
    let outside = outside(&project);
    for name in ["d/f", "d/g", "d/deep/f"] {
        project.write(name, "mine");
    }
    symlink(&outside, project.path().join("link")).unwrap();
    while_swapping(&project.path(), "d", "link", || {
        match seal(&project.path(), &project.hidden(), &project.store) {
            Ok(sealed) => holds_only_ours(&project.store, &sealed.digest, &sealed.manifest),
            Err(WorkspaceError::Io { .. } | WorkspaceError::KeepsChanging { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    });
    untouched(&outside);
}

#[test]
fn sealing_what_a_step_left() {
    let project = Project::new();
    let outside = outside(&project);
    let upper = tempfile::tempdir().unwrap();
    for name in ["d/f", "d/g", "d/deep/f"] {
        write(&upper.path().join(name), "mine");
    }
    // Several names of one file, one of them where the link leads elsewhere.
    fs::hard_link(upper.path().join("d/f"), upper.path().join("name")).unwrap();
    symlink(&outside, upper.path().join("link")).unwrap();
    let folder = fs::File::open(upper.path()).unwrap();
    while_swapping(upper.path(), "d", "link", || {
        let captured = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap();
        holds_only_ours(&project.store, &captured.layer.id, &captured.layer.manifest);
    });
    untouched(&outside);
}

#[test]
fn restoring_over_a_folder() {
    let project = Project::new();
    let outside = outside(&project);
    for name in ["d/f", "d/g", "d/deep/f"] {
        project.write(name, "mine");
    }
    let view = project.view();
    let target = project.home.path().join("target");
    write(&target.join("d/f"), "before");
    symlink(&outside, target.join("link")).unwrap();
    let options = RestoreOptions { over: true, ..RestoreOptions::default() };
    while_swapping(&target, "d", "link", || {
        // It may be told that something is in the way, or went: never may it write through the link.
        let _refused = restore(&view, &project.store, &target, &options, &|_| {});
        if target.join("link").symlink_metadata().is_err() {
            let _taken = symlink(&outside, target.join("link"));
        }
    });
    untouched(&outside);
}

#[test]
fn applying_to_a_project() {
    let project = Project::new();
    let outside = outside(&project);
    for name in ["d/f", "d/g", "d/deep/f"] {
        project.write(name, "before");
    }
    let base = project.view();
    let views = ["one", "two"].map(|content| {
        let upper = tempfile::tempdir().unwrap();
        for name in ["d/f", "d/g", "d/deep/f", "d/new"] {
            write(&upper.path().join(name), content);
        }
        let folder = fs::File::open(upper.path()).unwrap();
        let layer = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap().layer;
        View { layers: vec![layer], ..base.clone() }
    });
    let mut turns = views.iter().cycle();
    symlink(&outside, project.path().join("link")).unwrap();
    let (store, path, hidden) = (&project.store, project.path(), project.hidden());
    let mut bring_in = || {
        let options = ApplyOptions { force: vec![project::rel("d")], ..ApplyOptions::default() };
        apply(turns.next().unwrap(), store, &path, &hidden, &options)
    };
    while_swapping(&path, "d", "link", || {
        // How many go through is a matter of luck.
        let _refused = bring_in();
        if pending_apply(store, &path).unwrap().is_some() {
            let _left = resume_apply(store, &path, &hidden, Direction::Undo);
        }
    });
    untouched(&outside);
    // What was tried is what goes through once nobody swaps.
    if path.join("d").is_symlink() {
        renameat_with(CWD, path.join("d"), CWD, path.join("link"), RenameFlags::EXCHANGE).unwrap();
    }
    assert!(!bring_in().unwrap().applied.is_empty() || !bring_in().unwrap().applied.is_empty());
    untouched(&outside);
}
