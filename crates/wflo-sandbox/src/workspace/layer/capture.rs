//! Reading what a step wrote: out of its overlay's upper directory, or out of the copy it had.
//!
//! The directory was written by a hostile program. It is read through a descriptor, one component
//! at a time, never across a mount and never through a link; whatever a name turns into in between,
//! only what was opened is read. Counts, sizes and depth are bounded.
//!
//! Attributes are read from what is open already, and of what changed only: one call for its list, which nearly
//! always is empty. Where a way back has none (the file system of the upper directory, a container, a cloud), a file
//! keeps those that it had: what a program could not touch it did not take away.
//!
//! **Architecture Invariant:** a layer holds files, folders, links and removals. Devices, sockets,
//! FIFOs, setuid and setgid bits, owners and an overlay's notes never get into one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use super::super::attributes::{self, Attributes};
use super::super::beneath;
use super::super::copy::Copy;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::{Entry, Kind, Manifest};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::store::blob::{Content, nanos};
use super::super::store::tree::Parts;
use super::super::survey::MAX_DEPTH;
use super::Layer;
use super::captured::{Bounds, Captured, Dropped};

/// Stores what is in the upper directory `upper`; `None` when nothing is.
///
/// Call it when every process of the sandbox is dead. `upper` is a descriptor of the directory,
/// opened for reading or by path only; it stays open. Owners are not recorded: what is stored
/// belongs to wflo, and apply gives a file the owner of its place.
///
/// # Errors
/// [`WorkspaceError::TooLarge`] beyond `bounds`; [`WorkspaceError::UnsupportedMark`] for a mount
/// with `redirect_dir` or `metacopy`; [`WorkspaceError::Io`].
pub fn capture(
    upper: BorrowedFd<'_>,
    store: &Store,
    bounds: &Bounds,
) -> Result<Option<Captured>, WorkspaceError> {
    capture_over(upper, &[], store, bounds)
}

/// The same of a mount over `lowers`, top first: who needs to know what a file was before finds it there.
///
/// # Errors
/// As [`capture`].
pub fn capture_over(
    upper: BorrowedFd<'_>,
    lowers: &[PathBuf],
    store: &Store,
    bounds: &Bounds,
) -> Result<Option<Captured>, WorkspaceError> {
    let shown = Path::new("the workspace's upper directory");
    let root = beneath::open_dir(upper, b"").at("open", shown)?;
    // Most steps write nothing: nothing is locked for them.
    if beneath::names(&root).at("list", shown)?.is_empty() {
        return Ok(None);
    }
    let _adding = store.adding()?;
    let mut walk = Walk::new(store, bounds, None);
    walk.lowers = lowers;
    walk.has_attributes = attributes::are_there(&root);
    walk.folder(&root, &RelPath::root())?;
    walk.finish()
}

/// Stores how the folder `root` differs from the `copy` that was put there; `None` when it does not.
pub(crate) fn capture_difference(
    root: BorrowedFd<'_>,
    store: &Store,
    bounds: &Bounds,
    copy: &Copy,
) -> Result<Option<Captured>, WorkspaceError> {
    let shown = Path::new("the workspace");
    let root = beneath::open_dir(root, b"").at("open", shown)?;
    let _adding = store.adding()?;
    let mut walk = Walk::new(store, bounds, Some(copy));
    walk.has_attributes = copy.has_attributes() && attributes::are_there(&root);
    walk.folder(&root, &RelPath::root())?;
    walk.removals(copy);
    walk.finish()
}

struct Walk<'a> {
    store: &'a Store,
    bounds: Bounds,
    bytes: u64,
    manifest: Manifest,
    parts: Parts,
    /// Files with several names, by inode: what was read under the first, and all of them.
    several: BTreeMap<u64, (Entry, Content, Vec<RelPath>)>,
    dropped: Vec<Dropped>,
    /// What was there before, where that is not below but in the same folder.
    copy: Option<&'a Copy>,
    /// What was there before, where that is below: an overlay's lower directories, top first.
    lowers: &'a [PathBuf],
    /// Whether what is read can have attributes.
    has_attributes: bool,
    /// Of all attributes so far.
    attribute_bytes: usize,
    /// With a copy: what is there now, and the folders' entries.
    seen: BTreeMap<RelPath, Option<Entry>>,
}

/// The most that the attributes of one layer take, in bytes, names and values together: they are held in memory.
pub const MOST_ATTRIBUTES_OF_A_LAYER: usize = 16 << 20;

/// The most bytes of a path that is kept: behind that of a store or a project it still has to be one to the system.
const LONGEST_PATH: usize = 3_072;

/// An error of the system, or one of ours.
enum Failed {
    Io(io::Error),
    Workspace(WorkspaceError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Io(error)
    }
}

impl From<WorkspaceError> for Failed {
    fn from(error: WorkspaceError) -> Self {
        Failed::Workspace(error)
    }
}

impl<'a> Walk<'a> {
    fn new(store: &'a Store, bounds: &Bounds, copy: Option<&'a Copy>) -> Self {
        Walk {
            store,
            bounds: *bounds,
            bytes: 0,
            manifest: Manifest::default(),
            parts: Parts::default(),
            several: BTreeMap::new(),
            dropped: Vec::new(),
            copy,
            lowers: &[],
            has_attributes: true,
            attribute_bytes: 0,
            seen: BTreeMap::new(),
        }
    }

    fn finish(mut self) -> Result<Option<Captured>, WorkspaceError> {
        self.manifest.link(std::mem::take(&mut self.several).into_values().map(|(.., names)| names));
        if self.manifest.entries.is_empty() {
            return Ok(None);
        }
        let id = self.store.add_tree(&self.manifest, &self.parts)?;
        let layer = Layer { id, manifest: self.manifest };
        Ok(Some(Captured { layer, dropped: self.dropped, pin: self.store.pin_layer(&id)? }))
    }

    /// Enters what was copied and is gone; and for every change the folders that it lies in, so that
    /// they keep their modes.
    fn removals(&mut self, copy: &Copy) {
        let is_folder = |walk: &Self, path: &RelPath| matches!(walk.seen.get(path), Some(Some(_)));
        for path in copy.paths().filter(|path| !self.seen.contains_key(*path)).cloned().collect::<Vec<_>>() {
            // Whatever is below a folder that went, or that is none any more, went with it.
            if path.folders().all(|folder| is_folder(self, &folder)) {
                self.manifest.entries.insert(path, Entry::whiteout());
            }
        }
        let changed: Vec<RelPath> = self.manifest.entries.keys().cloned().collect();
        for folder in changed.iter().flat_map(RelPath::folders) {
            if let Some(Some(entry)) = self.seen.get(&folder) {
                self.manifest.entries.entry(folder).or_insert_with(|| entry.clone());
            }
        }
    }

    /// Enters something, unless it was copied there as it is.
    fn enter(&mut self, path: &RelPath, entry: Entry) {
        if self.copy.and_then(|copy| copy.given(path)) != Some(&entry) {
            self.manifest.entries.insert(path.clone(), entry);
        }
    }

    fn folder(&mut self, dir: &OwnedFd, at: &RelPath) -> Result<(), WorkspaceError> {
        if at.depth() > MAX_DEPTH {
            if self.bounds.leaves_out {
                self.drop(at.clone(), "more than is kept");
                return Ok(());
            }
            return Err(self.too_large("nested folders", MAX_DEPTH as u64, at));
        }
        for name in beneath::names(dir).at("list", at.as_path())? {
            let path = at.join(&name.name);
            if path.as_bytes().len() > LONGEST_PATH {
                if self.bounds.leaves_out {
                    self.drop(path, "more than is kept");
                    continue;
                }
                let top = path.folders().last().unwrap_or(path);
                return Err(self.too_large("bytes in a path", LONGEST_PATH as u64, &top));
            }
            match self.entry(dir, &path) {
                Ok(()) => {}
                Err(Failed::Workspace(error)) => return Err(error),
                Err(Failed::Io(error)) if beneath::is_absent(&error) => {
                    self.drop(path, "changed while it was read")
                }
                Err(Failed::Io(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                    if self.bounds.leaves_out {
                        self.drop(path, "more than is kept");
                        continue;
                    }
                    return Err(self.too_large("bytes", self.bounds.bytes, &path));
                }
                Err(Failed::Io(error)) => return Err(error).at("read", path.as_path()),
            }
            if self.manifest.entries.len() as u64 > self.bounds.entries {
                return Err(self.too_large("entries", self.bounds.entries, at));
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, path: &RelPath) -> Result<(), Failed> {
        let found = beneath::open_any(dir, path.name())?;
        let stat = rustix::fs::fstat(&found).map_err(io::Error::from)?;
        if let Some(copy) = self.copy {
            let kind = FileType::from_raw_mode(stat.st_mode);
            let folder = (kind == FileType::Directory).then(|| Entry::dir(stat.st_mode));
            self.seen.insert(path.clone(), folder);
            if kind == FileType::Symlink && copy.is_live(path) {
                return Ok(());
            }
        }
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 && self.copy.is_none() => {
                self.manifest.entries.insert(path.clone(), Entry::whiteout());
                return Ok(());
            }
            FileType::Directory => {
                let Some(inner) = open_same(dir, path, &found, &stat, true)? else {
                    self.drop(path.clone(), "changed while it was read");
                    return Ok(());
                };
                self.refuse_marks(&inner, path)?;
                let kind = Kind::Dir { opaque: self.is_opaque(&inner)? };
                let attributes = self.attributes(inner.as_fd(), path, true)?;
                let entry = Entry { kind, mode: stat.st_mode & 0o777, attributes };
                if let Some(seen) = self.seen.get_mut(path) {
                    *seen = Some(entry.clone());
                }
                let changed = nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
                self.parts.times.insert(path.clone(), changed);
                if self.copy.is_none_or(|copy| !copy.is_implied(path)) {
                    self.enter(path, entry);
                }
                return Ok(self.folder(&inner, path)?);
            }
            FileType::RegularFile => return self.file(dir, path, &found, &stat),
            FileType::Symlink => {
                self.enter(path, Entry::symlink(beneath::link_target(&found)?));
                return Ok(());
            }
            FileType::Socket => "socket",
            FileType::Fifo => "fifo",
            _ => "device",
        };
        self.drop(path.clone(), what);
        Ok(())
    }

    fn file(&mut self, dir: &OwnedFd, path: &RelPath, found: &OwnedFd, stat: &Stat) -> Result<(), Failed> {
        let Some(file) = open_same(dir, path, found, stat, false)? else {
            self.drop(path.clone(), "changed while it was read");
            return Ok(());
        };
        self.refuse_marks(&file, path)?;
        if stat.st_size == 0 && self.copy.is_none() && self.mark(&file, "whiteout")?.is_some() {
            self.manifest.entries.insert(path.clone(), Entry::whiteout());
            return Ok(());
        }
        let file = File::from(file);
        if self.copy.is_some_and(|copy| copy.is_unwritten(path, &file, stat, self.has_attributes)) {
            return Ok(());
        }
        // Nobody writes any more: what was read under one name is what the others have.
        if let Some((entry, content, names)) = self.several.get_mut(&stat.st_ino) {
            names.push(path.clone());
            self.manifest.entries.insert(path.clone(), entry.clone());
            self.parts.contents.insert(path.clone(), content.clone());
            return Ok(());
        }
        let mut has = self.attributes(file.as_fd(), path, false)?;
        let room = self.bounds.bytes.saturating_sub(self.bytes);
        let mtime = nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed());
        let blob = self.store.add_file(&file, stat.st_mode, mtime, &has, room)?;
        if blob.refused {
            self.drop(path.clone(), "extended attributes");
            has = Attributes::default();
        }
        self.bytes = self.bytes.saturating_add(blob.size);
        let entry = Entry::file(stat.st_mode, blob.size, blob.hash).with(has);
        if stat.st_nlink > 1 {
            let one = (entry.clone(), blob.content.clone(), vec![path.clone()]);
            self.several.insert(stat.st_ino, one);
        }
        self.manifest.entries.insert(path.clone(), entry);
        self.parts.contents.insert(path.clone(), blob.content);
        Ok(())
    }

    /// Those of a changed file or folder that is open.
    fn attributes(&mut self, file: BorrowedFd<'_>, path: &RelPath, is_dir: bool) -> io::Result<Attributes> {
        if !self.has_attributes {
            return self.before(path, is_dir);
        }
        let found = attributes::read(file)?;
        let all = self.attribute_bytes.saturating_add(found.kept.bytes());
        if found.beyond || all > MOST_ATTRIBUTES_OF_A_LAYER || !self.store.takes(&found.kept)? {
            self.drop(path.clone(), "extended attributes");
            return self.before(path, is_dir);
        }
        self.attribute_bytes = all;
        Ok(found.kept)
    }

    /// Those that a file or folder at a path had before the step.
    fn before(&self, path: &RelPath, is_dir: bool) -> io::Result<Attributes> {
        if let Some(copy) = self.copy {
            let given = copy.given(path).filter(|given| given.is_dir() == is_dir);
            return Ok(given.map(|given| given.attributes.clone()).unwrap_or_default());
        }
        for lower in self.lowers {
            let root = beneath::open_root(lower)?;
            match beneath::look(&root, path.as_bytes())? {
                Some((found, stat)) => {
                    return Ok(match FileType::from_raw_mode(stat.st_mode) {
                        FileType::RegularFile if !is_dir => attributes::read(&found)?.kept,
                        FileType::Directory if is_dir => attributes::read(&found)?.kept,
                        _ => Attributes::default(),
                    });
                }
                // Something in the way, or a folder that hides what is below: nothing further down shows.
                None => {
                    for folder in path.folders() {
                        let Some((found, stat)) = beneath::look(&root, folder.as_bytes())? else { continue };
                        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                        let is_opaque = || -> io::Result<bool> {
                            let opened = beneath::open_dir(&root, folder.as_bytes())?;
                            Ok(self.mark(&opened, "opaque")?.is_some_and(|value| value == b"y"))
                        };
                        drop(found);
                        if !is_dir || is_opaque()? {
                            return Ok(Attributes::default());
                        }
                    }
                }
            }
        }
        Ok(Attributes::default())
    }

    fn is_opaque(&self, dir: &OwnedFd) -> io::Result<bool> {
        // `x` only says that the folder may hold whiteouts of the attribute kind.
        // In a copy nothing is below, so the mark says nothing.
        Ok(self.copy.is_none() && self.mark(dir, "opaque")?.is_some_and(|value| value == b"y"))
    }

    /// Marks whose meaning depends on the lower directories of the mount that made them.
    fn refuse_marks(&self, file: &OwnedFd, path: &RelPath) -> Result<(), Failed> {
        for mark in ["redirect", "metacopy"] {
            if self.mark(file, mark)?.is_some() {
                return Err(WorkspaceError::UnsupportedMark { path: path.clone(), mark }.into());
            }
        }
        Ok(())
    }

    fn mark(&self, file: &OwnedFd, mark: &str) -> io::Result<Option<Vec<u8>>> {
        let mut value = [0u8; 8];
        match rustix::fs::fgetxattr(file, self.store.marks().name(mark), &mut value) {
            Ok(length) => Ok(Some(value.get(..length).unwrap_or(&[]).to_vec())),
            // Longer than any mark that is read here, so it is there.
            Err(Errno::RANGE) => Ok(Some(Vec::new())),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn drop(&mut self, path: RelPath, what: &str) {
        self.dropped.push(Dropped { path, what: what.to_owned() });
    }

    fn too_large(&self, what: &'static str, limit: u64, path: &RelPath) -> WorkspaceError {
        WorkspaceError::TooLarge { what, limit, path: path.clone() }
    }
}

/// Opens for reading what `found` stands for; `None` when the name means something else by now or
/// lies on another file system.
fn open_same(
    dir: &OwnedFd,
    path: &RelPath,
    found: &OwnedFd,
    stat: &Stat,
    is_dir: bool,
) -> io::Result<Option<OwnedFd>> {
    let open = || match is_dir {
        true => beneath::open_dir(dir, path.name()),
        false => beneath::open_file(dir, path.name()),
    };
    let opened = match open() {
        // A step may take its own read permission away; an ordinary user then has to give it back.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let magic = format!("/proc/self/fd/{}", found.as_raw_fd());
            let mode = Mode::from_raw_mode((stat.st_mode & 0o777) | 0o700);
            rustix::fs::chmod(magic, mode).map_err(io::Error::from)?;
            open()?
        }
        other => other?,
    };
    let now = rustix::fs::fstat(&opened).map_err(io::Error::from)?;
    let parent = rustix::fs::fstat(dir).map_err(io::Error::from)?;
    let same = now.st_ino == stat.st_ino && now.st_dev == stat.st_dev && now.st_dev == parent.st_dev;
    Ok(same.then_some(opened))
}
