//! Collecting what nothing refers to, while other processes go on.
//!
//! What is wanted is said by records elsewhere (the runs' database), by pins, by interrupted applies
//! and by mounted sandboxes. A pass, with what a crash between two lines leaves:
//!
//! 1. take the store's lock alone: nobody stores anything now; crash: nothing has happened;
//! 2. look which trees are pinned, *then* ask what the records refer to. In this order: a pin that is
//!    gone was let go after its record was committed, so the record is seen;
//! 3. move what nobody wants to `tmp/`, seals before trees; crash: `tmp/` is emptied by the next pass;
//! 4. let others in again, and remove what was moved;
//! 5. take the lock again and remove the contents that no tree links to; crash: the next pass does.
//!
//! **Architecture Invariant:** a tree is removed only if it was neither pinned nor referred to, in
//! that order, at one moment in which nobody could add to the store.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::super::apply::journal;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::Digest;
use super::super::seal::Record;
use super::{PROBE, Store, blob, children, lock_file, pin, remove_tree};

/// Between two tries for the lock.
const PAUSE: Duration = Duration::from_millis(5);
/// An empty folder of this age in `tmp` belongs to nobody.
const STALE: Duration = Duration::from_secs(3600);

/// What became of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collected {
    /// It went through.
    Done(Freed),
    /// Others were storing all the time: nothing was removed, a later pass will.
    Busy,
}

/// What a pass removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Sealed trees and layers.
    pub trees: u64,
    /// Disk space of file contents, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes every seal, tree and content that nothing refers to. `wanted` gives the ids of seals
    /// and layers that records refer to; it is asked while nobody can add to the store, so it must not
    /// store anything here itself. Others are waited for at most `patience`.
    ///
    /// # Errors
    /// What `wanted` fails with: then nothing was removed. [`WorkspaceError::Io`]: what was removed
    /// until then stays removed. [`WorkspaceError::Damaged`] for a wanted seal that cannot be read,
    /// since nobody knows what it needs.
    pub fn collect<E: From<WorkspaceError>>(
        &self,
        patience: Duration,
        wanted: impl FnOnce() -> Result<Vec<Digest>, E>,
    ) -> Result<Collected, E> {
        let until = Instant::now() + patience;
        let Some(alone) = self.alone(until)? else { return Ok(Collected::Busy) };
        let (trees, seals) = (self.folder("trees"), self.folder("sealed"));
        let mut keep = self.pinned()?;
        keep.extend(wanted()?.iter().map(ToString::to_string));
        let keep = self.closure(keep)?;
        let mut freed = Freed::default();
        for name in unwanted(&seals, &keep)? {
            let path = seals.join(&name);
            fs::remove_file(&path).at("remove", &path)?;
        }
        let dead_before = self.leftovers()?;
        let dead = self.graveyard()?;
        for name in unwanted(&trees, &keep)? {
            let path = trees.join(&name);
            fs::rename(&path, dead.join(&name)).at("remove", &path)?;
            freed.trees += 1;
        }
        self.bury_masks(&dead)?;
        self.forget_old()?;
        drop(alone);
        dead_before.iter().chain([&dead]).try_for_each(|path| remove_whole(path))?;
        // The contents stay until they are linked to nowhere, and nobody may link to one meanwhile.
        if let Some(_alone) = self.alone(until.max(Instant::now() + patience / 2))? {
            freed.bytes = blob::sweep(&self.folder("blobs"))?;
        }
        Ok(Collected::Done(freed))
    }

    /// Removes what processes left that were killed: what hid files from their sandboxes, and what they were
    /// about to store. Never what was stored. What somebody else may be using is left to a later time.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn tidy(&self) -> Result<(), WorkspaceError> {
        if let Some(_none_mounted) = self.unmounted()? {
            let masks = self.folder("masks");
            children(&masks)?.iter().try_for_each(|name| remove_whole(&masks.join(name)))?;
        }
        if let Some(_alone) = self.alone(Instant::now())? {
            self.leftovers()?.iter().try_for_each(|path| remove_whole(path))?;
        }
        Ok(())
    }

    /// The lock that keeps everybody out who stores something; `None` when it was not to be had.
    fn alone(&self, until: Instant) -> Result<Option<OwnedFd>, WorkspaceError> {
        let path = self.root.join("lock");
        loop {
            match lock_file(&path, FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) => return Ok(Some(lock)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).at("lock", &path),
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Seals and trees that somebody holds who is about to refer to them.
    fn pinned(&self) -> Result<BTreeSet<String>, WorkspaceError> {
        let (trees, seals) = (self.folder("trees"), self.folder("sealed"));
        let places = children(&trees)?.into_iter().map(|name| (trees.join(&name).join("manifest"), name));
        let places = places.chain(children(&seals)?.into_iter().map(|name| (seals.join(&name), name)));
        let mut held = BTreeSet::new();
        for (file, name) in places {
            if pin::is_pinned(&file)? {
                held.insert(name);
            }
        }
        Ok(held)
    }

    /// Everything that these need: a seal its trees, an interrupted apply what its journal names, a
    /// sandbox what was derived for it.
    fn closure(&self, mut keep: BTreeSet<String>) -> Result<BTreeSet<String>, WorkspaceError> {
        let seals = self.folder("sealed");
        let named: Vec<Digest> = keep
            .iter()
            .filter(|name| seals.join(name).exists())
            .filter_map(|name| name.parse().ok())
            .collect();
        for seal in named {
            let record = Record::read(self, &seal)?;
            keep.extend([record.tree.to_string(), record.rest.to_string()]);
        }
        keep.extend(journal::trees_in_use(self)?.iter().map(ToString::to_string));
        let derived = self.folder("derived");
        let names = children(&derived)?;
        match self.unmounted()? {
            // It is made again when it is needed.
            Some(_none_mounted) => {
                for name in names {
                    let path = derived.join(&name);
                    fs::remove_file(&path).at("remove", &path)?;
                }
            }
            None => keep.extend(names),
        }
        Ok(keep)
    }

    /// Held, no sandbox of any process has trees of this store mounted.
    fn unmounted(&self) -> Result<Option<OwnedFd>, WorkspaceError> {
        let path = self.root.join("in-use");
        match lock_file(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).at("lock", &path),
        }
    }

    /// What processes that died left in `tmp`, and what an earlier pass moved there.
    fn leftovers(&self) -> Result<Vec<PathBuf>, WorkspaceError> {
        let tmp = self.folder("tmp");
        let paths = children(&tmp)?.into_iter().map(|name| (name.starts_with(PROBE), tmp.join(name)));
        Ok(paths.filter(|(probe, path)| !probe || is_stale(path)).map(|(_, path)| path).collect())
    }

    fn graveyard(&self) -> Result<PathBuf, WorkspaceError> {
        let tmp = self.folder("tmp");
        let folder = tempfile::Builder::new().prefix("dead-").tempdir_in(&tmp);
        Ok(folder.at("create a folder in", &tmp)?.keep())
    }

    /// Empty files that were mounted over what is hidden: made again when they are needed.
    fn bury_masks(&self, grave: &Path) -> Result<(), WorkspaceError> {
        let Some(_none_mounted) = self.unmounted()? else { return Ok(()) };
        let masks = self.folder("masks");
        for name in children(&masks)? {
            let path = masks.join(&name);
            fs::rename(&path, grave.join(format!("masks-{name}"))).at("remove", &path)?;
        }
        Ok(())
    }
}

/// Removes a folder that another pass may be removing at the same time.
fn remove_whole(path: &Path) -> Result<(), WorkspaceError> {
    while path.symlink_metadata().is_ok() {
        remove_tree(path)?;
    }
    Ok(())
}

fn is_stale(path: &Path) -> bool {
    let age = path.symlink_metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age > STALE))
}

fn unwanted(folder: &Path, keep: &BTreeSet<String>) -> Result<Vec<String>, WorkspaceError> {
    Ok(children(folder)?.into_iter().filter(|name| !keep.contains(name)).collect())
}
