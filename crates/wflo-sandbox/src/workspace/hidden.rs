//! What never enters a workspace, and what apply never touches.
//!
//! One noun for both directions: seal and view leave out what is hidden here, diff marks it, apply
//! refuses it. A path is hidden by its name (key files, `.env*`), by what it is to wflo (its data
//! directory, the databases it brokers), by Git (credentials), by the user (`[sandbox] hide`), or
//! because it is another name of a file that is hidden (hard link).
//!
//! What is inside a hidden folder is hidden. Names are compared without regard to case, because a
//! project may lie on a file system that does so.

pub(crate) mod beside;
pub(crate) mod git;
mod names;
mod place;
mod rules;
mod template;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{AtFlags, FileType};
use serde::{Deserialize, Serialize};

use super::error::{IoAt, WorkspaceError};
use super::folding::folded_path;
use super::path::RelPath;
use super::repository::{self, Ground};
use super::view::View;
pub(crate) use names::{decided_by, holds_secret};
use place::{Found, Place, Places};
pub use rules::HideRules;
pub(crate) use template::Templates;

/// Why a path is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// wflo's own data directory.
    DataDirectory,
    /// A brokered database, or a file that SQLite keeps beside it.
    Database,
    /// A private key or a file of credentials.
    KeyFile,
    /// An environment file: `.env*`; a template of one (`.env.example`) where Git does not have it as it is.
    Environment,
    /// Git keeps credentials in it; where a copy without them can be made, that one is visible.
    GitCredentials,
    /// `[sandbox] hide`.
    Configured,
    /// Another name of a hidden file.
    HardLink,
}

/// What is hidden in one project.
#[derive(Debug, Clone)]
pub struct Hidden {
    exact: Vec<Place>,
    globs: Gitignore,
    /// Git's, where their names do not tell.
    git: git::Folders,
    /// Files whose place is known, by (device, inode), for their hard links.
    inodes: HashSet<(u64, u64)>,
    /// Where those are, by (device, mount).
    mounts: HashSet<(u64, u64)>,
    /// Some of those have hard links.
    is_linked: bool,
}

/// What a rule says about one path, its folders not considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Visible,
    Hidden(Reason),
    /// Hidden only when [`holds_secret`] says so of the content; apply treats it as hidden.
    ByContent(Reason),
    /// Hidden only when [`holds_secret`] says so of the content; apply may write it.
    IfContent(Reason),
    /// Hidden unless [`Templates`] have it; apply may write it.
    Template,
    /// A copy without credentials stands in its place; apply treats it as hidden.
    Replaced,
}

/// wflo's data directory has this name where nothing else is said: this project's earlier one, a
/// nested project's, another one's.
const DATA_FOLDER: &[u8] = b".wflo";

/// The folder in the project's root that apply stages files in begins with this.
pub(crate) const STAGING_PREFIX: &str = ".wflo-apply-";

/// The folder that a restore writes files in before they have their places begins with this.
pub(crate) const RESTORE_PREFIX: &str = ".wflo-restore-";

impl Hidden {
    /// The rules for the project at `project`.
    ///
    /// # Errors
    /// [`WorkspaceError::BadGlob`] for a pattern that cannot be read, [`WorkspaceError::Io`] when
    /// the project cannot be opened.
    pub fn new(project: &Path, rules: &HideRules) -> Result<Hidden, WorkspaceError> {
        let project = project.canonicalize().at("open the project", project)?;
        let (globs, git) = (Gitignore::empty(), repository::of_root(&project));
        let mut hidden = Hidden {
            exact: Vec::new(),
            globs,
            git,
            inodes: HashSet::new(),
            mounts: HashSet::new(),
            is_linked: false,
        };
        let mut places = Places::of(&project);
        if let Some(data_dir) = &rules.data_dir {
            hidden.add_place(&mut places, data_dir, Reason::DataDirectory);
            for entry in std::fs::read_dir(data_dir).into_iter().flatten().flatten() {
                hidden.add_inode(&entry.path());
            }
        }
        for file in rules.storage.iter().flat_map(|storage| beside::of_store(storage)) {
            hidden.add_place(&mut places, &file, Reason::DataDirectory);
        }
        for file in rules.databases.iter().flat_map(|database| beside::with_side_files(database)) {
            hidden.add_place(&mut places, &file, Reason::Database);
        }
        let mut builder = GitignoreBuilder::new(&project);
        builder.case_insensitive(true).map_err(|error| bad_glob("", &error))?;
        for glob in &rules.globs {
            builder.add_line(None, glob).map_err(|error| bad_glob(glob, &error))?;
        }
        hidden.globs = builder.build().map_err(|error| bad_glob("", &error))?;
        Ok(hidden)
    }

    fn add_place(&mut self, places: &mut Places<'_>, place: &Path, reason: Reason) {
        // Without what stands behind the name of a link and has it followed: `link/`, `link/.`.
        let place: PathBuf = places.project.join(place).components().collect();
        if !places.is_new(&place) {
            return;
        }
        // Both its own name and what a link there leads to are hidden; `..` at its end has no name of its own.
        let is_led = self.add_inode(&place) || place.file_name().is_none();
        let led = if is_led { place.canonicalize().ok() } else { None };
        for found in places.named(&place).into_iter().chain(led) {
            let Ok(inside) = found.strip_prefix(places.project) else { continue };
            if let Ok(path) = RelPath::from_bytes(inside.as_os_str().as_bytes())
                && !self.exact.iter().any(|known| known.path == path)
            {
                self.exact.push(Place { folded: folded_path(&path), path, reason });
            }
        }
    }

    /// Notes what is there; whether that is a link.
    fn add_inode(&mut self, file: &Path) -> bool {
        let is_link = |about: &Found| about.kind == FileType::Symlink;
        let (own, led) = match Found::at(file, AtFlags::SYMLINK_NOFOLLOW) {
            Some(own) if is_link(&own) => (true, Found::at(file, AtFlags::empty())),
            own => (false, own),
        };
        if let Some(Found { device, inode, mount, kind, links }) = led {
            self.inodes.insert((device, inode));
            self.is_linked |= kind == FileType::RegularFile && links > 1;
            self.mounts.insert((device, mount));
        }
        own
    }

    /// Why `path` is hidden, judged by its name and those of the folders it is in; `None` when it
    /// is visible. Nothing needs to exist. A name that could hold a key counts as hidden here
    /// whatever its content: this is what protects a path from being written; and so does a name that another file
    /// system takes for a hidden one.
    #[must_use]
    pub fn by_path(&self, path: &RelPath) -> Option<Reason> {
        let by_folded = || {
            let folded = folded_path(path);
            let place =
                self.exact.iter().find(|place| folded.is_within(&place.folded)).map(|place| place.reason);
            place.or_else(|| (folded != *path).then(|| self.by_spelling(&folded)).flatten())
        };
        self.by_spelling(path).or_else(by_folded)
    }

    fn by_spelling(&self, path: &RelPath) -> Option<Reason> {
        let own = [self.own(path, false), self.own(path, true)];
        let folders = path.folders().map(|folder| self.own(&folder, true));
        own.into_iter().chain(folders).find_map(|verdict| match verdict {
            Verdict::Visible | Verdict::IfContent(_) => None,
            Verdict::Hidden(reason) | Verdict::ByContent(reason) => Some(reason),
            Verdict::Template => Some(Reason::Environment),
            Verdict::Replaced => Some(Reason::GitCredentials),
        })
    }

    /// Why a run may not change `path`, judged by names: as for [`Hidden::by_path`], but that it may write the template of an
    /// environment file.
    #[must_use]
    pub fn bars(&self, path: &RelPath) -> Option<Reason> {
        let reason = self.by_path(path)?;
        let is_free = |path: &RelPath| {
            self.is_template(path) && path.folders().all(|folder| self.by_path(&folder).is_none())
        };
        (!is_free(path) || !is_free(&folded_path(path))).then_some(reason)
    }

    /// Whether the project's own `.git` is seen.
    pub(crate) fn shows_git(&self) -> bool {
        RelPath::from_bytes(b".git").is_ok_and(|git| self.own(&git, true) == Verdict::Visible)
    }

    /// Whether the path is hidden unless [`Templates`] have it.
    pub(crate) fn is_template(&self, path: &RelPath) -> bool {
        self.own(path, false) == Verdict::Template
    }

    /// Why a path is hidden where its content says so, though a run may make such a file.
    pub(crate) fn if_content(&self, path: &RelPath) -> Option<Reason> {
        match self.own(path, false) {
            Verdict::IfContent(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether this (device, inode) is a hidden file whose place is known by the settings.
    #[must_use]
    pub fn by_inode(&self, device: u64, inode: u64) -> bool {
        self.inodes.contains(&(device, inode))
    }

    /// Whether a directory entry's inode number is worth a closer look.
    pub(crate) fn may_be_inode(&self, inode: u64) -> bool {
        self.inodes.iter().any(|(_, known)| *known == inode)
    }

    /// Whether nothing but names and contents decides what is hidden in the folder, which lies on this (device, mount):
    /// not where a known file has another name, by a hard link or by another mount of its device.
    pub(crate) fn is_by_names_alone(&self, (device, mount): (u64, u64)) -> bool {
        let is_there_twice = self.mounts.iter().any(|(on, by)| *on == device && *by != mount);
        self.exact.is_empty()
            && self.globs.is_empty()
            && self.git == git::Folders::default()
            && !self.is_linked
            && !is_there_twice
    }

    /// The places that wflo knows by the settings, whether or not there is something now.
    pub(crate) fn places(&self) -> impl Iterator<Item = &RelPath> {
        self.exact.iter().map(|place| &place.path)
    }

    /// The same rules, with Git's folders of the project as it is and as the run of `view` saw and left it: what is to
    /// judge a run's changes must know them.
    #[must_use]
    pub fn with_git_of(self, project: &Path, view: &View) -> Hidden {
        let ground = project.canonicalize().map(|project| Ground::of(&project)).unwrap_or_default();
        let trees = [view.base(), view.merged()];
        self.with_git(&ground.git_folders(trees.iter().flat_map(|tree| tree.keys())))
    }

    /// The same rules, with these folders of Git's.
    pub(crate) fn with_git(mut self, folders: &git::Folders) -> Hidden {
        self.git.extend(folders);
        self
    }

    /// Those that are known before anything was looked at.
    pub(crate) fn git(&self) -> &git::Folders {
        &self.git
    }

    pub(crate) fn own(&self, path: &RelPath, is_dir: bool) -> Verdict {
        self.own_with(path, is_dir, &self.git)
    }

    /// The verdict on `path` itself, given that its folders are visible, and which folders are Git's. What SQLite would
    /// take for a part of a hidden file is hidden with it, whatever hides that.
    pub(crate) fn own_with(&self, path: &RelPath, is_dir: bool, git: &git::Folders) -> Verdict {
        let own = self.by_itself(path, is_dir, git);
        if !matches!(own, Verdict::Visible | Verdict::IfContent(_)) {
            return own;
        }
        match beside::database_of(path).map(|database| self.by_itself(&database, false, git)) {
            Some(hidden @ Verdict::Hidden(_)) => hidden,
            _ => own,
        }
    }

    fn by_itself(&self, path: &RelPath, is_dir: bool, git: &git::Folders) -> Verdict {
        let is_place = |place: &&Place| place.path.as_bytes().eq_ignore_ascii_case(path.as_bytes());
        if let Some(place) = self.exact.iter().find(is_place) {
            return Verdict::Hidden(place.reason);
        }
        if self.globs.matched(path.as_path(), is_dir).is_ignore() {
            return Verdict::Hidden(Reason::Configured);
        }
        if path.as_bytes().starts_with(STAGING_PREFIX.as_bytes()) {
            return Verdict::Hidden(Reason::DataDirectory);
        }
        let name = path.name().to_ascii_lowercase();
        if name == DATA_FOLDER || name.starts_with(RESTORE_PREFIX.as_bytes()) {
            return Verdict::Hidden(Reason::DataDirectory);
        }
        let by_name = || match name.starts_with(b".env") {
            true => Verdict::Hidden(Reason::Environment),
            false => match git::verdict(path, is_dir, git) {
                Verdict::Visible => names::verdict(path, &name, is_dir),
                other => other,
            },
        };
        match by_name() {
            Verdict::Hidden(_) if !is_dir && template::is_template(&name) => Verdict::Template,
            other => other,
        }
    }
}

fn bad_glob(glob: &str, error: &ignore::Error) -> WorkspaceError {
    WorkspaceError::BadGlob { glob: glob.to_owned(), reason: error.to_string() }
}
