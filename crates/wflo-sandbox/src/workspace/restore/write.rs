//! One entry of a stored tree, written and checked.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode};

use super::super::beneath;
use super::super::error::IoAt;
use super::super::layer::Merged;
use super::super::manifest::{Digest, Kind};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::store::blob::{copy_into, nanos, set_mtime};
use super::error::RestoreError;

/// The stored trees that contents come from, each opened once.
pub(super) struct Sources<'a> {
    store: &'a Store,
    trees: HashMap<Digest, OwnedFd>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Sources { store, trees: HashMap::new() }
    }

    /// `None` when it is not there, or is no file.
    fn open(&mut self, tree: &Digest, path: &RelPath) -> io::Result<Option<File>> {
        if !self.trees.contains_key(tree) {
            self.trees.insert(*tree, beneath::open_root(&self.store.tree(tree))?);
        }
        let Some(root) = self.trees.get(tree) else { return Ok(None) };
        let file = match beneath::open_file(root, path.as_bytes()) {
            Err(error) if beneath::is_absent(&error) => return Ok(None),
            other => other?,
        };
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| File::from(file)))
    }

    /// Makes a file or a link as `name` in `dir`, where nothing is; gives its bytes.
    ///
    /// A content is hashed as it is written, so what is there under its name has the recorded hash.
    pub(super) fn put(
        &mut self,
        (dir, name): (&OwnedFd, &[u8]),
        path: &RelPath,
        merged: &Merged,
        shown: &Path,
    ) -> Result<u64, RestoreError> {
        match &merged.entry.kind {
            Kind::Symlink { target } => {
                rustix::fs::symlinkat(target.0.as_slice(), dir, name).at("create", shown)?;
                Ok(0)
            }
            Kind::File { size, hash } => {
                let lost = || RestoreError::Lost { path: path.clone(), tree: merged.from };
                let source = self.open(&merged.from, path).at("read", shown)?.ok_or_else(lost)?;
                let mut made = File::from(beneath::create_file(dir, name, 0o600).at("create", shown)?);
                match copy_into(&source, &mut made, *size) {
                    Ok((found, length)) if (found, length) == (*hash, *size) => {}
                    Ok(_) => return Err(lost()),
                    Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(lost()),
                    Err(error) => return Err(error).at("write", shown).map_err(RestoreError::from),
                }
                let mode = Mode::from_raw_mode(merged.entry.mode & 0o777);
                rustix::fs::fchmod(&made, mode).at("set the mode of", shown)?;
                let stat = rustix::fs::fstat(&source).at("read", shown)?;
                let modified = nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
                set_mtime(&made, modified).at("set the time of", shown)?;
                Ok(*size)
            }
            // Folders are made by who fills them, and a merged tree has no removals.
            Kind::Dir { .. } | Kind::Whiteout => Ok(0),
        }
    }
}
