//! The kernel is the reference: whatever a program does on an overlay of the view, the captured
//! layers give the same tree again, and applying the diff to an unchanged project gives it there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/overlay.rs"]
mod overlay;
#[path = "workspace_support/project.rs"]
mod project;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use overlay::{Upper, can_mount, in_overlay};
use project::{Project, contents, described, set_attribute, tree};
use proptest::prelude::*;
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, Confirmed, Copy, MAX_LAYERS, View, apply, capture, diff, squash,
};

/// One thing that a program does. Paths are numbers, so that they meet often.
#[derive(Debug, Clone)]
enum Act {
    Write(usize, u8),
    Append(usize, u8),
    Remove(usize),
    MakeDir(usize),
    RemoveTree(usize),
    Rename(usize, usize),
    Chmod(usize, u32),
    Link(usize, u8),
    HardLink(usize, usize),
    Attribute(usize, usize, u8),
    NoAttribute(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let path = 0..PATHS.len();
    prop_oneof![
        4 => (path.clone(), any::<u8>()).prop_map(|(path, byte)| Act::Write(path, byte)),
        2 => (path.clone(), any::<u8>()).prop_map(|(path, byte)| Act::Append(path, byte)),
        2 => path.clone().prop_map(Act::Remove),
        3 => path.clone().prop_map(Act::MakeDir),
        2 => path.clone().prop_map(Act::RemoveTree),
        2 => (path.clone(), path.clone()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => (path.clone(), prop::sample::select(vec![0o600, 0o644, 0o755, 0o700, 0o4755]))
            .prop_map(|(path, mode)| Act::Chmod(path, mode)),
        1 => (path.clone(), any::<u8>()).prop_map(|(path, byte)| Act::Link(path, byte)),
        1 => (path.clone(), path.clone()).prop_map(|(from, to)| Act::HardLink(from, to)),
        2 => (path.clone(), 0..ATTRIBUTES.len(), any::<u8>())
            .prop_map(|(path, name, byte)| Act::Attribute(path, name, byte)),
        1 => (path, 0..ATTRIBUTES.len()).prop_map(|(path, name)| Act::NoAttribute(path, name)),
    ]
}

const PATHS: [&str; 16] = [
    "a",
    "b",
    "a/x",
    "a/y",
    "b/x",
    "a/x/deep",
    "a/x/deep/er",
    "b/x/z",
    "c",
    "c/one",
    "c/two",
    "a-b",
    "new\nline",
    "c/ü",
    "d/d/d",
    "d/d",
];

/// The last is an overlay's own, and no part of what a program did.
const ATTRIBUTES: [&[u8]; 3] = [b"user.tag", b"user.\xff\n", b"user.overlay.note"];

/// Does it; what the file system refuses does not happen, there as here.
fn perform(root: &Path, act: &Act) {
    let at = |index: &usize| root.join(PATHS[*index]);
    let _refused = match act {
        Act::Write(path, byte) => fs::write(at(path), vec![*byte; usize::from(*byte) * 7]),
        Act::Append(path, byte) => fs::OpenOptions::new()
            .append(true)
            .open(at(path))
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[*byte])),
        Act::Remove(path) => fs::remove_file(at(path)),
        Act::MakeDir(path) => fs::create_dir_all(at(path)),
        Act::RemoveTree(path) => fs::remove_dir_all(at(path)),
        Act::Rename(from, to) => fs::rename(at(from), at(to)),
        Act::Chmod(path, mode) => match at(path).symlink_metadata() {
            Ok(meta) if !meta.is_symlink() => {
                fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))
            }
            _ => Ok(()),
        },
        Act::Link(path, byte) => std::os::unix::fs::symlink(format!("to-{byte}"), at(path)),
        Act::HardLink(from, to) => match at(from).symlink_metadata() {
            Ok(meta) if meta.is_file() => fs::hard_link(at(from), at(to)),
            _ => Ok(()),
        },
        Act::Attribute(path, name, byte) => match at(path).symlink_metadata() {
            Ok(meta) if !meta.is_symlink() => {
                set_attribute(&at(path), ATTRIBUTES[*name], &vec![*byte; usize::from(*byte % 5)])
            }
            _ => Ok(()),
        },
        Act::NoAttribute(path, name) => match at(path).symlink_metadata() {
            Ok(meta) if !meta.is_symlink() => {
                rustix::fs::removexattr(at(path), ATTRIBUTES[*name]).map_err(Into::into)
            }
            _ => Ok(()),
        },
    };
}

fn step(
    project: &Project,
    view: &mut View,
    acts: &[Act],
) -> std::collections::BTreeMap<Vec<u8>, project::Node> {
    let upper = Upper::new();
    let mounts = view.mounts(&project.store, &project.path(), &project.hidden(), &upper.target()).unwrap();
    let seen = in_overlay(&mounts, &upper, |root| {
        acts.iter().for_each(|act| perform(root, act));
        tree(root)
    });
    let folder = fs::File::open(upper.path()).unwrap();
    if let Some(captured) = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap() {
        assert!(captured.dropped.is_empty(), "{:?}", captured.dropped);
        view.layers.push(captured.layer);
    }
    seen
}

/// As `step`, in a copy of the view instead of an overlay over it.
fn step_in_copy(
    project: &Project,
    view: &mut View,
    acts: &[Act],
) -> std::collections::BTreeMap<Vec<u8>, project::Node> {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("work");
    fs::create_dir(&folder).unwrap();
    let copy = Copy::make(view, &project.store, &project.path(), &project.hidden(), &folder).unwrap();
    acts.iter().for_each(|act| perform(&folder, act));
    let seen = tree(&folder);
    if let Some(captured) = copy.changes(&project.store, &Bounds::default()).unwrap() {
        assert!(captured.dropped.is_empty(), "{:?}", captured.dropped);
        view.layers.push(captured.layer);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn layers_hold_exactly_what_programs_did(
        start in prop::collection::vec(act(), 0..24),
        steps in prop::collection::vec(prop::collection::vec(act(), 0..24), 1..4),
    ) {
        if !can_mount() {
            return Ok(());
        }
        let project = Project::new();
        start.iter().for_each(|act| perform(&project.path(), act));
        project.write(".env", "SECRET");
        project.write("c.d/server.key", "SECRET");
        let mut view = project.view();
        let mut seen = Default::default();
        for acts in &steps {
            seen = step(&project, &mut view, acts);
            prop_assert_eq!(contents(&view), described(&seen));
        }
        view.verify(&project.store).unwrap();
        if !view.layers.is_empty() {
            let one = squash(&project.store, &view).unwrap();
            let squashed = View { layers: vec![one], ..view.clone() };
            prop_assert_eq!(contents(&squashed), described(&seen));
            let same = step(&project, &mut squashed.clone(), &[]);
            prop_assert_eq!(&same, &seen, "the kernel shows a squashed layer like those it is made of");
        }

        let options = ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() };
        let changed = diff(&view, &project.store).unwrap();
        let report = apply(&view, &project.store, &project.path(), &project.hidden(), &options).unwrap();
        prop_assert_eq!(report.conflicts, vec![]);
        prop_assert_eq!(report.applied.len(), changed.len());
        let mut now = tree(&project.path());
        for hidden in [&b".env"[..], b"c.d/server.key"] {
            prop_assert!(now.remove(hidden).is_some(), "a hidden file is gone");
        }
        prop_assert_eq!(now, seen);
        prop_assert_eq!(contents(&project.view()), contents(&view));
    }

    #[test]
    fn a_copy_gives_layers_as_good_as_an_overlays(
        start in prop::collection::vec(act(), 0..24),
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(act(), 0..24)), 1..4),
    ) {
        let project = Project::new();
        start.iter().for_each(|act| perform(&project.path(), act));
        project.write(".env", "SECRET");
        let mut view = project.view();
        for (copied, acts) in &steps {
            let seen = match copied {
                false if can_mount() => step(&project, &mut view, acts),
                _ => step_in_copy(&project, &mut view, acts),
            };
            prop_assert_eq!(contents(&view), described(&seen));
            let layers = view.layers.len();
            prop_assert_eq!(&step_in_copy(&project, &mut view, &[]), &seen, "a copy shows what was left");
            prop_assert_eq!(view.layers.len(), layers, "nothing done is nothing kept");
            if can_mount() {
                prop_assert_eq!(&step(&project, &mut view.clone(), &[]), &seen, "the kernel shows the same");
            }
        }
        view.verify(&project.store).unwrap();
    }

    #[test]
    fn apply_of_some_paths_changes_those_and_no_other(
        start in prop::collection::vec(act(), 0..24),
        acts in prop::collection::vec(act(), 1..24),
        pick in any::<prop::sample::Index>(),
    ) {
        if !can_mount() {
            return Ok(());
        }
        let project = Project::new();
        start.iter().for_each(|act| perform(&project.path(), act));
        let mut view = project.view();
        let seen = step(&project, &mut view, &acts);
        let changed = diff(&view, &project.store).unwrap();
        if changed.is_empty() {
            return Ok(());
        }
        let chosen = changed[pick.index(changed.len())].path.clone();
        let before = tree(&project.path());
        let options =
            ApplyOptions { paths: vec![chosen.clone()], confirmed: Confirmed::All, ..ApplyOptions::default() };
        let report = apply(&view, &project.store, &project.path(), &project.hidden(), &options).unwrap();
        let after = tree(&project.path());
        if !report.conflicts.is_empty() {
            prop_assert_eq!(&after, &before, "a conflict writes nothing");
            return Ok(());
        }
        let applied: Vec<&[u8]> = report.applied.iter().map(|change| change.path.as_bytes()).collect();
        for path in before.keys().chain(after.keys()) {
            let expected = if applied.contains(&path.as_slice()) { seen.get(path) } else { before.get(path) };
            prop_assert_eq!(after.get(path), expected, "{:?}", String::from_utf8_lossy(path));
        }
    }
}

#[test]
fn a_squashed_layer_shows_nothing_of_what_came_and_went() {
    if !can_mount() {
        return;
    }
    let project = Project::new();
    project.write("a/file", "x");
    let mut view = project.view();
    step(&project, &mut view, &[Act::MakeDir(5)]);
    let seen = step(&project, &mut view, &[Act::RemoveTree(5)]);
    let one = squash(&project.store, &view).unwrap();
    assert_eq!(step(&project, &mut View { layers: vec![one], ..view }, &[]), seen);
}

#[test]
fn a_view_of_many_layers_is_mounted_as_one() {
    if !can_mount() {
        return;
    }
    let project = Project::new();
    project.write("a/x", "start");
    let mut view = project.view();
    for index in 0..=MAX_LAYERS {
        let byte = u8::try_from(index).unwrap();
        step(&project, &mut view, &[Act::Write(2, byte), Act::MakeDir(14), Act::Write(14 - index % 3, byte)]);
    }
    assert!(view.layers.len() > MAX_LAYERS);
    let seen = step(&project, &mut view.clone(), &[]);
    assert_eq!(contents(&view), described(&seen));
}
