//! What an order names on the host, opened: detached mounts, and whose they are.
//!
//! Made by the launcher: only in its own mount namespace can the host's mounts be copied, and owner
//! maps are kept from one sandbox to the next. A pid 1 gets it beside its order. **Architecture
//! Invariant:** each host path is resolved once, here, so that it cannot change its meaning in between.

use super::idmap::OwnerMaps;
use super::preset::Preset;
use super::siblings::{self, Parent, Sorted};
use super::spec::Bind;
use super::sys::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::sys::{At, Fault};
use super::template::open_host;
use super::wire::{Order, Reader, Writer};
use rustix::fs::FileType;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A file or folder of the host to be shown: mounts that are attached nowhere, with their attributes and
/// owners as they will be.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A file, or a folder that is written.
    Bind { mount: OwnedFd, folder: bool },
    /// A folder that is only read: the lower layers of an overlay, the topmost first; one alone is completed
    /// with an empty folder.
    ///
    /// Not a bind: through one, a read-only one too, a Unix socket is the host's and a FIFO's other
    /// end may be a host process. An overlay's inodes are its own, so that a connection is refused and a
    /// FIFO is another pipe. And its whiteouts are by path: what is renamed onto one stays hidden.
    Layers(Vec<OwnedFd>),
    /// The same of a folder without whiteouts: this name, in one of the plan's parents.
    Part { parent: usize, name: PathBuf },
}

/// A tree that is seen beneath the toolchain.
#[derive(Debug)]
pub(crate) struct Beneath {
    /// Detached, read-only, with its owners as they will be.
    pub(crate) mount: OwnedFd,
    /// Where file systems are mounted in the template, by its paths.
    pub(crate) apart: Vec<PathBuf>,
}

/// A mount of a sandbox that its order asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The layers of the workspace.
    Workspace(&'a [OwnedFd]),
    Shown(&'a Opened),
}

/// Everything that a pid 1 needs beside its order.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) privileged: bool,
    /// The user and group of the sandbox, as the host sees them.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Who they stand for on the host.
    pub(crate) host_uid: u32,
    pub(crate) host_gid: u32,
    /// The layers of the workspace, the topmost first: detached, read-only, owners mapped.
    layers: Vec<OwnedFd>,
    pub(crate) beneath: Option<Beneath>,
    /// Folders that are shown in part, as lower layers of an overlay each.
    pub(crate) parents: Vec<(PathBuf, OwnedFd)>,
    /// What is read and then what is written, each in the order's order.
    shown: Vec<Opened>,
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
        let mut layers = Vec::new();
        for path in order.workspace.iter().flat_map(|view| &view.lowers) {
            let (mount, found) = opener.open(path, false, true)?;
            if layers.is_empty() {
                (host_uid, host_gid) = (found.st_uid, found.st_gid);
            }
            mount::set_attributes(mount.as_fd(), RDONLY | NOSUID | NODEV, false)
                .at("reading a workspace layer", || path.display().to_string())?;
            layers.push(mount);
        }
        let beneath = order.beneath.as_deref().map(|tree| opener.beneath(tree)).transpose()?;
        let Sorted { parents, parts } =
            siblings::sorted(&order.ro, |path, parent| opener.parent(path, parent).ok());
        let mut shown = Vec::new();
        for (bind, part) in order.ro.iter().zip(parts) {
            shown.push(match part {
                Some((parent, name)) => Opened::Part { parent, name },
                None => opener.read_only(bind)?,
            });
        }
        for bind in &order.rw {
            let (mount, found) = opener.open(&bind.source, true, true)?;
            let inert = if order.preset == Preset::Strict { NOEXEC } else { 0 };
            mount::set_attributes(mount.as_fd(), NOSUID | NODEV | inert, true)
                .at("showing a folder", || bind.source.display().to_string())?;
            let folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            shown.push(Opened::Bind { mount, folder });
        }
        let (uid, gid) = ids;
        Ok(Plan { privileged, uid, gid, host_uid, host_gid, layers, beneath, parents, shown })
    }

    /// Each mount at its place inside, outer ones before inner ones.
    pub(crate) fn mounts<'a>(&'a self, order: &'a Order) -> Vec<(&'a Path, Source<'a>)> {
        let workspace = order.workspace.iter().map(|view| (&*view.target, Source::Workspace(&self.layers)));
        let targets = order.ro.iter().chain(&order.rw).map(|bind| &*bind.target);
        let mut mounts: Vec<_> = workspace.chain(targets.zip(self.shown.iter().map(Source::Shown))).collect();
        mounts.sort_by_key(|(target, _)| target.components().count());
        mounts
    }

    /// The plan for somebody who has its order: in bytes, and the descriptors that they speak of.
    pub(crate) fn encode(&self) -> (Vec<u8>, Vec<BorrowedFd<'_>>) {
        let mut to = Writer::default();
        to.flag(self.privileged);
        [self.uid, self.gid, self.host_uid, self.host_gid].iter().for_each(|id| to.u32(*id));
        to.u32(self.layers.len() as u32);
        let mut fds: Vec<BorrowedFd<'_>> = self.layers.iter().map(AsFd::as_fd).collect();
        to.option(self.beneath.as_ref(), |to, tree| to.list(&tree.apart, |to, place| to.path(place)));
        fds.extend(self.beneath.iter().map(|tree| tree.mount.as_fd()));
        to.list(&self.parents, |to, (path, _)| to.path(path));
        fds.extend(self.parents.iter().map(|(_, mount)| mount.as_fd()));
        to.u32(self.shown.len() as u32);
        for opened in &self.shown {
            match opened {
                Opened::Bind { mount, folder } => {
                    to.u32(0);
                    to.flag(*folder);
                    fds.push(mount.as_fd());
                }
                Opened::Part { parent, name } => {
                    to.u32(PART);
                    to.u32(*parent as u32);
                    to.path(name);
                }
                Opened::Layers(layers) => {
                    to.u32(layers.len() as u32);
                    fds.extend(layers.iter().map(AsFd::as_fd));
                }
            }
        }
        (to.bytes, fds)
    }

    /// What [`Plan::encode`] said; `None` when it said something else.
    pub(crate) fn decode(bytes: &[u8], mut fds: impl Iterator<Item = OwnedFd>) -> Option<Self> {
        let from = &mut Reader::new(bytes);
        let privileged = from.flag()?;
        let [uid, gid, host_uid, host_gid] = [from.u32()?, from.u32()?, from.u32()?, from.u32()?];
        let mut take = |count: u32| -> Option<Vec<OwnedFd>> { (0..count).map(|_| fds.next()).collect() };
        let layers = take(from.u32()?)?;
        let beneath = match from.option(|from| from.list(Reader::path))? {
            Some(apart) => Some(Beneath { mount: take(1)?.pop()?, apart }),
            None => None,
        };
        let paths = from.list(Reader::path)?;
        let parents = take(paths.len() as u32)?;
        let parents = paths.into_iter().zip(parents).collect();
        let shown = from.list(|from| {
            Some(match from.u32()? {
                PART => Opened::Part { parent: from.u32()? as usize, name: from.path()? },
                0 => Opened::Bind { folder: from.flag()?, mount: take(1)?.pop()? },
                count => Opened::Layers(take(count)?),
            })
        })?;
        Some(Plan { privileged, uid, gid, host_uid, host_gid, layers, beneath, parents, shown })
    }
}

/// Where the number of layers stands: there are none, it is a part.
const PART: u32 = u32::MAX;

/// Copies the host's mounts, owners mapped.
struct Opener<'a> {
    ids: (u32, u32),
    maps: Option<&'a mut OwnerMaps>,
}

impl Opener<'_> {
    fn beneath(&mut self, tree: &Path) -> Result<Beneath, Fault> {
        let (mount, _) = self.open(tree, false, false)?;
        mount::set_attributes(mount.as_fd(), RDONLY | NOSUID | NODEV, false)
            .at("showing packages", || tree.display().to_string())?;
        Ok(Beneath { mount, apart: super::template::mounted().step("reading the mounts of the toolchain")? })
    }

    /// A folder of which parts are shown.
    fn parent(&mut self, path: &Path, parent: &Parent) -> Result<OwnedFd, Fault> {
        let step = "showing a folder";
        let named = || path.display().to_string();
        let mount = mount::copy_tree(parent.source(), c"", false).at(step, named)?;
        self.map_owners(&mount, parent.owner(), false, path)?;
        mount::set_attributes(mount.as_fd(), RDONLY | NOSUID | NODEV, false).at(step, named)?;
        Ok(mount)
    }

    fn read_only(&mut self, bind: &Bind) -> Result<Opened, Fault> {
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
        let mount = shut(mount, &bind.source)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let mut layers = Vec::new();
                if let Some(mask) = &bind.mask {
                    layers.push(shut(self.open(mask, false, false)?.0, mask)?);
                }
                layers.push(mount);
                Ok(Opened::Layers(layers))
            }
            FileType::RegularFile => Ok(Opened::Bind { mount, folder: false }),
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
        self.map_owners(&mount, (found.st_uid, found.st_gid), must_map, path)?;
        Ok((mount, found))
    }

    /// Maps the owners of a detached copy, where that is to be done; `owner` is the sandbox's user inside.
    fn map_owners(
        &mut self,
        mount: &OwnedFd,
        owner: (u32, u32),
        must_map: bool,
        path: &Path,
    ) -> Result<(), Fault> {
        let Some(maps) = &mut self.maps else { return Ok(()) };
        let owners = maps.get(owner, self.ids)?;
        match mount::map_owners(mount.as_fd(), owners.as_fd()) {
            Err(error) if must_map => {
                Err(error).at("mapping the owners of a folder", || path.display().to_string())
            }
            _ => Ok(()),
        }
    }
}
