//! One sandbox of one attempt, made from the run's launch settings.
//!
//! Owns the choice of the backend and the address that stock model clients find; what a backend does
//! is its own. A sandbox that runs is watched and ended by `running`.

mod ask;
mod files;
mod pipe;
mod runner;
mod running;

pub(crate) use self::ask::{Ask, Shape};
pub(crate) use self::files::LiveFiles;
pub(crate) use self::pipe::{pipe, pipe_to, socket, tail};
pub(crate) use self::runner::Runner;
pub(crate) use self::running::Running;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;
use wflo_core::error::Coded;
use wflo_egress::client_env as egress_env;
use wflo_gateway::{PLACEHOLDER_KEY, client_env, client_files};
use wflo_sandbox::e2b::Cloud;
use wflo_sandbox::workspace::{self, Hidden, HideRules, View};
use wflo_sandbox::{
    Backend, Bare, Bind, Docker, E2b, EGRESS_PORT, Files, MODEL_PORT, Native, Sandbox, Spec, Stdio, docker,
};

use crate::clouds::{self, Clouds, InCloud, NoClouds};
use crate::containers::{Containers, SDK_IN_IMAGE};
use crate::error::EngineError;
use crate::executor::Layer;
use crate::images::Images;
use crate::interpreter::{Interpreter, Language, Surroundings, node};
use crate::launch::{self, Launch};
use crate::live::LiveSandboxes;

/// By the folder and the globs.
type Masks = HashMap<(PathBuf, Vec<String>), Option<Arc<workspace::Mask>>>;

/// A backend that has been started, or will be.
type Started = OnceCell<Arc<dyn Backend>>;

/// Backends by what makes them different.
type Slots<K> = Mutex<Vec<(K, Arc<Started>)>>;

fn slot<K: Clone + PartialEq>(slots: &Slots<K>, key: &K) -> Arc<Started> {
    let mut all = slots.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, slot)) = all.iter().find(|(known, _)| known == key) {
        return Arc::clone(slot);
    }
    let slot = Arc::new(OnceCell::new());
    all.push((key.clone(), Arc::clone(&slot)));
    slot
}

/// Makes sandboxes; one launcher process for the engine and backend, started when first needed.
pub struct Sandboxes {
    program: std::path::PathBuf,
    native: Started,
    bare: Started,
    /// By the image and what else makes containers different.
    containers: Slots<Containers>,
    /// By the cloud and its template.
    in_clouds: Slots<Cloud>,
    clouds: Arc<dyn Clouds>,
    /// Sealed trees and layers.
    pub store: Arc<workspace::Store>,
    /// What never enters a workspace, beside the run's own globs.
    pub rules: HideRules,
    /// The engine's own environment, for names that are passed through.
    pub environment: std::collections::BTreeMap<OsString, OsString>,
    /// Packages that are shown to sandboxes; opened when first needed.
    images: OnceLock<Arc<Images>>,
    /// What hides the hidden files of folders that are shown beside a workspace: looked for once, because they may be large.
    masks: Mutex<Masks>,
    /// Those that run.
    pub live: Arc<LiveSandboxes>,
}

async fn started(
    slot: &Started,
    start: impl FnOnce() -> Result<Arc<dyn Backend>, wflo_sandbox::Error> + Send + 'static,
) -> Result<Arc<dyn Backend>, EngineError> {
    let start = || async {
        let started = tokio::task::spawn_blocking(start);
        started.await.map_err(unreadable)?.map_err(|e: wflo_sandbox::Error| failed(&e))
    };
    slot.get_or_try_init(start).await.cloned()
}

fn failed(error: &impl Coded) -> EngineError {
    EngineError::Failure(error.to_failure())
}

fn unreadable(error: impl std::fmt::Display) -> EngineError {
    EngineError::Unreadable(error.to_string())
}

impl Sandboxes {
    /// Sandboxes whose launcher is `program`.
    pub fn new(
        program: std::path::PathBuf,
        store: Arc<workspace::Store>,
        rules: HideRules,
        environment: std::collections::BTreeMap<OsString, OsString>,
    ) -> Self {
        Sandboxes {
            program,
            native: OnceCell::new(),
            bare: OnceCell::new(),
            containers: Mutex::default(),
            in_clouds: Mutex::default(),
            clouds: Arc::new(NoClouds),
            store,
            rules,
            environment,
            images: OnceLock::new(),
            masks: Mutex::default(),
            live: Arc::default(),
        }
    }

    /// The same, which may be in these clouds.
    #[must_use]
    pub fn in_clouds(self, clouds: Arc<dyn Clouds>) -> Self {
        Sandboxes { clouds, ..self }
    }

    /// The packages of the project.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn images(&self) -> Result<Arc<Images>, EngineError> {
        if let Some(images) = self.images.get() {
            return Ok(Arc::clone(images));
        }
        let opened = Arc::new(Images::open_in(self.store.root()).map_err(|e| failed(&e))?);
        Ok(Arc::clone(self.images.get_or_init(|| opened)))
    }

    /// The program that is its own launcher.
    pub(crate) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// What decides which places may be shown to the runs of a project.
    #[must_use]
    pub fn surroundings(&self, project: &Path) -> Surroundings {
        let variable = |name: &str| self.environment.get(std::ffi::OsStr::new(name)).cloned();
        Surroundings::new(project, self.rules.data_dir.as_deref(), variable)
    }

    /// The mask of a folder that is shown beside the workspace: of an interpreter, where a glob of the
    /// project means nothing, or `named` by a run.
    fn mask(
        &self,
        folder: &Path,
        named: Option<&Launch>,
    ) -> Result<Option<Arc<workspace::Mask>>, EngineError> {
        if !folder.is_dir() {
            return Ok(None);
        }
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let globs = named.map(|launch| self.rules.globs.iter().chain(&launch.hide).cloned());
        let rules = self.rules.clone().with_globs(globs.into_iter().flatten());
        let key = (folder, rules.globs.clone());
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = masks.get(&key) {
            return Ok(known.clone());
        }
        let folder = &key.0;
        let made = match named {
            Some(launch) => workspace::Mask::of_named(folder, Some(&launch.project), &rules, &self.store),
            None => Hidden::new(folder, &rules)
                .and_then(|hidden| workspace::Mask::of(folder, &hidden, &self.store)),
        };
        let mask = made.map_err(|e| failed(&e))?.map(Arc::new);
        masks.insert(key, mask.clone());
        Ok(mask)
    }

    /// What starts a runner.
    pub(crate) fn runner_command(
        &self,
        launch: &Launch,
        interpreter: &Interpreter,
    ) -> Result<Vec<OsString>, EngineError> {
        let node = self.node_runner(interpreter)?;
        let node =
            node.map(|here| if launch.backend == launch::Backend::E2b { clouds::node() } else { here });
        Ok(interpreter.command(node.as_deref()))
    }

    /// The folder of the runner for JavaScript, where that is what runs.
    fn node_runner(&self, interpreter: &Interpreter) -> Result<Option<PathBuf>, EngineError> {
        let unwritten = |e: std::io::Error| {
            EngineError::Unreadable(format!("the runner for JavaScript cannot be written: {e}"))
        };
        let wanted = interpreter.language == Language::Node;
        wanted.then(|| node::runner(self.store.root()).map_err(unwritten)).transpose()
    }

    async fn backend(&self, launch: &Launch) -> Result<Arc<dyn Backend>, EngineError> {
        let (program, store) = (self.program.clone(), Arc::clone(&self.store));
        match (launch.backend, &launch.docker) {
            (launch::Backend::Native, _) => {
                started(&self.native, move || Ok(Arc::new(Native::start(&program)?))).await
            }
            (launch::Backend::None, _) => {
                started(&self.bare, move || Ok(Arc::new(Bare::start(&program, &store)?))).await
            }
            (launch::Backend::Docker, Some(containers)) => {
                let (containers, host) = (containers.clone(), self.docker_host());
                let slot = slot(&self.containers, &containers);
                let start = move || {
                    let docker =
                        Docker::start(&program, &host, &store, &containers.options, &containers.image)?;
                    Ok(Arc::new(docker) as Arc<dyn Backend>)
                };
                started(&slot, start).await
            }
            (launch::Backend::Docker, None) => {
                Err(unreadable("a run in containers does not say of which image"))
            }
            (launch::Backend::E2b, _) => {
                let of = launch.cloud.as_ref();
                let of = of.ok_or_else(|| unreadable("a run in a cloud does not say in which"))?;
                let (cloud, clouds) = (of.cloud.clone(), Arc::clone(&self.clouds));
                let slot = slot(&self.in_clouds, &cloud);
                let start = move || {
                    let key = clouds.key(&cloud)?;
                    Ok(Arc::new(E2b::start(&program, &cloud, key, &store)?) as Arc<dyn Backend>)
                };
                started(&slot, start).await
            }
        }
    }

    /// The cloud for a new run, as the settings of this process name it.
    pub(crate) fn in_cloud(&self, sdk: Option<PathBuf>) -> Result<InCloud, EngineError> {
        Ok(InCloud { cloud: self.clouds.named().map_err(|e| failed(&e))?, sdk })
    }

    /// Where the Docker daemon is.
    pub(crate) fn docker_host(&self) -> String {
        let named = self.environment.get(std::ffi::OsStr::new("DOCKER_HOST"));
        let named = named.and_then(|host| host.to_str()).filter(|host| !host.is_empty());
        named.unwrap_or(docker::DEFAULT_HOST).to_owned()
    }

    /// Finds what the containers of a new run are to be made of.
    pub(crate) async fn containers(
        &self,
        options: docker::Options,
        sdk: Option<PathBuf>,
    ) -> Result<Containers, EngineError> {
        let (host, environment) = (self.docker_host(), self.environment.clone());
        let asked = options.clone();
        let found = tokio::task::spawn_blocking(move || docker::resolve(&host, &asked, &environment));
        let image = found.await.map_err(unreadable)?.map_err(|e| failed(&e))?;
        Ok(Containers { options, image, sdk })
    }

    /// The files of a run with these layers.
    ///
    /// # Errors
    /// When what was stored cannot be read.
    pub(crate) fn view(&self, launch: &Launch, layers: &[String]) -> Result<View, EngineError> {
        let bad_id = |e: &dyn std::fmt::Display| {
            EngineError::Unreadable(format!("a stored tree has no readable id: {e}"))
        };
        let sealed = launch.sealed.parse().map_err(|e| bad_id(&e))?;
        let layers =
            layers.iter().map(|l| l.parse()).collect::<Result<Vec<_>, _>>().map_err(|e| bad_id(&e))?;
        View::open(&self.store, &sealed, &layers).map_err(|e| failed(&e))
    }

    /// What never enters this run's workspaces.
    ///
    /// # Errors
    /// When a glob of the project is none.
    pub fn hidden(&self, project: &Path, globs: &[String]) -> Result<Hidden, EngineError> {
        let mut rules = self.rules.clone();
        rules.globs.extend(globs.iter().cloned());
        Hidden::new(project, &rules).map_err(|e| failed(&e))
    }

    pub(crate) async fn open(self: &Arc<Self>, launch: &Launch, ask: Ask) -> Result<Running, EngineError> {
        let backend = self.backend(launch).await?;
        // On an isolated sandbox's own loopback the listener says who calls.
        let key = if backend.capabilities().isolated { None } else { Some(token()?) };
        let (used, whose) = (ask.used.clone(), ask.whose.clone());
        let (sandboxes, launch, known) = (Arc::clone(self), launch.clone(), key.clone());
        let opened = tokio::task::spawn_blocking(move || {
            sandboxes.create(backend.as_ref(), &launch, ask, known.as_deref())
        });
        let sandbox: Arc<dyn Sandbox> = Arc::from(opened.await.map_err(unreadable)??);
        let unwatchable =
            |e: std::io::Error| EngineError::Unreadable(format!("a sandbox cannot be watched: {e}"));
        let status = sandbox.status_fd().try_clone_to_owned().map_err(unwatchable)?;
        // Only its readiness is used; the sandbox reads it.
        let status = std::os::unix::net::UnixDatagram::from(status);
        status.set_nonblocking(true).map_err(unwatchable)?;
        let status = tokio::net::UnixDatagram::from_std(status).map_err(unwatchable)?;
        let entered = whose.map(|whose| self.live.enter(whose, &sandbox, used.clone()));
        Ok(Running { sandbox: Some(sandbox), status, key, used, entered })
    }

    fn create(
        &self,
        backend: &dyn Backend,
        launch: &Launch,
        ask: Ask,
        key: Option<&str>,
    ) -> Result<Box<dyn Sandbox>, EngineError> {
        let view = self.view(launch, &ask.shape.layers)?;
        let hidden = self.hidden(&launch.project, &launch.hide)?;
        let name = match &ask.name {
            Some(name) => name.clone(),
            None => format!("once-{}", token()?),
        };
        let files =
            Files { name: &name, view: &view, store: &self.store, project: &launch.project, hidden: &hidden };
        backend.create(self.spec(launch, ask, key)?, &files).map_err(|e| failed(&e))
    }

    fn spec(&self, launch: &Launch, ask: Ask, key: Option<&str>) -> Result<Spec, EngineError> {
        let shape = ask.shape;
        let mut spec = Spec::new(shape.command);
        // Containers have no masks, so what would need one is refused there.
        let masked = |folder: &Path, named: Option<&Launch>| match launch.backend {
            launch::Backend::Native | launch::Backend::Docker => {
                Ok::<_, EngineError>(self.mask(folder, named)?.map(|mask| mask.path().to_owned()))
            }
            // Nothing of this host is shown there by its path.
            launch::Backend::None | launch::Backend::E2b => Ok(None),
        };
        let around = self.surroundings(&launch.project);
        for place in launch.shown().into_iter().filter(|place| around.may_show(place)) {
            spec.ro.push(Bind { mask: masked(place, None)?, ..Bind::same(place) });
        }
        if let Some(interpreter) = &launch.interpreter {
            let in_cloud = launch.backend == launch::Backend::E2b;
            let bound =
                |here: PathBuf| if in_cloud { Bind::new(here, clouds::node()) } else { Bind::same(here) };
            spec.ro.extend(self.node_runner(interpreter)?.map(bound));
        }
        if let Some(packages) = &launch.packages {
            spec.ro.push(self.images()?.bind(packages).map_err(|e| failed(&e))?);
            // Its place came with the run: it is the SDK's, or nothing is shown of it.
            let around = Surroundings { alone: true, ..around };
            let is_sdk = |sdk: &&PathBuf| sdk.ends_with("wflo") && sdk.join("runner/__init__.py").is_file();
            let sdk = packages.sdk.as_ref().filter(is_sdk).filter(|sdk| around.may_show(sdk));
            if let Some(sdk) = sdk {
                let target = format!("{SDK_IN_IMAGE}/wflo");
                spec.ro.push(Bind { mask: masked(sdk, None)?, ..Bind::new(sdk, target) });
            }
        }
        if let Some(programs) = &launch.system {
            spec.beneath = Some(self.images()?.show(programs).map_err(|e| failed(&e))?);
        }
        for (source, target) in &launch.ro {
            spec.ro.push(Bind { mask: masked(source, Some(launch))?, ..Bind::new(source, target) });
        }
        let sdk = launch.docker.as_ref().filter(|_| launch.in_image()).and_then(|docker| docker.sdk.as_ref());
        spec.ro.extend(sdk.map(|sdk| Bind::new(sdk, format!("{SDK_IN_IMAGE}/wflo"))));
        let sdk = launch.cloud.as_ref().and_then(|of| of.sdk.as_ref());
        spec.ro.extend(sdk.map(|sdk| Bind::new(sdk, clouds::sdk().join("wflo"))));
        spec.rw = launch.rw.iter().map(|(source, target)| Bind::new(source, target)).collect();
        spec.ro.extend(shape.ro);
        spec.env = shape.env;
        if launch.in_image() {
            // The folders of this host mean nothing there.
            spec.env.retain(|(name, _)| name != "PATH");
        }
        let key = key.unwrap_or(PLACEHOLDER_KEY);
        let variables = client_env(MODEL_PORT, key).into_iter();
        spec.env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        spec.egress_listener = shape.egress;
        if spec.egress_listener {
            spec.env
                .extend(egress_env(EGRESS_PORT).into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        for name in &launch.env {
            if let Some((name, value)) = self.environment.get_key_value(std::ffi::OsStr::new(name)) {
                spec.env.push((name.clone(), value.clone()));
            }
        }
        // A home that is passed through is somebody's own.
        if !spec.env.iter().any(|(name, _)| name == "HOME") {
            let files = client_files(MODEL_PORT, key, launch.backend != launch::Backend::None).into_iter();
            spec.home = files.map(|(path, text)| (path.into(), text.into())).collect();
        }
        spec.limits = wflo_sandbox::Limits {
            memory: launch.sandbox.memory,
            cpus: launch.sandbox.cpus,
            pids: launch.sandbox.pids,
            disk: launch.sandbox.disk,
            inodes: launch.sandbox.inodes,
            io: launch.sandbox.io,
            timeout: shape.timeout,
        };
        spec.require_kernel = launch.require_kernel;
        spec.cwd = shape.cwd;
        // Programs that make terminals of their own (script, tmux, expect) find them where they look.
        spec.pts = launch.program.is_some();
        spec.terminal = shape.terminal;
        spec.stdin = ask.stdin.map_or(Stdio::Null, Stdio::Fd);
        spec.preset = launch.preset;
        spec.stdout = Stdio::Fd(ask.stdout);
        spec.stderr = Stdio::Fd(ask.stderr);
        spec.fds = ask.fds;
        spec.model_listener = true;
        Ok(spec)
    }

    /// Keeps what a dead sandbox wrote into its workspace, as a layer; `None` when it wrote nothing. And what is not in
    /// it, for people.
    pub(crate) async fn capture(
        &self,
        running: &Running,
        bounds: workspace::Bounds,
    ) -> Result<(Option<Layer>, Option<String>), EngineError> {
        let Some(sandbox) = running.sandbox.clone() else { return Ok((None, None)) };
        let captured = tokio::task::spawn_blocking(move || sandbox.changes(&bounds));
        let captured = captured.await.map_err(unreadable)?.map_err(|e| failed(&e))?;
        Ok(match captured {
            None => (None, None),
            Some(captured) => {
                let left_out = captured.left_out();
                (Some(Layer { id: captured.layer.id.to_string(), pin: captured.pin }), left_out)
            }
        })
    }
}

/// A word that nobody can guess.
pub(crate) fn token() -> Result<String, EngineError> {
    use std::fmt::Write as _;
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(unreadable)?;
    Ok(bytes.iter().fold("wflo-".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
