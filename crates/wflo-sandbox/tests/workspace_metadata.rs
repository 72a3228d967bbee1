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

use project::{Project, attributes, rel, set_attribute, write};
use proptest::prelude::*;
use wflo_sandbox::workspace::{
    ApplyOptions, Bounds, ChangeKind, Confirmed, Copy, MAX_LAYERS, MOST_ATTRIBUTES, RestoreOptions,
    TextLimits, View, apply, capture, diff, restore, squash,
};

/// What is at a path, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Folder { mode: u32, time: (i64, i64), has: BTreeMap<Vec<u8>, Vec<u8>> },
    File { mode: u32, time: (i64, i64), content: Vec<u8>, first: Vec<u8>, has: BTreeMap<Vec<u8>, Vec<u8>> },
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
                Kept::Folder { mode, time, has: attributes(&path) }
            } else if meta.is_symlink() {
                Kept::Link(fs::read_link(&path).unwrap())
            } else {
                let content = fs::read(&path).unwrap();
                Kept::File { mode, time, content, first: name.clone(), has: attributes(&path) }
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
    Attribute(Vec<usize>, usize, Vec<u8>),
}

/// The last are an overlay's own, and what a browser notes: no tree keeps them.
const ATTRIBUTES: [&[u8]; 5] =
    [b"user.tag", b"user.\xff\n", b"user.z", b"user.overlay.note", b"user.xdg.origin.url"];

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
        4 => (path(), 0..ATTRIBUTES.len(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(path, name, value)| Make::Attribute(path, name, value)),
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
        Make::Attribute(path, name, value) => match at(path).symlink_metadata() {
            Ok(meta) if !meta.is_symlink() => Some(set_attribute(&at(path), ATTRIBUTES[*name], value)),
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

/// What comes out when something went in: without setuid, setgid and the sticky bit, an overlay's notes and addresses.
fn plain(mut all: BTreeMap<Vec<u8>, Kept>) -> BTreeMap<Vec<u8>, Kept> {
    for what in all.values_mut() {
        if let Kept::Folder { mode, has, .. } | Kept::File { mode, has, .. } = what {
            *mode &= 0o777;
            has.retain(|name, _| ATTRIBUTES[..3].contains(&name.as_slice()));
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
    let options = RestoreOptions { paths: vec![rel("c")], ..RestoreOptions::default() };
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

/// Whether the file system of these tests has attributes for users.
fn has_attributes(project: &Project) -> bool {
    let has = set_attribute(project.home.path(), b"user.try", b"").is_ok();
    if !has {
        eprintln!("not proven here: {} has no attributes for users", project.home.path().display());
    }
    has
}

fn set(path: &Path, all: &[(&str, &str)]) {
    all.iter().for_each(|(name, value)| set_attribute(path, name.as_bytes(), value.as_bytes()).unwrap());
}

fn has(path: &Path) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    attributes(path).into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn applied(project: &Project, view: &View) -> wflo_sandbox::workspace::Report {
    apply(view, &project.store, &project.path(), &project.hidden(), &ApplyOptions::default()).unwrap()
}

#[test]
fn a_file_that_is_replaced_keeps_its_users_attributes_and_gets_those_of_the_step() {
    let project = Project::new();
    if !has_attributes(&project) {
        return;
    }
    for name in ["mine", "other"] {
        project.write(name, "one");
    }
    let (mine, upper) = (project.path().join("mine"), tempfile::tempdir().unwrap());
    set(&mine, &[("user.tag", "of mine"), ("user.xdg.origin.url", "https://key@host")]);
    let sealed = project.view();
    for name in ["mine", "other", "new"] {
        write(&upper.path().join(name), "two");
    }
    set(&upper.path().join("new"), &[("user.tag", "of the step")]);
    set(
        &upper.path().join("mine"),
        &[("user.more", "of the step"), ("user.overlay.origin", "of the overlay")],
    );
    let folder = File::open(upper.path()).unwrap();
    let captured = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap();
    assert_eq!(captured.dropped, []);
    // Given meanwhile, by whoever has the project.
    set(&mine, &[("user.late", "of mine")]);
    let view = View { layers: vec![captured.layer], ..sealed };
    applied(&project, &view);
    assert_eq!(fs::read_to_string(&mine).unwrap(), "two");
    let all = [
        ("user.late", "of mine"),
        ("user.more", "of the step"),
        ("user.tag", "of mine"),
        ("user.xdg.origin.url", "https://key@host"),
    ];
    assert_eq!(has(&mine), pairs(&all));
    assert_eq!(has(&project.path().join("new")), pairs(&[("user.tag", "of the step")]));
    assert_eq!(has(&project.path().join("other")), []);
    // Another time there is nothing to do.
    let again = applied(&project, &view);
    assert_eq!((again.applied, again.already.len()), (vec![], 3));
}

#[test]
fn a_change_of_attributes_alone_is_shown_merged_and_taken_back() {
    let project = Project::new();
    if !has_attributes(&project) {
        return;
    }
    for name in ["f", "both", "gone", "d/x"] {
        project.write(name, "same");
    }
    for name in ["f", "both", "gone", "d"] {
        set(&project.path().join(name), &[("user.a", "1"), ("user.b", "1")]);
    }
    let sealed = project.view();
    let upper = tempfile::tempdir().unwrap();
    for name in ["f", "both", "gone"] {
        write(&upper.path().join(name), "same");
    }
    fs::create_dir(upper.path().join("d")).unwrap();
    for name in ["f", "both", "d"] {
        set(&upper.path().join(name), &[("user.a", "1"), ("user.b", "2\n")]);
    }
    let view = View { layers: layer_of(&project, upper.path()).into_iter().collect(), ..sealed };
    let changes = diff(&view, &project.store).unwrap();
    let kinds: Vec<_> = changes.iter().map(|change| (change.path.to_string(), change.kind)).collect();
    let kind = ChangeKind::Attributes;
    assert_eq!(kinds, ["both", "d", "f", "gone"].map(|name| (name.to_owned(), kind)));
    let text = |name: &str| {
        let change = changes.iter().find(|change| change.path == rel(name)).unwrap();
        change.text(&project.store, &TextLimits::default()).unwrap().body
    };
    assert_eq!(text("f"), "--- a/f\n+++ b/f\nattribute user.b \"1\" -> \"2\\x0a\"\n");
    assert!(text("gone").ends_with("attribute user.a \"1\" -> (none)\nattribute user.b \"1\" -> (none)\n"));

    set(&project.path().join("both"), &[("user.b", "3")]);
    let report = applied(&project, &view);
    assert_eq!(report.conflicts.iter().map(|c| c.path.to_string()).collect::<Vec<_>>(), ["both"]);
    assert_eq!(
        has(&project.path().join("f")),
        pairs(&[("user.a", "1"), ("user.b", "1")]),
        "nothing is written"
    );
    set(&project.path().join("both"), &[("user.b", "1")]);
    // Another name of it, outside of what is applied to, keeps what it had.
    fs::hard_link(project.path().join("f"), project.home.path().join("elsewhere")).unwrap();
    let report = applied(&project, &view);
    assert_eq!((report.conflicts, report.applied.len()), (vec![], 4));
    for name in ["f", "both", "d"] {
        assert_eq!(has(&project.path().join(name)), pairs(&[("user.a", "1"), ("user.b", "2\n")]), "{name}");
    }
    assert_eq!(has(&project.path().join("gone")), []);
    assert_eq!(has(&project.home.path().join("elsewhere")), pairs(&[("user.a", "1"), ("user.b", "1")]));
    // A rollback of the step brings back what was.
    let back = View { undone: view.layers.clone(), layers: Vec::new(), ..view };
    let report = applied(&project, &back);
    assert_eq!((report.conflicts, report.applied.len()), (vec![], 4));
    for name in ["f", "both", "gone", "d"] {
        assert_eq!(has(&project.path().join(name)), pairs(&[("user.a", "1"), ("user.b", "1")]), "{name}");
    }
}

/// Two files that differ in attributes alone are two inodes of the store, and each run has its own.
#[test]
fn equal_contents_with_other_attributes_are_other_files() {
    let project = Project::new();
    if !has_attributes(&project) {
        return;
    }
    let upper = tempfile::tempdir().unwrap();
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "1")] {
        write(&upper.path().join(name), "same");
        set(&upper.path().join(name), &[("user.tag", value)]);
    }
    write(&upper.path().join("d"), "same");
    for name in ["a", "b", "c", "d"] {
        set_time(&upper.path().join(name), 1_000, 0).unwrap();
    }
    let layer = layer_of(&project, upper.path()).unwrap();
    let inode = |name: &str| project.store.tree(&layer.id).join(name).metadata().unwrap().ino();
    assert!(inode("a") != inode("b") && inode("a") != inode("d") && inode("b") != inode("d"));
    // And equal ones are one, from the second time on.
    write(&upper.path().join("e"), "of another layer");
    let other = layer_of(&project, upper.path()).unwrap();
    let stored = |name: &str| project.store.tree(&other.id).join(name).metadata().unwrap().ino();
    assert!([inode("a"), inode("c")].contains(&stored("c")));
    assert_eq!((stored("b"), stored("d")), (inode("b"), inode("d")));
}

#[test]
fn what_is_beyond_the_bounds_is_said_and_not_kept() {
    let project = Project::new();
    if !has_attributes(&project) {
        return;
    }
    project.write("many", "one");
    set(&project.path().join("many"), &[("user.tag", "of mine")]);
    let sealed = project.view();
    // In memory: a file on a disk has less room for them.
    let upper = tempfile::tempdir_in("/dev/shm").unwrap();
    for name in ["many", "few"] {
        write(&upper.path().join(name), "two");
    }
    set(&upper.path().join("few"), &[("user.tag", "kept")]);
    let more = (0..MOST_ATTRIBUTES).take_while(|number| {
        let name = format!("user.{number}");
        set_attribute(&upper.path().join("many"), name.as_bytes(), &[7; 600]).is_ok()
    });
    if more.count() < MOST_ATTRIBUTES {
        println!("not proven here: so many attributes cannot be given");
        return;
    }
    let folder = File::open(upper.path()).unwrap();
    let captured = capture(folder.as_fd(), &project.store, &Bounds::default()).unwrap().unwrap();
    let dropped: Vec<_> = captured.dropped.iter().map(|d| (d.path.to_string(), d.what.as_str())).collect();
    assert_eq!(dropped, [("many".to_owned(), "extended attributes")]);
    let view = View { layers: vec![captured.layer], ..sealed };
    applied(&project, &view);
    assert_eq!(has(&project.path().join("many")), pairs(&[("user.tag", "of mine")]));
    assert_eq!(has(&project.path().join("few")), pairs(&[("user.tag", "kept")]));
}

/// A copy has them; one that went elsewhere comes back without, and its files keep what they had.
#[test]
fn a_copy_that_carries_none_takes_none_away() {
    let project = Project::new();
    if !has_attributes(&project) {
        return;
    }
    for name in ["f", "d/x", "plain"] {
        project.write(name, "one");
    }
    for name in ["f", "d"] {
        set(&project.path().join(name), &[("user.tag", "1")]);
    }
    let view = project.view();
    let place = tempfile::tempdir().unwrap();
    let work = |name: &str| {
        let folder = place.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let here = work("here");
    let copy = Copy::make(&view, &project.store, &project.path(), &project.hidden(), &here).unwrap();
    assert_eq!(has(&here.join("f")), pairs(&[("user.tag", "1")]));
    assert!(copy.changes(&project.store, &Bounds::default()).unwrap().is_none());
    set(&here.join("f"), &[("user.tag", "2")]);
    set(&here.join("d"), &[("user.tag", "2")]);
    let layer = copy.changes(&project.store, &Bounds::default()).unwrap().unwrap().layer;
    let names: Vec<String> = layer.manifest.entries.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["d", "f"], "and nothing else was read as changed");
    assert_eq!(layer.manifest.entries[&rel("f")].attributes.get(b"user.tag"), Some(&b"2"[..]));

    let away = work("away");
    let copy = Copy::without_live(&view, &project.store, &away).unwrap();
    assert_eq!(has(&away.join("f")), []);
    assert!(copy.changes(&project.store, &Bounds::default()).unwrap().is_none());
    fs::write(away.join("f"), "two").unwrap();
    fs::set_permissions(away.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    let layer = copy.changes(&project.store, &Bounds::default()).unwrap().unwrap().layer;
    for name in ["f", "d"] {
        let entry = &layer.manifest.entries[&rel(name)];
        assert_eq!(entry.attributes.get(b"user.tag"), Some(&b"1"[..]), "{name}");
    }
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
