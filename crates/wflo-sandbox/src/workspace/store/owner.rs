//! Whose trees these are: the databases whose runs refer to this store.
//!
//! Two data directories of one project may share a store. Who collects must ask all of them what they
//! still need, so each says its path here before its first run is sealed.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::Digest;
use super::super::seal::write_durably;
use super::{Store, children};

impl Store {
    /// Says that runs of the database at `path` (absolute) refer to trees of this store.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn claim_for(&self, path: &Path) -> Result<(), WorkspaceError> {
        let entry = self.owner(path);
        if entry.exists() {
            return Ok(());
        }
        write_durably(&self.folder("owners"), &entry, path.as_os_str().as_bytes())
    }

    /// The databases whose runs refer to trees of this store, as far as anybody said.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn owners(&self) -> Result<Vec<PathBuf>, WorkspaceError> {
        let folder = self.folder("owners");
        let mut found = Vec::new();
        // A name of another form is a record that a crash left half-written.
        for name in children(&folder)?.iter().filter(|name| name.parse::<Digest>().is_ok()) {
            let path = folder.join(name);
            match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => found.push(PathBuf::from(std::ffi::OsString::from_vec(read.at("read", &path)?))),
            }
        }
        Ok(found)
    }

    /// The file that says so; who removes it says that nothing of that database is wanted any more.
    #[must_use]
    pub fn owner(&self, path: &Path) -> PathBuf {
        self.folder("owners").join(Digest::of(path.as_os_str().as_bytes()).to_string())
    }
}
