//! One entry of a stored tree, written and checked.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode};

use super::super::attributes;
use super::super::beneath;
use super::super::error::IoAt;
use super::super::layer::{Merged, OneFile};
use super::super::manifest::{Digest, Entry, Kind};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::store::blob::{Nanos, copy_into, nanos, set_mtime};
use super::error::RestoreError;

/// The stored trees that contents come from, each opened once, and the folder below which they are written.
pub(super) struct Sources<'a> {
    store: &'a Store,
    root: &'a OwnedFd,
    trees: HashMap<Digest, OwnedFd>,
    /// Files with several names: where the first of them was written.
    several: HashMap<OneFile, (RelPath, Entry)>,
    /// What was written without all of its attributes: the file system there does not take them.
    pub(super) bare: Vec<RelPath>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(store: &'a Store, root: &'a OwnedFd) -> Self {
        Sources { store, root, trees: HashMap::new(), several: HashMap::new(), bare: Vec::new() }
    }

    fn tree(&mut self, tree: &Digest) -> io::Result<&OwnedFd> {
        Ok(match self.trees.entry(*tree) {
            std::collections::hash_map::Entry::Occupied(opened) => opened.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(beneath::open_root(&self.store.tree(tree))?)
            }
        })
    }

    /// When the names in a folder last changed; `None` when its tree has no such folder.
    pub(super) fn folder_time(&mut self, path: &RelPath, merged: &Merged) -> io::Result<Option<Nanos>> {
        let found = beneath::look(self.tree(&merged.from)?, path.as_bytes())?;
        let folder = found.filter(|(_, stat)| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        Ok(folder.map(|(_, stat)| nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed())))
    }

    /// `None` when it is not there, or is no file.
    fn open(&mut self, tree: &Digest, path: &RelPath) -> io::Result<Option<File>> {
        let root = self.tree(tree)?;
        let file = match beneath::open_file(root, path.as_bytes()) {
            Err(error) if beneath::is_absent(&error) => return Ok(None),
            other => other?,
        };
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| File::from(file)))
    }

    /// Makes a file or a link at `place`, where nothing is; gives its bytes.
    ///
    /// A content is hashed as it is written, so what is there under its name has the recorded hash.
    pub(super) fn put(
        &mut self,
        place: &RelPath,
        path: &RelPath,
        merged: &Merged,
        shown: &Path,
    ) -> Result<u64, RestoreError> {
        let (dir, name) = &beneath::open_parent(self.root, place).at("open the folder of", shown)?;
        match &merged.entry.kind {
            Kind::Symlink { target } => {
                rustix::fs::symlinkat(target.0.as_slice(), dir, *name).at("create", shown)?;
                Ok(0)
            }
            Kind::File { size, .. } if self.link(dir, name, merged) => Ok(*size),
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
                if !attributes::give(&made, &merged.entry.attributes).at("mark", shown)? {
                    self.bare.push(path.clone());
                }
                let mode = Mode::from_raw_mode(merged.entry.mode & 0o777);
                rustix::fs::fchmod(&made, mode).at("set the mode of", shown)?;
                let stat = rustix::fs::fstat(&source).at("read", shown)?;
                let modified = nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
                set_mtime(&made, modified).at("set the time of", shown)?;
                if let Some(file) = merged.file() {
                    self.several.insert(file, (place.clone(), merged.entry.clone()));
                }
                Ok(*size)
            }
            // Folders are made by who fills them, and a merged tree has no removals.
            Kind::Dir { .. } | Kind::Whiteout => Ok(0),
        }
    }

    /// Makes another name of a file that was written; false where it must be written itself.
    fn link(&self, dir: &OwnedFd, name: &[u8], merged: &Merged) -> bool {
        let Some((first, entry)) = merged.file().and_then(|file| self.several.get(&file)) else {
            return false;
        };
        let link = || -> io::Result<()> {
            let found = beneath::open_any(self.root, first.as_bytes())?;
            // The magic link of the descriptor is the very file.
            let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
            Ok(rustix::fs::linkat(CWD, magic, dir, name, AtFlags::SYMLINK_FOLLOW)?)
        };
        *entry == merged.entry && link().is_ok()
    }
}
