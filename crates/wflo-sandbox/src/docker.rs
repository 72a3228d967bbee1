//! Containers as sandboxes: Docker, and whatever runtimes its daemon has (`runsc` is gVisor).
//!
//! The daemon makes the walls ([`container`]); wflo's own pid 1 inside ([`keeper`]) starts the program and keeps
//! its time, and speaks over the container's standard streams and over nothing else. Files go in and come out
//! the same way, so a container has no folder of the workspace's and a hostile one can write nowhere.
//!
//! **Architecture Invariant:** a container never outlives its engine: its pid 1 ends with the engine's
//! connection, at the program's time limit, or after a silence; what the daemon still has of it goes with
//! the next start ([`janitor`]).
//! **Architecture Invariant:** a container that is made ahead has been told nothing of any order.

mod api;
mod container;
mod daemon;
mod doctor;
mod error;
mod image;
mod janitor;
mod made;
mod scan;

pub use api::DEFAULT_HOST;
pub use doctor::doctor;
pub use error::Error;
pub use image::{Image, Options, Pull};
pub use scan::Scanned;

use crate::backend::{Backend, Files, Sandbox};
use crate::bare::place;
use crate::native::io;
use crate::native::launcher;
use crate::native::spec::{Enforcement, Level, Limits, View, WORKSPACE};
use crate::native::{Capabilities, Spec, Version};
use crate::remote::bridge::{Given, Lost};
use crate::remote::keeper;
use crate::remote::kept::{FilesOf, Kept, Listeners};
use crate::remote::life::Life;
use crate::remote::linked::Linked;
use crate::remote::loopback::Loopback;
use crate::workspace::Store;
use ::bollard::Docker as Api;
use container::Shape;
use daemon::{DaemonSays, ask};
use made::Spare;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use wflo_core::id::SandboxId;

/// How long filling it and starting its program may take.
const BEGIN: Duration = Duration::from_secs(300);

type Native = crate::native::Error;

/// What an engine makes containers with.
#[derive(Debug)]
pub struct Docker {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    // Last: what the others still have to do runs on it.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    api: Api,
    handle: Handle,
    daemon: DaemonSays,
    keeper: Linked,
    store: Arc<Store>,
    life: Life,
    program: PathBuf,
    loopback: OnceLock<Result<Arc<Loopback>, String>>,
    options: Options,
    image: Image,
    spare: Mutex<Spare>,
}

/// Finds the image that runs with these options are to have: fetched, pinned and scanned, as they say; what
/// is found is kept with the run. Blocks. `environment` is the operator's, for the scanner.
///
/// # Errors
/// That the daemon, the runtime, the image or a scan is not to be had.
pub fn resolve(
    host: &str,
    options: &Options,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Image, Error> {
    let mut image = ask(host, async |api| {
        DaemonSays::of(&api).await?.check_runtime(options)?;
        image::resolve(&api, options).await
    })?;
    if image.name.is_empty() {
        // The host's own toolchain is no image that a scanner could read.
        return match options.require_scan {
            true => Err(Error::NoScanner { image: "the host's own toolchain".to_owned() }),
            false => Ok(image),
        };
    }
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    match scan::scanner(&path) {
        Some((name, program)) => {
            let scanned = scan::scan((name, &program), &image.name, &image.id, environment);
            match scanned {
                Ok(scanned) => {
                    if options.require_scan {
                        scanned.judge(&image.name)?;
                    }
                    image.scan = Some(scanned);
                }
                Err(error) if options.require_scan => return Err(error),
                Err(error) => tracing::warn!(%error, "an image was not scanned"),
            }
        }
        None if options.require_scan => return Err(Error::NoScanner { image: image.name }),
        None => {}
    }
    Ok(image)
}

impl Docker {
    /// Connects to the daemon, removes what dead engines of this `store` left there, and gets ready to make
    /// containers of `image`. `program` as for [`crate::Launcher::start`]; it becomes the containers' pid 1.
    ///
    /// # Errors
    /// That the daemon, the runtime or the image is not to be had.
    pub fn start(
        program: &Path,
        host: &str,
        store: &Arc<Store>,
        options: &Options,
        image: &Image,
    ) -> Result<Docker, Error> {
        let io = |what| move |source| Error::Io { what, source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("docker")
            .enable_all()
            .build()
            .map_err(io("starting a runtime"))?;
        let life = Life::begin(store).map_err(io("taking a lock"))?;
        let prepared = runtime.block_on(async {
            let api = api::connect(host).await?;
            let daemon = DaemonSays::of(&api).await?;
            daemon.check_runtime(options)?;
            image::again(&api, image, options.pull).await?;
            let removed = janitor::sweep(&api, store).await?;
            if removed > 0 {
                tracing::info!(removed, "containers of engines that are gone were removed");
            }
            Ok((api, daemon))
        });
        let (api, daemon) = prepared?;
        place::sweep(&store.bare()).map_err(|error| Error::Io {
            what: "removing copies of workspaces",
            source: std::io::Error::other(error.to_string()),
        })?;
        let own_kernel = own_kernel(options);
        let level = |kernel: bool| if kernel { Level::Kernel } else { Level::None };
        let capabilities = Capabilities {
            isolated: true,
            privileged: true,
            cgroup: Some(daemon.cgroup),
            memory: level(daemon.memory),
            sockets: match daemon.cgroup {
                Version::V1 if !own_kernel => Level::Supervised,
                _ => Level::Kernel,
            },
            sockets_told: true,
            cpus: level(daemon.cpus),
            io: level(daemon.limits_io),
            landlock_abi: if own_kernel {
                0
            } else {
                crate::native::sys::process::landlock_abi().max(0) as u32
            },
            clocks: own_kernel,
            cgroup_note: String::new(),
        };
        let shared = Shared {
            api,
            handle: runtime.handle().clone(),
            daemon,
            keeper: Linked::new(program),
            store: Arc::clone(store),
            life,
            program: program.to_owned(),
            loopback: OnceLock::new(),
            options: options.clone(),
            image: image.clone(),
            spare: Mutex::default(),
        };
        Ok(Docker { shared: Arc::new(shared), capabilities, runtime: Some(runtime) })
    }

    /// Makes no container ahead: for who wants a single one.
    pub fn make_none_ahead(&self) {
        self.shared.make_none_ahead();
    }

    /// How each limit would be enforced.
    fn enforcement(&self, limits: &Limits) -> Vec<Enforcement> {
        let can = &self.capabilities;
        let own_kernel = own_kernel(&self.shared.options);
        let mut found = Vec::new();
        if limits.memory.is_some() {
            let by = match (can.cgroup, own_kernel) {
                (_, true) => "a cgroup around the sandbox's own kernel",
                (Some(Version::V1), _) => {
                    "cgroup v1, without socket buffers: pid 1 counts those every 100 ms"
                }
                _ => "cgroup v2",
            };
            found.push(Enforcement { limit: "memory", level: can.memory, by });
        }
        if limits.cpus.is_some() {
            found.push(Enforcement { limit: "cpus", level: can.cpus, by: "a cgroup of the container's" });
        }
        found.push(if own_kernel {
            Enforcement {
                limit: "pids",
                level: Level::Supervised,
                by: "pid 1 counts the tree every 20 ms and kills it",
            }
        } else {
            Enforcement { limit: "pids", level: Level::Kernel, by: "a cgroup of the container's" }
        });
        let by = "sized tmpfs: half for the workspace, a quarter for /tmp, an eighth each for home and shared memory";
        found.push(Enforcement { limit: "disk", level: Level::Kernel, by });
        if limits.inodes.is_some() {
            let (level, by) = match own_kernel {
                // Its tmpfs takes a number of files and heeds none.
                true => (Level::None, "nothing"),
                false => (Level::Kernel, "the same tmpfs, in the same shares"),
            };
            found.push(Enforcement { limit: "inodes", level, by });
        }
        if !limits.io.is_empty() {
            found.push(Enforcement { limit: "io", level: can.io, by: "a cgroup of the container's" });
        }
        if limits.timeout.is_some() {
            found.push(Enforcement {
                limit: "timeout",
                level: Level::Supervised,
                by: "a timer in pid 1 of the container",
            });
        }
        found
    }

    /// Makes a container that shows `files`, if any, and starts the program in it.
    ///
    /// # Errors
    /// As [`Backend::create`].
    pub fn launch(&self, spec: Spec, files: Option<&Files<'_>>) -> Result<Kept, Native> {
        let enforcement = self.enforcement(&spec.limits);
        for limit in &enforcement {
            let strict = spec.require_kernel && limit.limit != "timeout";
            if limit.level == Level::None || (strict && limit.level != Level::Kernel) {
                return Err(Native::NotEnforced { limit: limit.limit, level: limit.level });
            }
        }
        if spec.beneath.is_some() {
            return Err(Native::Invalid(
                "packages of this machine's distribution are for native sandboxes".into(),
            ));
        }
        let filled = files.map(|files| FilesOf::fill(files)).transpose()?;
        let workspace = files.map_or_else(|| PathBuf::from(WORKSPACE), |files| files.project.to_owned());
        let shape = self.shared.shape(&spec, &self.capabilities, &workspace)?;
        let limits = spec.limits;
        let asked = [spec.model_listener, spec.egress_listener];
        let listeners = Listeners::open(asked, || self.shared.loopback().map_err(Native::from))?;
        let made = self.shared.take(&shape)?;
        let (order, given) = self.shared.order(spec, &workspace, &listeners, made.user)?;
        let begun = made.bridge.begin(order, &[filled.as_ref().map(FilesOf::folder)], given, BEGIN);
        begun.map_err(lost)?;
        self.shared.make_spare(shape);
        Ok(Kept {
            bridge: made.bridge,
            around: Box::new(made.around),
            workspace,
            enforcement,
            listeners: listeners.given,
            files: filled,
            disk: limits.disk.unwrap_or(crate::native::spec::DEFAULT_DISK).0,
        })
    }
}

fn own_kernel(options: &Options) -> bool {
    options.runtime.as_deref().is_some_and(|runtime| runtime.starts_with("runsc") || runtime == "gvisor")
}

fn lost(lost: Lost) -> Native {
    let keeper = |what, words| Native::from(Error::Keeper { what, words });
    match lost {
        Lost::Failed(fault) => Native::setup(fault),
        Lost::Gone(words) => keeper("ended before the program ran", words),
        Lost::Late => keeper("did not start the program in time", String::new()),
    }
}

impl Shared {
    fn loopback(&self) -> Result<Arc<Loopback>, Error> {
        let started = self.loopback.get_or_init(|| Loopback::start(&self.program).map(Arc::new));
        started.clone().map_err(|reason| Error::NotPrivate { reason })
    }

    fn shape(&self, spec: &Spec, can: &Capabilities, workspace: &Path) -> Result<Shape, Native> {
        let mut ro = if self.image.name.is_empty() { image::host::toolchain() } else { Vec::new() };
        ro.extend(spec.ro.iter().cloned());
        let root = self.daemon.root.iter().map(PathBuf::as_path);
        let shown = ro.iter().chain(&spec.rw).map(|bind| bind.source.as_path());
        let disks = io::names(spec, can, root.chain(shown))?;
        let shape = Shape {
            disks,
            image: self.image.clone(),
            runtime: self.options.runtime.clone(),
            // The time limit is the order's: two that differ in it alone have the same container.
            limits: Limits { timeout: None, ..spec.limits },
            preset: spec.preset,
            workspace: workspace.to_owned(),
            ro,
            rw: spec.rw.clone(),
            hostname: spec.hostname.clone(),
            apparmor: self.daemon.profile(spec.preset),
        };
        shape.check()?;
        Ok(shape)
    }

    fn order(
        &self,
        mut spec: Spec,
        workspace: &Path,
        listeners: &Listeners,
        user: Option<u32>,
    ) -> Result<(Vec<u8>, Given), Native> {
        spec.workspace = Some(View { lowers: vec![workspace.to_owned()], target: workspace.to_owned() });
        for (name, value) in &self.image.env {
            if !spec.env.iter().any(|(known, _)| known == OsStr::new(name)) {
                spec.env.push((name.into(), value.into()));
                if name == "HOME" {
                    // The image's own, which is only read.
                    spec.home.clear();
                }
            }
        }
        // A lock is held by who fills the workspace.
        drop(spec.held.take());
        let (order, fds) = launcher::order(SandboxId::from_uuid(uuid::Uuid::now_v7()), spec)?;
        let own_kernel = own_kernel(&self.options);
        let duties = keeper::Duties {
            tasks: own_kernel,
            sockets: !own_kernel && self.daemon.cgroup == Version::V1,
            user,
            memory: false,
            bare: false,
        };
        let mut bytes = duties.encode();
        bytes.extend(order.encode());
        let (loopback, ports) = (listeners.private.clone(), listeners.ports);
        Ok((bytes, Given { stdio: order.stdio, fds, terminal: order.terminal, loopback, ports }))
    }
}

impl Backend for Docker {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The workspace appears at the project's own path, without the folders that are shown live elsewhere.
    fn create(&self, spec: Spec, files: &Files<'_>) -> Result<Box<dyn Sandbox>, Native> {
        Ok(Box::new(self.launch(spec, Some(files))?))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let shared = Arc::clone(&self.shared);
        let end = move || {
            shared.drop_spare();
            // Removals that were asked for are given a moment; whatever is left ends by itself.
            runtime.shutdown_timeout(Duration::from_secs(5));
        };
        // An engine may be dropped on a runtime of its own, where nothing may wait for another one.
        let ended = std::thread::Builder::new().name("docker-end".to_owned()).spawn(end);
        let _ = ended.map(std::thread::JoinHandle::join);
    }
}
