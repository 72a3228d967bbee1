//! Which engines live: each holds a lock of its name in the store, as long as it does.
//!
//! What an engine makes elsewhere bears its name. What bears the name of an engine whose lock is free belongs to
//! nobody, and whoever finds it removes it.
//!
//! Sequence: the lock is taken before anything is made, and is the last thing to go.

use crate::workspace::{Store, lock_file, remove_tree};
use rustix::fs::FlockOperation;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What says that an engine lives.
#[derive(Debug)]
pub(crate) struct Life {
    /// The engine's own name.
    pub(crate) name: String,
    lock: PathBuf,
    _held: OwnedFd,
}

/// Where the locks are.
pub(crate) fn folder(store: &Store) -> PathBuf {
    store.root().join("engines")
}

impl Life {
    /// Begins one.
    ///
    /// # Errors
    /// That its lock cannot be made.
    pub(crate) fn begin(store: &Store) -> io::Result<Life> {
        let folder = folder(store);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let name = uuid::Uuid::now_v7().to_string();
        let lock = folder.join(format!("{name}.lock"));
        let held = lock_file(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Life { name, lock, _held: held })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = remove_tree(&self.lock);
    }
}

/// Whether the engine of this name still lives.
pub(crate) fn lives(folder: &Path, name: &str) -> bool {
    // A name is one of ours, or that of no lock.
    if uuid::Uuid::parse_str(name).is_err() {
        return false;
    }
    let lock = folder.join(format!("{name}.lock"));
    if !lock.exists() {
        return false;
    }
    match lock_file(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(_held) => false,
        Err(_) => true,
    }
}

/// Removes the locks of engines that are gone.
pub(crate) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_lock = path.extension().is_some_and(|ending| ending == "lock");
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if is_lock && !lives(folder, name) {
            let _ = remove_tree(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_lives_as_long_as_it_holds_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let life = Life::begin(&store).unwrap();
        let (name, folder) = (life.name.clone(), folder(&store));
        assert!(lives(&folder, &name));
        drop(life);
        assert!(!lives(&folder, &name));
        let left = folder.join(format!("{name}.lock"));
        std::fs::write(&left, "").unwrap();
        assert!(!lives(&folder, &name), "a lock that nobody holds is that of a dead one");
        assert!(!lives(&folder, "../../etc/passwd"));
        sweep(&folder);
        assert!(!left.exists());
    }
}
