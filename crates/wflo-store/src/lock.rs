//! Proof that an engine lives: a POSIX record lock on `<data>/engines/<id>.lock`.
//!
//! Owns the lock files. The kernel drops a record lock when its process ends, however it ends, and
//! keeps it while the process is stopped: liveness needs no clock. (`flock` would be shared with
//! forked children; a record lock is not.)
//!
//! The kernel also drops a process's record locks on a file when that process closes *any* descriptor
//! of the file. So:
//!
//! **Architecture Invariant:** a lock file of an engine of this process is opened once, by
//! [`EngineLock::acquire`], and never again while it is held. [`holder`] answers for such an engine
//! from memory; every other file it opens belongs to another process, so closing it drops nothing.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use wflo_core::id::EngineId;

/// The engines of this process: their ids are unique, so the folder need not be part of the key.
static OWN: LazyLock<Mutex<HashMap<EngineId, u32>>> = LazyLock::new(Mutex::default);

/// This process's proof of life; dropping it ends it and removes the file.
#[derive(Debug)]
pub struct EngineLock {
    id: EngineId,
    path: PathBuf,
    // Kept open and never duplicated: closing it is what ends the lock.
    file: Option<File>,
}

impl EngineLock {
    /// Locks `<data_dir>/engines/<id>.lock` for this process and writes `pid` into it.
    ///
    /// The file gets its name only once it is locked, so nobody can see it and believe it stale.
    ///
    /// # Errors
    /// `AlreadyExists` when this process holds that id already; any error of the file system.
    pub fn acquire(data_dir: &Path, id: EngineId, pid: u32) -> io::Result<EngineLock> {
        {
            let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
            if own.contains_key(&id) {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{id} is locked by this process"),
                ));
            }
            own.insert(id, pid);
        }
        let path = path_of(data_dir, id);
        match lock_file(&path, pid) {
            Ok(file) => Ok(EngineLock { id, path, file: Some(file) }),
            Err(error) => {
                OWN.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                Err(error)
            }
        }
    }

    /// The engine that this proves alive.
    pub fn id(&self) -> EngineId {
        self.id
    }
}

impl Drop for EngineLock {
    fn drop(&mut self) {
        // First the name, then the lock, then the memory: at no moment can another thread open the file.
        let _ = fs::remove_file(&self.path);
        drop(self.file.take());
        OWN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The process that holds an engine's lock; `None` when it is dead or never was.
///
/// A holder in another pid namespace is named by the pid that it wrote.
///
/// # Errors
/// Any error of the file system but a missing file.
pub fn holder(data_dir: &Path, id: EngineId) -> io::Result<Option<u32>> {
    // Held while the file is open, so that this process cannot begin to own it in between.
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = own.get(&id) {
        return Ok(Some(*pid));
    }
    let mut file = match OpenOptions::new().read(true).write(true).open(path_of(data_dir, id)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(lock) = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))? else { return Ok(None) };
    if let Some(pid) = lock.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()) {
        return Ok(Some(pid));
    }
    let mut written = String::new();
    file.read_to_string(&mut written)?;
    Ok(Some(written.trim().parse().unwrap_or(0)))
}

/// Removes the lock file of an engine that is proven dead. Whether there was one to remove.
///
/// # Errors
/// As [`holder`].
pub fn remove_stale(data_dir: &Path, id: EngineId) -> io::Result<bool> {
    if holder(data_dir, id)?.is_some() {
        return Ok(false);
    }
    // An id is never used again, so nobody can lock the file between the question and this.
    match fs::remove_file(path_of(data_dir, id)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn path_of(data_dir: &Path, id: EngineId) -> PathBuf {
    data_dir.join("engines").join(format!("{id}.lock"))
}

fn lock_file(path: &Path, pid: u32) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let unnamed = path.with_extension("new");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&unnamed)?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
    writeln!(file, "{pid}")?;
    fs::rename(&unnamed, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> EngineId {
        EngineId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn asking_about_ones_own_lock_does_not_lose_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = EngineLock::acquire(dir.path(), id(1), std::process::id()).unwrap();
        for _ in 0..3 {
            assert_eq!(holder(dir.path(), id(1)).unwrap(), Some(std::process::id()));
        }
        assert!(!remove_stale(dir.path(), id(1)).unwrap());
        assert_eq!(
            EngineLock::acquire(dir.path(), id(1), 1).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(lock.id(), id(1));
        drop(lock);
        assert_eq!(holder(dir.path(), id(1)).unwrap(), None);
        assert!(!dir.path().join("engines").join(format!("{}.lock", id(1))).exists());
    }

    #[test]
    fn a_file_without_a_lock_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("engines")).unwrap();
        fs::write(path_of(dir.path(), id(2)), "1\n").unwrap();
        assert_eq!(holder(dir.path(), id(2)).unwrap(), None);
        assert!(remove_stale(dir.path(), id(2)).unwrap());
        assert!(!remove_stale(dir.path(), id(2)).unwrap());
        assert_eq!(holder(dir.path(), id(3)).unwrap(), None);
    }
}
