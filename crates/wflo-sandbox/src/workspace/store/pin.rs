//! Holding what was just stored until something durable refers to it.
//!
//! Between a seal or a capture and the commit that names it, nothing says that a tree is wanted. A
//! pin is a shared lock on the tree's own manifest (or on the seal's own record): it costs a
//! descriptor, ends with its process however that ends, and lasts while the process is stopped.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::Digest;
use super::Store;

/// Keeps stored trees from being collected for as long as it lives.
#[derive(Debug, Clone, Default)]
pub struct Pin {
    #[expect(dead_code, reason = "locks are held, not read")]
    locks: Arc<Vec<OwnedFd>>,
}

impl Store {
    /// Holds stored layers that a record which is still to be written will name.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] when one is not there (any more).
    pub fn pin(&self, layers: &[Digest]) -> Result<Pin, WorkspaceError> {
        self.pin_all(None, layers)
    }

    /// Holds a seal, with its trees, and layers over it.
    pub(crate) fn pin_all(&self, seal: Option<&Digest>, layers: &[Digest]) -> Result<Pin, WorkspaceError> {
        let _adding = self.adding()?;
        let seals =
            seal.iter().map(|seal| ("sealed workspace", self.folder("sealed").join(seal.to_string()), *seal));
        let trees = layers.iter().map(|layer| ("tree", self.tree_home(layer).join("manifest"), layer));
        let all: Vec<(&'static str, PathBuf, &Digest)> = seals.chain(trees).collect();
        if let Some((what, _, gone)) = all.iter().find(|(_, file, _)| !file.exists()) {
            return Err(WorkspaceError::Missing { what, id: gone.to_string(), root: self.root.clone() });
        }
        hold(all.into_iter().map(|(_, file, _)| file))
    }

    /// The pin of a layer that was stored under the same [`super::Adding`].
    pub(crate) fn pin_layer(&self, layer: &Digest) -> Result<Pin, WorkspaceError> {
        hold([self.tree_home(layer).join("manifest")])
    }

    /// The pin of a seal that was stored under the same [`super::Adding`]; it stands for its trees.
    pub(crate) fn pin_seal(&self, seal: &Digest) -> Result<Pin, WorkspaceError> {
        hold([self.folder("sealed").join(seal.to_string())])
    }
}

fn hold(files: impl IntoIterator<Item = PathBuf>) -> Result<Pin, WorkspaceError> {
    let locks = files.into_iter().map(|file| {
        let opened = File::open(&file).at("open", &file)?;
        // A collector holds such a lock only while it keeps everybody out who could be here.
        rustix::fs::flock(&opened, FlockOperation::LockShared).at("lock", &file)?;
        Ok(OwnedFd::from(opened))
    });
    Ok(Pin { locks: Arc::new(locks.collect::<Result<_, WorkspaceError>>()?) })
}

/// Whether anybody pins what this file stands for.
pub(super) fn is_pinned(file: &Path) -> Result<bool, WorkspaceError> {
    let opened = match File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.at("open", file)?,
    };
    match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error).at("lock", file),
    }
}
