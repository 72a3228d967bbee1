//! What a sandbox is asked to be: the program, what it sees, its limits, its descriptors.

use super::io::IoLimits;
use super::preset::Preset;
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use wflo_core::size::{Bytes, MilliCpus, Millis};

/// The home folder inside every sandbox: empty but for [`Spec::home`], writable, gone at the end.
pub const HOME: &str = "/home/wflo";
/// The working directory of a sandbox without a workspace: empty and writable.
pub const WORKSPACE: &str = "/workspace";
/// The search path of a program whose environment names none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What may be written inside when [`Limits::disk`] is not set.
pub const DEFAULT_DISK: Bytes = Bytes(1 << 30);
/// How many tasks may live inside when [`Limits::pids`] is not set.
pub const DEFAULT_PIDS: u32 = 4_096;
/// In an environment value or a file of the home folder: the port of the model listener.
pub const MODEL_PORT: &str = "{model_port}";
/// In an environment value or a file of the home folder: the port of the egress listener.
pub const EGRESS_PORT: &str = "{egress_port}";

/// One sandbox to be made. Consumed by [`crate::Launcher::launch`].
#[derive(Debug)]
pub struct Spec {
    /// The program and its arguments. A name without a slash is searched in the `PATH` of `env`.
    pub command: Vec<OsString>,
    /// Where it starts; the workspace by default. A relative one is below that.
    pub cwd: Option<PathBuf>,
    /// The whole environment: nothing is inherited. `HOME`, `PATH`, `TMPDIR`, `USER` and `LANG`
    /// get a value when they have none. `{model_port}` and
    /// `{egress_port}` in a value become the listeners' ports.
    pub env: Vec<(OsString, OsString)>,
    /// Files that its home folder begins with: paths in it, and what they hold, with the ports as in `env`. Only
    /// for a home that the sandbox makes: with a `HOME` in `env` there must be none.
    pub home: Vec<(PathBuf, OsString)>,
    /// A copy-on-write view of folders; without it [`WORKSPACE`] is an empty folder.
    pub workspace: Option<View>,
    /// A folder on the host that is laid out as a root: its `usr`, `etc`, `opt` and `var/lib` are seen beneath the
    /// toolchain's, adding files and replacing none.
    pub beneath: Option<PathBuf>,
    /// Further files and folders to read, such as an interpreter's prefix. A folder is shown through an
    /// overlay, so that sockets and FIFOs in it lead nowhere; file systems mounted below it are not shown.
    pub ro: Vec<Bind>,
    /// Files and folders that are written directly, on the host: a socket or FIFO in one is the host's.
    pub rw: Vec<Bind>,
    /// What it may use.
    pub limits: Limits,
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output. Reading a pipe fast enough, and bounding it, is the caller's part.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// Further descriptors, each with its number inside (3 or more). No others are inherited.
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// Kept open, out of the program's reach, until no process of the sandbox is left: a lock.
    pub held: Option<OwnedFd>,
    /// Bind a TCP listener on the sandbox's own 127.0.0.1 and hand it out.
    pub model_listener: bool,
    /// The same once more, for whoever lets connections out of the sandbox.
    pub egress_listener: bool,
    /// The host name inside.
    pub hostname: String,
    /// Mount a private `/dev/pts`.
    pub pts: bool,
    /// What it may ask the kernel for.
    pub preset: Preset,
    /// Refuse to start when a limit would be only supervised.
    pub require_kernel: bool,
    /// The standard streams are a terminal that the caller made for this program: it becomes the
    /// controlling one of the program's session.
    pub terminal: bool,
}

impl Spec {
    /// A sandbox for this command with nothing but the toolchain, no input and no output.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Spec {
            command: command.into_iter().map(Into::into).collect(),
            cwd: None,
            env: Vec::new(),
            home: Vec::new(),
            workspace: None,
            beneath: None,
            ro: Vec::new(),
            rw: Vec::new(),
            limits: Limits::default(),
            stdin: Stdio::Null,
            stdout: Stdio::Null,
            stderr: Stdio::Null,
            fds: Vec::new(),
            held: None,
            model_listener: false,
            egress_listener: false,
            hostname: "sandbox".to_owned(),
            pts: false,
            preset: Preset::default(),
            require_kernel: false,
            terminal: false,
        }
    }
}

/// A copy-on-write view: changes go to an upper layer that ends with the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Absolute folders on the host, the topmost first. None may lie inside another. Without any the view begins
    /// empty, and nothing of the host is under it.
    pub lowers: Vec<PathBuf>,
    /// Where the view appears, absolute.
    pub target: PathBuf,
}

/// A file or folder of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute, on the host.
    pub source: PathBuf,
    /// Absolute, inside.
    pub target: PathBuf,
    /// Laid over a folder that is only read: a folder on the host whose whiteouts hide what is under
    /// their names, now and after a rename.
    pub mask: Option<PathBuf>,
}

impl Bind {
    /// Shown at `target`.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Bind { source: source.into(), target: target.into(), mask: None }
    }

    /// Shown at its own path.
    pub fn same(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Bind::new(path.clone(), path)
    }
}

/// What a sandbox may use. A limit that is not set has a generous default or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory of the whole tree, everything written to disk included.
    pub memory: Option<Bytes>,
    /// Processor time a second.
    pub cpus: Option<MilliCpus>,
    /// Live processes and threads; [`DEFAULT_PIDS`] by default.
    pub pids: Option<u32>,
    /// Bytes in `/tmp`, the home folder, `/dev/shm` and the workspace's changes together;
    /// [`DEFAULT_DISK`] by default.
    pub disk: Option<Bytes>,
    /// Files, folders and links there together; a name per 4 KiB of the bytes by default. Each takes about a KiB of the
    /// kernel's memory.
    pub inodes: Option<u32>,
    /// What goes from each disk that it has to do with, and to it.
    pub io: IoLimits,
    /// From the program's start to its end, by the clock that counts time asleep.
    pub timeout: Option<Millis>,
}

/// One of the three standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// The null device.
    Null,
    /// A descriptor of the caller's.
    Fd(OwnedFd),
}

/// How a limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all; such a sandbox is refused.
    None,
    /// wflo watches the tree, and kills or pauses it.
    Supervised,
    /// The kernel refuses what is over it.
    Kernel,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Level::None => "none",
            Level::Supervised => "supervised",
            Level::Kernel => "kernel",
        })
    }
}

/// One limit of one sandbox, and how it is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcement {
    /// `memory`, `cpus`, `pids`, `disk`, `io` or `timeout`.
    pub limit: &'static str,
    /// How.
    pub level: Level,
    /// By what, in words.
    pub by: &'static str,
}

/// Who the sandbox's user is, inside, in the upper layer, and on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user id that the program sees.
    pub inside_uid: u32,
    /// The group id that the program sees.
    pub inside_gid: u32,
    /// The user id that its files carry in the upper layer, as the host sees them.
    pub upper_uid: u32,
    /// The group id that its files carry in the upper layer, as the host sees them.
    pub upper_gid: u32,
    /// The user id that they stand for: the owner of the workspace's topmost layer.
    pub host_uid: u32,
    /// The group id that they stand for.
    pub host_gid: u32,
}
