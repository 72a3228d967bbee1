//! Git in a project: which folders are its own, and what its settings name.
//!
//! Everything is read from files. No process is started, and no setting is believed beyond this: what it names may be
//! run, so it is asked about.

mod config;
mod named;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::beneath;
use super::folding::folded_path;
use super::hidden::git::{Folders, Marks};
use super::path::RelPath;
use super::store::blob::read_up_to;
use super::survey::MAX_DEPTH;
pub(crate) use named::Named;

/// So many names of a project are looked at: what is beyond is judged by the names that a run saw.
const MOST_NAMES: usize = 1_000_000;
/// So many repositories are read.
const MOST_REPOSITORIES: usize = 1_000;
/// A longer configuration is read up to here.
const LONGEST: u64 = 1024 * 1024;
/// Folders that a package manager fills: a link there leads to the project's own packages, and makes no program of
/// them.
const FILLED: [&[u8]; 9] = [
    b"node_modules",
    b".venv",
    b"venv",
    b".tox",
    b".nox",
    b"site-packages",
    b"dist-packages",
    b"__pycache__",
    b".wflo",
];
/// Folders of Git's that hold no program, no link that counts and no repository.
const STORED: [&[u8]; 3] = [b"objects", b"refs", b"logs"];

/// What a look at the names of a project found.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    project: PathBuf,
    pub(crate) links: Vec<RelPath>,
    /// Git's folders, and the files and links `.git` that name one.
    git: Vec<RelPath>,
    /// What of a folder of Git's is in which folder; most have none of it.
    marks: Vec<(RelPath, Marks)>,
    names: usize,
}

fn is_called_git(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git")
}

/// Whether links in this folder are left alone.
pub(crate) fn is_filled(path: &RelPath) -> bool {
    path.components().any(|part| FILLED.iter().any(|known| part.eq_ignore_ascii_case(known)))
}

impl Ground {
    /// Looks at the names in `project`, a real path. What cannot be read is left out.
    pub(crate) fn of(project: &Path) -> Ground {
        let mut ground = Ground { project: project.to_owned(), ..Ground::default() };
        if let Ok(root) = beneath::open_root(project) {
            ground.folder(&root, &RelPath::root());
        }
        ground
    }

    pub(crate) fn project(&self) -> &Path {
        &self.project
    }

    fn folder(&mut self, dir: &OwnedFd, at: &RelPath) {
        let names = beneath::names(dir).unwrap_or_default();
        self.names += names.len();
        let marks: Marks = names.iter().map(|name| name.name.as_slice()).collect();
        if marks != Marks::default() {
            self.marks.push((at.clone(), marks));
        }
        let is_git = marks.are_gits() || is_called_git(at.name());
        if is_git {
            self.git.push(at.clone());
        }
        for name in names {
            let path = at.join(&name.name);
            match name.kind {
                FileType::Symlink => {
                    if is_called_git(&name.name) {
                        self.git.push(path.clone());
                    }
                    self.links.push(path);
                }
                FileType::RegularFile if is_called_git(&name.name) => self.git.push(path),
                FileType::Directory => {
                    let name = name.name.as_slice();
                    let left = FILLED.contains(&name) || (is_git && STORED.contains(&name));
                    if !left
                        && path.depth() < MAX_DEPTH
                        && self.names < MOST_NAMES
                        && let Ok(inner) = beneath::open_dir(dir, name)
                    {
                        self.folder(&inner, &path);
                    }
                }
                _ => {}
            }
        }
    }

    /// Git's folders that are not called so: what makes one is in the project or among `names`, or in both together, or
    /// a file `.git` or one of them leads there.
    pub(crate) fn git_folders<'a>(&self, names: impl Iterator<Item = &'a RelPath>) -> Folders {
        let mut marks: HashMap<RelPath, Marks> = HashMap::new();
        for (folder, found) in &self.marks {
            marks.entry(folded_path(folder)).or_default().join(*found);
        }
        for path in names {
            let mut found = Marks::default();
            found.note(path.name());
            if found != Marks::default() {
                marks.entry(folded_path(&path.parent().unwrap_or_default())).or_default().join(found);
            }
        }
        let mut folders = Folders::default();
        marks.iter().filter(|(_, marks)| marks.are_gits()).for_each(|(folder, _)| folders.add(folder));
        for repository in self.repositories() {
            folders.extend(&repository.folders(&self.project));
        }
        folders
    }

    /// What the settings of Git name: those of the project's repositories and of one that it is a part of, and the
    /// `outer` files, of the user and the machine.
    pub(crate) fn named(&self, outer: &[PathBuf]) -> Vec<Named> {
        let mut found = Vec::new();
        for repository in self.repositories() {
            let files = [
                repository.common.join("config"),
                repository.common.join("config.worktree"),
                repository.own.join("config"),
                repository.own.join("config.worktree"),
            ];
            let files = files.iter().chain(outer);
            for worktree in &repository.worktrees {
                files.clone().for_each(|file| named::add_named(file, worktree, &mut found));
            }
        }
        found
    }

    fn repositories(&self) -> Vec<Repository> {
        let above = self.project.ancestors().skip(1).map(|folder| folder.join(".git"));
        let above = above.filter(|git| git.symlink_metadata().is_ok()).take(1);
        let own = self.git.iter().map(|path| self.project.join(path.as_path()));
        own.chain(above).take(MOST_REPOSITORIES).map(|git| Repository::at(&git)).collect()
    }
}

/// Git's folders that are known without a look at the whole project: itself, and those that its `.git` leads to.
pub(crate) fn of_root(project: &Path) -> Folders {
    let mut folders = Repository::at(&project.join(".git")).folders(project);
    let names = beneath::open_root(project).and_then(beneath::names).unwrap_or_default();
    if names.iter().map(|name| name.name.as_slice()).collect::<Marks>().are_gits() {
        folders.add(&RelPath::root());
    }
    folders
}

/// The files of Git's settings outside of repositories (git-config(1), "Files").
pub(crate) fn outer_settings() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let dot_config = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dot_config = dot_config.or_else(|| home.as_ref().map(|home| home.join(".config")));
    let global = std::env::var_os("GIT_CONFIG_GLOBAL").map(PathBuf::from);
    let own = home.map(|home| home.join(".gitconfig"));
    let machine = Some(PathBuf::from("/etc/gitconfig"));
    [dot_config.map(|dir| dir.join("git/config")), own, global, machine].into_iter().flatten().collect()
}

struct Repository {
    /// Git's folder of this work tree.
    own: PathBuf,
    /// The one that it shares with others; the same where there are none.
    common: PathBuf,
    /// Where its commands are run.
    worktrees: Vec<PathBuf>,
}

impl Repository {
    /// The repository of a Git folder, or of a file that names one.
    fn at(git: &Path) -> Repository {
        let above = git.parent().unwrap_or(git).to_owned();
        let own = match line_of(git, "gitdir: ") {
            Some(named) => above.join(named),
            None => git.to_owned(),
        };
        let is_named = git.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".git"));
        let mut worktrees = vec![if is_named { above } else { git.to_owned() }];
        // Of a work tree that lies elsewhere.
        let back = line_of(&own.join("gitdir"), "");
        worktrees.extend(back.and_then(|back| Some(own.join(back).parent()?.to_owned())));
        worktrees.extend(named::worktree(&own.join("config")).map(|folder| own.join(folder)));
        let common =
            line_of(&own.join("commondir"), "").map_or_else(|| own.clone(), |common| own.join(common));
        Repository { own, common, worktrees }
    }
}

impl Repository {
    /// Its folders in `project`.
    fn folders(&self, project: &Path) -> Folders {
        let mut folders = Folders::default();
        let found = [&self.own, &self.common].into_iter().filter_map(|folder| inside(project, folder));
        found.for_each(|folder| folders.add(&folder));
        folders
    }
}

/// Where a path ends in `project`, a real path, links followed.
fn inside(project: &Path, path: &Path) -> Option<RelPath> {
    let found = path.canonicalize().ok()?;
    let inside = found.strip_prefix(project).ok()?.as_os_str().as_bytes();
    if inside.is_empty() { Some(RelPath::root()) } else { RelPath::from_bytes(inside).ok() }
}

/// The target of a link on the host.
pub(crate) fn link_there(at: &Path) -> Option<Vec<u8>> {
    std::fs::read_link(at).ok().map(|target| target.into_os_string().as_encoded_bytes().to_vec())
}

/// The path that a file of one line names after `before`.
fn line_of(file: &Path, before: &str) -> Option<PathBuf> {
    let content = read(file)?;
    let line = content.strip_prefix(before.as_bytes())?.trim_ascii();
    (!line.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(line)))
}

/// A file's content; none of what is no file, and no waiting for a FIFO.
fn read(file: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(file, flags, Mode::empty()).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    read_up_to(&file, LONGEST).ok()
}
