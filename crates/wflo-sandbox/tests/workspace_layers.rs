//! Capturing: what a hostile program leaves in its upper directory, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "workspace_support/project.rs"]
mod project;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use project::{Project, rel, write};
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags};
use wflo_sandbox::workspace::{Bounds, Captured, Entry, Kind, WorkspaceError, capture};

struct Upper {
    project: Project,
}

impl Upper {
    fn new() -> Upper {
        let upper = Upper { project: Project::new() };
        fs::create_dir(upper.path()).unwrap();
        upper
    }

    fn path(&self) -> PathBuf {
        self.project.home.path().join("upper")
    }

    /// By path only, as the sandbox's launcher may send it.
    fn descriptor(&self) -> OwnedFd {
        rustix::fs::open(self.path(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .unwrap()
    }

    fn try_capture(&self, bounds: &Bounds) -> Result<Option<Captured>, WorkspaceError> {
        capture(self.descriptor().as_fd(), &self.project.store, bounds)
    }

    fn capture(&self) -> Captured {
        self.try_capture(&Bounds::default()).unwrap().unwrap()
    }
}

/// The attribute that mounts of this user have: root's, or the one for user namespaces.
fn mark(name: &str) -> String {
    let trusted = fs::read_to_string("/proc/self/uid_map").unwrap().trim_end().ends_with("4294967295");
    let kind = if trusted && rustix::process::geteuid().is_root() { "trusted" } else { "user" };
    format!("{kind}.overlay.{name}")
}

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device).unwrap();
}

#[test]
fn nothing_written_is_no_layer() {
    assert!(Upper::new().try_capture(&Bounds::default()).unwrap().is_none());
}

#[test]
fn keeps_removals_marks_odd_names_and_links_and_drops_the_rest() {
    let upper = Upper::new();
    let at = |name: &[u8]| upper.path().join(OsStr::from_bytes(name));
    write(&at(b"line\nbreak"), "odd");
    write(&at(b"\xff\xfe"), "odd");
    write(&at(b"setuid"), "x");
    fs::set_permissions(at(b"setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(at(b"setuid"), at(b"linked")).unwrap();
    symlink("/etc/shadow", at(b"link")).unwrap();
    node(&at(b"gone"), FileType::CharacterDevice, 0);
    node(&at(b"fifo"), FileType::Fifo, 0);
    let _socket = std::os::unix::net::UnixListener::bind(at(b"socket")).unwrap();
    fs::create_dir(at(b"opaque")).unwrap();
    rustix::fs::setxattr(at(b"opaque"), mark("opaque"), b"y", XattrFlags::empty()).unwrap();
    fs::create_dir(at(b"merged")).unwrap();
    rustix::fs::setxattr(at(b"merged"), mark("opaque"), b"x", XattrFlags::empty()).unwrap();
    write(&at(b"merged/removed"), "");
    rustix::fs::setxattr(at(b"merged/removed"), mark("whiteout"), b"y", XattrFlags::empty()).unwrap();

    let captured = upper.capture();
    let entries = &captured.layer.manifest.entries;
    let entry = |text: &str| entries.get(&rel(text)).unwrap_or_else(|| panic!("{text} in {entries:?}"));
    assert_eq!(entry("gone").kind, Kind::Whiteout);
    assert_eq!(entry("merged/removed").kind, Kind::Whiteout);
    assert_eq!(entry("opaque").kind, Kind::Dir { opaque: true });
    assert_eq!(entry("merged").kind, Kind::Dir { opaque: false });
    assert_eq!(entry("setuid").mode, 0o755);
    assert_eq!(entry("linked"), entry("setuid"));
    assert_eq!(entry("link"), &Entry::symlink(b"/etc/shadow".to_vec()));
    assert!(entries.contains_key(&rel("line\\x0abreak")) && entries.contains_key(&rel("\\xff\\xfe")));
    let dropped: Vec<String> =
        captured.dropped.iter().map(|dropped| format!("{} {}", dropped.path, dropped.what)).collect();
    assert_eq!(dropped, ["fifo fifo", "socket socket"]);

    let stored = upper.project.store.tree(&captured.layer.id);
    let meta = stored.join("gone").symlink_metadata().unwrap();
    assert_eq!((meta.mode() & 0o170_000, meta.rdev()), (0o020_000, 0), "a real whiteout");
    let mut value = [0; 4];
    assert_eq!(rustix::fs::getxattr(stored.join("opaque"), mark("opaque"), &mut value).unwrap(), 1);
    assert_eq!(stored.join("setuid").metadata().unwrap().mode() & 0o7777, 0o755);
    upper.project.store.verify(&captured.layer.id).unwrap();
    assert_eq!(upper.capture().layer.id, captured.layer.id, "equal changes are one layer");
}

#[test]
fn a_sparse_file_stays_sparse_and_a_huge_one_is_refused() {
    let upper = Upper::new();
    let file = fs::File::create(upper.path().join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 32 << 20).unwrap();
    let captured = upper.capture();
    let stored = upper.project.store.tree(&captured.layer.id).join("sparse").metadata().unwrap();
    assert_eq!(stored.len(), 64 << 20);
    assert!(stored.blocks() * 512 < 1 << 20, "{} blocks", stored.blocks());
    upper.project.store.verify(&captured.layer.id).unwrap();

    file.set_len(1 << 42).unwrap();
    let refused = upper.try_capture(&Bounds { bytes: 1 << 30, ..Bounds::default() });
    assert!(matches!(refused, Err(WorkspaceError::TooLarge { what: "bytes", .. })));

    // Of what ends its run the rest is kept.
    write(&upper.path().join("work"), "hours");
    let bounds = Bounds { bytes: 1 << 30, leaves_out: true, ..Bounds::default() };
    let captured = upper.try_capture(&bounds).unwrap().unwrap();
    assert_eq!(captured.layer.manifest.entries.keys().map(ToString::to_string).collect::<Vec<_>>(), ["work"]);
    let [left] = &captured.dropped[..] else { panic!("{:?}", captured.dropped) };
    assert_eq!((left.path.to_string().as_str(), left.what.as_str()), ("sparse", "more than is kept"));
}

#[test]
fn counts_and_depth_are_bounded() {
    let upper = Upper::new();
    for index in 0..20 {
        write(&upper.path().join(index.to_string()), "");
    }
    let refused = upper.try_capture(&Bounds { entries: 10, ..Bounds::default() });
    assert!(matches!(refused, Err(WorkspaceError::TooLarge { what: "entries", .. })));

    let upper = Upper::new();
    let deep = std::iter::repeat_n("d", 400).collect::<PathBuf>();
    fs::create_dir_all(upper.path().join(deep)).unwrap();
    let refused = upper.try_capture(&Bounds::default());
    assert!(matches!(refused, Err(WorkspaceError::TooLarge { what: "nested folders", .. })));
    let bounds = Bounds { leaves_out: true, ..Bounds::default() };
    write(&upper.path().join("work"), "hours");
    let captured = upper.try_capture(&bounds).unwrap().unwrap();
    assert!(captured.layer.manifest.entries.contains_key(&rel("work")));
    assert_eq!(captured.dropped.len(), 1, "what is too deep, and nothing else: {:?}", captured.dropped);

    let upper = Upper::new();
    let long = std::iter::repeat_n("n".repeat(200), 16).collect::<PathBuf>();
    fs::create_dir_all(upper.path().join(long)).unwrap();
    write(&upper.path().join("work"), "hours");
    let refused = upper.try_capture(&Bounds::default());
    let Err(WorkspaceError::TooLarge { what: "bytes in a path", path, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(path.as_bytes().len(), 200, "the message can be read");
    let captured = upper.try_capture(&bounds).unwrap().unwrap();
    assert!(captured.layer.manifest.entries.contains_key(&rel("work")));
    assert_eq!(captured.dropped.len(), 1);
}

#[test]
fn marks_that_need_their_mount_are_refused() {
    let upper = Upper::new();
    fs::create_dir(upper.path().join("moved")).unwrap();
    rustix::fs::setxattr(upper.path().join("moved"), mark("redirect"), b"/etc", XattrFlags::empty()).unwrap();
    assert!(matches!(upper.try_capture(&Bounds::default()), Err(WorkspaceError::UnsupportedMark { .. })));
}

#[test]
fn whoever_swaps_a_folder_for_a_link_gets_nothing_from_outside() {
    let upper = Upper::new();
    let outside = upper.project.home.path().join("outside");
    write(&outside.join("f"), "SECRET");
    write(&upper.path().join("real/f"), "mine");
    symlink(&outside, upper.path().join("link")).unwrap();
    write(&upper.path().join("file"), "mine");
    symlink(outside.join("f"), upper.path().join("file-link")).unwrap();
    let stop = AtomicBool::new(false);
    let swap = |a: &str, b: &str| {
        let (a, b) = (upper.path().join(a), upper.path().join(b));
        rustix::fs::renameat_with(CWD, a, CWD, b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swap("real", "link");
                swap("file", "file-link");
            }
        });
        for _ in 0..500 {
            let captured = upper.capture();
            for (path, entry) in &captured.layer.manifest.entries {
                if let Kind::File { .. } = entry.kind {
                    let content =
                        fs::read(upper.project.store.tree(&captured.layer.id).join(path.as_path())).unwrap();
                    assert_eq!(content, b"mine", "{path}");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
