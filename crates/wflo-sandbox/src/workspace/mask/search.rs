//! Looking for what is hidden in a folder that is shown as it is.
//!
//! What is mounted in such a folder is not shown with it: a sandbox sees what lies beneath the mount, which nobody can look
//! at from here. So it is hidden whole, and so is what this user cannot look into.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::super::beneath::{self, Name};
use super::super::error::{IoAt, WorkspaceError};
use super::super::hidden::git::{Folders, Marks};
use super::super::hidden::{Hidden, Verdict};
use super::super::path::RelPath;
use super::super::survey::{MAX_DEPTH, secret_inside};
use super::remembered::Look;

/// The hidden paths in `dir`, which is `at` below `base`: relative to `base`, none of them in
/// another. `linked` are hidden files that have other names, by (device, inode).
pub(crate) fn hidden_below(
    base: &Path,
    dir: &OwnedFd,
    at: &RelPath,
    hidden: &Hidden,
    linked: &HashSet<(u64, u64)>,
) -> Result<Vec<RelPath>, WorkspaceError> {
    let mut search =
        Search { base, hidden, linked, git: hidden.git().clone(), found: Vec::new(), look: None };
    search.folder(dir, at)?;
    Ok(search.found)
}

/// What is hidden in `folder`, open at `root`, and what was seen on the way, if that can be told again later.
pub(super) fn looked_through(
    folder: &Path,
    root: &OwnedFd,
    hidden: &Hidden,
) -> Result<(Vec<RelPath>, Option<Look>), WorkspaceError> {
    let (linked, git, look) = (HashSet::new(), hidden.git().clone(), Some(Look::default()));
    let mut search = Search { base: folder, hidden, linked: &linked, git, found: Vec::new(), look };
    search.folder(root, &RelPath::root())?;
    Ok((search.found, search.look))
}

/// Whether a file of which the content decides is hidden.
pub(super) fn is_secret(dir: impl AsFd, name: &Name) -> bool {
    is_mounted(&dir, name) || secret_inside(dir, name)
}

/// Whether something is mounted over the file: a sandbox sees what is beneath it.
fn is_mounted(dir: impl AsFd, name: &Name) -> bool {
    rustix::fs::statx(dir, name.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

struct Search<'a> {
    base: &'a Path,
    hidden: &'a Hidden,
    linked: &'a HashSet<(u64, u64)>,
    git: Folders,
    found: Vec<RelPath>,
    /// What is to be remembered of it.
    look: Option<Look>,
}

impl Search<'_> {
    fn folder(&mut self, dir: &OwnedFd, at: &RelPath) -> Result<(), WorkspaceError> {
        if at.depth() > MAX_DEPTH {
            let limit = MAX_DEPTH as u64;
            return Err(WorkspaceError::TooLarge { what: "nested folders", limit, path: at.clone() });
        }
        // Before it is listed: what comes in meanwhile has changed it.
        self.look.take_if(|look| !look.folder(at, dir));
        let names = beneath::names(dir).at("list", &self.base.join(at.as_path()))?;
        if names.iter().map(|name| name.name.as_slice()).collect::<Marks>().are_gits() {
            self.git.add(at);
        }
        for name in names {
            let path = at.join(&name.name);
            let is_dir = name.kind == FileType::Directory;
            let hidden = match self.hidden.own_with(&path, is_dir, &self.git) {
                Verdict::Visible => !is_dir && self.is_hidden_inode(dir, &name),
                Verdict::Hidden(_) | Verdict::Template | Verdict::Replaced => true,
                Verdict::ByContent(_) | Verdict::IfContent(_) if name.kind == FileType::RegularFile => {
                    self.look.iter_mut().for_each(|look| look.undecided(&path));
                    if is_secret(dir, &name) || self.is_hidden_inode(dir, &name) {
                        self.found.push(path);
                    }
                    continue;
                }
                // A link says nothing of what it leads to.
                Verdict::ByContent(_) | Verdict::IfContent(_) => name.kind != FileType::Symlink,
            };
            if hidden {
                self.look.iter_mut().for_each(|look| look.named(&path));
                self.found.push(path);
            } else if is_dir {
                self.inner(dir, &name, path)?;
            }
        }
        Ok(())
    }

    fn inner(&mut self, dir: &OwnedFd, name: &Name, path: RelPath) -> Result<(), WorkspaceError> {
        let refused = match beneath::open_dir_of_same_mount(dir, &name.name) {
            Ok(inner) => return self.folder(&inner, &path),
            Err(error) => error,
        };
        // Whether it can be opened the next time shows in nothing that is remembered.
        self.look = None;
        match Errno::from_io_error(&refused) {
            // Something else has come in its place since it was listed.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            // That is about this process, and not about the folder.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                Err(refused).at("open the folder", &self.base.join(path.as_path()))
            }
            _ => {
                self.found.push(path);
                Ok(())
            }
        }
    }

    /// The inode number of the directory entry is enough to rule a file out.
    fn is_hidden_inode(&self, dir: &OwnedFd, name: &Name) -> bool {
        let maybe =
            self.linked.iter().any(|(_, inode)| *inode == name.inode) || self.hidden.may_be_inode(name.inode);
        maybe
            && rustix::fs::statat(dir, name.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                let id = (stat.st_dev, stat.st_ino);
                self.linked.contains(&id) || self.hidden.by_inode(id.0, id.1)
            })
    }
}
