//! What Git ignores, in a repository and outside of one.
//!
//! The nearest `.gitignore` decides first, then those above up to the repository's root, then
//! `.git/info/exclude`, then the user's global file: the order of gitignore(5).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};

use super::super::beneath;
use super::super::path::RelPath;
use super::super::store::blob::read_up_to;

/// A `.gitignore` longer than this is read up to here.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The rules that hold in one folder, outermost first.
#[derive(Clone)]
pub(super) struct Ignores {
    stack: Vec<Arc<Gitignore>>,
    /// Below `.git` no rule holds.
    in_git: bool,
}

impl Ignores {
    /// The rules from outside of the project's own `.gitignore` files.
    pub(super) fn for_project(project: &Path, root: impl AsFd) -> Ignores {
        let mut stack = vec![Arc::new(Gitignore::global().0)];
        let repository = project.ancestors().find(|folder| folder.join(".git").exists());
        if let Some(repository) = repository {
            stack.extend(from_file(repository, &repository.join(".git/info/exclude")));
            let mut between: Vec<&Path> =
                project.ancestors().skip(1).take_while(|folder| folder.starts_with(repository)).collect();
            between.reverse();
            stack.extend(between.iter().filter_map(|folder| from_file(folder, &folder.join(".gitignore"))));
        } else if let Ok(file) = beneath::open_file(root.as_fd(), b".git/info/exclude") {
            stack.extend(from_content(project, &File::from(file)));
        }
        Ignores { stack, in_git: false }
    }

    /// The rules inside the folder `at`, whose descriptor is `dir`.
    pub(super) fn entering(&self, project: &Path, at: &RelPath, dir: impl AsFd) -> Ignores {
        let mut inner = self.clone();
        if self.in_git || at.name() == b".git" {
            inner.in_git = true;
        } else if let Ok(file) = beneath::open_file(dir, b".gitignore") {
            inner.stack.extend(from_content(&project.join(at.as_path()), &File::from(file)));
        }
        inner
    }

    /// Whether Git ignores `path`, whose folders it does not ignore.
    pub(super) fn ignores(&self, project: &Path, path: &RelPath, is_dir: bool) -> bool {
        if self.in_git || path.name() == b".git" {
            return false;
        }
        let full = project.join(path.as_path());
        for rules in self.stack.iter().rev() {
            match rules.matched(&full, is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

fn from_file(folder: &Path, file: &Path) -> Option<Arc<Gitignore>> {
    // A FIFO in its place would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    from_content(folder, &File::from(rustix::fs::open(file, flags, Mode::empty()).ok()?))
}

fn from_content(folder: &Path, file: &File) -> Option<Arc<Gitignore>> {
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let content = read_up_to(file, LIMIT).ok()?;
    let mut builder = GitignoreBuilder::new(folder);
    for line in String::from_utf8_lossy(&content).lines() {
        // Git skips a line that it cannot read; so does this.
        let _skipped = builder.add_line(None, line);
    }
    builder.build().ok().filter(|rules| !rules.is_empty()).map(Arc::new)
}
