//! What a step sees: layers over the sealed tree over the ignored rest.
//!
//! The overlay's lower directories are, top first: the layers newest first, the sealed tree, the
//! copied rest, and a tree of empty mount points. Large ignored folders (`node_modules`, `.venv`,
//! `target`) are then shown read-only on their mount points, each below a [mask](super::mask) of
//! whiteouts over what is hidden in it: a hidden file that is replaced on the host while a step runs
//! stays hidden. The project folder itself is never a
//! lower directory: whiteouts made when the view is built cannot cover what is created after, so a
//! project below the overlay would show new files, hidden ones among them, to a running step. This
//! way a change to the project reaches a step only inside a live folder. (A *writable* view of the
//! project itself is [`super::live`], for `wflo sandbox exec --workspace`.)

mod earlier;
mod live_rest;

pub use earlier::{Outdated, TakenOver, outdated};
pub use live_rest::Standing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::WorkspaceError;
use super::hidden::Hidden;
use super::layer::{Layer, MAX_LAYERS, MergedTree, lay_over, squash};
use super::manifest::{Digest, Manifest};
use super::mask::Mask;
use super::seal::Sealed;
use super::store::{InUse, Pin, Store};

/// A file or folder of the project that is shown as it is, to be read.
#[derive(Debug, Clone)]
pub struct LiveMount {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
    /// What is laid over a folder.
    pub mask: Option<Arc<Mask>>,
}

/// What a sandbox mounts for a workspace.
///
/// Keep it until the sandbox is gone: it keeps [`Store::collect`] away from trees that only it uses.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    /// The overlay's lower directories, top first.
    pub lowers: Vec<PathBuf>,
    /// What is shown over the overlay, in this order. The mount points are there.
    pub ro: Vec<LiveMount>,
    #[expect(dead_code, reason = "a lock is held, not read")]
    pub(crate) in_use: Option<Arc<InUse>>,
}

/// A sealed workspace with the changes that steps made to it.
#[derive(Debug, Clone)]
pub struct View {
    /// Where the run started.
    pub sealed: Sealed,
    /// The changes, oldest first.
    pub layers: Vec<Layer>,
    /// What was on top of these and was taken back, oldest first: of a rollback only.
    pub undone: Vec<Layer>,
    /// How paths stood on which another run made its layers, where the seal has them otherwise: of a retry only.
    pub earlier: Option<Layer>,
}

impl View {
    /// Opens a view again by the ids that were kept: the seal's, and the layers' oldest first.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] when one was pruned, [`WorkspaceError::Damaged`].
    pub fn open(store: &Store, sealed: &Digest, layers: &[Digest]) -> Result<View, WorkspaceError> {
        let sealed = Sealed::open(store, sealed)?;
        let layers = layers.iter().map(|id| Layer::open(store, id)).collect::<Result<_, _>>()?;
        Ok(View { sealed, layers, undone: Vec::new(), earlier: None })
    }

    /// The same view with what it takes back.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn taking_back(self, store: &Store, undone: &[Digest]) -> Result<View, WorkspaceError> {
        let undone = undone.iter().map(|id| Layer::open(store, id)).collect::<Result<_, _>>()?;
        Ok(View { undone, ..self })
    }

    /// How the files stood before anything was taken back, newest first; nothing where nothing was.
    pub(crate) fn taken_back(&self) -> Vec<MergedTree> {
        let mut states: Vec<MergedTree> = Vec::new();
        for layer in &self.undone {
            let mut tree = states.last().cloned().unwrap_or_else(|| self.merged());
            lay_over(&mut tree, &layer.manifest, layer.id);
            states.push(tree);
        }
        states.reverse();
        states
    }

    /// Opens a view and holds it: whatever is removed meanwhile, its trees stay until the pin is let go.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn hold(store: &Store, sealed: &Digest, layers: &[Digest]) -> Result<(View, Pin), WorkspaceError> {
        let pin = store.pin_all(Some(sealed), layers)?;
        Ok((View::open(store, sealed, layers)?, pin))
    }

    /// Checks every content of the sealed trees and layers against its hash: what a run does before
    /// it resumes after a crash of the machine.
    ///
    /// # Errors
    /// [`WorkspaceError::Damaged`] with the first file that differs.
    pub fn verify(&self, store: &Store) -> Result<(), WorkspaceError> {
        let trees = [self.sealed.digest, self.sealed.rest.digest];
        trees.iter().chain(self.layers.iter().map(|layer| &layer.id)).try_for_each(|tree| store.verify(tree))
    }

    /// What the sandbox mounts to show this view of `project` at `target`.
    ///
    /// Ignored folders are shown as they are now; those that went away are left out. Hidden paths
    /// in them are looked for now.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] when a tree was pruned; [`WorkspaceError::Io`].
    pub fn mounts(
        &self,
        store: &Store,
        project: &Path,
        hidden: &Hidden,
        target: &Path,
    ) -> Result<Mounts, WorkspaceError> {
        // A tree that is made here is noted as derived before anybody may collect what is not noted.
        let _adding = store.adding()?;
        let in_use = Arc::new(store.using()?);
        let newest_first: Vec<Digest> = if self.layers.len() > MAX_LAYERS {
            let id = squash(store, self)?.id;
            store.note_derived(&id)?;
            vec![id]
        } else {
            self.layers.iter().rev().map(|layer| layer.id).collect()
        };
        let rest = live_rest::mounts(self, store, project, hidden, target)?;
        let trees = newest_first.into_iter().chain([self.sealed.digest, self.sealed.rest.digest]);
        let mut lowers = Vec::new();
        for digest in trees.chain(rest.mount_points) {
            // The same tree twice is ELOOP for the kernel. The topmost has the last word on each of
            // its paths, so the lower ones show nothing.
            if lowers.contains(&store.tree(&digest)) {
                continue;
            }
            if !store.has(&digest) {
                let root = store.root().to_owned();
                return Err(WorkspaceError::Missing { what: "tree", id: digest.to_string(), root });
            }
            lowers.push(store.tree(&digest));
        }
        Ok(Mounts { lowers, ro: rest.ro, in_use: Some(in_use) })
    }

    /// Whether anything of the project is shown as it is.
    #[must_use]
    pub fn shows_live(&self) -> bool {
        !self.sealed.rest.live.is_empty()
    }

    /// What is shown of `project` as it is, looked at now: two sandboxes between which it did not change show the same.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn standing(&self, project: &Path, hidden: &Hidden) -> Result<Vec<Standing>, WorkspaceError> {
        live_rest::standing(self, project, hidden)
    }

    /// What the run's changes are changes of: what was there at submission, but for what it took over from a run
    /// of before.
    pub(crate) fn base(&self) -> MergedTree {
        match &self.earlier {
            None => self.seal_tree(),
            Some(earlier) => earlier::base(self.seal_tree(), &self.merged(), earlier),
        }
    }

    /// What was there at submission: the sealed tree over the copied rest.
    pub(crate) fn seal_tree(&self) -> MergedTree {
        let mut tree = MergedTree::new();
        lay_over(&mut tree, &self.sealed.rest.manifest, self.sealed.rest.digest);
        lay_over(&mut tree, &self.sealed.manifest, self.sealed.digest);
        tree
    }

    /// What is there after the layers.
    pub(crate) fn merged(&self) -> MergedTree {
        let mut tree = self.seal_tree();
        for layer in &self.layers {
            lay_over(&mut tree, &layer.manifest, layer.id);
        }
        tree
    }

    /// Everything the view holds, live folders apart: what a program in the sandbox finds.
    #[must_use]
    pub fn contents(&self) -> Manifest {
        let (mut manifest, mut names) = (Manifest::default(), BTreeMap::new());
        for (path, merged) in self.merged() {
            if let Some(file) = merged.file() {
                names.entry(file).or_insert_with(Vec::new).push(path.clone());
            }
            manifest.entries.insert(path, merged.entry);
        }
        manifest.link(names.into_values());
        manifest
    }
}
