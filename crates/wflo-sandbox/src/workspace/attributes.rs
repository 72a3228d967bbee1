//! Extended attributes that belong to users (`user.`): a file of the project that is replaced has its own ones
//! afterwards, and what a step gave to a file is said not to be kept.
//!
//! Trees hold none: a stored content is one inode for every tree that has it, of every run, and its attributes would
//! be too. Those of other kinds (`security.`, `system.`, `trusted.`) say what a file may do, and are never copied.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The most that a list of names, and a value, takes (`linux/limits.h`).
const MOST: usize = 64 << 10;
/// What a usual list of names takes.
const FEW: usize = 256;
/// An overlay's own notes on its upper directory.
const OVERLAY: &[u8] = b"user.overlay.";

/// Their names; none where the file system has none.
pub(crate) fn names(file: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    // Hardly any file has one, and hardly any has many.
    let mut list = vec![0_u8; FEW];
    let length = loop {
        match rustix::fs::flistxattr(&file, list.as_mut_slice()) {
            Ok(length) => break length,
            Err(Errno::NOTSUP | Errno::PERM) => break 0,
            Err(Errno::RANGE) if list.len() < MOST => list.resize(MOST, 0),
            Err(error) => return Err(error.into()),
        }
    };
    let all = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    let kept = |name: &&[u8]| name.starts_with(b"user.") && !name.starts_with(OVERLAY);
    Ok(all.filter(kept).map(<[u8]>::to_vec).collect())
}

/// Gives `to`, which may be open by path only, those that `from` has. Where its file system takes none, it has none.
pub(crate) fn copy(from: BorrowedFd<'_>, to: impl AsFd) -> io::Result<()> {
    let place = format!("/proc/self/fd/{}", to.as_fd().as_raw_fd());
    for name in names(from)? {
        let mut value = vec![0_u8; MOST];
        let length = match rustix::fs::fgetxattr(from, name.as_slice(), value.as_mut_slice()) {
            // Removed meanwhile, or not for this user to read.
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM) => continue,
            length => length?,
        };
        let value = value.get(..length).unwrap_or_default();
        match rustix::fs::setxattr(&*place, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::ACCESS | Errno::PERM | Errno::NOSPC) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
