//! The project while changes are applied to it: looked at through one descriptor, never by name.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::super::attributes::{self, Attributes};
use super::super::beneath::{self, Name};
use super::super::error::{IoAt, WorkspaceError};
use super::super::folding;
use super::super::hidden::beside::database_of;
use super::super::hidden::git::Folders;
use super::super::hidden::{Hidden, Reason, Templates};
use super::super::manifest::{Entry, Kind};
use super::super::path::RelPath;
use super::super::store::blob::hash_file;
use super::super::survey::{SeenKind, survey};
use super::guarded;
use super::sensitive::Sensitive;

pub(super) struct Place {
    path: PathBuf,
    root: OwnedFd,
    device: u64,
    hidden: Hidden,
    /// What Git has of its templates.
    templates: OnceCell<Templates>,
    /// What is hidden, looked for when a file with several names or a link is met.
    found: OnceCell<Found>,
    /// The names of folders that were asked for one; `None` for one that is not there. Asked before anything is
    /// written and never after, so nothing that this writes makes it stale. What somebody else does meanwhile is
    /// met by the steps.
    listed: RefCell<HashMap<RelPath, Option<HashSet<Vec<u8>>>>>,
    /// What folders said to whether two names are one in them.
    folding: RefCell<HashMap<RelPath, Option<bool>>>,
}

/// What is hidden in the project as it is.
struct Found {
    /// Hidden files that have other names, by device and inode.
    linked: HashSet<(u64, u64)>,
    /// Sorted; nothing in another.
    hidden: Vec<RelPath>,
}

impl Place {
    pub(super) fn open(project: &Path, hidden: Hidden) -> Result<Place, WorkspaceError> {
        let path = project.canonicalize().at("open the project", project)?;
        let root = beneath::open_root(&path).at("open the project", &path)?;
        let device = rustix::fs::fstat(&root).at("open the project", &path)?.st_dev;
        let (found, templates) = (OnceCell::new(), OnceCell::new());
        let (listed, folding) = (RefCell::default(), RefCell::default());
        Ok(Place { path, root, device, hidden, templates, found, listed, folding })
    }

    /// Which folders are Git's though they are not called so.
    pub(super) fn knows(&mut self, git: &Folders) {
        self.hidden = self.hidden.clone().with_git(git);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Why the path may not be touched: by its name, or because what stands there is another name
    /// of a hidden file, or a template that Git does not have as it is.
    pub(super) fn hidden(&self, path: &RelPath) -> Result<Option<Reason>, WorkspaceError> {
        match self.hidden_still(path)? {
            None if self.hidden.is_template(path) => self.template(path),
            other => Ok(other),
        }
    }

    fn template(&self, path: &RelPath) -> Result<Option<Reason>, WorkspaceError> {
        let found = beneath::look(&self.root, path.as_bytes()).at("read", &self.shown(path))?;
        let Some((_, stat)) = found else { return Ok(None) };
        let (folder, name) = beneath::open_parent(&self.root, path).at("read", &self.shown(path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let templates = self.templates.get_or_init(|| Templates::of(&self.root, &self.hidden));
        let has = templates.have(&folder, path, &Name { name: name.to_vec(), kind, inode: stat.st_ino });
        Ok((!has && kind != FileType::Directory).then_some(Reason::Environment))
    }

    /// The same of what stands there as it was planned, when a part of it may have been written: Git's part, too.
    pub(super) fn hidden_still(&self, path: &RelPath) -> Result<Option<Reason>, WorkspaceError> {
        if let Some(reason) = self.hidden.bars(path) {
            return Ok(Some(reason));
        }
        let found = beneath::look(&self.root, path.as_bytes()).at("read", &self.shown(path))?;
        if let Some((_, stat)) = &found
            && self.is_hidden_file(stat)?
        {
            return Ok(Some(Reason::HardLink));
        }
        if let Some(database) = database_of(path)
            && let Some((_, stat)) =
                beneath::look(&self.root, database.as_bytes()).at("read", &self.shown(path))?
            && self.is_hidden_file(&stat)?
        {
            return Ok(Some(Reason::HardLink));
        }
        guarded::hidden_by_content(path, &self.root, &self.hidden).at("read", &self.shown(path))
    }

    /// Why the path needs the user's word because of what stands in the project.
    pub(super) fn guarded(
        &self,
        path: &RelPath,
        programs: &[RelPath],
    ) -> Result<Option<Sensitive>, WorkspaceError> {
        guarded::why(path, &self.root, programs).at("read", &self.shown(path))
    }

    /// Whether this is a hidden file under whatever name.
    pub(super) fn is_hidden_file(&self, stat: &Stat) -> Result<bool, WorkspaceError> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        if self.hidden.by_inode(stat.st_dev, stat.st_ino) {
            return Ok(true);
        }
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        Ok(self.found()?.linked.contains(&(stat.st_dev, stat.st_ino)))
    }

    /// Whether a path is hidden, or something in it is.
    pub(super) fn hides(&self, path: &RelPath) -> Result<bool, WorkspaceError> {
        // What is shown as a copy lies in such a folder.
        if self.hidden(path)?.is_some() || self.hidden.by_path(&path.join(b"config")).is_some() {
            return Ok(true);
        }
        let hidden = &self.found()?.hidden;
        if path.as_bytes().is_empty() {
            return Ok(!hidden.is_empty());
        }
        let first = hidden.partition_point(|known| *known < path.below().0);
        Ok(hidden.get(first).is_some_and(|known| known.is_within(path)))
    }

    fn found(&self) -> Result<&Found, WorkspaceError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = survey(&self.path, &self.root, &self.hidden)?;
        let seen = found.plain.iter().chain(found.ignored.iter().flat_map(|top| &top.seen));
        let copies = seen.filter(|seen| seen.kind == SeenKind::Replaced).map(|seen| seen.path.clone());
        let mut hidden: Vec<RelPath> = copies.chain(found.hidden.into_iter().map(|(path, _)| path)).collect();
        hidden.sort_unstable();
        Ok(self.found.get_or_init(|| Found { linked: found.linked, hidden }))
    }

    /// What stands at a path now, read and hashed.
    pub(super) fn entry(&self, path: &RelPath) -> Result<Option<Entry>, WorkspaceError> {
        entry_at(&self.root, path.as_bytes()).at("read", &self.shown(path))
    }

    /// The names in a folder; none when there is no folder.
    pub(super) fn names(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, WorkspaceError> {
        let names = beneath::open_dir(&self.root, path.as_bytes()).and_then(beneath::names);
        match names {
            Err(error) if beneath::is_absent(&error) => Ok(Vec::new()),
            other => {
                let names = other.at("list", &self.shown(path))?;
                Ok(names.into_iter().map(|name| name.name).collect())
            }
        }
    }

    /// The device of the folder at a path; `None` when there is none.
    pub(super) fn folder_device(&self, path: &RelPath) -> Result<Option<u64>, WorkspaceError> {
        match beneath::open_dir(&self.root, path.as_bytes()) {
            Err(error) if beneath::is_absent(&error) => Ok(None),
            other => {
                let dir = other.at("open the folder", &self.shown(path))?;
                Ok(Some(rustix::fs::fstat(&dir).at("open the folder", &self.shown(path))?.st_dev))
            }
        }
    }

    /// Whether what is found at a path is listed under that very name.
    pub(super) fn is_spelt(&self, path: &RelPath) -> Result<bool, WorkspaceError> {
        let folder = path.parent().unwrap_or_default();
        // Gone meanwhile: what comes next notices.
        let has = |names: Option<&HashSet<Vec<u8>>>| names.is_none_or(|names| names.contains(path.name()));
        let known = self.listed.borrow().get(&folder).map(|names| has(names.as_ref()));
        if let Some(known) = known {
            return Ok(known);
        }
        let names: Option<HashSet<Vec<u8>>> =
            match beneath::open_dir(&self.root, folder.as_bytes()).and_then(beneath::names) {
                Err(error) if beneath::is_absent(&error) => None,
                other => {
                    let names = other.at("list the folder of", &self.shown(path))?;
                    Some(names.into_iter().map(|name| name.name).collect())
                }
            };
        let found = has(names.as_ref());
        self.listed.borrow_mut().insert(folder, names);
        Ok(found)
    }

    /// Whether two names can be one where `path` is to be: as the nearest folder above it says that can tell.
    pub(super) fn folds(&self, path: &RelPath) -> Result<bool, WorkspaceError> {
        let mut above = path.parent();
        while let Some(folder) = above {
            if let Some(told) = self.folder_folds(&folder)? {
                return Ok(told);
            }
            above = folder.parent();
        }
        Ok(false)
    }

    /// What one folder says; `None` where it is not there or cannot tell.
    fn folder_folds(&self, folder: &RelPath) -> Result<Option<bool>, WorkspaceError> {
        let known = self.folding.borrow().get(folder).copied();
        if let Some(told) = known {
            return Ok(told);
        }
        let told = match beneath::open_dir(&self.root, folder.as_bytes()) {
            Err(error) if beneath::is_absent(&error) => None,
            other => {
                let open = other.at("open the folder", &self.shown(folder))?;
                folding::folds(&open).at("list", &self.shown(folder))?
            }
        };
        self.folding.borrow_mut().insert(folder.clone(), told);
        Ok(told)
    }

    pub(super) fn shown(&self, path: &RelPath) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// Whether a file or folder here can have these attributes, and what stands at `path` has no more than are read
    /// of one: those are left as they are. Nothing is left of the trial.
    pub(super) fn takes(&self, path: &RelPath, wanted: &Attributes) -> Result<bool, WorkspaceError> {
        let shown = self.shown(path);
        let found = beneath::look(&self.root, path.as_bytes()).at("read", &shown)?;
        let beyond = match &found {
            Some((found, stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink => {
                attributes::read(found).at("read", &shown)?.beyond
            }
            _ => false,
        };
        if beyond {
            return Ok(false);
        }
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.root, c".", flags, Mode::from_raw_mode(0o600)) {
            Ok(unnamed) => attributes::give(unnamed, wanted).at("write", &shown),
            // A file system without such files: it has attributes or none.
            Err(_) => Ok(attributes::are_there(&self.root)),
        }
    }
}

/// What stands at `path` below `at`. Something that a workspace cannot hold (a socket, a device) is
/// given as a whiteout, which equals no side of a merge.
pub(in crate::workspace) fn entry_at(at: impl AsFd, path: &[u8]) -> io::Result<Option<Entry>> {
    let at = at.as_fd();
    let Some((found, stat)) = beneath::look(at, path)? else { return Ok(None) };
    let mode = stat.st_mode & 0o777;
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Entry::dir(mode).with(attributes::read(&found)?.kept),
        FileType::Symlink => Entry::symlink(beneath::link_target(&found)?),
        FileType::RegularFile => {
            let file = match beneath::open_file(at, path) {
                Err(error) if beneath::is_absent(&error) => return Ok(None),
                other => File::from(other?),
            };
            let now = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(now.st_mode) != FileType::RegularFile {
                return Ok(Some(Entry::plain(Kind::Whiteout, mode)));
            }
            let (hash, size) = hash_file(&file, u64::MAX)?;
            Entry::file(now.st_mode, size, hash).with(attributes::read(&file)?.kept)
        }
        _ => Entry::plain(Kind::Whiteout, mode),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::super::hidden::HideRules;
    use super::*;

    #[test]
    fn a_folder_is_listed_once_however_many_names_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let full = folder.path().join("full");
        std::fs::create_dir(&full).unwrap();
        for n in 0..20_000 {
            std::fs::write(full.join(format!("f{n}")), "").unwrap();
        }
        let hidden = Hidden::new(folder.path(), &HideRules::default()).unwrap();
        let place = Place::open(folder.path(), hidden).unwrap();
        let before = beneath::listings();
        for n in 0..20_000 {
            let path: RelPath = format!("full/f{n}").parse().unwrap();
            assert!(place.is_spelt(&path).unwrap());
            assert!(!place.is_spelt(&format!("full/F{n}").parse().unwrap()).unwrap());
            assert!(
                place.is_spelt(&format!("away/f{n}").parse().unwrap()).unwrap(),
                "what comes next notices"
            );
            assert!(!place.folds(&path).unwrap());
        }
        assert_eq!(beneath::listings() - before, 2, "one for the names, one for how they are read");
    }
}
