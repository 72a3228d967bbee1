//! Where sealed trees and layers are kept: a content-addressed folder outside of every project.
//!
//! ```text
//! blobs/ab/<hash>-<mode>-<mtime>   file contents, each written once (see `blob`); with attributes, and their digest
//! trees/<digest>/manifest          what the tree holds, proven by its name
//! trees/<digest>/tree/             the tree itself, its files hard links to blobs: an overlay lower
//! sealed/<id>                      which trees one submission consists of
//! cache/<project>                  hashes of files that have not changed
//! cache/<folder>                   what is hidden in an interpreter's folder while that has not changed
//! derived/<digest>                 names a tree that is made again when it is needed
//! owners/<hash>                    the path of a database whose runs have trees here
//! apply/<project>/                 the journal of an apply that is under way
//! bare/<name>/                     the copy of a program that runs without isolation
//! ```
//! A layer is a tree whose manifest also has whiteouts and opaque folders. Everything belongs to
//! the user who runs wflo; owners inside a workspace are not recorded.
//!
//! **Architecture Invariant:** a file under `blobs/` or `trees/` is never written again once it has
//! its name, and nothing under them is ever a writable mount of a sandbox.

pub(crate) mod blob;
mod collect;
pub(crate) mod kept;
mod owner;
mod pin;
pub(crate) mod tree;
mod usage;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, XattrFlags};

use super::error::{IoAt, WorkspaceError};
use super::manifest::{Digest, Manifest};

pub use collect::{Collected, Freed};
pub use pin::Pin;
pub use usage::Usage;

const FOLDERS: [&str; 9] =
    ["blobs", "trees", "sealed", "derived", "owners", "cache", "apply", "tmp", "masks"];

/// Folders in `tmp` that no lock covers: they are empty, and gone at once.
const PROBE: &str = "probe-";

/// A state folder. Cheap to open; several processes may use one at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    marks: Marks,
}

/// Where overlayfs keeps its marks: in `trusted.` attributes when root mounts it, in `user.` ones in
/// a user namespace (`userxattr`). Only one kind is written and read. The other would be an ordinary
/// attribute to that mount: copied up with a folder, and free for the program inside to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    Trusted,
    User,
}

impl Marks {
    /// What this process can set, on the file system of `folder`.
    fn of(folder: &Path) -> Marks {
        let set = || -> io::Result<()> {
            let probe = tempfile::Builder::new().prefix(PROBE).tempdir_in(folder)?;
            Ok(rustix::fs::setxattr(probe.path(), c"trusted.overlay.opaque", b"y", XattrFlags::empty())?)
        };
        if set().is_ok() { Marks::Trusted } else { Marks::User }
    }

    /// The attribute's name.
    pub(crate) fn name(self, mark: &str) -> String {
        match self {
            Marks::Trusted => format!("trusted.overlay.{mark}"),
            Marks::User => format!("user.overlay.{mark}"),
        }
    }
}

/// Keeps [`Store::collect`] away while content is added that nothing refers to yet.
pub(crate) struct Adding {
    _lock: OwnedFd,
}

/// Held while a sandbox has trees of the store mounted.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: OwnedFd,
}

impl Store {
    /// Opens the state folder at `root`, making it (mode 700) if it is not there.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`] when it cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store, WorkspaceError> {
        let root = root.into();
        // What is stored here is as durable as the folders that it is in.
        let is_new = |folder: &&Path| !folder.exists();
        let made: Vec<PathBuf> = root.ancestors().take_while(is_new).map(Path::to_owned).collect();
        let filled = FOLDERS.iter().all(|name| root.join(name).exists());
        for folder in std::iter::once(root.clone()).chain(FOLDERS.iter().map(|name| root.join(name))) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .at("create the folder", &folder)?;
        }
        if !filled {
            sync_folder(&root)?;
        }
        for parent in made.iter().filter_map(|folder| folder.parent()) {
            sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        // Overlay lowers are resolved on every mount: a short, link-free path.
        let root = root.canonicalize().at("open the folder", &root)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).at("protect", &root)?;
        let marks = Marks::of(&root.join("tmp"));
        Ok(Store { root, marks })
    }

    /// The kind of marks that mounts of this user have.
    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the copies of programs without isolation are. It may not exist.
    pub(crate) fn bare(&self) -> PathBuf {
        self.folder("bare")
    }

    /// The folder of the tree with this digest: an overlay lower. It may not exist.
    #[must_use]
    pub fn tree(&self, digest: &Digest) -> PathBuf {
        self.tree_home(digest).join("tree")
    }

    fn tree_home(&self, digest: &Digest) -> PathBuf {
        self.root.join("trees").join(digest.to_string())
    }

    /// Whether the tree is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.tree_home(digest).join("manifest").exists()
    }

    /// Reads the manifest of a stored tree and checks it against its digest.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] and [`WorkspaceError::Damaged`].
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, WorkspaceError> {
        let path = self.tree_home(digest).join("manifest");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(WorkspaceError::Missing {
                    what: "tree",
                    id: digest.to_string(),
                    root: self.root.clone(),
                });
            }
            other => other.at("read", &path)?,
        };
        Manifest::decode(&bytes)
            .filter(|_| Digest::of(&bytes) == *digest)
            .ok_or_else(|| WorkspaceError::Damaged { what: format!("manifest {digest}") })
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn adding(&self) -> Result<Adding, WorkspaceError> {
        Ok(Adding { _lock: self.lock(FlockOperation::LockShared)? })
    }

    pub(crate) fn using(&self) -> Result<InUse, WorkspaceError> {
        let path = self.root.join("in-use");
        Ok(InUse { _lock: lock_file(&path, FlockOperation::LockShared).at("lock", &path)? })
    }

    /// Notes that a tree is made again when it is needed, so nothing else keeps it.
    pub(crate) fn note_derived(&self, digest: &Digest) -> Result<(), WorkspaceError> {
        let path = self.folder("derived").join(digest.to_string());
        fs::OpenOptions::new().create(true).append(true).open(&path).map(|_| ()).at("create", &path)
    }

    fn lock(&self, operation: FlockOperation) -> Result<OwnedFd, WorkspaceError> {
        let path = self.root.join("lock");
        lock_file(&path, operation).at("lock", &path)
    }
}

/// Opens (creating) and locks a file until the descriptor is closed. Each call has an open file
/// description of its own, so threads of one process exclude each other too.
pub(crate) fn lock_file(path: &Path, operation: FlockOperation) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
    loop {
        match rustix::fs::flock(&file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other?;
                return Ok(file);
            }
        }
    }
}

/// The names in a folder of the store; names here are ours and therefore text.
pub(crate) fn children(folder: &Path) -> Result<Vec<String>, WorkspaceError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        found.push(entry.at("list", folder)?.file_name().to_string_lossy().into_owned());
    }
    Ok(found)
}

pub(crate) fn remove_tree(path: &Path) -> Result<(), WorkspaceError> {
    let removed =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

/// Makes a rename or creation in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), WorkspaceError> {
    fs::File::open(folder).and_then(|dir| dir.sync_all()).at("sync", folder)
}
