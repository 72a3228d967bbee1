//! A layer: what one step changed, as the tree that the next step's overlay has below it.
//!
//! A layer is a stored tree whose manifest also holds whiteouts and opaque folders; its id is the
//! digest of that manifest, so equal changes are one layer. It is complete by itself: nothing in
//! it refers to the mount that it was made by.

mod capture;
mod captured;
mod squash;

pub(crate) use capture::capture_difference;
pub use capture::{MOST_ATTRIBUTES_OF_A_LAYER, capture, capture_over};
pub use captured::{Bounds, Captured, Dropped};
pub use squash::{MAX_LAYERS, squash};

use std::ops::Bound;

use super::error::WorkspaceError;
use super::manifest::{Digest, Entry, Kind, Manifest};
use super::path::RelPath;
use super::store::Store;

/// What one step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Keep it with the step, and give it to [`Layer::open`].
    pub id: Digest,
    /// The entries, whiteouts and opaque folders included.
    pub manifest: Manifest,
}

impl Layer {
    /// Opens a stored layer by its id.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] when it was pruned, [`WorkspaceError::Damaged`].
    pub fn open(store: &Store, id: &Digest) -> Result<Layer, WorkspaceError> {
        Ok(Layer { id: *id, manifest: store.manifest(id)? })
    }
}

/// An entry of a merged tree, and the stored tree that its content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) entry: Entry,
    pub(crate) from: Digest,
    /// Of a file with several names in that tree: the first of them. Two paths with the same `from` and
    /// `link` are one file.
    pub(crate) link: Option<RelPath>,
}

/// What the names of one file have in common: the tree that they come from, and the first of them in it.
pub(crate) type OneFile = (Digest, RelPath);

impl Merged {
    /// The file, if it has several names.
    pub(crate) fn file(&self) -> Option<OneFile> {
        self.link.clone().map(|link| (self.from, link))
    }
}

/// What overlayfs shows for a stack of trees.
pub(crate) type MergedTree = std::collections::BTreeMap<RelPath, Merged>;

/// Lays `layer`, stored as `from`, over what is there, as overlayfs does.
pub(crate) fn lay_over(tree: &mut MergedTree, layer: &Manifest, from: Digest) {
    for (path, entry) in &layer.entries {
        let was_dir = tree.get(path).is_some_and(|below| below.entry.is_dir());
        let opaque = matches!(entry.kind, Kind::Dir { opaque: true });
        if was_dir && (opaque || !entry.is_dir()) {
            remove_below(tree, path);
        }
        if entry.kind == Kind::Whiteout {
            tree.remove(path);
            continue;
        }
        // A tree's own folders need not be listed; what stands in their way is covered.
        for folder in path.folders() {
            if tree.get(&folder).is_some_and(|below| !below.entry.is_dir()) {
                tree.remove(&folder);
            }
        }
        let kind = if entry.is_dir() { Kind::Dir { opaque: false } } else { entry.kind.clone() };
        let link = layer.links.get(path).cloned();
        let attributes = entry.attributes.clone();
        tree.insert(path.clone(), Merged { entry: Entry { kind, mode: entry.mode, attributes }, from, link });
    }
}

pub(crate) fn remove_below<V>(tree: &mut std::collections::BTreeMap<RelPath, V>, folder: &RelPath) {
    let (from, to) = folder.below();
    let range = (Bound::Included(from), Bound::Excluded(to));
    let below: Vec<RelPath> = tree.range(range).map(|(path, _)| path.clone()).collect();
    for path in below {
        tree.remove(&path);
    }
}
