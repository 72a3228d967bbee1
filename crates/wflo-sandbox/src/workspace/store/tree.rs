//! Building a stored tree: every file a hard link to its blob, every mark as overlayfs reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::super::attributes;
use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::{Digest, Kind, Manifest};
use super::super::path::RelPath;
use super::blob::{Content, Nanos};
use super::{Marks, Store, blob, sync_folder};

/// Above so many files one sync of the file system is cheaper than one of each file.
const SYNC_EACH: usize = 32;

/// What a tree is built of, beside its manifest.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// The contents of its files.
    pub(crate) contents: BTreeMap<RelPath, Content>,
    /// When the names in a folder last changed; a folder that is not here has the time of its making.
    pub(crate) times: BTreeMap<RelPath, Nanos>,
}

impl Store {
    /// Stores the tree that `manifest` describes, its files taken from `parts` by hard link,
    /// and gives its digest. Durable when it returns. A tree that is there is left alone: times are no part
    /// of what a tree is.
    pub(crate) fn add_tree(&self, manifest: &Manifest, parts: &Parts) -> Result<Digest, WorkspaceError> {
        let canonical = manifest.encode();
        let digest = Digest::of(&canonical);
        if self.has(&digest) {
            // Whoever stored it may not have come to this yet.
            sync_folder(&self.folder("trees"))?;
            return Ok(digest);
        }
        let tmp = self.folder("tmp");
        let staging = tempfile::TempDir::new_in(&tmp).at("create a folder in", &tmp)?;
        let tree = staging.path().join("tree");
        fs::create_dir(&tree).at("create the folder", &tree)?;
        self.fill(&tree, manifest, parts)?;
        let list = staging.path().join("manifest");
        File::create(&list).and_then(|mut file| file.write_all(&canonical)).at("write", &list)?;
        self.make_durable(staging.path(), &tree, manifest)?;
        for (path, content) in &parts.contents {
            let full = tree.join(path.as_path());
            content.settle(&full).at("name the content of", &full)?;
        }

        let home = self.tree_home(&digest);
        match fs::rename(staging.path(), &home) {
            Ok(()) => sync_folder(&self.folder("trees"))?,
            // Somebody else stored the same tree at the same moment.
            Err(_) if self.has(&digest) => sync_folder(&self.folder("trees"))?,
            Err(error) => return Err(error).at("store the tree at", &home),
        }
        Ok(digest)
    }

    fn fill(&self, tree: &Path, manifest: &Manifest, parts: &Parts) -> Result<(), WorkspaceError> {
        for (path, entry) in &manifest.entries {
            let full = tree.join(path.as_path());
            match &entry.kind {
                Kind::Dir { opaque } => {
                    fs::create_dir_all(&full).at("create the folder", &full)?;
                    if *opaque {
                        mark_opaque(&full, self.marks()).at("mark", &full)?;
                    }
                }
                Kind::File { hash, .. } => {
                    let blob = parts.contents.get(path).ok_or_else(|| WorkspaceError::Missing {
                        what: "content",
                        id: hash.to_string(),
                        root: self.root.clone(),
                    })?;
                    with_folder(&full, || link_or_copy(blob.path(), &full)).at("store", &full)?;
                }
                Kind::Symlink { target } => {
                    let to = std::ffi::OsStr::from_bytes(&target.0);
                    with_folder(&full, || std::os::unix::fs::symlink(to, &full)).at("store", &full)?;
                }
                Kind::Whiteout => with_folder(&full, || whiteout(&full)).at("mark", &full)?,
            }
        }
        // Deepest first, so that a read-only folder is filled before it is closed.
        for (path, entry) in manifest.entries.iter().rev().filter(|(_, entry)| entry.is_dir()) {
            let full = tree.join(path.as_path());
            if !entry.attributes.is_empty() {
                let folder = File::open(&full).at("open the folder", &full)?;
                if !attributes::give(&folder, &entry.attributes).at("mark", &full)? {
                    tracing::debug!(folder = %path, "the store does not take its attributes");
                }
            }
            let mode = Mode::from_raw_mode(blob::stored_folder_mode(entry.mode));
            rustix::fs::chmodat(CWD, &full, mode, AtFlags::empty()).at("set the mode of", &full)?;
            if let Some(time) = parts.times.get(path) {
                blob::set_mtime_at(&full, *time).at("set the time of", &full)?;
            }
        }
        Ok(())
    }

    fn make_durable(&self, staging: &Path, tree: &Path, manifest: &Manifest) -> Result<(), WorkspaceError> {
        if manifest.entries.len() > SYNC_EACH {
            let root = beneath::open_root(&self.root).at("open", &self.root)?;
            return rustix::fs::syncfs(&root).at("sync", &self.root);
        }
        // With the folders that are only implied.
        let folders: BTreeSet<RelPath> = manifest.entries.keys().flat_map(RelPath::folders).collect();
        let listed = manifest.entries.iter().filter(|(path, entry)| match entry.kind {
            Kind::File { .. } => true,
            Kind::Dir { .. } => !folders.contains(*path),
            Kind::Symlink { .. } | Kind::Whiteout => false,
        });
        for path in listed.map(|(path, _)| path).chain(&folders) {
            sync_folder(&tree.join(path.as_path()))?;
        }
        sync_folder(&staging.join("manifest"))?;
        sync_folder(tree)?;
        sync_folder(staging)
    }

    /// Reads every file of a stored tree again and compares it with the manifest.
    ///
    /// # Errors
    /// [`WorkspaceError::Damaged`] with the first path that differs; [`WorkspaceError::Missing`].
    pub fn verify(&self, digest: &Digest) -> Result<(), WorkspaceError> {
        let manifest = self.manifest(digest)?;
        let tree = self.tree(digest);
        let root = beneath::open_root(&tree).at("open", &tree)?;
        for (path, entry) in &manifest.entries {
            let fine = stands(&root, path, &entry.kind).at("read", &tree.join(path.as_path()))?;
            if !fine {
                return Err(WorkspaceError::Damaged { what: format!("file {path} of tree {digest}") });
            }
        }
        Ok(())
    }

    /// Opens a file of a stored tree.
    pub(crate) fn open_content(&self, digest: &Digest, path: &RelPath) -> Result<File, WorkspaceError> {
        let tree = self.tree(digest);
        let root = beneath::open_root(&tree).at("open", &tree)?;
        beneath::open_file(&root, path.as_bytes()).map(File::from).at("read", &tree.join(path.as_path()))
    }
}

fn stands(root: &impl std::os::fd::AsFd, path: &RelPath, kind: &Kind) -> io::Result<bool> {
    let Some((found, stat)) = beneath::look(root, path.as_bytes())? else { return Ok(false) };
    let actual = FileType::from_raw_mode(stat.st_mode);
    Ok(match kind {
        Kind::Dir { .. } => actual == FileType::Directory,
        Kind::Whiteout => actual == FileType::CharacterDevice && stat.st_rdev == 0,
        Kind::Symlink { target } => actual == FileType::Symlink && beneath::link_target(&found)? == target.0,
        Kind::File { size, hash } => {
            actual == FileType::RegularFile && {
                let file = File::from(beneath::open_file(root, path.as_bytes())?);
                u64::try_from(stat.st_size) == Ok(*size) && blob::hash_file(&file, u64::MAX)?.0 == *hash
            }
        }
    })
}

fn with_folder(full: &Path, make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(full.parent().unwrap_or(full))?;
            make()
        }
        other => other,
    }
}

fn link_or_copy(blob: &Path, full: &Path) -> io::Result<()> {
    match fs::hard_link(blob, full) {
        // A file system has a bound on links per file; an empty `__init__.py` reaches it.
        Err(error) if error.raw_os_error() == Some(Errno::MLINK.raw_os_error()) => copy_whole(blob, full),
        other => other,
    }
}

/// All that belongs to a content, as a link would have it.
fn copy_whole(blob: &Path, full: &Path) -> io::Result<()> {
    let source = File::open(blob)?;
    let stat = rustix::fs::fstat(&source)?;
    let mut copy = File::options().read(true).write(true).create_new(true).open(full)?;
    blob::copy_into(&source, &mut copy, u64::MAX)?;
    attributes::give(&copy, &attributes::read(&source)?.kept)?;
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o777))?;
    blob::set_mtime(&copy, blob::nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed()))
}

pub(super) fn mark_opaque(folder: &Path, marks: Marks) -> io::Result<()> {
    Ok(rustix::fs::setxattr(folder, marks.name("opaque"), b"y", XattrFlags::empty())?)
}

/// A character device 0:0, which any user may make since Linux 5.8.
pub(crate) fn whiteout(full: &Path) -> io::Result<()> {
    let device = rustix::fs::makedev(0, 0);
    Ok(rustix::fs::mknodat(CWD, full, FileType::CharacterDevice, Mode::empty(), device)?)
}
