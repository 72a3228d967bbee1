//! A view as plain files in a folder, for a program that no mount can show it to.
//!
//! Small things are copied (reflinked where the file system can), the large ignored folders that
//! are shown live are links to the project's own. Afterwards the folder is compared with what was
//! put there, and the difference is a layer like any other. A file whose inode, size and times are
//! those that it was given has not been written; who is not sure reads it.
//!
//! **Architecture Invariant:** a stored file is never in such a folder itself, only its content:
//! what a program writes cannot reach the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, Stat};

use super::attributes;
use super::beneath;
use super::error::{IoAt, WorkspaceError};
use super::hidden::Hidden;
use super::layer::{Bounds, Captured, MergedTree, OneFile, capture_difference};
use super::manifest::{Digest, Entry, Kind};
use super::path::RelPath;
use super::store::Store;
use super::store::blob::{copy_into, hash_file, nanos, set_mtime, set_mtime_at};
use super::view::View;

/// A change this soon after the copy could have the copy's own time.
const CLOCK_STEP: i64 = 50_000_000;

/// A folder that holds the files of a view.
#[derive(Debug)]
pub struct Copy {
    folder: PathBuf,
    base: MergedTree,
    /// Folders that only the copies of what is in them needed.
    implied: BTreeSet<RelPath>,
    live: BTreeSet<RelPath>,
    stamps: BTreeMap<RelPath, Stamp>,
    /// When the copy was complete, by the clock of its file system.
    complete: i64,
    /// Whether attributes come along with it.
    attributes: bool,
}

/// What an unwritten file keeps: inode, size, times of modification and change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    modified: i64,
    changed: i64,
}

impl Stamp {
    fn of(stat: &Stat) -> Stamp {
        Stamp {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

impl Copy {
    /// Fills `folder`, which exists and is empty.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] when a tree was pruned; [`WorkspaceError::Io`].
    pub fn make(
        view: &View,
        store: &Store,
        project: &Path,
        hidden: &Hidden,
        folder: &Path,
    ) -> Result<Copy, WorkspaceError> {
        Copy::fill(view, store, folder, true, |copy| {
            view.sealed.rest.live.iter().try_for_each(|path| copy.link(path, project, hidden))
        })
    }

    /// The same without what is shown live and without attributes: for who takes the files elsewhere, where those
    /// links lead nowhere, by a way that carries no attributes. What comes back has those that it had.
    ///
    /// # Errors
    /// As [`Copy::make`].
    pub fn without_live(view: &View, store: &Store, folder: &Path) -> Result<Copy, WorkspaceError> {
        Copy::fill(view, store, folder, false, |_| Ok(()))
    }

    fn fill(
        view: &View,
        store: &Store,
        folder: &Path,
        attributes: bool,
        link: impl FnOnce(&mut Copy) -> Result<(), WorkspaceError>,
    ) -> Result<Copy, WorkspaceError> {
        let _in_use = store.using()?;
        let mut copy = Copy {
            folder: folder.to_owned(),
            base: view.merged(),
            implied: BTreeSet::new(),
            live: BTreeSet::new(),
            stamps: BTreeMap::new(),
            complete: 0,
            attributes,
        };
        let base = std::mem::take(&mut copy.base);
        let mut several: BTreeMap<OneFile, &RelPath> = BTreeMap::new();
        for (path, merged) in &base {
            let first = merged.file().map(|file| *several.entry(file).or_insert(path));
            match first
                .filter(|first| *first != path && base.get(*first).map(|m| &m.entry) == Some(&merged.entry))
            {
                Some(first) => copy.put_name(path, first)?,
                None => copy.put(path, &merged.entry, &merged.from, store)?,
            }
        }
        copy.base = base;
        link(&mut copy)?;
        // Deepest first, so that a read-only folder is filled before it is closed.
        for (path, merged) in copy.base.iter().rev().filter(|(_, merged)| merged.entry.is_dir()) {
            let full = copy.folder.join(path.as_path());
            let mode = Mode::from_raw_mode(merged.entry.mode);
            if attributes && !merged.entry.attributes.is_empty() {
                let open = File::open(&full).at("open the folder", &full)?;
                attributes::give(open, &merged.entry.attributes).at("mark", &full)?;
            }
            rustix::fs::chmodat(CWD, &full, mode, AtFlags::empty()).at("set the mode of", &full)?;
            if let Ok(stored) = store.tree(&merged.from).join(path.as_path()).symlink_metadata() {
                let time = nanos(stored.mtime(), stored.mtime_nsec());
                set_mtime_at(&full, time).at("set the time of", &full)?;
            }
        }
        let clock =
            tempfile::tempfile_in(folder.parent().unwrap_or(folder)).at("create a file beside", folder)?;
        copy.complete = Stamp::of(&rustix::fs::fstat(&clock).at("read", folder)?).modified;
        Ok(copy)
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores what differs from what was put there; `None` when nothing does.
    ///
    /// # Errors
    /// As [`super::capture`].
    pub fn changes(&self, store: &Store, bounds: &Bounds) -> Result<Option<Captured>, WorkspaceError> {
        let root = beneath::open_root(&self.folder).at("open", &self.folder)?;
        capture_difference(root.as_fd(), store, bounds, self)
    }

    fn put(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        from: &Digest,
        store: &Store,
    ) -> Result<(), WorkspaceError> {
        let full = self.folder.join(path.as_path());
        self.parents(path)?;
        match &entry.kind {
            Kind::Dir { .. } => match fs::create_dir(&full) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.at("create the folder", &full)?,
            },
            Kind::Symlink { target } => {
                let target = std::ffi::OsStr::from_bytes(&target.0);
                std::os::unix::fs::symlink(target, &full).at("create", &full)?;
            }
            Kind::File { .. } => {
                let source = store.open_content(from, path)?;
                let stat = rustix::fs::fstat(&source).at("read", &full)?;
                let mut made = File::options()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&full)
                    .at("create", &full)?;
                copy_into(&source, &mut made, u64::MAX).at("write", &full)?;
                if self.attributes {
                    attributes::give(&made, &entry.attributes).at("mark", &full)?;
                }
                rustix::fs::fchmod(&made, Mode::from_raw_mode(entry.mode)).at("set the mode of", &full)?;
                set_mtime(&made, Stamp::of(&stat).modified).at("set the time of", &full)?;
                self.stamp(path)?;
            }
            // A merged tree has none.
            Kind::Whiteout => {}
        }
        Ok(())
    }

    /// Another name of a file that was put.
    fn put_name(&mut self, path: &RelPath, first: &RelPath) -> Result<(), WorkspaceError> {
        let full = self.folder.join(path.as_path());
        self.parents(path)?;
        // The stamps of the other names are old by that: who looks reads them.
        fs::hard_link(self.folder.join(first.as_path()), &full).at("create", &full)?;
        self.stamp(path)
    }

    /// Notes what the file at a path is like while nobody has written it.
    fn stamp(&mut self, path: &RelPath) -> Result<(), WorkspaceError> {
        let full = self.folder.join(path.as_path());
        let stat = rustix::fs::lstat(&full).at("read", &full)?;
        self.stamps.insert(path.clone(), Stamp::of(&stat));
        Ok(())
    }

    /// Makes the folders that a path lies in; those that the view does not list are not its changes.
    fn parents(&mut self, path: &RelPath) -> Result<(), WorkspaceError> {
        for parent in path.folders() {
            let full = self.folder.join(parent.as_path());
            match fs::create_dir(&full) {
                Ok(()) => {
                    self.implied.insert(parent);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).at("create the folder", &full),
            }
        }
        Ok(())
    }

    /// Links to a live folder of the project, unless the view has something else there.
    fn link(&mut self, path: &RelPath, project: &Path, hidden: &Hidden) -> Result<(), WorkspaceError> {
        let source = project.join(path.as_path());
        let full = self.folder.join(path.as_path());
        let covered = self.base.contains_key(path)
            || path.folders().any(|folder| self.base.get(&folder).is_some_and(|found| !found.entry.is_dir()));
        if covered || hidden.by_path(path).is_some() || source.symlink_metadata().is_err() {
            return Ok(());
        }
        self.parents(path)?;
        std::os::unix::fs::symlink(&source, &full).at("create", &full)?;
        self.live.insert(path.clone());
        Ok(())
    }

    /// What was put at a path.
    pub(crate) fn given(&self, path: &RelPath) -> Option<&Entry> {
        self.base.get(path).map(|merged| &merged.entry)
    }

    /// Whether a link to a live folder was put at a path.
    pub(crate) fn is_live(&self, path: &RelPath) -> bool {
        self.live.contains(path)
    }

    /// Whether a folder is there only for what was put into it.
    pub(crate) fn is_implied(&self, path: &RelPath) -> bool {
        self.implied.contains(path)
    }

    /// The paths of everything that was copied.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.base.keys()
    }

    /// Whether attributes come along with it.
    pub(crate) fn has_attributes(&self) -> bool {
        self.attributes
    }

    /// Whether a file is as it was put there, its attributes included where it can have any.
    pub(crate) fn is_unwritten(&self, path: &RelPath, file: &File, stat: &Stat, attributes: bool) -> bool {
        let Some(Entry { kind: Kind::File { size, hash }, mode, attributes: given }) = self.given(path)
        else {
            return false;
        };
        if stat.st_mode & 0o777 != *mode || u64::try_from(stat.st_size) != Ok(*size) {
            return false;
        }
        let now = Stamp::of(stat);
        let old = now.changed < self.complete - CLOCK_STEP;
        let has_its_own =
            || !attributes || attributes::read(file).is_ok_and(|found| !found.beyond && found.kept == *given);
        (old && self.stamps.get(path) == Some(&now))
            || (hash_file(file, *size).is_ok_and(|found| found.0 == *hash) && has_its_own())
    }
}
