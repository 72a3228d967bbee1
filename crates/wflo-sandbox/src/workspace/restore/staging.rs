//! The folder in which files are written before they are shown.
//!
//! Its name follows from where they go, so the next restore to the same place finds what a killed one
//! has left, and empties it. A lock on the folder says that its maker is alive.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode};
use rustix::io::Errno;

use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::hidden::RESTORE_PREFIX;
use super::super::manifest::Digest;
use super::error::RestoreError;

/// How often a folder that goes while it is opened is made anew.
const TRIES: usize = 16;

/// A locked, empty folder that is this process's own.
pub(super) struct Staging {
    parent: OwnedFd,
    name: Vec<u8>,
    pub(super) folder: OwnedFd,
}

impl Staging {
    /// Makes it in `parent`, for `target`.
    pub(super) fn open(parent: OwnedFd, target: &Path) -> Result<Staging, RestoreError> {
        let digest = Digest::of(target.as_os_str().as_encoded_bytes()).to_string();
        let name = format!("{RESTORE_PREFIX}{}", digest.get(..16).unwrap_or(&digest)).into_bytes();
        for _ in 0..TRIES {
            match rustix::fs::mkdirat(&parent, name.as_slice(), Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).at("create a folder beside", target).map_err(Into::into),
            }
            let folder = match beneath::open_dir(&parent, &name) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.at("open the folder beside", target)?,
            };
            match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    return Err(RestoreError::UnderWay { target: target.to_owned() });
                }
                other => other.at("lock the folder beside", target)?,
            }
            // Whoever had it may have given it its place just now.
            let mine = rustix::fs::fstat(&folder).at("read the folder beside", target)?;
            let there = rustix::fs::statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)) {
                let staging = Staging { parent, name, folder };
                empty(&staging.folder).at("empty the folder beside", target)?;
                return Ok(staging);
            }
        }
        Err(RestoreError::UnderWay { target: target.to_owned() })
    }

    /// Gives the whole folder its place, if nothing or an empty folder is there.
    pub(super) fn become_folder(self, name: &[u8], target: &Path) -> Result<(), RestoreError> {
        match rustix::fs::renameat(&self.parent, self.name.as_slice(), &self.parent, name) {
            Ok(()) => Ok(rustix::fs::fsync(&self.parent).at("sync the folder of", target)?),
            Err(error @ (Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR)) => {
                tracing::debug!(%error, "the place was taken meanwhile");
                self.remove();
                Err(RestoreError::TargetExists { target: target.to_owned() })
            }
            Err(error) => Err(error).at("name the folder", target).map_err(Into::into),
        }
    }

    /// Removes it and what is in it; what cannot be removed is left to the next restore.
    pub(super) fn remove(&self) {
        let removed = empty(&self.folder)
            .and_then(|()| Ok(rustix::fs::unlinkat(&self.parent, self.name.as_slice(), AtFlags::REMOVEDIR)?));
        if let Err(error) = removed {
            tracing::debug!(%error, "what was staged stays for now");
        }
    }
}

/// Removes everything in a folder of our own.
fn empty(folder: impl AsFd) -> std::io::Result<()> {
    let folder = folder.as_fd();
    for entry in beneath::names(folder)? {
        let name = entry.name.as_slice();
        if entry.kind != FileType::Directory {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            continue;
        }
        // It may have been closed already.
        rustix::fs::chmodat(folder, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
        empty(beneath::open_dir(folder, name)?)?;
        rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Everything that was written to the file system of `folder` is on the disk.
pub(super) fn sync(folder: impl AsFd, shown: &Path) -> Result<(), WorkspaceError> {
    rustix::fs::syncfs(folder).at("sync", shown)
}
