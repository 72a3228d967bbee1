//! Git in a project: which folders are its own, and what its settings name.
//!
//! Everything is read from files. No process is started, and no setting is believed beyond this: what it names may be
//! run, so it is asked about.

mod command;
pub(crate) mod config;
mod index;
mod named;
mod program;
mod settings;
mod shell;

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
pub(crate) use index::{Index, missed};
pub(crate) use named::{Named, Part};
use settings::{Names, Reader, Worktrees};

/// So many names of a project are looked at: what is beyond is judged by the names that a run saw.
const MOST_NAMES: usize = 1_000_000;
/// So many repositories are read.
const MOST_REPOSITORIES: usize = 10_000;
/// A file that holds one path is not longer.
const LONGEST_LINE: u64 = 64 * 1024;
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

    /// What the settings of Git name: those of the project's repositories and of those that it is a part of, and the
    /// `outer` ones.
    pub(crate) fn named(&self, outer: &Outer) -> Names {
        let mut reader = Reader::default();
        for file in outer.settings.iter().chain(&outer.attributes) {
            reader.name(file.clone(), Part::Whole);
        }
        let repositories = self.repositories();
        if repositories.is_empty() {
            reader.add(outer.settings.iter(), &self.project);
        }
        for repository in &repositories {
            // Where these lead is Git's, and it may not lie in a folder of that name.
            for (folder, name) in repository.files() {
                reader.name(folder.join(name), Part::Whole);
            }
            let files = repository.settings();
            for worktree in &repository.worktrees {
                reader.add(outer.settings.iter().chain(&files), worktree);
            }
        }
        let mut names = reader.names;
        names.is_cut |= repositories.len() == MOST_REPOSITORIES;
        names
    }

    fn repositories(&self) -> Vec<Repository> {
        // Git passes by a `.git` that is none of its own, and whether it is may change.
        let above = self.project.ancestors().skip(1).map(|folder| folder.join(".git"));
        let above = above.filter(|git| git.symlink_metadata().is_ok());
        let own = self.git.iter().map(|path| self.project.join(path.as_path()));
        let mut known = Worktrees::default();
        above.chain(own).take(MOST_REPOSITORIES).map(|git| Repository::at(&git, &mut known)).collect()
    }
}

/// Git's folders that are known without a look at the whole project: itself, and those that its `.git` leads to.
pub(crate) fn of_root(project: &Path) -> Folders {
    let git = project.join(".git");
    let mut folders = match git.symlink_metadata() {
        Ok(_) => Repository::at(&git, &mut Worktrees::default()).folders(project),
        Err(_) => Folders::default(),
    };
    if is_gits(project) {
        folders.add(&RelPath::root());
    }
    folders
}

/// Git's folder of a project, where it lies outside and no step sees it: of a work tree that `git worktree` added, of a
/// submodule.
pub(crate) fn elsewhere(project: &Path) -> Option<PathBuf> {
    let found =
        Repository::at(&project.join(".git"), &mut Worktrees::default()).common.canonicalize().ok()?;
    // A file may name any folder.
    (!found.starts_with(project) && is_gits(&found)).then_some(found)
}

/// Whether a folder is Git's by what is in it.
fn is_gits(folder: &Path) -> bool {
    let names = beneath::open_root(folder).and_then(beneath::names).unwrap_or_default();
    names.iter().map(|name| name.name.as_slice()).collect::<Marks>().are_gits()
}

/// Git's files outside of repositories (git-config(1), "Files"; gitattributes(5)).
#[derive(Debug, Default)]
pub(crate) struct Outer {
    settings: Vec<PathBuf>,
    attributes: Vec<PathBuf>,
}

impl Outer {
    /// Those of the user and the machine.
    pub(crate) fn of_user() -> Outer {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME");
        let dot_config =
            variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        let settings = [
            dot_config.as_ref().map(|folder| folder.join("git/config")),
            home.map(|home| home.join(".gitconfig")),
            variable("GIT_CONFIG_GLOBAL"),
            variable("GIT_CONFIG_SYSTEM"),
            Some(PathBuf::from("/etc/gitconfig")),
        ];
        let attributes = [
            dot_config.map(|folder| folder.join("git/attributes")),
            Some(PathBuf::from("/etc/gitattributes")),
        ];
        Outer {
            settings: settings.into_iter().flatten().collect(),
            attributes: attributes.into_iter().flatten().collect(),
        }
    }
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
    fn at(git: &Path, known: &mut Worktrees) -> Repository {
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
        let common =
            line_of(&own.join("commondir"), "").map_or_else(|| own.clone(), |common| own.join(common));
        let mut repository = Repository { own, common, worktrees };
        // Which value counts depends on the version and on other settings: each does.
        for file in repository.settings() {
            let said = known.of(&file).iter().map(|folder| repository.own.join(folder));
            repository.worktrees.extend(said);
        }
        repository.worktrees.sort_unstable();
        repository.worktrees.dedup();
        repository
    }

    /// Its files of settings.
    fn settings(&self) -> Vec<PathBuf> {
        let folders = if self.own == self.common { vec![&self.own] } else { vec![&self.own, &self.common] };
        folders
            .iter()
            .flat_map(|folder| ["config", "config.worktree"].map(|name| folder.join(name)))
            .collect()
    }

    /// What is read of its folders, or run of them.
    fn files(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        let folders = [self.own.as_path(), self.common.as_path()];
        let names = ["config", "config.worktree", "hooks", "info/attributes"];
        folders.into_iter().flat_map(move |folder| names.map(|name| (folder, name)))
    }

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
    let content = read(file, LONGEST_LINE)?;
    let line = content.strip_prefix(before.as_bytes())?.trim_ascii();
    (!line.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(line)))
}

/// A file's content, up to `most` bytes; none of what is no file, and no waiting for a FIFO.
fn read(file: &Path, most: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(file, flags, Mode::empty()).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    read_up_to(&file, most).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths, and what is written to the files there.
    fn laid(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (path, content) in files {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), content).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn every_repository_above_counts() {
        let files = [(".git/config", "[core]\nhooksPath = sub/p/hk\n"), ("sub/.git/x", ""), ("sub/p/x", "")];
        let (_folder, root) = laid(&files);
        let names = Ground::of(&root.join("sub/p")).named(&Outer::default());
        let hooks = Named { path: root.join("sub/p/hk"), part: Part::Hooks };
        assert!(names.found.contains(&hooks) && !names.is_cut);
    }

    #[test]
    fn outer_files_count_in_each_work_tree_and_themselves() {
        let files = [("a/.git/x", ""), ("b/.git/x", ""), ("own", "[core]\nfsmonitor = t/x\n"), ("attr", "")];
        let (_folder, root) = laid(&files);
        let outer = Outer { settings: vec![root.join("own")], attributes: vec![root.join("attr")] };
        let names = Ground::of(&root).named(&outer);
        for (path, part) in
            [("a/t/x", Part::File), ("b/t/x", Part::File), ("own", Part::Whole), ("attr", Part::Whole)]
        {
            assert!(names.found.contains(&Named { path: root.join(path), part }), "{path}");
        }
    }
}
