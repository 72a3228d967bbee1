//! The descriptor-based mount calls (Linux 5.2 and later; `mount_setattr` 5.12).

use super::check;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;
const CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;

/// Mount attributes (`MOUNT_ATTR_*`).
pub(crate) const RDONLY: u64 = 0x1;
pub(crate) const NOSUID: u64 = 0x2;
pub(crate) const NODEV: u64 = 0x4;
pub(crate) const NOEXEC: u64 = 0x8;
const IDMAP: u64 = 0x0010_0000;

/// Makes a file system that is not attached anywhere yet.
///
/// An option with an empty value is a flag. The kernel's own message, when it leaves one, is
/// part of the error.
pub(crate) fn new_fs(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is a NUL-terminated string that outlives the call.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1_u32) })?;
    configure(&context, options, FSCONFIG_CMD_CREATE)?;
    // SAFETY: the context is a live descriptor; the call takes integers only.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1_u32, attributes as libc::c_uint) })
}

/// Changes options of the file system whose mount begins at `mounted`.
pub(crate) fn reconfigure(mounted: BorrowedFd<'_>, options: &[(&CStr, &CStr)]) -> io::Result<()> {
    const EMPTY_PATH_AND_CLOEXEC: libc::c_uint = 0x8 | 0x1;
    let path = c"".as_ptr();
    // SAFETY: the path is NUL-terminated, and empty: the descriptor is meant.
    let context =
        owned(unsafe { libc::syscall(libc::SYS_fspick, mounted.as_raw_fd(), path, EMPTY_PATH_AND_CLOEXEC) })?;
    configure(&context, options, FSCONFIG_CMD_RECONFIGURE)
}

/// Hands the options to a file system's context, and then the command.
fn configure(context: &OwnedFd, options: &[(&CStr, &CStr)], command: libc::c_uint) -> io::Result<()> {
    for (name, value) in options {
        let (kind, pointer) = if value.is_empty() {
            (FSCONFIG_SET_FLAG, std::ptr::null())
        } else {
            (FSCONFIG_SET_STRING, value.as_ptr())
        };
        // SAFETY: both strings are NUL-terminated and outlive the call; a flag takes no value.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), kind, name.as_ptr(), pointer, 0)
        })
        .map_err(|error| explained(context, error))?;
    }
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: neither command takes a key or a value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, none, none, 0) })
        .map_err(|error| explained(context, error))
        .map(drop)
}

/// Adds the message that the kernel keeps in the context to the error.
fn explained(context: &OwnedFd, error: io::Error) -> io::Error {
    let mut buffer = [0_u8; 256];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) if length > 2 => {
            let text = String::from_utf8_lossy(buffer.get(2..length).unwrap_or_default()).trim().to_owned();
            io::Error::new(error.kind(), format!("{text} ({error})"))
        }
        _ => error,
    }
}

/// A detached copy of the mount that `at`/`path` lies in, beginning there.
pub(crate) fn copy_tree(at: BorrowedFd<'_>, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = 1 | CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), path.as_ptr(), flags) })
}

/// Attaches a detached mount on the file or directory that `place` is.
pub(crate) fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let empty = c"".as_ptr();
    // SAFETY: both paths are the empty string; the flags say that the descriptors are meant.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), empty, place.as_raw_fd(), empty, 0x44_u32)
    })
    .map(drop)
}

/// Sets attributes on a mount, on everything below it too when `recursive`.
pub(crate) fn set_attributes(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> io::Result<()> {
    setattr(mount, attributes, None, recursive)
}

/// Maps the owners of a detached mount through a user namespace.
pub(crate) fn map_owners(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    setattr(mount, IDMAP, Some(namespace.as_raw_fd()), false)
}

fn setattr(mount: BorrowedFd<'_>, set: u64, namespace: Option<RawFd>, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.map_or(0, |fd| fd as u64),
    };
    let mut flags = libc::AT_EMPTY_PATH as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: `attributes` is a live structure of the size that is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Makes every mount of this namespace private: nothing is sent to or received from the host.
pub(crate) fn make_private() -> io::Result<()> {
    // SAFETY: a propagation change reads only the target path.
    check(i64::from(unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    }))
    .map(drop)
}

/// Makes an attached mount the root of this mount namespace and lets go of the old one.
pub(crate) fn enter_root(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    // SAFETY: both arguments are NUL-terminated; the old root is stacked on the new one.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: detaches the old root, which is what "." names here; reads only the path.
    check(i64::from(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }))?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Detaches a mount, with all below it, from this namespace.
pub(crate) fn detach(place: &CStr) -> io::Result<()> {
    // SAFETY: reads only the path, which is NUL-terminated.
    check(i64::from(unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) })).map(drop)
}

/// A path as a C string; a path with a NUL byte does not exist.
pub(crate) fn c_path(path: &std::path::Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))
}

fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(returned)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Makes a file system and attaches it at once.
pub(crate) fn mount_fs(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
    place: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let mount = new_fs(kind, options, attributes)?;
    attach(mount.as_fd(), place)?;
    Ok(mount)
}
