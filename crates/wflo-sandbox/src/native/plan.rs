//! An order with its host paths opened and its owners known: what a child needs to build.
//!
//! Made by the launcher before it forks, because owner maps are kept from one sandbox to the
//! next. **Architecture Invariant:** each host path is resolved once, here; later steps use the
//! descriptor, so that a path cannot change its meaning in between.

use super::idmap::OwnerMaps;
use super::spec::{Bind, Limits};
use super::sys::{At, Fault};
use super::template::open_host;
use super::wire::Order;
use rustix::fs::FileType;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// One host file or folder to be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) source: OwnedFd,
    pub(crate) target: PathBuf,
    pub(crate) folder: bool,
    pub(crate) writable: bool,
    /// The map that gives its owner's files to the sandbox's user; as root only.
    pub(crate) owners: Option<Rc<OwnedFd>>,
}

/// One layer of the workspace.
#[derive(Debug)]
pub(crate) struct Lower {
    pub(crate) source: OwnedFd,
    pub(crate) path: PathBuf,
    pub(crate) owners: Option<Rc<OwnedFd>>,
}

/// The workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) lowers: Vec<Lower>,
    pub(crate) target: PathBuf,
}

/// A mount whose place in the order depends on where it goes.
#[derive(Debug)]
pub(crate) enum Source {
    Workspace,
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
}

impl Plan {
    /// Opens everything that `order` names.
    ///
    /// # Errors
    /// The path that could not be opened.
    pub(crate) fn make(order: &Order, ids: (u32, u32), maps: Option<&mut OwnerMaps>) -> Result<Self, Fault> {
        let privileged = maps.is_some();
        let mut maps = maps;
        let mut owners = |uid: u32, gid: u32| match &mut maps {
            Some(maps) => maps.get((uid, gid), ids).map(Some),
            None => Ok(None),
        };
        let (mut host_uid, mut host_gid) = ids;
        let mut mounts: Vec<(PathBuf, Source)> = Vec::new();
        let workspace = match &order.workspace {
            None => None,
            Some(view) => {
                let mut lowers = Vec::new();
                for path in &view.lowers {
                    let named = || path.display().to_string();
                    let source = open_host(path).at("opening a workspace layer", named)?;
                    let found = rustix::fs::fstat(&source).at("opening a workspace layer", named)?;
                    if lowers.is_empty() {
                        (host_uid, host_gid) = (found.st_uid, found.st_gid);
                    }
                    let owners = owners(found.st_uid, found.st_gid)?;
                    lowers.push(Lower { source, path: path.clone(), owners });
                }
                mounts.push((view.target.clone(), Source::Workspace));
                Some(Workspace { lowers, target: view.target.clone() })
            }
        };
        let mut show = |bind: &Bind, writable: bool| -> Result<(PathBuf, Source), Fault> {
            let named = || bind.source.display().to_string();
            let source = open_host(&bind.source).at("opening a folder to show", named)?;
            let found = rustix::fs::fstat(&source).at("opening a folder to show", named)?;
            let folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            let owners = owners(found.st_uid, found.st_gid)?;
            let target = bind.target.clone();
            Ok((target.clone(), Source::Bind(Shown { source, target, folder, writable, owners })))
        };
        for bind in &order.ro {
            mounts.push(show(bind, false)?);
        }
        for bind in &order.rw {
            mounts.push(show(bind, true)?);
        }
        mounts.sort_by_key(|(target, _)| target.components().count());
        let mounts = mounts.into_iter().map(|(_, source)| source).collect();
        let (uid, gid) = ids;
        let (limits, pts) = (order.limits, order.pts);
        Ok(Plan { privileged, uid, gid, host_uid, host_gid, limits, workspace, mounts, pts })
    }
}
