//! A writable copy-on-write view of a folder as it is now: `wflo sandbox exec --workspace DIR`.
//!
//! The folder is the lowest directory of the overlay; above it lies a *mask*: a tree of whiteouts
//! over everything hidden that is there, over the places that wflo knows by its settings whether
//! or not something is there yet (SQLite makes and removes its side files all the time), and
//! credential-free copies of Git's files. Whiteouts are by path, so a hidden file that is replaced
//! on the host stays hidden; one that is created under a new name after the view was made does
//! not: a run's steps have the sealed view instead, which has no such window.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode};

use super::beneath;
use super::error::{IoAt, WorkspaceError};
use super::hidden::Hidden;
use super::hidden::git::without_credentials;
use super::path::RelPath;
use super::store::{Store, blob, tree};
use super::survey::{Seen, SeenKind, survey};
use super::view::Mounts;

/// Names that are masked in the folder itself even while they are not there.
const EXPECTED: [&str; 6] =
    [".env", ".env.local", ".env.production", ".env.development", ".git-credentials", ".netrc"];
/// Git's configuration and logs are rewritten in memory; a longer one is cut here.
const REPLACED_LIMIT: u64 = 16 * 1024 * 1024;

/// The view; dropping it removes its mask. Keep it until the sandbox is gone.
#[derive(Debug)]
pub struct LiveView {
    mask: tempfile::TempDir,
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
        let masks = store.folder("masks");
        let mask = tempfile::TempDir::new_in(&masks).at("create a folder in", &masks)?;
        let root = beneath::open_root(&folder).at("open the folder", &folder)?;
        let found = survey(&folder, &root, hidden)?;
        let view = LiveView { mask, folder, in_use };
        let expected = EXPECTED.iter().filter_map(|name| RelPath::from_bytes(name.as_bytes()).ok());
        let places = hidden.places().cloned().chain(expected);
        for path in found.hidden.into_iter().map(|(path, _)| path).chain(places) {
            if view.make_folders(&path)? {
                let full = view.in_mask(&path);
                match tree::whiteout(&full) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    other => other.at("mark", &full)?,
                }
            }
        }
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

    fn in_mask(&self, path: &RelPath) -> PathBuf {
        self.mask.path().join(path.as_path())
    }

    /// Makes the folders above `path` in the mask, with the modes and owners that they have: the
    /// topmost tree's show. False when the folder has no such place, or it is covered already.
    fn make_folders(&self, path: &RelPath) -> Result<bool, WorkspaceError> {
        let mut folders: Vec<RelPath> = path.folders().collect();
        folders.reverse();
        for folder in folders {
            let full = self.in_mask(&folder);
            match full.symlink_metadata() {
                Ok(meta) if meta.is_dir() => continue,
                Ok(_) => return Ok(false),
                Err(_) => {}
            }
            let real = self.folder.join(folder.as_path());
            let Ok(meta) = real.symlink_metadata() else { return Ok(false) };
            if !meta.is_dir() {
                return Ok(false);
            }
            std::fs::create_dir(&full).at("create the folder", &full)?;
            copy_attributes(&full, &meta)?;
        }
        Ok(true)
    }

    fn replace(&self, root: &std::os::fd::OwnedFd, seen: &Seen) -> Result<(), WorkspaceError> {
        if !self.make_folders(&seen.path)? {
            return Ok(());
        }
        let shown = self.folder.join(seen.path.as_path());
        let file = std::fs::File::from(beneath::open_file(root, seen.path.as_bytes()).at("open", &shown)?);
        let content = blob::read_up_to(&file, REPLACED_LIMIT).at("read", &shown)?;
        let full = self.in_mask(&seen.path);
        std::fs::write(&full, without_credentials(&seen.path, &content)).at("write", &full)?;
        copy_attributes(&full, &file.metadata().at("read", &shown)?)
    }
}

fn copy_attributes(full: &Path, meta: &std::fs::Metadata) -> Result<(), WorkspaceError> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(full, Some(meta.uid()), Some(meta.gid())).at("give away", full)?;
    }
    let mode = Mode::from_raw_mode(meta.mode() & 0o777);
    rustix::fs::chmodat(CWD, full, mode, AtFlags::empty()).at("set the mode of", full)
}
