//! Where a program without isolation lives: a folder by name, and a lock that says who has it.
//!
//! The folder has the same path for every attempt at one thing, because programs put paths into
//! what they ask for, and a replayed request must be the same bytes. So two attempts must never
//! have it at once: the lock is held by the engine, the launcher and the supervisor, and is free
//! when the last of them is gone, which is after the last process of the program.
//!
//! Sequence of a take: lock, remove what is there, make anew. A crash before the end leaves a
//! folder that nobody holds; the next take, or [`sweep`], removes it.

use crate::workspace::{IoAt, WorkspaceError, lock_file, remove_tree};
use rustix::fs::FlockOperation;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an earlier attempt's processes may take to die.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that is held.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    held: OwnedFd,
}

impl Place {
    /// Takes the folder `name` of `all`, empty; waits until whoever has it is gone.
    pub(crate) fn take(all: &Path, name: &str) -> Result<Place, WorkspaceError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(all).at("create the folder", all)?;
        let folder = all.join(name);
        let lock = lock_of(&folder);
        let deadline = Instant::now() + PATIENCE;
        let held = loop {
            match take_lock(&lock) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                taken => break taken.at("take the folder of an earlier attempt, whose lock is", &lock)?,
            }
        };
        let place = Place { folder, held };
        open_up(&place.folder);
        remove_tree(&place.folder)?;
        for inner in [&place.folder, &place.home(), &place.temporary()] {
            fs::DirBuilder::new().mode(0o700).create(inner).at("create the folder", inner)?;
        }
        Ok(place)
    }

    /// The folder of the workspace, made now; it has the project's name, which programs may read.
    pub(crate) fn work(&self, project: &Path) -> Result<PathBuf, WorkspaceError> {
        let work = self.folder.join("work").join(project.file_name().unwrap_or("project".as_ref()));
        fs::create_dir_all(&work).at("create the folder", &work)?;
        Ok(work)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// The lock, for somebody else to hold as well.
    pub(crate) fn lock(&self) -> Result<OwnedFd, WorkspaceError> {
        self.held.try_clone().at("hold the lock", &lock_of(&self.folder))
    }

    /// Removes it with all that is in it; it must not be used again.
    pub(crate) fn remove(&self) {
        if let Err(error) = remove(&self.folder) {
            tracing::warn!(%error, "the copy of a workspace could not be removed");
        }
    }
}

fn lock_of(folder: &Path) -> PathBuf {
    folder.with_added_extension("lock")
}

/// Takes the lock at a path, which its last holder may just have removed.
fn take_lock(path: &Path) -> io::Result<OwnedFd> {
    loop {
        let held = lock_file(path, FlockOperation::NonBlockingLockExclusive)?;
        let own = rustix::fs::fstat(&held)?;
        match rustix::fs::stat(path) {
            Ok(named) if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino) => return Ok(held),
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// To be called with the lock held, which goes last.
fn remove(folder: &Path) -> Result<(), WorkspaceError> {
    open_up(folder);
    remove_tree(folder)?;
    remove_tree(&lock_of(folder))
}

/// An ordinary user cannot empty a folder that its owner may not write: a program may leave such.
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Removes the folders of `all` that nobody holds.
pub(crate) fn sweep(all: &Path) -> Result<(), WorkspaceError> {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let lock = entry.path();
        let Some(folder) = lock.to_str().and_then(|lock| lock.strip_suffix(".lock")) else { continue };
        if let Ok(_held) = take_lock(&lock) {
            remove(Path::new(folder))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_empty_and_had_by_one_at_a_time() {
        let all = tempfile::tempdir().unwrap();
        let first = Place::take(all.path(), "run-step").unwrap();
        fs::write(first.work(Path::new("/x/project")).unwrap().join("left"), "").unwrap();
        assert!(take_lock(&lock_of(&first.folder)).is_err(), "it is held");
        sweep(all.path()).unwrap();
        assert!(first.folder.join("work/project/left").exists(), "what is held is not swept");
        let held_elsewhere = first.lock().unwrap();
        drop(first);
        assert!(take_lock(&all.path().join("run-step.lock")).is_err(), "a supervisor may still hold it");
        drop(held_elsewhere);
        let again = Place::take(all.path(), "run-step").unwrap();
        assert!(!again.folder.join("work").exists(), "nothing of the attempt before");
        again.remove();
        assert_eq!(fs::read_dir(all.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_engine_left_is_swept() {
        let all = tempfile::tempdir().unwrap();
        let place = Place::take(all.path(), "run-step").unwrap();
        let shut = place.work(Path::new("/x/project")).unwrap();
        fs::write(shut.join("file"), "").unwrap();
        fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
        drop(place);
        sweep(all.path()).unwrap();
        assert_eq!(fs::read_dir(all.path()).unwrap().count(), 0);
    }
}
