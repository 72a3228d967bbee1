//! A real overlay mount in a mount namespace of one thread. Needs root, or to be started by an
//! ordinary user under `unshare --user --map-root-user`.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use wflo_sandbox::workspace::Mounts;

/// The writable part of a mount; it outlives the mount, as a sandbox's does.
pub struct Upper {
    home: tempfile::TempDir,
}

impl Upper {
    /// In memory, as in a sandbox.
    pub fn new() -> Upper {
        let home = tempfile::tempdir_in("/dev/shm").unwrap();
        for name in ["upper", "work", "target"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        Upper { home }
    }

    pub fn path(&self) -> PathBuf {
        self.home.path().join("upper")
    }

    pub fn target(&self) -> PathBuf {
        self.home.path().join("target")
    }
}

pub fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not proven here: a real overlay mount needs root, or `unshare --user --map-root-user`");
    }
    root
}

/// Runs `inside` on a thread of its own, whose mounts nobody else sees.
pub fn on_its_own<T: Send>(inside: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let mounted = scope.spawn(|| {
            // SAFETY: only this thread, which ends here, has the new namespace and file system state.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            inside()
        });
        mounted.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `inside` with the mount at [`Upper::target`], on a thread of its own.
pub fn in_overlay<T: Send>(mounts: &Mounts, upper: &Upper, inside: impl FnOnce(&Path) -> T + Send) -> T {
    on_its_own(|| {
        mount(mounts, upper);
        inside(&upper.target())
    })
}

fn mount(mounts: &Mounts, upper: &Upper) {
    let lowers: Vec<&[u8]> = mounts.lowers.iter().map(|lower| lower.as_os_str().as_bytes()).collect();
    let home = upper.home.path().display();
    let mut options = b"lowerdir=".to_vec();
    options.extend(lowers.join(&b':'));
    options.extend(
        format!(
            ",upperdir={home}/upper,workdir={home}/work,redirect_dir=off,metacopy=off,index=off,xino=off"
        )
        .bytes(),
    );
    // In a user namespace overlayfs keeps its marks in `user.` attributes, and only if told so.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    if !map.trim_end().ends_with("4294967295") {
        // It also refuses `redirect_dir=off` then: the last of several counts.
        options.extend(b",userxattr,redirect_dir=nofollow");
    }
    let options = CString::new(options).unwrap();
    rustix::mount::mount("overlay", upper.target(), "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .unwrap();
    for live in &mounts.ro {
        let Some(mask) = &live.mask else {
            rustix::mount::mount_bind(&live.source, &live.target).unwrap();
            rustix::mount::mount_remount(&live.target, MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
            continue;
        };
        let layers = [mask.path(), &live.source].map(|layer| layer.display().to_string()).join(":");
        let options = CString::new(format!("lowerdir={layers},xino=off")).unwrap();
        let (flags, options) = (MountFlags::RDONLY, Some(options.as_c_str()));
        rustix::mount::mount("overlay", &live.target, "overlay", flags, options).unwrap();
    }
}
