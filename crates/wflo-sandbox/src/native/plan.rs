//! An order whose host paths are detached mounts already: what a child needs to build.
//!
//! Made by the launcher before it forks: only in its own mount namespace can the host's mounts be
//! copied, and owner maps are kept from one sandbox to the next. **Architecture Invariant:** each
//! host path is resolved once, here, so that it cannot change its meaning in between.

use super::idmap::OwnerMaps;
use super::preset::Preset;
use super::spec::{Bind, Limits};
use super::sys::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::sys::{At, Fault};
use super::template::open_host;
use super::wire::Order;
use rustix::fs::FileType;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One host file or folder to be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Detached, with its attributes and owners as they will be.
    pub(crate) mount: OwnedFd,
    pub(crate) target: PathBuf,
    pub(crate) folder: bool,
}

/// One layer of the workspace.
#[derive(Debug)]
pub(crate) struct Lower {
    /// Detached, read-only, with its owners as they will be.
    pub(crate) mount: OwnedFd,
    pub(crate) path: PathBuf,
}

/// The workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) lowers: Vec<Lower>,
    pub(crate) target: PathBuf,
}

/// A folder that is only read, as the lower layers of an overlay.
///
/// Not as a bind: through one, a read-only one too, a Unix socket is the host's and a FIFO's other
/// end may be a host process. An overlay's inodes are its own, so that a connection is refused and a
/// FIFO is another pipe. And its whiteouts are by path: what is renamed onto one stays hidden.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The topmost first; one alone is completed with an empty folder.
    pub(crate) lowers: Vec<OwnedFd>,
    pub(crate) target: PathBuf,
}

/// A mount whose place in the order depends on where it goes.
#[derive(Debug)]
pub(crate) enum Source {
    Workspace,
    Folder(Folder),
    Bind(Shown),
}

/// Everything that the child needs to build its root.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) privileged: bool,
    /// The user and group of the sandbox, as the host sees them.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Who they stand for on the host.
    pub(crate) host_uid: u32,
    pub(crate) host_gid: u32,
    pub(crate) limits: Limits,
    pub(crate) workspace: Option<Workspace>,
    /// Outer mounts before inner ones.
    pub(crate) mounts: Vec<Source>,
    pub(crate) pts: bool,
    /// Nothing that is written can be executed.
    pub(crate) inert: bool,
}

impl Plan {
    /// Opens everything that `order` names.
    ///
    /// # Errors
    /// The path that could not be opened.
    pub(crate) fn make(order: &Order, ids: (u32, u32), maps: Option<&mut OwnerMaps>) -> Result<Self, Fault> {
        let privileged = maps.is_some();
        let mut opener = Opener { ids, maps };
        let (mut host_uid, mut host_gid) = ids;
        let mut mounts: Vec<(PathBuf, Source)> = Vec::new();
        let workspace = match &order.workspace {
            None => None,
            Some(view) => {
                let mut lowers = Vec::new();
                for path in &view.lowers {
                    let (mount, found) = opener.open(path, false, true)?;
                    if lowers.is_empty() {
                        (host_uid, host_gid) = (found.st_uid, found.st_gid);
                    }
                    mount::set_attributes(mount.as_fd(), RDONLY | NOSUID | NODEV, false)
                        .at("reading a workspace layer", || path.display().to_string())?;
                    lowers.push(Lower { mount, path: path.clone() });
                }
                mounts.push((view.target.clone(), Source::Workspace));
                Some(Workspace { lowers, target: view.target.clone() })
            }
        };
        for bind in &order.ro {
            mounts.push((bind.target.clone(), opener.read_only(bind)?));
        }
        for bind in &order.rw {
            let (mount, found) = opener.open(&bind.source, true, true)?;
            let inert = if order.preset == Preset::Strict { NOEXEC } else { 0 };
            mount::set_attributes(mount.as_fd(), NOSUID | NODEV | inert, true)
                .at("showing a folder", || bind.source.display().to_string())?;
            let folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            let target = bind.target.clone();
            mounts.push((target.clone(), Source::Bind(Shown { mount, target, folder })));
        }
        mounts.sort_by_key(|(target, _)| target.components().count());
        let mounts = mounts.into_iter().map(|(_, source)| source).collect();
        let (uid, gid) = ids;
        let (limits, pts, inert) = (order.limits, order.pts, order.preset == Preset::Strict);
        Ok(Plan { privileged, uid, gid, host_uid, host_gid, limits, workspace, mounts, pts, inert })
    }
}

/// Copies the host's mounts, owners mapped.
struct Opener<'a> {
    ids: (u32, u32),
    maps: Option<&'a mut OwnerMaps>,
}

impl Opener<'_> {
    fn read_only(&mut self, bind: &Bind) -> Result<Source, Fault> {
        let step = "showing a path to read";
        let named = |path: &Path| path.display().to_string();
        let shut = |mount: OwnedFd, path: &Path| {
            mount::set_attributes(mount.as_fd(), RDONLY | NOSUID | NODEV, false)
                .at(step, || named(path))
                .map(|()| mount)
        };
        let (mount, found) = self.open(&bind.source, false, false).map_err(|fault| match fault.errno {
            // A user may not look below what is mounted in it.
            libc::EINVAL => {
                let step = "showing a folder in which another file system is mounted (name its parts)";
                Fault::new(step, libc::EINVAL, named(&bind.source))
            }
            _ => fault,
        })?;
        let (mount, target) = (shut(mount, &bind.source)?, bind.target.clone());
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let mut lowers = Vec::new();
                if let Some(mask) = &bind.mask {
                    lowers.push(shut(self.open(mask, false, false)?.0, mask)?);
                }
                lowers.push(mount);
                Ok(Source::Folder(Folder { lowers, target }))
            }
            FileType::RegularFile => Ok(Source::Bind(Shown { mount, target, folder: false })),
            // A socket, a FIFO or a device is not made harmless by mounting it read-only.
            _ => Err(Fault::new(step, libc::EACCES, named(&bind.source))),
        }
    }

    /// A detached copy of what `path` names, and what it is. With a file system that cannot map
    /// owners, `must_map` decides whether that is an error or it is shown as it is.
    fn open(
        &mut self,
        path: &Path,
        recursive: bool,
        must_map: bool,
    ) -> Result<(OwnedFd, rustix::fs::Stat), Fault> {
        let named = || path.display().to_string();
        let source = open_host(path).at("opening a path to show", named)?;
        let found = rustix::fs::fstat(&source).at("opening a path to show", named)?;
        let mount = mount::copy_tree(source.as_fd(), c"", recursive).at("copying a mount to show", named)?;
        if let Some(maps) = &mut self.maps {
            let owners = maps.get((found.st_uid, found.st_gid), self.ids)?;
            match mount::map_owners(mount.as_fd(), owners.as_fd()) {
                Err(error) if must_map => return Err(error).at("mapping the owners of a folder", named),
                _ => {}
            }
        }
        Ok((mount, found))
    }
}
