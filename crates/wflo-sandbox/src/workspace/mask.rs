//! A tree of whiteouts to lay over a folder that is shown as it is: what is hidden in it.
//!
//! Whiteouts are by path, so a hidden file that is replaced on the host, by a rename too, stays
//! hidden. One that is created under a new name after the mask was made does not; the names that
//! are usual in a folder's root are therefore masked there whether or not they exist.

mod remembered;
mod search;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode};

pub(crate) use self::search::hidden_below;
use super::beneath;
use super::brought::Brought;
use super::error::{IoAt, WorkspaceError};
use super::hidden::{Hidden, HideRules, Reason};
use super::path::RelPath;
use super::store::{InUse, Store, tree};

/// Names that are masked in the folder itself even while they are not there.
const EXPECTED: [&str; 6] =
    [".env", ".env.local", ".env.production", ".env.development", ".git-credentials", ".netrc"];

/// The mask of one folder; dropping it removes it. Keep it until the sandbox is gone.
#[derive(Debug)]
pub struct Mask {
    root: tempfile::TempDir,
    folder: PathBuf,
    #[expect(dead_code, reason = "a lock is held, not read")]
    in_use: InUse,
}

impl Mask {
    /// An empty mask of `folder`, with the mode and the owner that the folder has: a view shows its
    /// topmost layer's.
    pub(crate) fn new(folder: &Path, store: &Store) -> Result<Mask, WorkspaceError> {
        let in_use = store.using()?;
        let masks = store.folder("masks");
        let root = tempfile::TempDir::new_in(&masks).at("create a folder in", &masks)?;
        copy_attributes(root.path(), &folder.metadata().at("open the folder", folder)?)?;
        Ok(Mask { root, folder: folder.to_owned(), in_use })
    }

    /// Masks what is hidden anywhere in `folder`, which is shown because an interpreter or another program is in it, by
    /// the names of a project's root; what the interpreter and its packages brought is not. `None` when nothing is.
    ///
    /// # Errors
    /// [`WorkspaceError::TooLarge`] for nesting without end, [`WorkspaceError::Io`].
    pub fn of(folder: &Path, hidden: &Hidden, store: &Store) -> Result<Option<Mask>, WorkspaceError> {
        let root = beneath::open_root(folder).at("open the folder", folder)?;
        let mut found = remembered::hidden_in(folder, &root, hidden, store)?;
        let brought = Brought::new(folder, hidden);
        found.retain(|path| !brought.holds(path));
        if found.is_empty() {
            return Ok(None);
        }
        let mask = Mask::new(folder, store)?;
        found.iter().try_for_each(|path| mask.hide(path))?;
        Ok(Some(mask))
    }

    /// Masks what is hidden in a folder that somebody named to be shown: by the rules of the project
    /// when it is one of its folders, else as if it were a project's root. `None` for a folder whose own
    /// path says that it holds keys, as `~/.aws` does: naming that one is meant.
    ///
    /// # Errors
    /// As [`Mask::of`]; [`WorkspaceError::BadGlob`]; [`WorkspaceError::StateInside`] when the store lies
    /// in the folder: such a mount fails with ELOOP.
    pub fn of_named(
        folder: &Path,
        project: Option<&Path>,
        rules: &HideRules,
        store: &Store,
    ) -> Result<Option<Mask>, WorkspaceError> {
        let folder = folder.canonicalize().at("open the folder", folder)?;
        let inside = project.and_then(|project| Some((project, folder.strip_prefix(project).ok()?)));
        let (base, at) = match inside {
            Some((project, inside)) if !inside.as_os_str().is_empty() => {
                (project, RelPath::from_bytes(inside.as_os_str().as_bytes())?)
            }
            _ => (folder.as_path(), RelPath::root()),
        };
        let whole = folder.strip_prefix("/").unwrap_or(&folder).as_os_str().as_bytes();
        let own = match RelPath::from_bytes(whole) {
            Ok(whole) => Hidden::new(Path::new("/"), &HideRules::default())?.by_path(&whole),
            Err(_) => None,
        };
        if matches!(own, Some(Reason::KeyFile | Reason::Environment)) {
            return Ok(None);
        }
        if store.root().starts_with(&folder) {
            return Err(WorkspaceError::StateInside { root: store.root().to_owned(), project: folder });
        }
        let hidden = Hidden::new(base, rules)?;
        let root = beneath::open_root(&folder).at("open the folder", &folder)?;
        let mask = Mask::new(&folder, store)?;
        let prefix = if base == folder { 0 } else { at.as_bytes().len() + 1 };
        for path in hidden_below(base, &root, &at, &hidden, &HashSet::new())? {
            mask.hide(&RelPath::from_bytes(path.as_bytes().get(prefix..).unwrap_or_default())?)?;
        }
        mask.hide_expected()?;
        Ok(Some(mask))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Hides `path`, whether or not there is something now.
    pub(crate) fn hide(&self, path: &RelPath) -> Result<(), WorkspaceError> {
        if !self.make_folders(path)? {
            return Ok(());
        }
        let full = self.inside(path);
        match tree::whiteout(&full) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.at("mark", &full),
        }
    }

    /// Hides the names that are usual in a folder's root.
    pub(crate) fn hide_expected(&self) -> Result<(), WorkspaceError> {
        let expected = EXPECTED.iter().filter_map(|name| RelPath::from_bytes(name.as_bytes()).ok());
        expected.into_iter().try_for_each(|path| self.hide(&path))
    }

    pub(crate) fn inside(&self, path: &RelPath) -> PathBuf {
        self.root.path().join(path.as_path())
    }

    /// Makes the folders above `path`, with the modes and owners that they have. False when the
    /// folder has no such place, or it is covered already.
    pub(crate) fn make_folders(&self, path: &RelPath) -> Result<bool, WorkspaceError> {
        let mut folders: Vec<RelPath> = path.folders().collect();
        folders.reverse();
        for folder in folders {
            let full = self.inside(&folder);
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
}

pub(crate) fn copy_attributes(full: &Path, meta: &std::fs::Metadata) -> Result<(), WorkspaceError> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(full, Some(meta.uid()), Some(meta.gid())).at("give away", full)?;
    }
    // What is masked in a folder must be made in it.
    let own = if meta.is_dir() { 0o700 } else { 0 };
    let mode = Mode::from_raw_mode((meta.mode() & 0o777) | own);
    rustix::fs::chmodat(CWD, full, mode, AtFlags::empty()).at("set the mode of", full)
}
