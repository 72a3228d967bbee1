//! A writable copy-on-write view of a folder as it is now: `wflo sandbox exec --workspace DIR`.
//!
//! The folder is the lowest directory of the overlay; above it lies a *mask*: a tree of whiteouts
//! over everything hidden that is there, over the places that wflo knows by its settings whether
//! or not something is there yet (SQLite makes and removes its side files all the time), and
//! credential-free copies of Git's files. Whiteouts are by path, so a hidden file that is replaced
//! on the host stays hidden; one that is created under a new name after the view was made does
//! not: a run's steps have the sealed view instead, which has no such window.

use std::path::{Path, PathBuf};

use super::beneath;
use super::error::{IoAt, WorkspaceError};
use super::hidden::Hidden;
use super::hidden::git::without_credentials;
use super::mask::{Mask, copy_attributes};
use super::store::{Store, blob};
use super::survey::{Seen, SeenKind, survey};
use super::view::Mounts;

/// Git's configuration and logs are rewritten in memory; a longer one is cut here.
const REPLACED_LIMIT: u64 = 16 * 1024 * 1024;

/// The view; dropping it removes its mask. Keep it until the sandbox is gone.
#[derive(Debug)]
pub struct LiveView {
    mask: Mask,
    folder: PathBuf,
    in_use: std::sync::Arc<super::store::InUse>,
}

impl LiveView {
    /// Makes the view of `folder`.
    ///
    /// # Errors
    /// [`WorkspaceError::StateInside`] when the store lies in the folder: such a mount fails with
    /// ELOOP. [`WorkspaceError::Io`].
    pub fn new(folder: &Path, hidden: &Hidden, store: &Store) -> Result<LiveView, WorkspaceError> {
        let folder = folder.canonicalize().at("open the folder", folder)?;
        if store.root().starts_with(&folder) {
            return Err(WorkspaceError::StateInside { root: store.root().to_owned(), project: folder });
        }
        let in_use = std::sync::Arc::new(store.using()?);
        let mask = Mask::new(&folder, store)?;
        let root = beneath::open_root(&folder).at("open the folder", &folder)?;
        let found = survey(&folder, &root, hidden)?;
        let view = LiveView { mask, folder, in_use };
        let found_hidden = found.hidden.iter().map(|(path, _)| path);
        found_hidden.chain(hidden.places()).try_for_each(|path| view.mask.hide(path))?;
        view.mask.hide_expected()?;
        let ignored = found.ignored.iter().flat_map(|top| top.seen.iter());
        for seen in found.plain.iter().chain(ignored).filter(|seen| seen.kind == SeenKind::Replaced) {
            view.replace(&root, seen)?;
        }
        Ok(view)
    }

    /// What the sandbox mounts.
    #[must_use]
    pub fn mounts(&self) -> Mounts {
        let lowers = vec![self.mask.path().to_owned(), self.folder.clone()];
        Mounts { lowers, ro: Vec::new(), in_use: Some(self.in_use.clone()) }
    }

    fn replace(&self, root: &std::os::fd::OwnedFd, seen: &Seen) -> Result<(), WorkspaceError> {
        if !self.mask.make_folders(&seen.path)? {
            return Ok(());
        }
        let shown = self.folder.join(seen.path.as_path());
        let file = std::fs::File::from(beneath::open_file(root, seen.path.as_bytes()).at("open", &shown)?);
        let content = blob::read_up_to(&file, REPLACED_LIMIT).at("read", &shown)?;
        let full = self.mask.inside(&seen.path);
        std::fs::write(&full, without_credentials(&seen.path, &content)).at("write", &full)?;
        copy_attributes(&full, &file.metadata().at("read", &shown)?)
    }
}
