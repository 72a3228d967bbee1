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

pub(super) fn mounts(
    view: &View,
    store: &Store,
    project: &Path,
    hidden: &Hidden,
    target: &Path,
) -> Result<LiveRest, WorkspaceError> {
    if view.sealed.rest.live.is_empty() {
        return Ok(LiveRest::default());
    }
    let linked = view.sealed.rest.linked.iter().copied().collect();
    let mut plan =
        Plan { hidden, project, target, store, linked, points: Manifest::default(), ro: Vec::new() };
    let root = beneath::open_root(project).at("open the project", project)?;
    let merged = view.merged();
    for path in &view.sealed.rest.live {
        // A layer may have put something else there or above.
        let covered = merged.contains_key(path)
            || path.folders().any(|folder| merged.get(&folder).is_some_and(|found| !found.entry.is_dir()));
        if !covered && hidden.by_path(path).is_none() {
            plan.top(&root, path)?;
        }
    }
    let mount_points = points(store, &plan.points)?;
    Ok(LiveRest { ro: plan.ro, mount_points })
}

struct Plan<'a> {
    hidden: &'a Hidden,
    project: &'a Path,
    target: &'a Path,
    store: &'a Store,
    linked: HashSet<(u64, u64)>,
    points: Manifest,
    ro: Vec<LiveMount>,
}

impl Plan<'_> {
    fn top(&mut self, root: &OwnedFd, path: &RelPath) -> Result<(), WorkspaceError> {
        let shown = self.project.join(path.as_path());
        let Some((found, stat)) = beneath::look(root, path.as_bytes()).at("open", &shown)? else {
            return Ok(());
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if !self.linked.contains(&(stat.st_dev, stat.st_ino)) => {
                self.show(path, Entry::file(0o644, 0, Digest::of(b"")), None);
            }
            FileType::Directory => {
                drop(found);
                let dir = match beneath::open_dir(root, path.as_bytes()) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
                    Err(error) if beneath::is_absent(&error) => return Ok(()),
                    other => other.at("open", &shown)?,
                };
                let mask = Mask::new(&shown, self.store)?;
                for hidden in hidden_below(self.project, &dir, path, self.hidden, &self.linked)? {
                    if let Some(inside) = hidden.as_bytes().get(path.as_bytes().len() + 1..) {
                        mask.hide(&RelPath::from_bytes(inside)?)?;
                    }
                }
                mask.hide_expected()?;
                self.show(path, Entry::dir(0o755), Some(Arc::new(mask)));
            }
            _ => {}
        }
        Ok(())
    }

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
