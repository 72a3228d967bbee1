//! Making one layer of several, because a mount takes only so many lower directories.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::{Digest, Entry, Kind, Manifest};
use super::super::path::RelPath;
use super::super::store::Store;
use super::super::store::blob::{Content, nanos};
use super::super::store::tree::Parts;
use super::super::view::View;
use super::{Layer, MergedTree, remove_below};

/// More layers than this are squashed before they are mounted: the classic `mount(2)` has room for
/// 4,096 bytes of options, and a stack that deep costs every lookup.
pub const MAX_LAYERS: usize = 16;

/// One layer with the effect of all layers of `view`, for the same seal. No content is copied.
///
/// # Errors
/// [`WorkspaceError::Missing`] when a layer is not in the store; [`WorkspaceError::Io`].
pub fn squash(store: &Store, view: &View) -> Result<Layer, WorkspaceError> {
    let _adding = store.adding()?;
    let mut combined: BTreeMap<RelPath, (Entry, Digest)> = BTreeMap::new();
    for layer in &view.layers {
        for (path, entry) in &layer.manifest.entries {
            let entry = over(&mut combined, path, entry);
            combined.insert(path.clone(), (entry, layer.id));
        }
    }
    drop_idle_whiteouts(&mut combined, &view.seal_tree());
    let mut manifest = Manifest::default();
    let mut parts = Parts::default();
    let mut names: BTreeMap<(Digest, &RelPath), Vec<RelPath>> = BTreeMap::new();
    for (path, (entry, from)) in combined {
        let stored = store.tree(&from).join(path.as_path());
        let layer = view.layers.iter().find(|layer| layer.id == from);
        if let Some(first) = layer.and_then(|layer| layer.manifest.links.get(&path)) {
            names.entry((from, first)).or_default().push(path.clone());
        }
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
        manifest.entries.insert(path, entry);
    }
    manifest.link(names.into_values());
    let id = store.add_tree(&manifest, &parts)?;
    Ok(Layer { id, manifest })
}

/// Removes whiteouts that cover nothing: those of what an earlier layer had added, and those below
/// opaque folders. A folder that overlayfs need not merge is listed as it is, so such a whiteout
/// would show as a name that cannot be opened.
fn drop_idle_whiteouts(combined: &mut BTreeMap<RelPath, (Entry, Digest)>, base: &MergedTree) {
    let is_opaque = |path: &RelPath| {
        combined.get(path).is_some_and(|(entry, _)| matches!(entry.kind, Kind::Dir { opaque: true }))
    };
    let idle: Vec<RelPath> = combined
        .iter()
        .filter(|(path, (entry, _))| {
            let covers = base.contains_key(path) && !path.folders().any(|folder| is_opaque(&folder));
            entry.kind == Kind::Whiteout && !covers
        })
        .map(|(path, _)| path.clone())
        .collect();
    for path in idle {
        combined.remove(&path);
    }
}

/// What `entry` becomes over the older layers; what it covers of them is removed.
fn over(combined: &mut BTreeMap<RelPath, (Entry, Digest)>, path: &RelPath, entry: &Entry) -> Entry {
    let below = combined.get(path).map(|(below, _)| below.kind.clone());
    let Kind::Dir { opaque } = entry.kind else {
        remove_below(combined, path);
        return entry.clone();
    };
    let opaque = match below {
        _ if opaque => {
            remove_below(combined, path);
            true
        }
        Some(Kind::Dir { opaque }) => opaque,
        // A folder where an older layer removed or replaced something: what is further below
        // stays covered.
        Some(_) => true,
        None => false,
    };
    Entry { kind: Kind::Dir { opaque }, ..entry.clone() }
}
