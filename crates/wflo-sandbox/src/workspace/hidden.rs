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

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(rules: &HideRules) -> (tempfile::TempDir, Hidden) {
        let folder = tempfile::tempdir().unwrap();
        let hidden = Hidden::new(folder.path(), rules).unwrap();
        (folder, hidden)
    }

    fn why(hidden: &Hidden, path: &str) -> Option<Reason> {
        hidden.by_path(&path.parse().unwrap())
    }

    #[test]
    fn names_of_keys_and_environments_are_hidden_wherever_they_are() {
        let (_folder, hidden) = hidden(&HideRules::default());
        for path in
            [".env", ".env.local", "a/.ENV.production", "k/id_rsa", "id_ed25519.bak", "tls/server.KEY"]
        {
            assert!(why(&hidden, path).is_some(), "{path}");
        }
        for path in [".ssh/known_hosts", ".envs/prod/db", ".git-credentials", "x/.netrc", "a.pem", ".npmrc"] {
            assert!(why(&hidden, path).is_some(), "{path}");
        }
        for path in [
            ".wflo/wflo.db",
            "sub/.WFLO/blobs/x",
            "prod.env",
            ".docker/config.json",
            "a/.config/gcloud/adc.json",
            ".cargo/credentials.toml",
            ".gem/credentials",
            ".boto",
            ".s3cfg",
            ".vault_pass",
            "conf/credentials",
            "service-account.json",
            "terraform.tfvars",
            "x.auto.tfvars",
            ".git/config.bak",
            ".git/MERGE_MSG",
            ".dev.vars",
            ".dev.vars.production",
            "local.settings.json",
            ".kaggle/kaggle.json",
            "serviceAccountKey.json",
            "shop-firebase-adminsdk-x1-abc.json",
            "rclone.conf",
            ".vscode/sftp.json",
            ".ftpconfig",
            ".gemini/oauth_creds.json",
            ".clasprc.json",
            ".sentryclirc",
            "token.pickle",
            "office.ovpn",
            "pgpass.conf",
            ".git-credentials.bak",
            ".psql_history",
            ".bash_history",
            ".python_history",
            "client_secret_1.apps.json",
        ] {
            assert!(why(&hidden, path).is_some(), "{path}");
        }
        for path in
            [".gitmodules", "config", "app.db", "credentials/x.py", ".cargo/config.toml", "a/config.json"]
        {
            assert_eq!(why(&hidden, path), None, "{path}");
        }
        for path in [
            "env.py",
            "id_rsa.pub",
            "keys.py",
            "src/key/mod.rs",
            "monkey",
            "auth.json",
            "browser_history",
            ".vscode/tasks.json",
            ".gitignore",
            ".github/x",
        ] {
            assert_eq!(why(&hidden, path), None, "{path}");
        }
    }

    #[test]
    fn a_place_is_hidden_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        for written in [
            "real",
            "real/",
            "real/.",
            "link",
            "link/",
            "link/.",
            "link/inner/..",
            "real/inner/..",
            "./real//",
        ] {
            for path in [PathBuf::from(written), folder.path().join(written)] {
                let rules = HideRules { data_dir: Some(path), ..HideRules::default() };
                let hidden = Hidden::new(folder.path(), &rules).unwrap();
                assert_eq!(why(&hidden, "real/new/file"), Some(Reason::DataDirectory), "{written}");
            }
        }
    }

    #[test]
    fn a_run_may_write_a_template_and_nothing_else_of_an_environment() {
        let (_folder, hidden) =
            hidden(&HideRules { globs: vec!["own.sample.env".into()], ..HideRules::default() });
        let bars = |path: &str| hidden.bars(&path.parse().unwrap()).is_some();
        for path in [".env.example", "a/.env.SAMPLE", "a/template.env"] {
            assert!(!bars(path) && why(&hidden, path).is_some(), "{path}");
        }
        for path in [
            ".env",
            ".env:x.example",
            ".env.example/x",
            ".envs/.env.example",
            "own.sample.env",
            ".git/config.sample.env",
        ] {
            assert!(bars(path), "{path}");
        }
    }

    #[test]
    fn databases_bring_their_side_files_and_folders_bring_their_content() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let rules = HideRules {
            data_dir: Some(folder.path().join(".wflo")),
            databases: vec![folder.path().join("data/support.db")],
            globs: vec!["secrets/".into(), "*.sql".into()],
            ..HideRules::default()
        };
        let hidden = Hidden::new(folder.path(), &rules).unwrap();
        assert_eq!(why(&hidden, ".wflo/wflo.db"), Some(Reason::DataDirectory));
        for suffix in beside::SIDE_FILES {
            assert_eq!(why(&hidden, &format!("data/support.db{suffix}")), Some(Reason::Database));
        }
        assert_eq!(why(&hidden, "a/secrets/x/y"), Some(Reason::Configured));
        assert_eq!(why(&hidden, "dump.sql"), Some(Reason::Configured));
        assert_eq!(why(&hidden, "data/other.db"), None);
    }

    #[test]
    fn a_store_that_lies_in_the_project_is_hidden_with_all_that_is_its() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let storage = folder.path().join("data/runs.db");
        let hidden =
            Hidden::new(folder.path(), &HideRules::new(&folder.path().join(".wflo"), &storage)).unwrap();
        for name in [
            "runs.db",
            "runs.db-journal",
            "runs.db-wal",
            "runs.db-shm",
            "runs.db-turn",
            "runs.db-owner",
            "RUNS.DB-JOURNAL",
            "blobs/ab/cd",
            "engines/e.lock",
            "gateway/s.1.log",
        ] {
            assert_eq!(why(&hidden, &format!("data/{name}")), Some(Reason::DataDirectory), "{name}");
        }
        assert_eq!(why(&hidden, "data/report.csv"), None);
    }

    #[test]
    fn side_files_lie_where_a_link_to_the_database_leads() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/real.db"), "").unwrap();
        std::os::unix::fs::symlink("data/real.db", folder.path().join("main.db")).unwrap();
        let rules = HideRules { databases: vec![folder.path().join("main.db")], ..HideRules::default() };
        let hidden = Hidden::new(folder.path(), &rules).unwrap();
        for path in ["main.db-journal", "data/real.db", "data/real.db-journal", "data/real.db-wal"] {
            assert_eq!(why(&hidden, path), Some(Reason::Database), "{path}");
        }
    }

    #[test]
    fn what_sqlite_takes_for_a_part_of_a_hidden_file_is_hidden() {
        let rules = HideRules { globs: vec!["customers.*".into(), "ledger".into()], ..HideRules::default() };
        let (_folder, hidden) = hidden(&rules);
        for path in
            ["ledger-journal", "a/ledger-wal", "ledger-SHM", "x/server.key-journal", "ledger-jour\u{200c}nal"]
        {
            assert!(why(&hidden, path).is_some(), "{path}");
        }
        for path in ["ledgers-journal", "app.db-journal", "notes-wal"] {
            assert_eq!(why(&hidden, path), None, "{path}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let rules = HideRules { globs: vec!["a/{b".into()], ..HideRules::default() };
        assert!(matches!(Hidden::new(folder.path(), &rules), Err(WorkspaceError::BadGlob { .. })));
    }
}
