//! The launcher's own root, and the parts of a sandbox's root that are the same for all.
//!
//! The launcher lives in a tiny root of its own: `/host` is the host's tree, `/tpl` holds the
//! made-up `/etc` and `/dev`, `/stage` is where a forked sandbox puts its root together before
//! it enters it. Host paths are always resolved beneath `/host`, as if it were the root.
//! **Architecture Invariant:** a sandbox's root is made of copies of `/tpl` mounts, read-only
//! copies of the toolchain, and its own tmpfs; nothing of `/host` is in it that is not named.

use super::spec::HOME;
use super::sys::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::sys::{At, Fault, process};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Folders and links at the root that hold the toolchain; of the two package stores what is installed,
/// which anybody may read, and not the profiles, logs and sockets beside it.
pub(crate) const TOOLCHAIN: &[&str] =
    &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store", "gnu/store"];

/// Small files of `/etc` that programs need and that name nobody.
pub(crate) const ETC_FILES: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "services",
    "protocols",
    "rpc",
    "mime.types",
    "magic",
    "localtime",
    "timezone",
    "os-release",
    "debian_version",
    "lsb-release",
    "redhat-release",
    "alpine-release",
    "shells",
    "inputrc",
    "locale.conf",
    "gai.conf",
    "papersize",
];

/// Folders of `/etc` that programs need. Each is a mount in every sandbox: no more than needed.
pub(crate) const ETC_FOLDERS: &[&str] = &[
    "ssl",
    "pki",
    "alternatives",
    "crypto-policies",
    "fonts",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "static",
];

/// Folders of those that hold private keys: an ordinary user's groups may read them.
pub(crate) const KEY_FOLDERS: &[&str] = &["ssl/private", "pki/tls/private"];

/// Name, major and minor number. The last is whatever terminal its opener's session has: of a sandbox
/// none, or one that was made for it.
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// What anybody may read in `/proc` and that tells about the host: keys, kernel addresses, boot
/// parameters, interrupts by device (whose counts time keystrokes), hardware. Counts by number alone stay: they are
/// in `stat`, which programs need. Each is a mount in every sandbox; what only the host's root may open (`kcore`,
/// `timer_list`, `sysrq-trigger`) needs no cover, because no sandbox's user is that.
pub(super) const PROC_FILES: &[&str] =
    &["keys", "key-users", "kallsyms", "sched_debug", "latency_stats", "interrupts", "cmdline"];
pub(super) const PROC_FOLDERS: &[&str] = &["acpi", "asound", "bus", "irq", "scsi"];

/// What every sandbox of this launcher has in common.
#[derive(Debug)]
pub(crate) struct Template {
    /// Links at the root: name and target.
    pub(crate) links: Vec<(&'static str, CString)>,
    /// Folders at the root, or one below it, that are shown read-only: mounts with their attributes, to be copied.
    pub(crate) folders: Vec<(&'static str, CString)>,
    /// What is covered in `/proc`: its path and whether it is a folder.
    pub(crate) masks: Vec<(String, bool)>,
}

/// Gives this process a mount namespace of its own whose root is the tiny one.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn enter_own_root() -> Result<(), Fault> {
    mount::make_private().step("keeping mounts private")?;
    let host = mount::copy_tree(CWD, c"/", true).step("copying the host's mounts")?;
    let options = [(c"mode", c"0755"), (c"size", c"16m"), (c"source", c"wflo")];
    let own = mount::new_fs(c"tmpfs", &options, NOSUID).step("making the launcher's root")?;
    let place = open(Path::new("/usr")).step("making the launcher's root")?;
    mount::attach(own.as_fd(), place.as_fd()).step("attaching the launcher's root")?;
    for folder in ["host", "tpl", "tpl/etc", "tpl/dev", "tpl/void", "stage"] {
        rustix::fs::mkdirat(&own, folder, Mode::from(0o755)).step("filling the launcher's root")?;
    }
    let place = rustix::fs::openat(&own, "host", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .step("attaching the host's tree")?;
    mount::attach(host.as_fd(), place.as_fd()).step("attaching the host's tree")?;
    mount::enter_root(own.as_fd()).step("entering the launcher's root")
}

/// A second mount namespace that is this one without `/host`, for sandboxes to begin in: making
/// and ending a namespace costs time for each mount in it, and a host may have hundreds.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn namespace_without_host(privileged: bool) -> Result<OwnedFd, Fault> {
    let step = "making the sandboxes' mount namespace";
    let own = |step| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open("/host/proc/self/ns/mnt", flags, Mode::empty()).step(step)
    };
    if !privileged {
        // A user may mount a new /proc only where a whole one can be seen already.
        let place = Path::new("/tpl/proc");
        std::fs::create_dir(place).step(step)?;
        let host = open_host(Path::new("/proc")).step(step)?;
        bind(&host, place, NOSUID | NODEV | NOEXEC).step(step)?;
    }
    let home = own(step)?;
    process::unshare(libc::CLONE_NEWNS).step(step)?;
    let lean = own(step)?;
    mount::detach(c"/host").step(step)?;
    process::enter_namespace(home.as_fd(), libc::CLONE_NEWNS).step(step)?;
    Ok(lean)
}

/// A descriptor that only names a path of this process's root.
pub(crate) fn open(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A descriptor that only names a path of the host, links followed as the host would.
pub(crate) fn open_host(path: &Path) -> std::io::Result<OwnedFd> {
    let host = open(Path::new("/host"))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(&host, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Where file systems are mounted in `/tpl`, outer ones first.
pub(crate) fn mounted() -> std::io::Result<Vec<PathBuf>> {
    let mounts = std::fs::read("/host/proc/self/mountinfo")?;
    let place = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescaped);
    let mut found: Vec<PathBuf> = mounts.split(|byte| *byte == b'\n').filter_map(place).collect();
    found.retain(|place| place.starts_with("/tpl"));
    found.sort();
    found.dedup();
    Ok(found)
}

/// A path of `mountinfo`, in which spaces and the like are written as `\040`.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *byte == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                path.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                path.push(*byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

impl Template {
    /// Builds `/tpl` for a sandbox user with these ids.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn build(uid: u32, gid: u32, privileged: bool) -> Result<Self, Fault> {
        made_up_etc(uid, gid).step("writing the sandbox's /etc")?;
        for name in ETC_FILES {
            // What the host does not have, the sandbox does not need.
            if let Ok(bytes) = read_small(name) {
                std::fs::write(Path::new("/tpl/etc").join(name), bytes).step("copying /etc")?;
            }
        }
        for name in ETC_FOLDERS {
            let Ok(source) = open_host(&Path::new("/etc").join(name)) else { continue };
            let place = Path::new("/tpl/etc").join(name);
            std::fs::create_dir(&place).step("copying /etc")?;
            bind(&source, &place, RDONLY | NOSUID | NODEV | NOEXEC).at("showing /etc", || (*name).into())?;
        }
        for name in KEY_FOLDERS {
            let place = Path::new("/tpl/etc").join(name);
            if place.is_dir() {
                let void = open(Path::new("/tpl/void")).step("hiding keys")?;
                bind(&void, &place, RDONLY | NOSUID | NODEV | NOEXEC).at("hiding keys", || (*name).into())?;
            }
        }
        made_up_dev(privileged)?;
        std::fs::write("/tpl/nothing", "").step("making the mask")?;
        // Mounts of their own, so that a copy of one has its attributes already.
        let shut = RDONLY | NOSUID | NODEV | NOEXEC;
        for (path, attributes) in [
            ("/tpl/etc", shut),
            ("/tpl/void", shut),
            ("/tpl/nothing", shut),
            ("/tpl/dev", RDONLY | NOSUID | NOEXEC),
        ] {
            let place = Path::new(path);
            let itself = open(place).step("shutting the template")?;
            bind(&itself, place, attributes).at("shutting the template", || path.into())?;
        }
        let mut links = Vec::new();
        let mut folders = Vec::new();
        for name in TOOLCHAIN {
            let path = Path::new("/host").join(name);
            let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
            if found.file_type().is_symlink() && !name.contains('/') {
                let target = std::fs::read_link(&path).step("reading the toolchain")?;
                links.push((*name, mount::c_path(&target).step("reading the toolchain")?));
            } else if found.is_dir() {
                let place = Path::new("/tpl").join(format!("root-{}", name.replace('/', "-")));
                std::fs::create_dir(&place).step("showing the toolchain")?;
                let source = open(&path).step("showing the toolchain")?;
                bind(&source, &place, RDONLY | NOSUID | NODEV)
                    .at("showing the toolchain", || (*name).into())?;
                folders.push((*name, mount::c_path(&place).step("reading the toolchain")?));
            }
        }
        let mut masks = Vec::new();
        for (names, folder) in [(PROC_FILES, false), (PROC_FOLDERS, true)] {
            let there = names.iter().filter(|name| Path::new("/host/proc").join(name).exists());
            masks.extend(there.map(|name| (format!("proc/{name}"), folder)));
        }
        Ok(Template { links, folders, masks })
    }
}

fn read_small(name: &str) -> std::io::Result<Vec<u8>> {
    let named = open_host(&Path::new("/etc").join(name))?;
    let found = rustix::fs::fstat(&named)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_size > 1 << 20 {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    let real = std::fs::read_link(format!("/host/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&named)));
    // Opened through its name again: an O_PATH descriptor cannot be read.
    std::fs::read(real?)
}

/// The files of a made-up `/etc`, for a user with these ids.
pub(crate) fn etc_files(uid: u32, gid: u32) -> Vec<(&'static str, String)> {
    let nobody = 65_534;
    let mut passwd = format!("wflo:x:{uid}:{gid}:sandbox user:{HOME}:/bin/sh\n");
    let mut group = format!("wflo:x:{gid}:\n");
    if uid != 0 {
        passwd.insert_str(0, "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n");
    }
    if uid != nobody {
        passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    }
    if gid != 0 {
        group.insert_str(0, "root:x:0:\n");
    }
    if gid != nobody {
        group.push_str("nogroup:x:65534:\n");
    }
    vec![
        ("passwd", passwd),
        ("group", group),
        ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned()),
        ("host.conf", "multi on\n".to_owned()),
        ("hostname", "sandbox\n".to_owned()),
        // No DNS: a name that is not in `hosts` fails at once.
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\n".to_owned(),
        ),
    ]
}

fn made_up_etc(uid: u32, gid: u32) -> std::io::Result<()> {
    for (name, text) in etc_files(uid, gid) {
        std::fs::write(Path::new("/tpl/etc").join(name), text)?;
    }
    std::os::unix::fs::symlink("/proc/self/mounts", "/tpl/etc/mtab")
}

fn made_up_dev(privileged: bool) -> Result<(), Fault> {
    let dev = Path::new("/tpl/dev");
    for (name, major, minor) in DEVICES {
        let place = dev.join(name);
        if privileged {
            let device = rustix::fs::makedev(*major, *minor);
            rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::from(0o666), device)
                .and_then(|()| rustix::fs::chmod(&place, Mode::from(0o666)))
                .step("making /dev")?;
        } else {
            // A user namespace's tmpfs opens no device: the host's own are shown.
            std::fs::write(&place, "").step("making /dev")?;
            let source = open_host(&Path::new("/dev").join(name)).step("showing /dev")?;
            bind(&source, &place, RDONLY | NOSUID | NOEXEC).at("showing /dev", || (*name).into())?;
        }
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, dev.join(name)).step("making /dev")?;
    }
    for name in ["shm", "pts"] {
        std::fs::create_dir(dev.join(name)).step("making /dev")?;
    }
    Ok(())
}

fn bind(source: &OwnedFd, place: &Path, attributes: u64) -> std::io::Result<()> {
    let copy = mount::copy_tree(source.as_fd(), c"", true)?;
    mount::set_attributes(copy.as_fd(), attributes, true)?;
    mount::attach(copy.as_fd(), open(place)?.as_fd())
}

/// The name of a path's last part, and the path before it.
pub(crate) fn split(path: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    let name = path.file_name()?;
    Some((path.parent()?, name)).filter(|_| !name.as_bytes().is_empty())
}
