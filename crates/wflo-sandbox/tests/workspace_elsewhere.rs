//! Projects and folders on file systems that are not like the one that wflo keeps its own on: without attributes, and
//! with names that are one to them. Needs root, or `unshare --user --map-root-user`, for the mounts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "workspace_support/overlay.rs"]
mod overlay;
#[path = "workspace_support/project.rs"]
mod project;

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use overlay::{can_mount, on_its_own};
use project::{Project, attributes, set_attribute, write};
use rustix::mount::MountFlags;
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, Confirmed, ConflictReason, Hidden, HideRules, Layer, RestoreOptions, Store, View,
    apply, capture, capture_over, restore, seal,
};

/// A file system without attributes for users.
fn mount_bare(at: &Path) {
    rustix::mount::mount("ramfs", at, "ramfs", MountFlags::empty(), None).unwrap();
    fs::write(at.join("try"), "").unwrap();
    assert!(set_attribute(&at.join("try"), b"user.tag", b"1").is_err(), "it has some after all");
    fs::remove_file(at.join("try")).unwrap();
}

/// A layer of files with attributes.
fn layer(store: &Store, names: &[&str]) -> Layer {
    let upper = tempfile::tempdir().unwrap();
    for name in names {
        write(&upper.path().join(name), "of the run");
    }
    for entry in fs::read_dir(upper.path()).unwrap() {
        set_attribute(&entry.unwrap().path(), b"user.tag", b"1").unwrap();
    }
    let folder = fs::File::open(upper.path()).unwrap();
    capture(folder.as_fd(), store, &Bounds::default()).unwrap().unwrap().layer
}

fn can_try() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let has = set_attribute(folder.path(), b"user.try", b"").is_ok();
    if !has {
        println!("not proven here: {} has no attributes for users", folder.path().display());
    }
    has && can_mount()
}

#[test]
fn where_there_are_no_attributes_files_come_without_and_that_is_said() {
    if !can_try() {
        return;
    }
    on_its_own(|| {
        let home = tempfile::tempdir().unwrap();
        let place = tempfile::tempdir().unwrap();
        mount_bare(place.path());
        let root = place.path().join("project");
        write(&root.join("there"), "as it was");
        let store = Store::open(home.path().join("state")).unwrap();
        let hidden = Hidden::new(&root, &HideRules::default()).unwrap();
        let sealed = seal(&root, &hidden, &store).unwrap();
        let view = View {
            sealed,
            layers: vec![layer(&store, &["there", "d/new"])],
            undone: Vec::new(),
            earlier: None,
        };
        let options = ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() };
        let report = apply(&view, &store, &root, &hidden, &options).unwrap();
        let named: Vec<String> = report.without_attributes.iter().map(ToString::to_string).collect();
        assert_eq!(
            (report.conflicts.len(), report.applied.len(), named),
            (0, 3, vec!["d".into(), "there".into()])
        );
        assert_eq!(fs::read_to_string(root.join("there")).unwrap(), "of the run");
        let again = apply(&view, &store, &root, &hidden, &options).unwrap();
        assert_eq!((again.applied.len(), again.already.len()), (0, 3), "there is no more that could be done");

        let target = place.path().join("out");
        let restored = restore(&view, &store, &target, &RestoreOptions::default(), &|_| {}).unwrap();
        let named: Vec<String> = restored.without_attributes.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["there", "d"]);
        let over = RestoreOptions { over: true, ..RestoreOptions::default() };
        let restored = restore(&view, &store, &target, &over, &|_| {}).unwrap();
        assert_eq!(restored.without_attributes.len(), 2);
        assert_eq!(fs::read_to_string(target.join("d/new")).unwrap(), "of the run");

        // Its rollback knows what it brought in, though it lacks what was not taken.
        let back = View { undone: view.layers.clone(), layers: Vec::new(), ..view };
        let report = apply(&back, &store, &root, &hidden, &options).unwrap();
        assert_eq!(report.conflicts, []);
        assert_eq!(fs::read_to_string(root.join("there")).unwrap(), "as it was");
    });
}

/// A kernel whose file systems in memory have none: what a step changes has what it had below.
#[test]
fn an_upper_without_attributes_takes_none_away() {
    if !can_try() {
        return;
    }
    on_its_own(|| {
        let project = Project::new();
        for name in ["f", "d/x", "hidden/x", "other/x"] {
            project.write(name, "one");
        }
        for name in ["f", "d", "hidden/x", "other/x"] {
            set_attribute(&project.path().join(name), b"user.tag", b"1").unwrap();
        }
        let view = project.view();
        let lower = project.store.tree(&view.sealed.digest);
        assert_eq!(attributes(&lower.join("f")).len(), 1, "a step sees them");
        let upper = tempfile::tempdir().unwrap();
        mount_bare(upper.path());
        for name in ["f", "d/x", "other"] {
            write(&upper.path().join(name), "two");
        }
        // A layer above the seal hides what is in that folder.
        let above = tempfile::tempdir().unwrap();
        write(&above.path().join("hidden"), "a file");
        write(&upper.path().join("hidden/x"), "two");
        let lowers: [PathBuf; 2] = [above.path().to_owned(), lower];
        let folder = fs::File::open(upper.path()).unwrap();
        let captured =
            capture_over(folder.as_fd(), &lowers, &project.store, &Bounds::default()).unwrap().unwrap();
        let entries = &captured.layer.manifest.entries;
        let tagged: Vec<String> = entries
            .iter()
            .filter(|(_, e)| !e.attributes.is_empty())
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!(tagged, ["d", "f"]);
    });
}

/// Makes one that takes two names for one and mounts it; `None` where there is no program for that.
fn mount_folding(home: &Path, at: &Path) -> Option<()> {
    let image = home.join("image");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let image = image.to_str().unwrap();
    // A folder of ext4 with `casefold`, where the kernel has it.
    if run("mkfs.ext4", &["-q", "-O", "casefold", image])
        && run("mount", &["-o", "loop", image, at.to_str()?])
    {
        if run("chattr", &["+F", at.to_str()?]) {
            return Some(());
        }
        run("umount", &[at.to_str()?]);
    }
    let made = run("mkntfs", &["-F", "-q", image]);
    (made && run("lowntfs-3g", &[image, at.to_str()?, "-o", "ignore_case"])).then_some(())
}

#[test]
fn names_that_are_one_to_the_project_are_refused_before_anything_is_written() {
    if !can_try() {
        return;
    }
    on_its_own(|| {
        let (home, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if mount_folding(home.path(), place.path()).is_none() {
            println!(
                "not proven here: neither ext4 with casefold nor lowntfs-3g (`apt-get install ntfs-3g`)"
            );
            return;
        }
        let root = place.path().join("project");
        write(&root.join("notes.txt"), "of the user");
        let store = Store::open(home.path().join("state")).unwrap();
        let hidden = Hidden::new(&root, &HideRules::default()).unwrap();
        let sealed = seal(&root, &hidden, &store).unwrap();
        let conflicts = |names: &[&str]| {
            let view = View {
                sealed: sealed.clone(),
                layers: vec![layer(&store, names)],
                undone: Vec::new(),
                earlier: None,
            };
            let options = ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() };
            let report = apply(&view, &store, &root, &hidden, &options).unwrap();
            let found = report.conflicts.iter().map(|c| (c.path.to_string(), c.reason));
            found.collect::<Vec<_>>()
        };
        let one = |name: &str| (name.to_owned(), ConflictReason::SameName);
        assert_eq!(conflicts(&["NOTES.txt"]), [one("NOTES.txt")]);
        assert_eq!(conflicts(&["new/Report", "new/report"]), [one("new/Report"), one("new/report")]);
        assert_eq!(fs::read_to_string(root.join("notes.txt")).unwrap(), "of the user");
        assert!(!root.join("new").exists());
        let unmounted = Command::new("umount").arg(place.path()).status().unwrap();
        assert!(unmounted.success());
    });
}

/// Where names are what they are, both come.
#[test]
fn names_that_differ_here_are_two_files() {
    let project = Project::new();
    project.write("notes.txt", "of the user");
    let upper = tempfile::tempdir().unwrap();
    for name in ["NOTES.txt", "new/Report", "new/report"] {
        write(&upper.path().join(name), name);
    }
    let folder = fs::File::open(upper.path()).unwrap();
    let layer = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap().layer;
    let view = View { layers: vec![layer], ..project.view() };
    let report =
        apply(&view, &project.store, &project.path(), &project.hidden(), &ApplyOptions::default()).unwrap();
    assert_eq!((report.conflicts, report.applied.len()), (vec![], 4));
    assert_eq!(fs::read_to_string(project.path().join("new/Report")).unwrap(), "new/Report");
}
