//! Files of a view, written to a folder of the user's choice.
//!
//! Two ways, with what a crash between two lines leaves:
//!
//! *A new folder.* 1. a staging folder beside it, locked; 2. every entry is written into it, each
//! content hashed on its way, then modes, then all is flushed; crash: the folder is not there, the
//! staging folder is emptied by the next restore to the same place; 3. one rename gives it its name;
//! crash: it is whole.
//!
//! *Over a folder that is there*, when that is asked for. 1. everything that would stop it is looked
//! for; 2. every file is staged in that folder as above; crash: as above; 3. each file is renamed over
//! its place, the folder's settings last; crash: some files are the snapshot's and whole, some are as before:
//! the same command ends it. (With its settings in it the folder is a project, and `gate` looks at the rest.)
//!
//! **Architecture Invariant:** nothing has its place before every content was found to have its
//! recorded hash; no name below the target is resolved through a link; and a project gets nothing here that
//! [`super::apply()`] would ask about.

mod error;
mod gate;
mod staging;
mod write;

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use serde::Serialize;

pub use error::RestoreError;
use staging::{Staging, sync};
use write::Sources;

use super::attributes;
use super::beneath;
use super::error::{IoAt, WorkspaceError};
use super::hidden::Hidden;
use super::layer::{Merged, MergedTree};
use super::manifest::{Entry, Kind};
use super::path::RelPath;
use super::repository::Ground;
use super::store::Store;
use super::store::blob::set_mtime_at;
use super::view::View;

/// Every place at which a test may kill a restore, in this order.
pub const RESTORE_EVENTS: [&str; 4] =
    ["restore.staged.one", "restore.staged.all", "restore.placed.one", "restore.placed.all"];

/// What is to be restored, and how.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Only these files and folders; empty means everything.
    pub paths: Vec<RelPath>,
    /// Write into a folder that is there, over files of the same names.
    pub over: bool,
    /// What is never written: the target is, or lies in, a project that hides it.
    pub hidden: Option<(PathBuf, Hidden)>,
    /// The files of that project that define workflows.
    pub definitions: Vec<RelPath>,
    /// What wflo runs of that project, outside of every sandbox.
    pub programs: Vec<RelPath>,
}

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Files.
    pub files: u64,
    /// Symbolic links.
    pub links: u64,
    /// Folders.
    pub folders: u64,
    /// Of all files, as long as they are.
    pub bytes: u64,
    /// Hidden in the project that the target lies in, and left out.
    pub hidden: Vec<RelPath>,
    /// What has none or not all of its extended attributes: the file system there does not take them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_attributes: Vec<RelPath>,
}

impl Restored {
    fn count(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File { size, .. } => (self.files, self.bytes) = (self.files + 1, self.bytes + size),
            Kind::Symlink { .. } => self.links += 1,
            Kind::Dir { .. } => self.folders += 1,
            Kind::Whiteout => {}
        }
    }
}

/// Writes the files of `view` to the folder `target`. `passed` is told of each of [`RESTORE_EVENTS`].
///
/// Who calls holds a pin on the view's trees. Modes are kept without setuid, links as they are, times
/// and extended attributes of files and folders, holes, several names of one file; the folder itself is its owner's alone (mode 700).
///
/// # Errors
/// All of [`RestoreError`].
pub fn restore(
    view: &View,
    store: &Store,
    target: &Path,
    options: &RestoreOptions,
    passed: &dyn Fn(&'static str),
) -> Result<Restored, RestoreError> {
    let target = resolved(target)?;
    let mut tree = selected(view.merged(), &options.paths)?;
    let mut done = Restored::default();
    leave_out_hidden(&mut tree, &target, options, &mut done);
    tree.values().for_each(|merged| done.count(&merged.entry));
    match target.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).at("read", &target).map_err(Into::into),
        Ok(meta) => {
            let empty =
                meta.is_dir() && std::fs::read_dir(&target).is_ok_and(|mut names| names.next().is_none());
            if !empty && options.over && target.is_dir() {
                gate::pass(&mut tree, view, store, &target, options)?;
                done.without_attributes = over(&tree, store, &target, passed)?;
                return Ok(done);
            }
            if !empty {
                return Err(RestoreError::TargetExists { target });
            }
        }
    }
    gate::pass(&mut tree, view, store, &target, options)?;
    done.without_attributes = anew(&tree, store, &target, passed)?;
    Ok(done)
}

/// The target by the real path of the folder that it lies in: links and `..` on the way are the user's.
fn resolved(target: &Path) -> Result<PathBuf, RestoreError> {
    let target = std::path::absolute(target).at("find", target)?;
    match (target.parent(), target.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize().at("open the folder", parent)?.join(name)),
        // It ends in `..`, or is the root: it is there.
        _ => Ok(target.canonicalize().at("open the folder", &target)?),
    }
}

/// The entries at `paths` and in them, with the folders that they lie in.
fn selected(mut tree: MergedTree, paths: &[RelPath]) -> Result<MergedTree, RestoreError> {
    if paths.is_empty() {
        return Ok(tree);
    }
    if let Some(path) = paths.iter().find(|path| !tree.keys().any(|found| found.is_within(path))) {
        return Err(RestoreError::NotThere { path: path.clone() });
    }
    let above: BTreeSet<RelPath> = paths.iter().flat_map(RelPath::folders).collect();
    tree.retain(|path, _| above.contains(path) || paths.iter().any(|wanted| path.is_within(wanted)));
    Ok(tree)
}

fn leave_out_hidden(tree: &mut MergedTree, target: &Path, options: &RestoreOptions, done: &mut Restored) {
    let Some((project, hidden)) = &options.hidden else { return };
    let whole = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    let Ok(inside) = whole.strip_prefix(project) else { return };
    let at = RelPath::from_bytes(inside.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let names: Vec<RelPath> = tree.keys().map(|path| at.below_with(path)).collect();
    let hidden = hidden.clone().with_git(&Ground::of(project).git_folders(names.iter()));
    tree.retain(|path, _| {
        let at = inside.join(path.as_path());
        let at = RelPath::from_bytes(at.as_os_str().as_encoded_bytes());
        let seen = at.is_ok_and(|at| hidden.by_path(&at).is_none());
        if !seen {
            done.hidden.push(path.clone());
        }
        seen
    });
}

/// A new folder, or an empty one: whole or not there. Gives what has not all of its attributes.
fn anew(
    tree: &MergedTree,
    store: &Store,
    target: &Path,
    passed: &dyn Fn(&'static str),
) -> Result<Vec<RelPath>, RestoreError> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(RestoreError::TargetExists { target: target.to_owned() });
    };
    let parent_fd = beneath::open_root(parent).at("open the folder", parent)?;
    let staging = Staging::open(parent_fd, target)?;
    let filled = fill(tree, store, &staging.folder, target, passed).and_then(|mut bare| {
        bare.extend(set_modes(tree, &staging.folder, target)?);
        set_times(tree, store, &staging.folder, target)?;
        sync(&staging.folder, target)?;
        Ok(bare)
    });
    let bare = match filled {
        Ok(bare) => bare,
        Err(error) => {
            staging.remove();
            return Err(error);
        }
    };
    passed("restore.staged.all");
    staging.become_folder(name.as_encoded_bytes(), target)?;
    passed("restore.placed.all");
    Ok(bare)
}

/// Every entry in its place below `root`, which is empty.
fn fill(
    tree: &MergedTree,
    store: &Store,
    root: &OwnedFd,
    target: &Path,
    passed: &dyn Fn(&'static str),
) -> Result<Vec<RelPath>, RestoreError> {
    let mut sources = Sources::new(store, root);
    for (path, merged) in tree {
        let shown = target.join(path.as_path());
        make_folders(root, path, merged, &shown)?;
        sources.put(path, path, merged, &shown)?;
        passed("restore.staged.one");
    }
    Ok(sources.bare)
}

/// The folders that an entry lies in, and the entry if it is one. What is no folder there goes.
fn make_folders(root: &OwnedFd, path: &RelPath, merged: &Merged, shown: &Path) -> Result<(), WorkspaceError> {
    let mut folders: Vec<RelPath> = path.folders().collect();
    folders.reverse();
    if merged.entry.is_dir() {
        folders.push(path.clone());
    }
    for folder in folders {
        let (parent, name) = beneath::open_parent(root, &folder).at("open the folder of", shown)?;
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => continue,
            Ok(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty()).at("replace", shown)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).at("read", shown),
        }
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).at("create the folder of", shown)?;
    }
    Ok(())
}

/// Modes and attributes of folders, deepest first, so that a folder is filled before it is closed. Gives those that
/// have not all of their attributes.
fn set_modes(tree: &MergedTree, root: &OwnedFd, target: &Path) -> Result<Vec<RelPath>, RestoreError> {
    let mut bare = Vec::new();
    for (path, merged) in tree.iter().rev().filter(|(_, merged)| merged.entry.is_dir()) {
        let shown = target.join(path.as_path());
        let folder = beneath::open_any(root, path.as_bytes()).at("open the folder", &shown)?;
        // The magic link of the descriptor is the very folder, whether or not it may be read.
        let magic = format!("/proc/self/fd/{}", folder.as_raw_fd());
        if !attributes::change(&folder, &merged.entry.attributes).at("mark", &shown)? {
            bare.push(path.clone());
        }
        let mode = Mode::from_raw_mode(merged.entry.mode & 0o777);
        rustix::fs::chmod(magic, mode).at("set the mode of", &shown)?;
    }
    Ok(bare)
}

/// The folders' times, once nothing is made in them any more. Those of a folder that was there before are
/// left: the names in it did change.
fn set_times(tree: &MergedTree, store: &Store, root: &OwnedFd, target: &Path) -> Result<(), RestoreError> {
    let mut sources = Sources::new(store, root);
    for (path, merged) in tree.iter().filter(|(_, merged)| merged.entry.is_dir()) {
        let shown = target.join(path.as_path());
        if let Some(time) = sources.folder_time(path, merged).at("read", &shown)? {
            let folder = beneath::open_any(root, path.as_bytes()).at("open the folder", &shown)?;
            let magic = format!("/proc/self/fd/{}", folder.as_raw_fd());
            set_mtime_at(Path::new(&magic), time).at("set the time of", &shown)?;
        }
    }
    Ok(())
}

/// Over what is there. Gives what has not all of its attributes.
fn over(
    tree: &MergedTree,
    store: &Store,
    target: &Path,
    passed: &dyn Fn(&'static str),
) -> Result<Vec<RelPath>, RestoreError> {
    let whole = target.canonicalize().at("open the folder", target)?;
    let open = || beneath::open_root(&whole).at("open the folder", &whole);
    let root = open()?;
    for (path, merged) in tree.iter().filter(|(_, merged)| !merged.entry.is_dir()) {
        let found = beneath::look(&root, path.as_bytes()).at("read", &whole.join(path.as_path()))?;
        if found.is_some_and(|(_, stat)| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            return Err(RestoreError::InTheWay { path: path.clone() });
        }
        debug_assert!(merged.entry.kind != Kind::Whiteout, "a merged tree has no removals");
    }
    let staging = Staging::open(open()?, &whole)?;
    let placed = stage(tree, store, &staging, &whole, passed).and_then(|(staged, mut bare)| {
        bare.extend(place(tree, &root, &staging, &staged, &whole, passed)?);
        Ok(bare)
    });
    staging.remove();
    let bare = placed?;
    sync(&root, &whole)?;
    passed("restore.placed.all");
    Ok(bare)
}

/// Files, each with the number that it is staged under.
type Staged<'a> = Vec<(&'a RelPath, String)>;

/// Writes each file under a number; gives the numbers, and what has not all of its attributes.
fn stage<'a>(
    tree: &'a MergedTree,
    store: &Store,
    staging: &Staging,
    target: &Path,
    passed: &dyn Fn(&'static str),
) -> Result<(Staged<'a>, Vec<RelPath>), RestoreError> {
    let mut sources = Sources::new(store, &staging.folder);
    let mut staged = Vec::new();
    for (path, merged) in tree.iter().filter(|(_, merged)| !merged.entry.is_dir()) {
        let name = staged.len().to_string();
        let place = RelPath::root().join(name.as_bytes());
        sources.put(&place, path, merged, &target.join(path.as_path()))?;
        passed("restore.staged.one");
        staged.push((path, name));
    }
    sync(&staging.folder, target)?;
    passed("restore.staged.all");
    staged.sort_by_key(|(path, _)| path.as_bytes() == gate::SETTINGS.as_bytes());
    Ok((staged, sources.bare))
}

/// Moves what was staged over its places.
fn place(
    tree: &MergedTree,
    root: &OwnedFd,
    staging: &Staging,
    staged: &[(&RelPath, String)],
    target: &Path,
    passed: &dyn Fn(&'static str),
) -> Result<Vec<RelPath>, RestoreError> {
    for (path, merged) in tree.iter().filter(|(_, merged)| merged.entry.is_dir()) {
        make_folders(root, path, merged, &target.join(path.as_path()))?;
    }
    for (path, name) in staged {
        let shown = target.join(path.as_path());
        if let Some(merged) = tree.get(*path) {
            make_folders(root, path, merged, &shown)?;
        }
        let (parent, at) = beneath::open_parent(root, path).at("open the folder of", &shown)?;
        rustix::fs::renameat(&staging.folder, name.as_bytes(), &parent, at).at("replace", &shown)?;
        passed("restore.placed.one");
    }
    set_modes(tree, root, target)
}
