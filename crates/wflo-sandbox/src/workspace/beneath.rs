//! Opening files below a folder that somebody else may be changing.
//!
//! **Architecture Invariant:** the workspace resolves every name inside a project, an upper
//! directory or a stored tree through this module, so no `..`, symbolic link or magic link on the
//! way is ever followed, whoever swaps what at the same moment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::path::RelPath;

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A folder that the caller names by its host path and trusts, links on the way included.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open(at: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    open_by(at, path, flags, mode, BENEATH)
}

fn open_by(
    at: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    how: ResolveFlags,
) -> io::Result<OwnedFd> {
    let name: &[u8] = if path.is_empty() { b"." } else { path };
    // EAGAIN: a rename on the way made the walk ambiguous for the kernel; the next try decides.
    for _ in 0..32 {
        match rustix::fs::openat2(at, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// A folder below `at`, for reading its names.
pub(crate) fn open_dir(at: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    open(at.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// The same, `EXDEV` where something is mounted there or on the way.
pub(crate) fn open_dir_of_same_mount(at: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let how = BENEATH.union(ResolveFlags::NO_XDEV);
    open_by(at.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), how)
}

/// A file below `at`, for reading. Never blocks on a FIFO; the caller checks what it is.
pub(crate) fn open_file(at: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    open(at.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
}

/// A regular file of a stored tree, for reading. Links between folders of the tree are followed as the
/// program in a sandbox would, and never out of it; a link in the file's own place is none.
///
/// # Errors
/// The system's; `InvalidInput` for what is no regular file.
pub fn open_in_tree(tree: &Path, path: &RelPath) -> io::Result<File> {
    let root = open_root(tree)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(&root, path.as_bytes(), flags, Mode::empty(), within)?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

/// Whatever stands at `path`, a link itself included, without opening it.
pub(crate) fn open_any(at: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    open(at.as_fd(), path, OFlags::PATH, Mode::empty())
}

/// A new file below `at`, which must not exist. It can be read, too: a content that a file system has cloned
/// is hashed from there.
pub(crate) fn create_file(at: impl AsFd, path: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    open(at.as_fd(), path, flags, Mode::from_raw_mode(mode))
}

/// What stands at `path`, `None` when nothing does or when something on the way is no folder.
pub(crate) fn look(at: impl AsFd, path: &[u8]) -> io::Result<Option<(OwnedFd, Stat)>> {
    match open_any(at, path) {
        Ok(found) => {
            let stat = rustix::fs::fstat(&found)?;
            Ok(Some((found, stat)))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Errors that mean that there is nothing at the path: no entry, or a file or link on the way.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// The folder that holds `path`, and the name in it.
pub(crate) fn open_parent(at: impl AsFd, path: &RelPath) -> io::Result<(OwnedFd, &[u8])> {
    let parent = path.parent().unwrap_or_default();
    Ok((open_dir(at, parent.as_bytes())?, path.name()))
}

/// One name of a folder.
pub(crate) struct Name {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FileType,
    pub(crate) inode: u64,
}

/// The names in `dir`, sorted, so that every walk has one order.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<Name>> {
    let dir = dir.as_fd();
    #[cfg(test)]
    LISTINGS.set(LISTINGS.get() + 1);
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        found.push(Name { name: name.to_vec(), kind, inode: entry.ino() });
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
thread_local! {
    static LISTINGS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many folders were listed by this thread.
#[cfg(test)]
pub(crate) fn listings() -> usize {
    LISTINGS.get()
}

/// The target of a link opened by [`open_any`].
pub(crate) fn link_target(link: impl AsFd) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(link, c"", Vec::new())?.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn what_is_written_to_a_new_file_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = open_root(folder.path()).unwrap();
        let mut file = File::from(create_file(&root, b"f", 0o600).unwrap());
        file.write_all(b"content").unwrap();
        file.rewind().unwrap();
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "content");
    }
}
