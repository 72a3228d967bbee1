//! Sandboxes of a cloud that speaks E2B's API, each with a step in it.
//!
//! The cloud makes the walls and runs the kernel ([`api`]); wflo's own binary is brought into the sandbox and
//! started there as a keeper ([`daemon`]), and all that follows goes over its standard streams, as with a
//! container ([`crate::remote`]): the order, the files, the program's descriptors and connections. So no port of
//! this host is open to the cloud, and neither key nor secret is inside.
//!
//! **Architecture Invariant:** what the cloud and the sandbox say is taken for hostile: answers are bounded, lead
//! to no other address, and end the sandbox, never the engine, where they make no sense.
//! **Architecture Invariant:** a sandbox ends soon after its engine: it has [`api::LIFE`] to live, and only a
//! living engine gives it more; what bears the name of a dead one is ended by the next ([`janitor`]).

mod api;
mod cloud;
mod daemon;
mod doctor;
mod error;
mod http;
mod janitor;
mod messages;
mod program;

pub use cloud::{Cloud, Key, Place, TEMPLATE};
pub use doctor::doctor;
pub use error::Error;

use crate::backend::{Backend, Files, Sandbox};
use crate::bare::place;
use crate::native::launcher;
use crate::native::spec::{Bind, DEFAULT_PIDS, Enforcement, Level, Limits, View};
use crate::native::{Capabilities, Spec};
use crate::remote::Around;
use crate::remote::bridge::{Bridge, Given, Lost};
use crate::remote::keeper::Duties;
use crate::remote::kept::{FilesOf, Kept, Listeners, too_late};
use crate::remote::life::Life;
use crate::remote::loopback::Loopback;
use crate::workspace::Store;
use api::{Api, ENGINE, LIFE, STEP, STORE};
use daemon::Daemon;
use program::Program;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use wflo_core::id::SandboxId;

/// Everything of wflo's inside; any user of a template may make folders there.
pub const INSIDE: &str = "/tmp/wflo";
/// Where the certificates are that a program there trusts, where its requests are looked at.
pub const TRUSTED: &str = "/tmp/wflo/trust/trusted.pem";
/// How long the keeper may take to come up.
const START: Duration = Duration::from_secs(60);
/// How long filling a sandbox and starting its program may take.
const BEGIN: Duration = Duration::from_secs(900);
/// What is read out of a sandbox at most, in bytes.
const CHANGED: u64 = 4 << 30;

/// How long ending the last sandboxes may take at an engine's end.
const GOODBYE: Duration = Duration::from_secs(10);

type Native = crate::native::Error;

/// What an engine makes sandboxes of a cloud with.
#[derive(Debug)]
pub struct E2b {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    // Last: what the others still have to do runs on it.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    api: Api,
    handle: Handle,
    keeper: Program,
    name: String,
    life: Life,
    program: PathBuf,
    loopback: OnceLock<Result<Arc<Loopback>, String>>,
    /// Sandboxes that are being ended.
    ends: TaskTracker,
}

/// A sandbox that exists: dropping it ends it.
#[derive(Debug)]
struct Made {
    api: Api,
    id: String,
    runtime: Handle,
    /// Gives it time.
    alive: JoinHandle<()>,
    ends: TaskTracker,
}

impl Around for Made {
    fn name(&self) -> String {
        // The cloud's own word.
        format!("sandbox {} of the cloud", self.id.escape_debug())
    }

    fn end(&self, limit: Duration) -> std::io::Result<()> {
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(limit, self.api.end(&self.id)).await });
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(std::io::Error::other(error.to_string())),
            Err(_) => Err(too_late()),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.alive.abort();
        let (api, id) = (self.api.clone(), std::mem::take(&mut self.id));
        let end = async move {
            if let Err(error) = api.end(&id).await {
                tracing::warn!(%error, "a sandbox of a cloud could not be ended; its time ends it");
            }
        };
        self.ends.spawn_on(end, &self.runtime);
    }
}

/// Gives a sandbox time for as long as somebody wants it.
async fn keep_alive(api: Api, id: String) {
    let mut told = false;
    loop {
        tokio::time::sleep(LIFE / 4).await;
        match api.give_time(&id).await {
            Ok(()) => told = false,
            // It may work the next time; if not, the end of the sandbox says so.
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "a sandbox of a cloud was not given more time");
            }
            Err(_) => {}
        }
    }
}

impl E2b {
    /// Reaches the cloud, ends what dead engines of this `store` left there, and gets ready to make sandboxes.
    /// `program` as for [`crate::Launcher::start`]; it becomes the keeper in each.
    ///
    /// # Errors
    /// That the cloud does not answer, or does not take the key.
    pub fn start(program: &Path, cloud: &Cloud, key: Key, store: &Arc<Store>) -> Result<E2b, Error> {
        let io = |what| move |source| Error::Io { what, source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("cloud")
            .enable_all()
            .build()
            .map_err(io("starting a runtime"))?;
        let life = Life::begin(store).map_err(io("taking a lock"))?;
        let name = janitor::name_of(store).map_err(io("naming the store"))?;
        let api = Api::new(cloud, key)?;
        let ended = runtime.block_on(janitor::sweep(&api, store, &name))?;
        if ended > 0 {
            tracing::info!(ended, "sandboxes of engines that are gone were ended");
        }
        place::sweep(&store.bare())
            .map_err(|error| std::io::Error::other(error.to_string()))
            .map_err(io("removing copies of workspaces"))?;
        let keeper = Program::new(program)?;
        let capabilities = Capabilities {
            isolated: true,
            privileged: false,
            cgroup: None,
            memory: Level::Supervised,
            sockets: Level::None,
            sockets_told: false,
            cpus: Level::Supervised,
            io: Level::None,
            landlock_abi: 0,
            clocks: true,
            cgroup_note: "the cloud has the kernel, and sees all that a step sees; its own limits are the \
                          template's"
                .to_owned(),
        };
        let shared = Shared {
            api,
            handle: runtime.handle().clone(),
            keeper,
            name,
            life,
            program: program.to_owned(),
            loopback: OnceLock::new(),
            ends: TaskTracker::new(),
        };
        Ok(E2b { shared: Arc::new(shared), capabilities, runtime: Some(runtime) })
    }

    /// Makes a sandbox that shows `files`, if any, and starts the program in it.
    ///
    /// # Errors
    /// As [`Backend::create`].
    pub fn launch(&self, mut spec: Spec, files: Option<&Files<'_>>) -> Result<Kept, Native> {
        kept(&spec)?;
        spec.limits.pids = Some(spec.limits.pids.unwrap_or(DEFAULT_PIDS));
        let enforcement = enforcement(&spec.limits);
        for limit in &enforcement {
            if spec.require_kernel && limit.limit != "timeout" {
                return Err(Native::NotEnforced { limit: limit.limit, level: limit.level });
            }
        }
        let filled = files.map(FilesOf::fill).transpose()?;
        let workspace = workspace(files.map(|files| files.project));
        let asked = [spec.model_listener, spec.egress_listener];
        let listeners = Listeners::open(asked, || self.shared.loopback().map_err(Native::from))?;
        let (bridge, made) = self.shared.make(files.map_or("exec", |files| files.name))?;
        let further = spec.ro.iter_mut().map(Further::of).collect::<Result<Vec<_>, _>>()?;
        let (order, given) = order(spec, &workspace, &listeners)?;
        let mut places = vec![filled.as_ref().map(FilesOf::folder)];
        places.extend(further.iter().map(|further| Some(further.folder())));
        bridge.begin(order, &places, given, BEGIN).map_err(lost)?;
        Ok(Kept {
            bridge,
            around: Box::new(made),
            workspace,
            enforcement,
            listeners: listeners.given,
            files: filled,
            disk: CHANGED,
        })
    }
}

/// What is brought beside the workspace: a folder, or one with a copy of a file in it.
enum Further {
    Whole(PathBuf),
    Copied(tempfile::TempDir),
}

impl Further {
    /// What is to be a file is a folder with that file from here on.
    fn of(bind: &mut Bind) -> Result<Further, Error> {
        let io = |source| Error::Io { what: "copying what is brought there", source };
        if bind.source.is_dir() {
            return Ok(Further::Whole(bind.source.clone()));
        }
        let name = bind.target.file_name().unwrap_or_default().to_owned();
        let folder = tempfile::tempdir().map_err(io)?;
        std::fs::copy(&bind.source, folder.path().join(name)).map_err(io)?;
        bind.target.pop();
        Ok(Further::Copied(folder))
    }

    fn folder(&self) -> &Path {
        match self {
            Further::Whole(folder) => folder,
            Further::Copied(folder) => folder.path(),
        }
    }
}

/// Refuses what a cloud cannot keep.
fn kept(spec: &Spec) -> Result<(), Error> {
    let unkept = |setting, why| Err(Error::Unkept { setting, why });
    if !spec.rw.is_empty() {
        return unkept("a folder that is written directly", "it sees no folder of this machine");
    }
    if spec.ro.iter().any(|bind| bind.mask.is_some()) {
        return unkept("a folder with hidden files in it", "only whole folders are brought there");
    }
    if spec.beneath.is_some() {
        return unkept("packages of this machine's distribution", "the programs are the template's");
    }
    if !spec.limits.io.is_empty() {
        return unkept("a limit on disks", "the disks are the cloud's");
    }
    if spec.limits.inodes.is_some() {
        return unkept("a limit of files", "the template decides how many its disk has room for");
    }
    if spec.limits.disk.is_some() {
        return unkept("a limit of the disk", "the template decides how large it is");
    }
    Ok(())
}

fn enforcement(limits: &Limits) -> Vec<Enforcement> {
    let by = "wflo's keeper there measures processes every 100 ms and kills them; files and sockets are not counted";
    let mut found = Vec::new();
    if limits.memory.is_some() {
        found.push(Enforcement { limit: "memory", level: Level::Supervised, by });
    }
    if limits.cpus.is_some() {
        let by = "wflo's keeper there stops and continues the tree every 100 ms";
        found.push(Enforcement { limit: "cpus", level: Level::Supervised, by });
    }
    let by =
        "RLIMIT_NPROC of the sandbox's user, and wflo's keeper there, which counts the tree every 100 ms";
    found.push(Enforcement { limit: "pids", level: Level::Supervised, by });
    if limits.timeout.is_some() {
        let by = "a timer of wflo's keeper there";
        found.push(Enforcement { limit: "timeout", level: Level::Supervised, by });
    }
    found
}

/// Where the workspace is, inside: below its own name, which programs may read.
fn workspace(project: Option<&Path>) -> PathBuf {
    let name = project.and_then(Path::file_name).unwrap_or("workspace".as_ref());
    Path::new(INSIDE).join("work").join(name)
}

fn order(mut spec: Spec, workspace: &Path, listeners: &Listeners) -> Result<(Vec<u8>, Given), Native> {
    spec.workspace = Some(View { lowers: vec![workspace.to_owned()], target: workspace.to_owned() });
    // What nobody has set is the template's.
    let set: Vec<OsString> = spec.env.iter().map(|(name, _)| name.clone()).collect();
    // A lock is held by who fills the workspace.
    drop(spec.held.take());
    let (mut order, fds) = launcher::order(SandboxId::from_uuid(uuid::Uuid::now_v7()), spec)?;
    order.env.retain(|(name, _)| set.contains(name));
    let duties = Duties { tasks: true, sockets: false, user: None, memory: true, bare: true };
    let mut bytes = duties.encode();
    bytes.extend(order.encode());
    let (loopback, ports) = (listeners.private.clone(), listeners.ports);
    Ok((bytes, Given { stdio: order.stdio, fds, terminal: order.terminal, loopback, ports }))
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

    /// A sandbox with a keeper that waits for an order.
    fn make(&self, step: &str) -> Result<(Bridge, Made), Error> {
        let metadata = BTreeMap::from([
            (STORE, self.name.clone()),
            (ENGINE, self.life.name.clone()),
            (STEP, step.to_owned()),
        ]);
        let (daemon, made) = self.handle.block_on(async {
            let created = self.api.create(metadata).await?;
            let alive = self.handle.spawn(keep_alive(self.api.clone(), created.id.clone()));
            let (api, runtime) = (self.api.clone(), self.handle.clone());
            let ends = self.ends.clone();
            let made = Made { api, id: created.id.clone(), runtime, alive, ends };
            Ok::<_, Error>((Daemon::new(&self.api, &created), made))
        })?;
        if let Some(command) = self.keeper.of_template() {
            match self.keeper(&daemon, command) {
                Ok(bridge) => return Ok((bridge, made)),
                // There is none, or it is not what it should be: what is brought is.
                Err(_) => self.keeper.is_absent(),
            }
        }
        self.handle.block_on(daemon.bring(self.keeper.brought()))?;
        Ok((self.keeper(&daemon, self.keeper.command())?, made))
    }

    /// Starts a keeper, which proves what it is.
    fn keeper(&self, daemon: &Daemon, command: Vec<String>) -> Result<Bridge, Error> {
        let connection = self.handle.block_on(daemon.start(command, &self.handle))?;
        let io = |source| Error::Io { what: "reading from it", source };
        let bridge = Bridge::new(connection, &self.handle).map_err(io)?;
        match bridge.ready(START) {
            Ok(hash) if hash == self.keeper.hash.as_bytes() => Ok(bridge),
            Ok(_) => Err(Error::OtherProgram),
            Err(Lost::Gone(words)) => Err(Error::Keeper { what: "ended at once", words }),
            Err(_) => Err(Error::Keeper { what: "did not come up in time", words: String::new() }),
        }
    }
}

impl Backend for E2b {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The workspace appears in a folder of the sandbox, below the project's own name.
    fn create(&self, spec: Spec, files: &Files<'_>) -> Result<Box<dyn Sandbox>, Native> {
        Ok(Box::new(self.launch(spec, Some(files))?))
    }
}

impl Drop for E2b {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // Ends that were asked for are given a moment; whatever is left ends by itself. An engine may be dropped
        // on a runtime of its own, where nothing may wait for another one.
        let ends = self.shared.ends.clone();
        ends.close();
        let end = move || {
            let _ = runtime.block_on(async { tokio::time::timeout(GOODBYE, ends.wait()).await });
            runtime.shutdown_background();
        };
        let ended = std::thread::Builder::new().name("cloud-end".to_owned()).spawn(end);
        let _ = ended.map(std::thread::JoinHandle::join);
    }
}
