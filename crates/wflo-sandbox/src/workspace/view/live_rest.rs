//! The live part of a view: large ignored folders, shown as they are without what is hidden.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;

use super::super::beneath;
use super::super::error::{IoAt, WorkspaceError};
use super::super::hidden::Hidden;
use super::super::manifest::{Digest, Entry, Manifest};
use super::super::mask::{Mask, hidden_below};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::store::tree::Parts;
use super::{LiveMount, View};

/// The mounts, and the tree of their mount points when there are any.
#[derive(Default)]
pub(super) struct LiveRest {
    pub(super) ro: Vec<LiveMount>,
    pub(super) mount_points: Option<Digest>,
}

/// A file or folder of the project that is shown as it is: what stands there, and what of it is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    path: RelPath,
    /// Device and inode.
    identity: (u64, u64),
    /// Of a folder: the paths below it that are hidden.
    hidden: Option<Vec<RelPath>>,
}

pub(super) fn mounts(
    view: &View,
    store: &Store,
    project: &Path,
    hidden: &Hidden,
    target: &Path,
) -> Result<LiveRest, WorkspaceError> {
    let mut plan = Plan { project, target, points: Manifest::default(), ro: Vec::new() };
    for Standing { path, hidden, .. } in standing(view, project, hidden)? {
        match hidden {
            None => plan.show(&path, Entry::file(0o644, 0, Digest::of(b"")), None),
            Some(hidden) => {
                let mask = Mask::new(&project.join(path.as_path()), store)?;
                hidden.iter().try_for_each(|inside| mask.hide(inside))?;
                mask.hide_expected()?;
                plan.show(&path, Entry::dir(0o755), Some(Arc::new(mask)));
            }
        }
    }
    let mount_points = points(store, &plan.points)?;
    Ok(LiveRest { ro: plan.ro, mount_points })
}

/// What is shown of the project as it is, looked at now.
pub(super) fn standing(
    view: &View,
    project: &Path,
    hidden: &Hidden,
) -> Result<Vec<Standing>, WorkspaceError> {
    if view.sealed.rest.live.is_empty() {
        return Ok(Vec::new());
    }
    let linked = view.sealed.rest.linked.iter().copied().collect();
    let look = Look { hidden, project, linked };
    let root = beneath::open_root(project).at("open the project", project)?;
    let merged = view.merged();
    let mut found = Vec::new();
    for path in &view.sealed.rest.live {
        // A layer may have put something else there or above.
        let covered = merged.contains_key(path)
            || path.folders().any(|folder| merged.get(&folder).is_some_and(|found| !found.entry.is_dir()));
        if !covered && hidden.by_path(path).is_none() {
            found.extend(look.at(&root, path)?);
        }
    }
    Ok(found)
}

struct Look<'a> {
    hidden: &'a Hidden,
    project: &'a Path,
    linked: HashSet<(u64, u64)>,
}

impl Look<'_> {
    fn at(&self, root: &OwnedFd, path: &RelPath) -> Result<Option<Standing>, WorkspaceError> {
        let shown = self.project.join(path.as_path());
        let Some((found, stat)) = beneath::look(root, path.as_bytes()).at("open", &shown)? else {
            return Ok(None);
        };
        let identity = (stat.st_dev, stat.st_ino);
        let standing = |hidden| Ok(Some(Standing { path: path.clone(), identity, hidden }));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if !self.linked.contains(&identity) => standing(None),
            FileType::Directory => {
                drop(found);
                let dir = match beneath::open_dir(root, path.as_bytes()) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
                    Err(error) if beneath::is_absent(&error) => return Ok(None),
                    other => other.at("open", &shown)?,
                };
                let mut inside = Vec::new();
                for hidden in hidden_below(self.project, &dir, path, self.hidden, &self.linked)? {
                    if let Some(below) = hidden.as_bytes().get(path.as_bytes().len() + 1..) {
                        inside.push(RelPath::from_bytes(below)?);
                    }
                }
                inside.sort_unstable();
                standing(Some(inside))
            }
            _ => Ok(None),
        }
    }
}

struct Plan<'a> {
    project: &'a Path,
    target: &'a Path,
    points: Manifest,
    ro: Vec<LiveMount>,
}

impl Plan<'_> {
    fn show(&mut self, path: &RelPath, point: Entry, mask: Option<Arc<Mask>>) {
        self.points.entries.insert(path.clone(), point);
        let (source, target) = (self.project.join(path.as_path()), self.target.join(path.as_path()));
        self.ro.push(LiveMount { source, target, mask });
    }
}

fn points(store: &Store, points: &Manifest) -> Result<Option<Digest>, WorkspaceError> {
    if points.entries.is_empty() {
        return Ok(None);
    }
    let _adding = store.adding()?;
    let mut parts = Parts::default();
    for (path, entry) in &points.entries {
        if matches!(entry.kind, super::super::manifest::Kind::File { .. }) {
            let blob = store.add_bytes(b"", 0o644, 0).at("store in", store.root())?;
            parts.contents.insert(path.clone(), blob.content);
        }
    }
    let digest = store.add_tree(points, &parts)?;
    store.note_derived(&digest)?;
    Ok(Some(digest))
}
