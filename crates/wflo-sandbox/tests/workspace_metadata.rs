//! What belongs to a file beside its content goes with it through sealing, layers, restore and apply: modes,
//! times of files and folders, several names of one file, holes, any name, empty folders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use project::{Project, write};
use proptest::prelude::*;
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, Confirmed, Copy, MAX_LAYERS, RestoreOptions, View, apply, capture, diff, restore,
    squash,
};

/// What is at a path, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Folder { mode: u32, time: (i64, i64) },
    File { mode: u32, time: (i64, i64), content: Vec<u8>, first: Vec<u8> },
    Link(PathBuf),
}

/// Everything below a folder. A file names the first of its names.
fn kept(folder: &Path) -> BTreeMap<Vec<u8>, Kept> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<Vec<u8>, (u64, Kept)>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let (mode, time) = (meta.mode() & 0o7777, (meta.mtime(), meta.mtime_nsec()));
            let what = if meta.is_dir() {
                walk(root, &path, found);
                Kept::Folder { mode, time }
            } else if meta.is_symlink() {
                Kept::Link(fs::read_link(&path).unwrap())
            } else {
                Kept::File { mode, time, content: fs::read(&path).unwrap(), first: name.clone() }
            };
            found.insert(name, (meta.ino(), what));
        }
    }
    let (mut found, mut firsts) = (BTreeMap::new(), BTreeMap::new());
    walk(folder, folder, &mut found);
    let named = found.into_iter().map(|(name, (inode, mut what))| {
        if let Kept::File { first, .. } = &mut what {
            first.clone_from(firsts.entry(inode).or_insert_with(|| name.clone()));
        }
        (name, what)
    });
    named.collect()
}

/// The same without times of folders: those that something was made in since.
fn without_folder_times(mut all: BTreeMap<Vec<u8>, Kept>) -> BTreeMap<Vec<u8>, Kept> {
    for what in all.values_mut() {
        if let Kept::Folder { time, .. } = what {
            *time = (0, 0);
        }
    }
    all
}

fn without_times(all: BTreeMap<Vec<u8>, Kept>) -> BTreeMap<Vec<u8>, Kept> {
    let mut all = without_folder_times(all);
    for what in all.values_mut() {
        if let Kept::File { time, .. } = what {
            *time = (0, 0);
        }
    }
    all
}

const NAMES: [&[u8]; 8] =
    [b"plain", b"-rf", b"new\nline", b"\xff\xfe", b"~", b"sp ace", b".dot", "\u{202e}txt".as_bytes()];

/// One thing that is made; paths are built of [`NAMES`].
#[derive(Debug, Clone)]
enum Make {
    Folder(Vec<usize>, u32),
    File(Vec<usize>, Vec<u8>, u32),
    Sparse(Vec<usize>, u64),
    Link(Vec<usize>, Vec<usize>),
    Name(Vec<usize>, Vec<usize>),
    Time(Vec<usize>, i64, u32),
}

fn make() -> impl Strategy<Value = Make> {
    let path = || prop::collection::vec(0..NAMES.len(), 1..4);
    let mode = prop::sample::select(vec![0o644, 0o600, 0o755, 0o711, 0o4755, 0o2755, 0o1777]);
    prop_oneof![
        2 => (path(), mode.clone()).prop_map(|(path, mode)| Make::Folder(path, mode)),
        4 => (path(), prop::collection::vec(any::<u8>(), 0..40), mode)
            .prop_map(|(path, content, mode)| Make::File(path, content, mode)),
        1 => (path(), 1..3_000_000_u64).prop_map(|(path, at)| Make::Sparse(path, at)),
        1 => (path(), path()).prop_map(|(to, path)| Make::Link(to, path)),
        3 => (path(), path()).prop_map(|(of, path)| Make::Name(of, path)),
        3 => (path(), -2_000_000_000..4_000_000_000_i64, 0..1_000_000_000_u32)
            .prop_map(|(path, seconds, nanos)| Make::Time(path, seconds, nanos)),
    ]
}

/// Makes it; what the file system refuses is not there.
fn perform(root: &Path, made: &Make) {
    let at = |path: &[usize]| {
        path.iter().fold(root.to_owned(), |at, name| at.join(OsStr::from_bytes(NAMES[*name])))
    };
    let fresh = |path: &[usize]| {
        let path = at(path);
        let free = path.symlink_metadata().is_err() && fs::create_dir_all(path.parent().unwrap()).is_ok();
        free.then_some(path)
    };
    let _refused = match made {
        Make::Folder(path, mode) => fresh(path).map(|path| {
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o700))
        }),
        Make::File(path, content, mode) => fresh(path).map(|path| {
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o400))
        }),
        Make::Sparse(path, end) => {
            fresh(path).map(|path| File::create(&path)?.write_at(b"end", *end).map(|_| ()))
        }
        Make::Link(to, path) => fresh(path).map(|path| symlink(at(to), path)),
        Make::Name(of, path) => match at(of).symlink_metadata() {
            Ok(meta) if meta.is_file() => fresh(path).map(|path| fs::hard_link(at(of), path)),
            _ => None,
        },
        Make::Time(path, seconds, nanos) => match at(path).symlink_metadata() {
            Ok(meta) if !meta.is_symlink() => Some(set_time(&at(path), *seconds, *nanos)),
            _ => None,
        },
    };
}

fn set_time(path: &Path, seconds: i64, nanos: u32) -> std::io::Result<()> {
    let far = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH - far } else { UNIX_EPOCH + far };
    File::open(path)?.set_modified(at + Duration::from_nanos(nanos.into()))
}

/// As apply brings it in: nobody else may write what a run has made.
fn closed(mut all: BTreeMap<Vec<u8>, Kept>) -> BTreeMap<Vec<u8>, Kept> {
    for what in all.values_mut() {
        if let Kept::Folder { mode, .. } | Kept::File { mode, .. } = what {
            *mode &= 0o755;
        }
    }
    all
}

/// What comes out when something went in: without setuid, setgid and the sticky bit.
fn plain(mut all: BTreeMap<Vec<u8>, Kept>) -> BTreeMap<Vec<u8>, Kept> {
    for what in all.values_mut() {
        if let Kept::Folder { mode, .. } | Kept::File { mode, .. } = what {
            *mode &= 0o777;
        }
    }
    all
}

fn restored(project: &Project, view: &View, name: &str) -> BTreeMap<Vec<u8>, Kept> {
    let target = project.home.path().join(name);
    restore(view, &project.store, &target, &RestoreOptions::default(), &|_| {}).unwrap();
    kept(&target)
}

/// Captures a folder that is filled as an overlay's upper directory would be.
fn layer_of(project: &Project, upper: &Path) -> Option<wflo_sandbox::workspace::Layer> {
    let folder = File::open(upper).unwrap();
    capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().map(|captured| captured.layer)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sealed_tree_comes_back_as_it_was(made in prop::collection::vec(make(), 0..40)) {
        let project = Project::new();
        made.iter().for_each(|made| perform(&project.path(), made));
        let was = plain(kept(&project.path()));
        let view = project.view();
        prop_assert_eq!(restored(&project, &view, "out"), was.clone());
        // And through the copy that a program without isolation has.
        let place = tempfile::tempdir().unwrap();
        let work = place.path().join("work");
        fs::create_dir(&work).unwrap();
        let copy = Copy::make(&view, &project.store, &project.path(), &project.hidden(), &work).unwrap();
        prop_assert_eq!(kept(&work), was);
        prop_assert!(copy.changes(&project.store, &Bounds::default()).unwrap().is_none(), "nothing was done");
    }

    #[test]
    fn what_a_step_made_comes_back_as_it_was(made in prop::collection::vec(make(), 1..40)) {
        let project = Project::new();
        let upper = tempfile::tempdir().unwrap();
        made.iter().for_each(|made| perform(upper.path(), made));
        let was = plain(kept(upper.path()));
        let Some(layer) = layer_of(&project, upper.path()) else {
            prop_assert!(was.is_empty());
            return Ok(());
        };
        let view = View { layers: vec![layer], ..project.view() };
        prop_assert_eq!(restored(&project, &view, "out"), was.clone());
        let squashed = View { layers: vec![squash(&project.store, &view).unwrap()], ..view.clone() };
        prop_assert_eq!(restored(&project, &squashed, "squashed"), was.clone());
        // What apply writes has the time of its writing, so that who builds from it notices.
        let options = ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() };
        let report = apply(&view, &project.store, &project.path(), &project.hidden(), &options).unwrap();
        prop_assert_eq!(report.conflicts, vec![]);
        prop_assert_eq!(without_times(kept(&project.path())), without_times(closed(was)));
        prop_assert_eq!(diff(&View { layers: Vec::new(), ..view }, &project.store).unwrap(), vec![]);
    }
}

#[test]
fn a_name_that_a_later_step_replaced_is_a_file_of_its_own() {
    let project = Project::new();
    for name in ["a", "b", "c"] {
        write(&project.path().join(name), "one");
        if name != "a" {
            fs::remove_file(project.path().join(name)).unwrap();
            fs::hard_link(project.path().join("a"), project.path().join(name)).unwrap();
        }
    }
    let upper = tempfile::tempdir().unwrap();
    write(&upper.path().join("a"), "one");
    let view = View { layers: layer_of(&project, upper.path()).into_iter().collect(), ..project.view() };
    let target = project.home.path().join("out");
    restore(&view, &project.store, &target, &RestoreOptions::default(), &|_| {}).unwrap();
    let inode = |name: &str| target.join(name).metadata().unwrap().ino();
    assert_ne!(inode("a"), inode("b"), "equal, and no longer the same");
    assert_eq!(inode("b"), inode("c"));
    // Only one of the names is asked for: it is whole.
    let options = RestoreOptions { paths: vec![project::rel("c")], ..RestoreOptions::default() };
    restore(&view, &project.store, &project.home.path().join("one"), &options, &|_| {}).unwrap();
    assert_eq!(fs::read_to_string(project.home.path().join("one/c")).unwrap(), "one");
    // Over names that are one file there, to names that are none.
    let over = RestoreOptions { over: true, ..RestoreOptions::default() };
    fs::remove_file(target.join("a")).unwrap();
    fs::hard_link(target.join("b"), target.join("a")).unwrap();
    restore(&view, &project.store, &target, &over, &|_| {}).unwrap();
    assert_ne!(inode("a"), inode("b"));
    assert_eq!(inode("b"), inode("c"));
}

#[test]
fn a_name_of_a_hidden_file_is_hidden_and_links_to_nothing() {
    let project = Project::new();
    project.write(".env", "SECRET");
    fs::hard_link(project.path().join(".env"), project.path().join("innocent")).unwrap();
    project.write("other", "SECRET");
    let all = restored(&project, &project.view(), "out");
    assert_eq!(all.keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"other"]);
    // A run that makes a file with two names of which one is hidden: the other arrives alone.
    let upper = tempfile::tempdir().unwrap();
    write(&upper.path().join("fine"), "of the run");
    fs::hard_link(upper.path().join("fine"), upper.path().join("id_rsa")).unwrap();
    let view = View { layers: layer_of(&project, upper.path()).into_iter().collect(), ..project.view() };
    let options = ApplyOptions { confirmed: Confirmed::All, ..ApplyOptions::default() };
    let report = apply(&view, &project.store, &project.path(), &project.hidden(), &options).unwrap();
    assert_eq!((report.applied.len(), report.hidden.len()), (1, 1));
    assert_eq!(project.path().join("fine").metadata().unwrap().nlink(), 1);
}

/// Names of one file count once against what a step may leave: who has many has not written more.
#[test]
fn many_names_of_a_large_file_are_read_once() {
    let project = Project::new();
    let upper = tempfile::tempdir().unwrap();
    write(&upper.path().join("0"), vec![7; 1 << 20]);
    for name in 1..200 {
        fs::hard_link(upper.path().join("0"), upper.path().join(name.to_string())).unwrap();
    }
    let folder = File::open(upper.path()).unwrap();
    let bounds = Bounds { bytes: 2 << 20, ..Bounds::default() };
    let layer = capture(folder.as_fd(), &project.store, &bounds).unwrap().unwrap().layer;
    let view = View { layers: vec![layer], ..project.view() };
    let all = restored(&project, &view, "out");
    assert_eq!(all.len(), 200);
    assert!(all.values().all(|what| matches!(what, Kept::File { first, .. } if first == b"0")));
}

/// None where the file system has no attributes for users.
fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 100];
    let length = rustix::fs::getxattr(path, name, &mut value).ok()?;
    Some(value[..length].to_vec())
}

#[test]
fn a_file_that_is_replaced_keeps_its_users_attributes_and_a_steps_own_are_said_to_be_lost() {
    let project = Project::new();
    project.write("mine", "one");
    project.write("other", "one");
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())
    };
    let mine = project.path().join("mine");
    if set(&mine, "user.tag", b"of mine").is_err() {
        println!("the file system of {} has no attributes for users", mine.display());
        return;
    }
    let upper = tempfile::tempdir().unwrap();
    for name in ["mine", "other", "new"] {
        write(&upper.path().join(name), "two");
    }
    set(&upper.path().join("new"), "user.tag", b"of the step").unwrap();
    for number in 0..40 {
        set(&upper.path().join("new"), &format!("user.a-long-name-{number}"), b"1").unwrap();
    }
    set(&upper.path().join("mine"), "user.overlay.origin", b"of the overlay").unwrap();
    let folder = File::open(upper.path()).unwrap();
    let captured = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap();
    let dropped: Vec<_> = captured.dropped.iter().map(|d| (d.path.to_string(), d.what.as_str())).collect();
    assert_eq!(dropped, [("new".to_owned(), "extended attributes")]);
    let view = View { layers: vec![captured.layer], ..project.view() };
    apply(&view, &project.store, &project.path(), &project.hidden(), &ApplyOptions::default()).unwrap();
    assert_eq!(fs::read_to_string(&mine).unwrap(), "two");
    assert_eq!(attribute(&mine, "user.tag").as_deref(), Some(&b"of mine"[..]));
    assert_eq!(attribute(&mine, "user.overlay.origin"), None);
    assert_eq!(attribute(&project.path().join("new"), "user.tag"), None);
    assert_eq!(attribute(&project.path().join("other"), "user.tag"), None);
}

#[test]
fn a_hole_is_not_written_wherever_the_file_goes() {
    let project = Project::new();
    let huge = 8_u64 << 30;
    let upper = tempfile::tempdir().unwrap();
    let file = File::create(upper.path().join("hole")).unwrap();
    file.set_len(huge).unwrap();
    file.write_at(b"middle", huge / 2).unwrap();
    drop(file);
    let view = View { layers: layer_of(&project, upper.path()).into_iter().collect(), ..project.view() };
    let small = |path: &Path| {
        let meta = path.metadata().unwrap();
        assert_eq!(meta.len(), huge);
        assert!(meta.blocks() * 512 < 1 << 20, "{} takes {} blocks", path.display(), meta.blocks());
    };
    small(&project.store.tree(&view.layers[0].id).join("hole"));
    let target = project.home.path().join("out");
    restore(&view, &project.store, &target, &RestoreOptions::default(), &|_| {}).unwrap();
    small(&target.join("hole"));
    let options = ApplyOptions::default();
    apply(&view, &project.store, &project.path(), &project.hidden(), &options).unwrap();
    small(&project.path().join("hole"));
}

#[test]
fn what_many_steps_left_is_what_the_last_one_left() {
    let project = Project::new();
    project.write("d/base", "base");
    let mut view = project.view();
    for index in 0..=MAX_LAYERS {
        let upper = tempfile::tempdir().unwrap();
        write(&upper.path().join("d/one"), index.to_string());
        fs::hard_link(upper.path().join("d/one"), upper.path().join("two")).unwrap();
        set_time(&upper.path().join("d"), 1_000 + i64::try_from(index).unwrap(), 5).unwrap();
        view.layers.extend(layer_of(&project, upper.path()));
    }
    let all = restored(&project, &view, "out");
    let last = i64::try_from(MAX_LAYERS).unwrap();
    assert!(matches!(all[&b"d"[..]], Kept::Folder { time, .. } if time == (1_000 + last, 5)), "{all:?}");
    assert!(matches!(&all[&b"two"[..]], Kept::File { first, .. } if first == b"d/one"));
    let squashed = View { layers: vec![squash(&project.store, &view).unwrap()], ..view };
    assert_eq!(restored(&project, &squashed, "squashed"), all);
}
