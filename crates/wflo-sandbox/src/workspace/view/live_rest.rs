//! The live part of a view: large ignored folders, mounted read-only without what is hidden.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};

use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::hidden::{Hidden, Verdict};
use super::super::manifest::{Digest, Entry, Manifest};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::survey::{MAX_DEPTH, secret_inside};
use super::View;

/// A folder with hidden paths and more children than this is mounted whole and masked.
const SPLIT_CHILDREN: usize = 256;

/// The mounts, and the tree of their mount points when there are any.
pub(super) struct LiveRest {
    pub(super) ro: Vec<(PathBuf, PathBuf)>,
    pub(super) mount_points: Option<Digest>,
}

pub(super) fn mounts(
    view: &View,
    store: &Store,
    project: &Path,
    hidden: &Hidden,
    target: &Path,
) -> Result<LiveRest, WorkspaceError> {
    let mut plan = Plan {
        hidden,
        project,
        linked: view.sealed.rest.linked.iter().copied().collect(),
        points: Manifest::default(),
        binds: Vec::new(),
        masks: Vec::new(),
    };
    if view.sealed.rest.live.is_empty() {
        return Ok(LiveRest { ro: Vec::new(), mount_points: None });
    }
    let root = beneath::open_root(project).at("open the project", project)?;
    let merged = view.merged();
    for path in &view.sealed.rest.live {
        // A layer may have put something else there or above.
        let covered = merged.contains_key(path)
            || path.folders().any(|folder| merged.get(&folder).is_some_and(|found| !found.entry.is_dir()));
        if !covered {
            plan.top(&root, path)?;
        }
    }
    let empty = plan.empties(store)?;
    let mut ro: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in plan.binds {
        ro.push((project.join(path.as_path()), target.join(path.as_path())));
    }
    for (path, is_dir) in plan.masks {
        let source = empty.join(if is_dir { "folder" } else { "file" });
        ro.push((source, target.join(path.as_path())));
    }
    let mount_points = points(store, &plan.points)?;
    Ok(LiveRest { ro, mount_points })
}

struct Plan<'a> {
    hidden: &'a Hidden,
    project: &'a Path,
    linked: HashSet<(u64, u64)>,
    points: Manifest,
    binds: Vec<RelPath>,
    masks: Vec<(RelPath, bool)>,
}

/// One folder of a live tree that has something hidden somewhere inside.
#[derive(Default)]
struct Holes {
    /// Hidden children, and whether they are folders.
    hidden: Vec<(RelPath, bool)>,
    /// Child folders with holes of their own.
    folders: BTreeMap<RelPath, Holes>,
    /// Visible children without holes, and whether they are folders.
    whole: Vec<(RelPath, bool)>,
}

impl Holes {
    fn any(&self) -> bool {
        !self.hidden.is_empty() || !self.folders.is_empty()
    }
}

impl Plan<'_> {
    fn top(&mut self, root: &OwnedFd, path: &RelPath) -> Result<(), WorkspaceError> {
        let shown = self.project.join(path.as_path());
        let Some((found, stat)) = beneath::look(root, path.as_bytes()).at("open", &shown)? else {
            return Ok(());
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                if !self.linked.contains(&(stat.st_dev, stat.st_ino)) && self.hidden.by_path(path).is_none() {
                    self.whole(path.clone(), false);
                }
                Ok(())
            }
            FileType::Directory => {
                drop(found);
                let holes = match beneath::open_dir(root, path.as_bytes()) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
                    Err(error) if beneath::is_absent(&error) => return Ok(()),
                    other => self.holes(&other.at("open", &shown)?, path)?,
                };
                if holes.any() {
                    self.around(path, holes);
                } else {
                    self.whole(path.clone(), true);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Searches a folder for what is hidden in it.
    fn holes(&self, dir: &OwnedFd, at: &RelPath) -> Result<Holes, WorkspaceError> {
        let mut holes = Holes::default();
        if at.depth() > MAX_DEPTH {
            return Err(WorkspaceError::TooLarge {
                what: "nested folders",
                limit: MAX_DEPTH as u64,
                path: at.clone(),
            });
        }
        for name in beneath::names(dir).at("list", &self.project.join(at.as_path()))? {
            let path = at.join(&name.name);
            let is_dir = name.kind == FileType::Directory;
            let hidden = match self.hidden.own(&path, is_dir) {
                Verdict::Visible => !is_dir && self.is_hidden_inode(dir, &name),
                Verdict::Hidden(_) | Verdict::Replaced => true,
                Verdict::ByContent(_) => secret_inside(dir.as_fd(), &name),
            };
            if hidden {
                holes.hidden.push((path, is_dir));
                continue;
            }
            let inner = if is_dir { beneath::open_dir(dir, &name.name).ok() } else { None };
            let deeper = inner.map(|inner| self.holes(&inner, &path)).transpose()?;
            match deeper.filter(Holes::any) {
                Some(deeper) => {
                    holes.folders.insert(path, deeper);
                }
                None => holes.whole.push((path, is_dir)),
            }
        }
        Ok(holes)
    }

    /// The inode number of the directory entry is enough to rule a file out.
    fn is_hidden_inode(&self, dir: &OwnedFd, name: &beneath::Name) -> bool {
        let maybe =
            self.linked.iter().any(|(_, inode)| *inode == name.inode) || self.hidden.may_be_inode(name.inode);
        maybe
            && rustix::fs::statat(dir, name.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                let id = (stat.st_dev, stat.st_ino);
                self.linked.contains(&id) || self.hidden.by_inode(id.0, id.1)
            })
    }

    fn whole(&mut self, path: RelPath, is_dir: bool) {
        let point = if is_dir { Entry::dir(0o755) } else { Entry::file(0o644, 0, Digest::of(b"")) };
        self.points.entries.insert(path.clone(), point);
        self.binds.push(path);
    }

    /// Mounts what is visible of a folder with hidden paths in it.
    fn around(&mut self, path: &RelPath, holes: Holes) {
        if holes.whole.len() + holes.folders.len() > SPLIT_CHILDREN {
            self.whole(path.clone(), true);
            self.mask(holes);
            return;
        }
        self.points.entries.insert(path.clone(), Entry::dir(0o755));
        for (child, is_dir) in holes.whole {
            // A link is no mount point; what it leads to is there under its own name.
            let full = self.project.join(child.as_path());
            if is_dir || full.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                self.whole(child, is_dir);
            } else if let Ok(link) = std::fs::read_link(&full) {
                let target = link.into_os_string().into_encoded_bytes();
                self.points.entries.insert(child, Entry::symlink(target));
            }
        }
        for (child, deeper) in holes.folders {
            self.around(&child, deeper);
        }
    }

    fn mask(&mut self, holes: Holes) {
        self.masks.extend(holes.hidden);
        for deeper in holes.folders.into_values() {
            self.mask(deeper);
        }
    }

    /// The folder with an empty file and an empty folder, to mount over what is hidden.
    fn empties(&self, store: &Store) -> Result<PathBuf, WorkspaceError> {
        let path = store.folder("masks").join("empty");
        if !self.masks.is_empty() {
            let folder = path.join("folder");
            std::fs::create_dir_all(&folder).at("create the folder", &folder)?;
            let file = path.join("file");
            std::fs::OpenOptions::new().create(true).append(true).open(&file).at("create", &file)?;
        }
        Ok(path)
    }
}

fn points(store: &Store, points: &Manifest) -> Result<Option<Digest>, WorkspaceError> {
    if points.entries.is_empty() {
        return Ok(None);
    }
    let _adding = store.adding()?;
    let mut contents = BTreeMap::new();
    for (path, entry) in &points.entries {
        if matches!(entry.kind, super::super::manifest::Kind::File { .. }) {
            let blob = store.add_bytes(b"", 0o644, 0).at("store in", store.root())?;
            contents.insert(path.clone(), blob.path);
        }
    }
    let digest = store.add_tree(points, &contents)?;
    store.note_derived(&digest)?;
    Ok(Some(digest))
}
