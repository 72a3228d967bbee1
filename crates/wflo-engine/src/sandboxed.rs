//! One sandbox of one attempt, made from the run's launch settings.
//!
//! Owns the choice of the backend and the address that stock model clients find; what a backend does
//! is its own. A sandbox that runs is watched and ended by `running`.

mod files;
mod pipe;
mod running;

pub(crate) use self::files::LiveFiles;
pub(crate) use self::pipe::{pipe, pipe_to, tail};
pub(crate) use self::running::Running;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use wflo_core::error::Coded;
use wflo_egress::client_env as egress_env;
use wflo_gateway::{PLACEHOLDER_KEY, client_env};
use wflo_sandbox::workspace::{self, Hidden, HideRules, View};
use wflo_sandbox::{Backend, Bare, Bind, EGRESS_PORT, Files, MODEL_PORT, Native, Sandbox, Spec, Stdio};

use crate::error::EngineError;
use crate::executor::Layer;
use crate::interpreter::Surroundings;
use crate::launch::{self, Launch};

/// By the folder and the globs.
type Masks = HashMap<(PathBuf, Vec<String>), Option<Arc<workspace::Mask>>>;

/// Makes sandboxes; one launcher process for the engine and backend, started when first needed.
pub struct Sandboxes {
    program: std::path::PathBuf,
    native: OnceCell<Arc<dyn Backend>>,
    bare: OnceCell<Arc<dyn Backend>>,
    /// Sealed trees and layers.
    pub store: Arc<workspace::Store>,
    /// What never enters a workspace, beside the run's own globs.
    pub rules: HideRules,
    /// The engine's own environment, for names that are passed through.
    pub environment: std::collections::BTreeMap<OsString, OsString>,
    /// What hides the hidden files of folders that are shown beside a workspace: looked for once, because they may be large.
    masks: Mutex<Masks>,
}

/// What an attempt's sandbox differs in.
pub(crate) struct Ask {
    /// The same for every attempt at one thing; `None` for what is done once.
    pub(crate) name: Option<String>,
    pub(crate) command: Vec<OsString>,
    /// Beside what model clients need.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) fds: Vec<(OwnedFd, i32)>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) layers: Vec<String>,
    pub(crate) timeout: Option<wflo_core::size::Millis>,
    /// Whether it may reach the hosts that its run allows.
    pub(crate) egress: bool,
    /// Where in the workspace it starts; relative to it.
    pub(crate) cwd: Option<PathBuf>,
    /// The standard streams are a terminal that was made for it.
    pub(crate) terminal: bool,
}

impl Ask {
    /// A command that reads nothing and sees the project alone.
    pub(crate) fn new(command: Vec<OsString>, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        Ask {
            name: None,
            command,
            env: Vec::new(),
            fds: Vec::new(),
            stdin: None,
            stdout,
            stderr,
            layers: Vec::new(),
            timeout: None,
            cwd: None,
            terminal: false,
            egress: false,
        }
    }
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
        let (native, bare) = (OnceCell::new(), OnceCell::new());
        Sandboxes { program, native, bare, store, rules, environment, masks: Mutex::default() }
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
        let mut rules = HideRules { globs: Vec::new(), ..self.rules.clone() };
        if let Some(launch) = named {
            rules.globs = self.rules.globs.iter().chain(&launch.hide).cloned().collect();
        }
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

    async fn backend(&self, which: launch::Backend) -> Result<Arc<dyn Backend>, EngineError> {
        let slot = match which {
            launch::Backend::Native => &self.native,
            launch::Backend::None => &self.bare,
        };
        let start = || async {
            let (program, store) = (self.program.clone(), Arc::clone(&self.store));
            let started = tokio::task::spawn_blocking(move || -> Result<Arc<dyn Backend>, _> {
                Ok(match which {
                    launch::Backend::Native => Arc::new(Native::start(&program)?),
                    launch::Backend::None => Arc::new(Bare::start(&program, &store)?),
                })
            });
            started.await.map_err(unreadable)?.map_err(|e: wflo_sandbox::Error| failed(&e))
        };
        slot.get_or_try_init(start).await.cloned()
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
        let backend = self.backend(launch.backend).await?;
        // On an isolated sandbox's own loopback the listener says who calls.
        let key = if backend.capabilities().isolated { None } else { Some(token()?) };
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
        Ok(Running { sandbox: Some(sandbox), status, key })
    }

    fn create(
        &self,
        backend: &dyn Backend,
        launch: &Launch,
        ask: Ask,
        key: Option<&str>,
    ) -> Result<Box<dyn Sandbox>, EngineError> {
        let bad_id = |e: &dyn std::fmt::Display| {
            EngineError::Unreadable(format!("a stored tree has no readable id: {e}"))
        };
        let sealed = launch.sealed.parse().map_err(|e| bad_id(&e))?;
        let layers =
            ask.layers.iter().map(|l| l.parse()).collect::<Result<Vec<_>, _>>().map_err(|e| bad_id(&e))?;
        let view = View::open(&self.store, &sealed, &layers).map_err(|e| failed(&e))?;
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
        let mut spec = Spec::new(ask.command);
        let masked = |folder: &Path, named: Option<&Launch>| match launch.backend {
            launch::Backend::Native => {
                Ok::<_, EngineError>(self.mask(folder, named)?.map(|mask| mask.path().to_owned()))
            }
            launch::Backend::None => Ok(None),
        };
        let around = self.surroundings(&launch.project);
        for place in launch.shown().into_iter().filter(|place| around.may_show(place)) {
            spec.ro.push(Bind { mask: masked(place, None)?, ..Bind::same(place) });
        }
        for (source, target) in &launch.ro {
            spec.ro.push(Bind { mask: masked(source, Some(launch))?, ..Bind::new(source, target) });
        }
        spec.rw = launch.rw.iter().map(|(source, target)| Bind::new(source, target)).collect();
        spec.env = ask.env;
        spec.env.extend(model_env(key.unwrap_or(PLACEHOLDER_KEY)));
        // Where nothing may be reached there is nobody to ask, and asking fails at once.
        spec.egress_listener = !launch.allow_hosts.is_empty() && ask.egress;
        if spec.egress_listener {
            spec.env
                .extend(egress_env(EGRESS_PORT).into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        for name in &launch.env {
            if let Some((name, value)) = self.environment.get_key_value(std::ffi::OsStr::new(name)) {
                spec.env.push((name.clone(), value.clone()));
            }
        }
        spec.limits = wflo_sandbox::Limits {
            memory: launch.sandbox.memory,
            cpus: launch.sandbox.cpus,
            pids: launch.sandbox.pids,
            disk: launch.sandbox.disk,
            timeout: ask.timeout,
        };
        spec.require_kernel = launch.require_kernel;
        spec.cwd = ask.cwd;
        // Programs that make terminals of their own (script, tmux, expect) find them where they look.
        spec.pts = launch.program.is_some();
        spec.terminal = ask.terminal;
        spec.stdin = ask.stdin.map_or(Stdio::Null, Stdio::Fd);
        spec.preset = launch.preset;
        spec.stdout = Stdio::Fd(ask.stdout);
        spec.stderr = Stdio::Fd(ask.stderr);
        spec.fds = ask.fds;
        spec.model_listener = true;
        Ok(spec)
    }

    /// Keeps what a dead sandbox wrote into its workspace, as a layer; `None` when it wrote nothing.
    pub(crate) async fn capture(
        &self,
        running: &Running,
    ) -> Result<(Option<Layer>, Vec<String>), EngineError> {
        let Some(sandbox) = running.sandbox.clone() else { return Ok((None, Vec::new())) };
        let captured = tokio::task::spawn_blocking(move || sandbox.changes());
        let captured = captured.await.map_err(unreadable)?.map_err(|e| failed(&e))?;
        Ok(match captured {
            None => (None, Vec::new()),
            Some(captured) => {
                let dropped = captured.dropped.iter().map(|d| format!("{} ({})", d.path, d.what)).collect();
                (Some(Layer { id: captured.layer.id.to_string(), pin: captured.pin }), dropped)
            }
        })
    }
}

/// The variables that make stock clients find the listener, whose port the launcher fills in.
fn model_env(key: &str) -> impl Iterator<Item = (OsString, OsString)> {
    // The port is not known before the sandbox is; no port is 1.
    client_env(1, key).into_iter().map(|(name, value)| {
        let value = match value.strip_prefix("http://127.0.0.1:1") {
            Some(path) => format!("http://127.0.0.1:{MODEL_PORT}{path}"),
            None => value,
        };
        (name.into(), value.into())
    })
}

/// A word that nobody can guess.
fn token() -> Result<String, EngineError> {
    use std::fmt::Write as _;
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(unreadable)?;
    Ok(bytes.iter().fold("wflo-".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
