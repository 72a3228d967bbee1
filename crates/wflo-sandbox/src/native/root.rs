//! Puts one sandbox's root together: toolchain, scratch space, workspace, binds, `/proc`.
//!
//! Runs in a pid 1, in its own mount namespace, before it enters the root: what no order has a say in
//! is made before there is one. Owns the order of mounts; what is shown is decided by the template and the plan.

mod beneath;
mod overlay;

use super::plan::{Opened, Plan, Source};
use super::preset::Preset;
use super::sockets;
use super::spec::{DEFAULT_DISK, HOME, WORKSPACE};
use super::sys::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::sys::{At, Fault};
use super::template::{Template, split};
use super::wire::Order;
use overlay::Overlay;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use wflo_core::size::Bytes;

/// The sandbox's root once it has been entered, and what must be handed out.
#[derive(Debug)]
pub(crate) struct Root {
    /// The one tmpfs that everything writable is in.
    pub(crate) scratch: OwnedFd,
    /// The upper layer and the merged view, with a workspace.
    pub(crate) layers: Option<(OwnedFd, OwnedFd)>,
    /// Whether what a socket holds has a bound.
    pub(crate) bounded: bool,
}

/// The file systems whose folders may be made to hang a mount in: never one of the host's.
#[derive(Debug)]
struct Ground {
    root: OwnedFd,
    devices: [u64; 2],
}

/// Where a root is put together, and its writable part, in the launcher's own root.
const STAGE: &str = "/stage";
const STAGED: &str = "/stage/root";
const SCRATCH: &str = "/stage/scratch";

/// A root without anything of an order's.
#[derive(Debug)]
pub(crate) struct Begun {
    ground: Ground,
    scratch: OwnedFd,
    /// The settings of its network, which may be written through this alone; where there are any.
    settings: Option<OwnedFd>,
}

/// Begins a root: all of it that no order has a say in. `proc` is the sandbox's.
///
/// # Errors
/// The step that failed. The mount namespace is to be thrown away then.
pub(crate) fn begin(template: &Template, proc: OwnedFd) -> Result<Begun, Fault> {
    let options = [(c"mode", c"0755"), (c"size", c"1m"), (c"source", c"root")];
    let root = staged(STAGED, &options)?;
    let scratch = scratch()?;
    let ground = Ground::new(root, &scratch)?;
    toolchain(template, &ground.root)?;
    for (from, to) in [("tmp", "/tmp"), ("home", HOME), ("shm", "/dev/shm")] {
        ground.show(&scratch, from, to)?;
    }
    // Before what may only be read is laid upon them.
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let settings = rustix::fs::openat(&proc, sockets::SETTINGS, folder, Mode::empty()).ok();
    processes(template, &ground, &proc)?;
    Ok(Begun { ground, scratch, settings })
}

/// Makes a `/proc` of the process namespace that this process is in, attached nowhere.
///
/// # Errors
/// When the kernel refused.
pub(crate) fn new_proc() -> Result<OwnedFd, Fault> {
    mount::new_fs(c"proc", &[(c"source", c"proc")], NOSUID | NODEV | NOEXEC).step("mounting /proc")
}

impl Begun {
    /// The root, which is not yet this process's.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.ground.root.as_fd()
    }
}

/// Completes the root that was begun in this mount namespace, and enters it.
///
/// # Errors
/// The step that failed. The mount namespace is to be thrown away then.
pub(crate) fn build(begun: Begun, template: &Template, order: &Order, plan: &Plan) -> Result<Root, Fault> {
    let Begun { ground, scratch, settings } = begun;
    hand_over(order, plan, &scratch)?;
    if let Some(tree) = &plan.beneath {
        beneath::lay(template, plan, &ground, tree)?;
    }
    let inert = order.preset == Preset::Strict;
    if order.workspace.is_none() {
        ground.show(&scratch, "work", WORKSPACE)?;
    }
    if inert {
        let own = if order.workspace.is_none() { Some(WORKSPACE) } else { None };
        for path in ["/tmp", HOME, "/dev/shm"].into_iter().chain(own) {
            let place = ground.find(Path::new(path)).at("shutting a folder", || path.into())?;
            mount::set_attributes(place.as_fd(), NOEXEC, false).at("shutting a folder", || path.into())?;
        }
    }
    let parents = plan.parents.iter().enumerate().map(|(index, (path, lower))| {
        let stage = Path::new(STAGE).join(format!("parent-{index}-"));
        let lowers = std::slice::from_ref(lower);
        Overlay { lowers, target: path, stage: &stage, plan }.beside()
    });
    let parents = parents.collect::<Result<Vec<_>, _>>()?;
    let mut layers = None;
    for (index, (target, source)) in plan.mounts(order).into_iter().enumerate() {
        let stage = Path::new(STAGE).join(format!("{index}-"));
        match source {
            Source::Workspace(lowers) => {
                let view = Overlay { lowers, target, stage: &stage, plan };
                layers = Some(view.workspace(&ground, &scratch, inert)?);
            }
            Source::Shown(Opened::Layers(lowers)) => {
                let view = Overlay { lowers, target, stage: &stage, plan };
                view.read_only(&ground)?;
            }
            Source::Shown(Opened::Part { parent, name }) => {
                let view =
                    parents.get(*parent).ok_or_else(|| Fault::new("showing a folder", libc::EPROTO, ""))?;
                overlay::show_part(&ground, view, name, target)?;
            }
            Source::Shown(Opened::Bind { mount, folder }) => ground.attach(mount, target, *folder)?,
        }
    }
    let bound = |settings: OwnedFd| sockets::bound(settings.as_fd()).is_ok();
    let bounded = order.limits.memory.is_some() && settings.is_some_and(bound);
    if order.pts {
        let options = [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"newinstance", c"")];
        let pts = mount::new_fs(c"devpts", &options, NOSUID | NOEXEC).step("making /dev/pts")?;
        ground.attach(&pts, Path::new("/dev/pts"), true)?;
    }
    mount::set_attributes(ground.root.as_fd(), RDONLY | NOSUID | NODEV, false).step("closing the root")?;
    mount::enter_root(ground.root.as_fd()).step("entering the root")?;
    Ok(Root { scratch, layers, bounded })
}

fn make_folder(place: &Path) -> Result<(), Fault> {
    // The launcher's root is shared by all children: another one may have made it.
    match std::fs::create_dir(place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).step("making the root"),
        _ => Ok(()),
    }
}

/// A tmpfs of its own at a place in the launcher's root.
fn staged(place: &str, options: &[(&CStr, &CStr)]) -> Result<OwnedFd, Fault> {
    let place = Path::new(place);
    make_folder(place)?;
    let at = super::template::open(place).step("making the root")?;
    mount::mount_fs(c"tmpfs", options, NOSUID | NODEV, at.as_fd()).step("making the root")
}

/// The size of the scratch space, and how many files it may have, as a mount's options.
fn room(size: Bytes, inodes: Option<u32>) -> [(&'static CStr, CString); 2] {
    let size = size.0.max(1 << 16);
    // A file that holds anything takes a page, so a tree of files meets the limit on bytes first; names without bytes
    // cost about a KiB of kernel memory each.
    let inodes = inodes.map_or_else(|| (size >> 12).clamp(1 << 10, 1 << 20), u64::from);
    let number = |value: u64| CString::new(value.to_string()).unwrap_or_default();
    [(c"size", number(size)), (c"nr_inodes", number(inodes))]
}

/// The one tmpfs for `/tmp`, home, `/dev/shm` and the upper layer: its size is the disk limit.
fn scratch() -> Result<OwnedFd, Fault> {
    let step = "making the writable folders";
    let room = room(DEFAULT_DISK, None);
    let mut options = vec![(c"mode", c"0755"), (c"source", c"scratch")];
    options.extend(room.iter().map(|(name, value)| (*name, value.as_c_str())));
    let scratch = staged(SCRATCH, &options)?;
    let folders = [
        ("tmp", 0o1777),
        ("home", 0o700),
        ("shm", 0o1777),
        ("work", 0o755),
        ("upper", 0o755),
        ("index", 0o700),
    ];
    for (name, mode) in folders {
        rustix::fs::mkdirat(&scratch, name, Mode::from(mode)).step(step)?;
        // The mask of the launcher is in the way of mkdir's own mode.
        rustix::fs::chmodat(&scratch, name, Mode::from(mode), rustix::fs::AtFlags::empty()).step(step)?;
    }
    Ok(scratch)
}

/// Gives the scratch space to the sandbox's user, as much of it as the order allows.
fn hand_over(order: &Order, plan: &Plan, scratch: &OwnedFd) -> Result<(), Fault> {
    let step = "making the writable folders";
    let limits = &order.limits;
    if limits.disk.is_some() || limits.inodes.is_some() {
        let room = room(limits.disk.unwrap_or(DEFAULT_DISK), limits.inodes);
        let options: Vec<(&CStr, &CStr)> =
            room.iter().map(|(name, value)| (*name, value.as_c_str())).collect();
        mount::reconfigure(scratch.as_fd(), &options).step(step)?;
    }
    if plan.privileged {
        let (uid, gid) = (rustix::fs::Uid::from_raw(plan.uid), rustix::fs::Gid::from_raw(plan.gid));
        for name in ["home", "work", "upper"] {
            rustix::fs::chownat(scratch, name, Some(uid), Some(gid), rustix::fs::AtFlags::empty())
                .step(step)?;
        }
    }
    Ok(())
}

fn copy_below(mounted: &OwnedFd, name: &str) -> std::io::Result<OwnedFd> {
    mount::copy_tree(mounted.as_fd(), &mount::c_path(Path::new(name))?, false)
}

fn toolchain(template: &Template, root: &OwnedFd) -> Result<(), Fault> {
    let step = "making the root";
    for name in ["etc", "dev", "proc", "tmp", "home", "var", "run"] {
        rustix::fs::mkdirat(root, name, Mode::from(0o755)).step(step)?;
    }
    rustix::fs::symlinkat("/tmp", root, "var/tmp").step(step)?;
    for (name, target) in &template.links {
        rustix::fs::symlinkat(target.as_c_str(), root, *name).step(step)?;
    }
    let attach = |copy: OwnedFd, name: &str| -> std::io::Result<()> {
        let place = rustix::fs::openat(root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        mount::attach(copy.as_fd(), place.as_fd())
    };
    for (name, source) in &template.folders {
        if let Some((above, _)) = name.split_once('/') {
            rustix::fs::mkdirat(root, above, Mode::from(0o755)).step(step)?;
        }
        rustix::fs::mkdirat(root, *name, Mode::from(0o755)).step(step)?;
        let copy =
            mount::copy_tree(rustix::fs::CWD, source, true).at("showing the toolchain", || (*name).into())?;
        attach(copy, name).step("showing the toolchain")?;
    }
    for (name, source) in [("etc", c"/tpl/etc"), ("dev", c"/tpl/dev")] {
        let copy = mount::copy_tree(rustix::fs::CWD, source, true).step(step)?;
        attach(copy, name).step(step)?;
    }
    Ok(())
}

/// Shows a `/proc`, what tells of the host covered.
fn processes(template: &Template, ground: &Ground, proc: &OwnedFd) -> Result<(), Fault> {
    let step = "mounting /proc";
    ground.attach(proc, Path::new("/proc"), true)?;
    let sys = copy_below(proc, "sys").step(step)?;
    mount::set_attributes(sys.as_fd(), RDONLY | NOSUID | NODEV | NOEXEC, false).step(step)?;
    ground.attach(&sys, Path::new("/proc/sys"), true)?;
    for (path, folder) in &template.masks {
        let cover = if *folder { c"/tpl/void" } else { c"/tpl/nothing" };
        let copy = mount::copy_tree(rustix::fs::CWD, cover, false).step(step)?;
        let place =
            rustix::fs::openat(&ground.root, path.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        match place {
            Ok(place) => mount::attach(copy.as_fd(), place.as_fd()).at("covering /proc", || path.clone())?,
            // A sandbox's /proc may have less than the host's.
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).at("covering /proc", || path.clone()),
        }
    }
    Ok(())
}

impl Ground {
    fn new(root: OwnedFd, scratch: &OwnedFd) -> Result<Self, Fault> {
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|found| found.st_dev).step("making the root");
        Ok(Ground { devices: [device(&root)?, device(scratch)?], root })
    }

    /// Shows a folder of the scratch space at a path inside.
    fn show(&self, scratch: &OwnedFd, name: &str, target: &str) -> Result<(), Fault> {
        let copy = copy_below(scratch, name).step("making the writable folders")?;
        self.attach(&copy, Path::new(target), true)
    }

    /// Attaches a mount at a path inside, making the folders that it hangs in.
    fn attach(&self, mounted: &OwnedFd, target: &Path, folder: bool) -> Result<(), Fault> {
        let detail = || target.display().to_string();
        let place = self.place(target, folder).at("finding the place of a mount", detail)?;
        mount::attach(mounted.as_fd(), place.as_fd()).at("attaching a mount", detail)
    }

    fn find(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Only in the sandbox's own two file systems is anything made: never on the host.
    fn place(&self, path: &Path, folder: bool) -> rustix::io::Result<OwnedFd> {
        match self.find(path) {
            Err(rustix::io::Errno::NOENT) => {}
            found => return found,
        }
        let (parent, name) = split(path).ok_or(rustix::io::Errno::NOENT)?;
        let parent = self.place(parent, true)?;
        if !self.devices.contains(&rustix::fs::fstat(&parent)?.st_dev) {
            return Err(rustix::io::Errno::NOENT);
        }
        if folder {
            rustix::fs::mkdirat(&parent, name, Mode::from(0o755))?;
        } else {
            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, create, Mode::from(0o644))?;
        }
        rustix::fs::openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}
