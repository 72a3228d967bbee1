//! The engine's side of the launcher process: starting it, and asking it for sandboxes.

use super::capabilities::Capabilities;
use super::cgroup::Gauges;
use super::error::Error;
use super::io;
use super::process_tree::ProcessTree;
use super::spec::{HOME, Level, PATH, Spec, Stdio, WORKSPACE};
use super::sys::socket;
use super::wire::Order;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use wflo_core::id::SandboxId;

/// The first argument that makes the binary the launcher.
pub const LAUNCHER_ARGUMENT: &str = "__sandbox-launcher";

/// The second argument: its sandboxes are bare.
pub(super) const BARE: &str = "bare";

/// How long the launcher may take to get ready, in milliseconds.
const READY_MS: i64 = 20_000;

/// The launcher process of one engine. Dropping it ends every sandbox that it made.
///
/// All methods take `&self`; many threads may launch at once.
#[derive(Debug)]
pub struct Launcher {
    socket: Option<OwnedFd>,
    child: Mutex<Child>,
    capabilities: Capabilities,
    gauges: Arc<Gauges>,
}

impl Launcher {
    /// Starts the launcher: `program` run with [`LAUNCHER_ARGUMENT`], where it must call
    /// [`crate::launcher_main`] before anything else. An engine passes its own binary.
    ///
    /// # Errors
    /// [`Error::LauncherStart`]; [`Error::Unsupported`] with the fix where this host or user
    /// cannot make sandboxes.
    pub fn start(program: &Path) -> Result<Self, Error> {
        Self::start_with(program, None)
    }

    /// As [`Launcher::start`], for programs that are not isolated.
    pub(crate) fn start_bare(program: &Path) -> Result<Self, Error> {
        Self::start_with(program, Some(BARE))
    }

    fn start_with(program: &Path, kind: Option<&str>) -> Result<Self, Error> {
        let failed = |source| Error::LauncherStart { program: program.to_owned(), source };
        let (ours, theirs) = socket::pair().map_err(failed)?;
        let child = Command::new(program)
            .arg0("wflo-sandbox")
            .arg(LAUNCHER_ARGUMENT)
            .args(kind)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut launcher = Launcher {
            socket: Some(ours),
            child: Mutex::new(child),
            capabilities: Capabilities {
                isolated: kind.is_none(),
                privileged: false,
                cgroup: None,
                memory: Level::None,
                sockets: Level::None,
                sockets_told: false,
                cpus: Level::None,
                io: Level::None,
                landlock_abi: 0,
                clocks: false,
                cgroup_note: String::new(),
            },
            gauges: Arc::default(),
        };
        let mut buffer = [0; 4_096];
        let greeting = launcher.greeting(&mut buffer).map_err(failed)?;
        launcher.capabilities = Capabilities::decode(greeting).map_err(Error::unsupported)?;
        if launcher.capabilities.cgroup.is_some() {
            launcher.gauges = Arc::new(Gauges::of(launcher.pid()));
        }
        Ok(launcher)
    }

    fn greeting<'a>(&self, buffer: &'a mut [u8]) -> std::io::Result<&'a [u8]> {
        let socket = self.socket()?;
        let ready = socket::poll(&[(socket, libc::POLLIN)], Some(READY_MS))?;
        if ready.first().is_none_or(|events| *events == 0) {
            return Err(std::io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        match socket::receive(socket, buffer, false)? {
            Some((length, _)) => Ok(buffer.get(..length).unwrap_or_default()),
            None => Err(std::io::Error::other("it ended at once")),
        }
    }

    fn socket(&self) -> std::io::Result<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or_else(|| std::io::Error::from_raw_os_error(libc::EPIPE))
    }

    /// What sandboxes can do on this host, for this user.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The launcher's process id.
    pub fn pid(&self) -> u32 {
        match self.child.lock() {
            Ok(child) => child.id(),
            Err(poisoned) => poisoned.into_inner().id(),
        }
    }

    /// Makes one sandbox and starts its program; returns once the program has been executed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a request that makes no sense, [`Error::NotEnforced`] under
    /// `require_kernel`, [`Error::Setup`] when a step of the making failed, and
    /// [`Error::LauncherGone`]. On every error nothing is left behind. A program that is not
    /// found is no error here: it is the sandbox's outcome.
    pub fn launch(&self, spec: Spec) -> Result<ProcessTree, Error> {
        let id = SandboxId::from_uuid(uuid::Uuid::now_v7());
        let disks = io::disks(&spec, &self.capabilities)?;
        let enforcement = self.capabilities.enforcement(&spec.limits);
        for limit in &enforcement {
            let strict = spec.require_kernel && limit.limit != "timeout";
            if limit.level == Level::None || (strict && limit.level != Level::Kernel) {
                return Err(Error::NotEnforced { limit: limit.limit, level: limit.level });
            }
        }
        let (mut order, fds) = order(id, spec)?;
        order.disks = disks;
        let io = |what| move |source| Error::Io { what, source };
        let request = memory_file(&order.encode()).map_err(io("described"))?;
        let (ours, theirs) = socket::pair().map_err(io("connected"))?;
        let mut sent = vec![request.as_fd(), theirs.as_fd()];
        sent.extend(fds.iter().map(AsFd::as_fd));
        let gone = |error: std::io::Error| match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET) => Error::LauncherGone,
            _ => Error::Io { what: "asked for", source: error },
        };
        self.socket().and_then(|socket| socket::send(socket, b"L", &sent)).map_err(gone)?;
        drop((theirs, fds, request));
        let gauge = self.gauges.gauge(id.to_string());
        ProcessTree::await_start(id, ours, enforcement, self.capabilities.isolated, gauge)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The end of this socket is what tells the launcher to end its sandboxes and itself.
        drop(self.socket.take());
        let child = match self.child.get_mut() {
            Ok(child) => child,
            Err(poisoned) => poisoned.into_inner(),
        };
        if let Ok(process) = super::sys::process::open_process(child.id() as i32) {
            let ended = socket::poll(&[(process.as_fd(), libc::POLLIN)], Some(5_000));
            if ended.is_ok_and(|events| events.first() == Some(&0)) {
                // It hangs in a system call: the kernel ends its sandboxes with it.
                let _ = child.kill();
            }
        }
        let _ = child.wait();
    }
}

fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("order", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(file)
}

/// A path with a root and without `..`: the only kind that can be a mount's place.
fn plain(path: &Path, what: &str) -> Result<(), Error> {
    let clean = path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if clean {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{what} `{}` is not an absolute path without `..`", path.display())))
    }
}

/// Parses the request into what the launcher takes, and the descriptors that go beside it.
pub(crate) fn order(id: SandboxId, spec: Spec) -> Result<(Order, Vec<OwnedFd>), Error> {
    if spec.command.is_empty() {
        return Err(Error::Invalid("it has no command".into()));
    }
    if spec.limits.pids == Some(0) {
        return Err(Error::Invalid("its pids limit is 0: nothing could run".into()));
    }
    for bind in spec.ro.iter().chain(&spec.rw) {
        plain(&bind.source, "the source")?;
        plain(&bind.target, "the target")?;
        bind.mask.iter().try_for_each(|mask| plain(mask, "the mask"))?;
        if bind.target == Path::new("/") || bind.target.starts_with("/proc") {
            return Err(Error::Invalid(format!("`{}` cannot be replaced", bind.target.display())));
        }
    }
    spec.beneath.iter().try_for_each(|tree| plain(tree, "the tree beneath the toolchain"))?;
    if let Some(view) = &spec.workspace {
        plain(&view.target, "the workspace's target")?;
        view.lowers.iter().try_for_each(|lower| plain(lower, "the workspace's layer"))?;
        if view.target == Path::new("/") || view.target.starts_with("/proc") {
            return Err(Error::Invalid("its workspace has no place".into()));
        }
    }
    for (path, _) in &spec.home {
        let place = Path::new(HOME).join(path);
        plain(&place, "a file of the home folder")?;
        if !place.starts_with(HOME) {
            return Err(Error::Invalid(format!("`{}` is not in the home folder", path.display())));
        }
    }
    if spec.terminal && matches!(spec.stdin, Stdio::Null) {
        return Err(Error::Invalid("it has a terminal and no standard input".into()));
    }
    let workspace = spec.workspace.as_ref().map_or(Path::new(WORKSPACE), |view| &view.target);
    let cwd = workspace.join(spec.cwd.unwrap_or_default());
    let mut stdio = [false; 3];
    let held = spec.held.is_some();
    let mut sent: Vec<OwnedFd> = spec.held.into_iter().collect();
    for (given, stream) in stdio.iter_mut().zip([spec.stdin, spec.stdout, spec.stderr]) {
        if let Stdio::Fd(fd) = stream {
            *given = true;
            sent.push(fd);
        }
    }
    let mut numbers = Vec::new();
    for (fd, number) in spec.fds {
        if !(3..512).contains(&number) || numbers.contains(&number) {
            return Err(Error::Invalid(format!("descriptor {number} is taken or out of range (3 to 511)")));
        }
        numbers.push(number);
        sent.push(fd);
    }
    if sent.len() + 2 > socket::MAX_FDS {
        return Err(Error::Invalid("it has more than 250 descriptors".into()));
    }
    let order = Order {
        name: id.to_string(),
        command: spec.command,
        cwd,
        env: with_defaults(spec.env),
        home: spec.home,
        workspace: spec.workspace,
        beneath: spec.beneath,
        ro: spec.ro,
        rw: spec.rw,
        limits: spec.limits,
        disks: Vec::new(),
        stdio,
        fds: numbers,
        held,
        model_listener: spec.model_listener,
        egress_listener: spec.egress_listener,
        hostname: spec.hostname,
        pts: spec.pts,
        terminal: spec.terminal,
        preset: spec.preset,
    };
    Ok((order, sent))
}

fn with_defaults(mut env: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let defaults =
        [("HOME", HOME), ("PATH", PATH), ("TMPDIR", "/tmp"), ("USER", "wflo"), ("LANG", "C.UTF-8")];
    for (name, value) in defaults {
        if !env.iter().any(|(known, _)| known == OsStr::new(name)) {
            env.push((name.into(), value.into()));
        }
    }
    env
}
