//! What a run takes over from another one that began with other files.
//!
//! A layer is made on the files that its step saw. Where a retry lays it over a newer seal, a path that it
//! holds may have been changed in between: to judge it by the newer seal would take that change for seen, and
//! lose it. So the state that it was made on is stored (a tree of those paths alone, whiteouts for what was
//! not there) and goes with the run as a part of its [base](View::base).
//!
//! **Architecture Invariant:** for every path at which what was taken over says something else than the seal,
//! the base is what whoever made it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;

use super::super::error::{IoAt, WorkspaceError};
use super::super::layer::{Layer, Merged, MergedTree, lay_over};
use super::super::manifest::{Digest, Entry, Kind, Manifest};
use super::super::path::RelPath;
use super::super::store::blob::{Content, nanos};
use super::super::store::tree::Parts;
use super::super::store::{Pin, Store};
use super::View;

/// What a retry takes over from another run.
#[derive(Debug, Clone, Default)]
pub struct TakenOver {
    /// The layers of steps, oldest first.
    pub layers: Vec<Digest>,
    /// Of steps that go on half-way: what their workspaces held before and after something that is put back.
    pub parts: Vec<(Option<Digest>, Option<Digest>)>,
}

/// What was taken over and has been changed in the project since.
#[derive(Debug)]
pub struct Outdated {
    /// How those paths stood: goes with the run, for [`View::begun_on`].
    pub earlier: Digest,
    /// Keeps it until the run is recorded.
    pub pin: Pin,
    /// Those that are no folders, sorted, each with the layers that hold it.
    pub files: Vec<(RelPath, Vec<Digest>)>,
}

impl View {
    /// The same view, of a run that took files over which were made on `earlier`.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn begun_on(self, store: &Store, earlier: Option<&Digest>) -> Result<View, WorkspaceError> {
        let earlier = earlier.map(|id| Layer::open(store, id)).transpose()?;
        Ok(View { earlier, ..self })
    }

    /// Whether a path was changed in the project before the run that took it over began.
    pub(crate) fn is_outdated(&self, path: &RelPath) -> bool {
        let Some(earlier) = &self.earlier else { return false };
        let entries = &earlier.manifest.entries;
        entries.contains_key(path) || path.folders().any(|above| entries.get(&above).is_some_and(covers))
    }
}

/// What the run's changes are changes of: the seal, or where something was taken over that says something else,
/// what that was made on.
pub(super) fn base(sealed: MergedTree, merged: &MergedTree, earlier: &Layer) -> MergedTree {
    let mut base = sealed.clone();
    lay_over(&mut base, &earlier.manifest, earlier.id);
    // Where nothing says anything else than the seal, the run has nothing of its own.
    for path in earlier.manifest.entries.keys() {
        if !sealed.contains_key(path) && !merged.contains_key(path) {
            base.remove(path);
        }
    }
    for (path, was) in sealed {
        if merged.get(&path).is_some_and(|now| now.entry == was.entry) {
            base.insert(path, was);
        }
    }
    base
}

/// What of `taken` was made on files of `old` that are not those of `new` any more; `None` where nothing was.
/// Only paths are compared. Of both views the seal counts, and of the old one what it had taken over itself.
///
/// # Errors
/// [`WorkspaceError::Missing`] and [`WorkspaceError::Damaged`] for stored trees; [`WorkspaceError::Io`].
pub fn outdated(
    store: &Store,
    old: &View,
    new: &View,
    taken: &TakenOver,
) -> Result<Option<Outdated>, WorkspaceError> {
    let trees = |view: &View| (view.sealed.digest, view.sealed.rest.digest);
    if old.earlier.is_none() && trees(old) == trees(new) {
        return Ok(None);
    }
    let open = |id: &Digest| Layer::open(store, id);
    let layers = taken.layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let [before, sealed] = [
        View { layers: layers.clone(), undone: Vec::new(), ..old.clone() }.base(),
        View { layers: Vec::new(), undone: Vec::new(), earlier: None, ..new.clone() }.merged(),
    ];
    let mut merged = sealed.clone();
    for layer in &layers {
        lay_over(&mut merged, &layer.manifest, layer.id);
    }
    let mut found = Found { before: &before, sealed: &sealed, paths: BTreeMap::new() };
    let all: BTreeSet<&RelPath> = sealed.keys().chain(merged.keys()).collect();
    for path in all {
        if found.is_outdated(path, merged.get(path).map(|now| &now.entry)) {
            let holds = |layer: &&Layer| holds(&layer.manifest, path);
            found.paths.insert(path.clone(), layers.iter().filter(holds).map(|layer| layer.id).collect());
        }
    }
    for (was, then) in &taken.parts {
        let manifest = |id: &Option<Digest>| id.as_ref().map(open).transpose();
        let (was, then) = (manifest(was)?, manifest(then)?);
        found.part(was.as_ref().map(|was| &was.manifest), then.as_ref());
    }
    if found.paths.is_empty() {
        return Ok(None);
    }
    let paths = found.paths;
    let is_folder = |tree: &MergedTree, path: &RelPath| tree.get(path).is_none_or(|at| at.entry.is_dir());
    let only_folders = |path: &RelPath| [&before, &sealed, &merged].into_iter().all(|t| is_folder(t, path));
    let (earlier, pin) = keep(store, &before, paths.keys())?;
    let files = paths.into_iter().filter(|(path, _)| !only_folders(path)).collect();
    Ok(Some(Outdated { earlier, pin, files }))
}

struct Found<'a> {
    before: &'a MergedTree,
    sealed: &'a MergedTree,
    paths: BTreeMap<RelPath, Vec<Digest>>,
}

impl Found<'_> {
    /// Whether `ours` was made on something else than the seal has at `path`, and is not what the seal has.
    fn is_outdated(&self, path: &RelPath, ours: Option<&Entry>) -> bool {
        let entry = |tree: &MergedTree| tree.get(path).map(|at| at.entry.clone());
        let (before, sealed) = (entry(self.before), entry(self.sealed));
        // Of two folders that were made apart neither is in the other's way, and what is in them counts alone.
        let both_made = |sealed: &Entry| sealed.is_dir() && ours.is_some_and(Entry::is_dir);
        let apart = sealed.as_ref().is_some_and(both_made) && !before.as_ref().is_some_and(Entry::is_dir);
        !apart && before != sealed && ours != sealed.as_ref()
    }

    /// What is put back of a step that goes on: only what changed from `was` to `then`.
    fn part(&mut self, was: Option<&Manifest>, then: Option<&Layer>) {
        let none = Manifest::default();
        let (was, id) = (was.unwrap_or(&none), then.map(|then| then.id));
        let then = then.map_or(&none, |then| &then.manifest);
        let listed: BTreeSet<&RelPath> = was.entries.keys().chain(then.entries.keys()).collect();
        for path in listed {
            let now = then.entries.get(path);
            // All that is in a folder that was made anew is put there again.
            let anew = |above: &RelPath| {
                let opaque = then.entries.get(above).is_some_and(|entry| entry.is_dir() && covers(entry));
                opaque && was.entries.get(above) != then.entries.get(above)
            };
            if was.entries.get(path) == now && !path.folders().any(|above| anew(&above)) {
                continue;
            }
            let shown = now.filter(|now| now.kind != Kind::Whiteout).cloned().map(|now| match now.kind {
                Kind::Dir { .. } => Entry { kind: Kind::Dir { opaque: false }, ..now },
                _ => now,
            });
            if self.is_outdated(path, shown.as_ref()) {
                self.paths.entry(path.clone()).or_default().extend(id);
            }
            if now.is_none_or(covers) {
                let (from, to) = path.below();
                let below = self.sealed.range((Bound::Included(from), Bound::Excluded(to)));
                for (path, _) in below.filter(|(path, _)| !then.entries.contains_key(*path)) {
                    if self.is_outdated(path, None) {
                        self.paths.entry(path.clone()).or_default().extend(id);
                    }
                }
            }
        }
    }
}

/// Whether nothing below it shows through from older trees.
fn covers(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::Dir { opaque: false })
}

fn holds(layer: &Manifest, path: &RelPath) -> bool {
    layer.entries.contains_key(path)
        || path.folders().any(|above| layer.entries.get(&above).is_some_and(covers))
}

/// Stores how `paths` stood in `before`. No content is copied.
fn keep<'p>(
    store: &Store,
    before: &MergedTree,
    paths: impl Iterator<Item = &'p RelPath>,
) -> Result<(Digest, Pin), WorkspaceError> {
    let _adding = store.adding()?;
    let (mut manifest, mut parts) = (Manifest::default(), Parts::default());
    for path in paths {
        let Some(Merged { entry, from, .. }) = before.get(path) else {
            // Below what was no folder nothing was, and a tree has no place for saying so.
            let above = |above: RelPath| manifest.entries.get(&above).is_some_and(|above| !above.is_dir());
            if !path.folders().any(above) {
                manifest.entries.insert(path.clone(), Entry::whiteout());
            }
            continue;
        };
        let stored = store.tree(from).join(path.as_path());
        match entry.kind {
            Kind::File { .. } => {
                parts.contents.insert(path.clone(), Content::Stored(stored));
            }
            Kind::Dir { .. } => {
                let meta = stored.symlink_metadata().at("read", &stored)?;
                parts.times.insert(path.clone(), nanos(meta.mtime(), meta.mtime_nsec()));
            }
            Kind::Symlink { .. } | Kind::Whiteout => {}
        }
        manifest.entries.insert(path.clone(), entry.clone());
    }
    let id = store.add_tree(&manifest, &parts)?;
    let pin = store.pin_layer(&id)?;
    Ok((id, pin))
}
