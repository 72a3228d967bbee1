//! One sandbox of one attempt: made from the run's launch settings, watched, ended.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, Interest};
use wflo_core::error::{Coded, Failure};
use wflo_sandbox::workspace::{self, Hidden, HideRules, View};
use wflo_sandbox::{Bind, Exit, Launcher, Sandbox, Spec, Stdio};

use crate::broker::{Opened, bad_layer};
use crate::error::EngineError;
use crate::launch::Launch;

/// Makes sandboxes; one launcher process for the engine, started when first needed.
pub struct Sandboxes {
    program: std::path::PathBuf,
    launcher: tokio::sync::OnceCell<Arc<Launcher>>,
    /// Sealed trees and layers.
    pub store: Arc<workspace::Store>,
    /// What never enters a workspace, beside the run's own globs.
    pub rules: HideRules,
    /// The engine's own environment, for names that are passed through.
    pub environment: std::collections::BTreeMap<OsString, OsString>,
}

/// A running sandbox of an attempt.
pub(crate) struct Running {
    pub(crate) sandbox: Arc<Sandbox>,
    status: tokio::net::UnixDatagram,
    /// Keeps the stored trees that it has mounted from being pruned.
    _mounts: Option<workspace::Mounts>,
}

/// What an attempt's sandbox differs in.
pub(crate) struct Ask {
    pub(crate) command: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) fds: Vec<(OwnedFd, i32)>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) layers: Vec<String>,
    pub(crate) model_listener: bool,
    pub(crate) timeout: Option<wflo_core::size::Millis>,
}

fn failed(error: &impl Coded) -> EngineError {
    EngineError::Failure(error.to_failure())
}

/// Whether a folder of the Python path is shown beside the workspace. One that lies in the project is
/// in the workspace already, as far as steps may see it; one that holds the project would show the live
/// files, the hidden ones too (a `PYTHONPATH` with the project in it), and only the SDK needs that.
fn is_beside(folder: &Path, sdk: Option<&Path>, project: &Path) -> bool {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    !real.starts_with(project) && (!project.starts_with(&real) || sdk == Some(folder))
}

impl Sandboxes {
    /// Sandboxes whose launcher is `program`.
    pub fn new(
        program: std::path::PathBuf,
        store: Arc<workspace::Store>,
        rules: HideRules,
        environment: std::collections::BTreeMap<OsString, OsString>,
    ) -> Self {
        Sandboxes { program, launcher: tokio::sync::OnceCell::new(), store, rules, environment }
    }

    /// The launcher process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn launcher(&self) -> Result<Arc<Launcher>, EngineError> {
        let start = || async {
            let program = self.program.clone();
            let started = tokio::task::spawn_blocking(move || Launcher::start(&program)).await;
            match started {
                Ok(Ok(launcher)) => Ok(Arc::new(launcher)),
                Ok(Err(e)) => Err(failed(&e)),
                Err(e) => Err(EngineError::Unreadable(e.to_string())),
            }
        };
        self.launcher.get_or_try_init(start).await.cloned()
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
        let launcher = self.launcher().await?;
        let (sandboxes, launch) = (Arc::clone(self), launch.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let (spec, mounts) = sandboxes.spec(&launch, ask)?;
            let sandbox = launcher.launch(spec).map_err(|e| failed(&e))?;
            Ok::<_, EngineError>((sandbox, mounts))
        });
        let (sandbox, mounts) = opened.await.map_err(|e| EngineError::Unreadable(e.to_string()))??;
        let unwatchable =
            |e: std::io::Error| EngineError::Unreadable(format!("a sandbox cannot be watched: {e}"));
        let status = sandbox.status_fd().try_clone_to_owned().map_err(unwatchable)?;
        // Only its readiness is used; the sandbox reads it.
        let status = std::os::unix::net::UnixDatagram::from(status);
        status.set_nonblocking(true).map_err(unwatchable)?;
        let status = tokio::net::UnixDatagram::from_std(status).map_err(unwatchable)?;
        Ok(Running { sandbox: Arc::new(sandbox), status, _mounts: Some(mounts) })
    }

    fn spec(&self, launch: &Launch, ask: Ask) -> Result<(Spec, workspace::Mounts), EngineError> {
        let bad_id = |e: &dyn std::fmt::Display| {
            EngineError::Unreadable(format!("a stored tree has no readable id: {e}"))
        };
        let sealed = launch.sealed.parse().map_err(|e| bad_id(&e))?;
        let layers =
            ask.layers.iter().map(|l| l.parse()).collect::<Result<Vec<_>, _>>().map_err(|e| bad_id(&e))?;
        let view = View::open(&self.store, &sealed, &layers).map_err(|e| failed(&e))?;
        let hidden = self.hidden(&launch.project, &launch.hide)?;
        let mounts =
            view.mounts(&self.store, &launch.project, &hidden, &launch.project).map_err(|e| failed(&e))?;
        let mut spec = Spec::new(ask.command);
        spec.cwd = Some(launch.project.clone());
        spec.workspace =
            Some(wflo_sandbox::View { lowers: mounts.lowers.clone(), target: launch.project.clone() });
        spec.ro = mounts
            .ro
            .iter()
            .map(|(source, target)| Bind { source: source.clone(), target: target.clone() })
            .collect();
        if let Some(interpreter) = &launch.interpreter {
            for folder in &interpreter.folders {
                if !is_beside(folder, interpreter.sdk_path.as_deref(), &launch.project) {
                    continue;
                }
                spec.ro.push(Bind::same(folder));
            }
        }
        let bind = |(source, target): &(std::path::PathBuf, std::path::PathBuf)| Bind {
            source: source.clone(),
            target: target.clone(),
        };
        spec.ro.extend(launch.ro.iter().map(bind));
        spec.rw = launch.rw.iter().map(bind).collect();
        spec.env = ask.env;
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
        spec.stdout = Stdio::Fd(ask.stdout);
        spec.stderr = Stdio::Fd(ask.stderr);
        spec.fds = ask.fds;
        spec.model_listener = ask.model_listener;
        Ok((spec, mounts))
    }

    /// Keeps what a dead sandbox wrote into its workspace, as a layer; `None` when it wrote nothing.
    pub(crate) async fn capture(
        self: &Arc<Self>,
        running: &Running,
    ) -> Result<(Option<String>, Vec<String>), EngineError> {
        let (sandboxes, sandbox) = (Arc::clone(self), Arc::clone(&running.sandbox));
        let captured = tokio::task::spawn_blocking(move || {
            let Some(upper) = sandbox.upper() else { return Ok(None) };
            workspace::capture(upper.as_fd(), &sandboxes.store, &workspace::Bounds::default())
        });
        let captured =
            captured.await.map_err(|e| EngineError::Unreadable(e.to_string()))?.map_err(|e| failed(&e))?;
        Ok(match captured {
            None => (None, Vec::new()),
            Some(captured) => {
                let dropped = captured.dropped.iter().map(|d| format!("{} ({})", d.path, d.what)).collect();
                (Some(captured.layer.id.to_string()), dropped)
            }
        })
    }
}

/// The workspace of a running sandbox, as far as it has been changed.
pub(crate) struct LiveFiles {
    store: Arc<workspace::Store>,
    sandbox: Arc<Sandbox>,
}

impl LiveFiles {
    /// Seals what has been changed so far; `None` when that is nothing. What the program writes
    /// meanwhile may be in it or not.
    pub(crate) async fn changes(&self) -> Result<Option<workspace::Captured>, EngineError> {
        let (store, sandbox) = (Arc::clone(&self.store), Arc::clone(&self.sandbox));
        let captured = tokio::task::spawn_blocking(move || {
            let Some(upper) = sandbox.upper() else { return Ok(None) };
            workspace::capture(upper.as_fd(), &store, &workspace::Bounds::default())
        });
        captured.await.map_err(|e| EngineError::Unreadable(e.to_string()))?.map_err(|e| failed(&e))
    }

    /// A layer that was sealed before; an empty one for none.
    pub(crate) async fn layer(&self, id: Option<String>) -> Result<Opened, EngineError> {
        let Some(id) = id else {
            return Ok(Opened { manifest: workspace::Manifest::default(), tree: std::path::PathBuf::new() });
        };
        let store = Arc::clone(&self.store);
        let open = move || {
            let digest = id.parse().map_err(|_| bad_layer(&id))?;
            let layer = workspace::Layer::open(&store, &digest).map_err(|e| failed(&e))?;
            Ok(Opened { manifest: layer.manifest, tree: store.tree(&digest) })
        };
        tokio::task::spawn_blocking(open).await.map_err(|e| EngineError::Unreadable(e.to_string()))?
    }
}

impl Running {
    /// Its workspace, for tools whose files are sealed while it runs.
    pub(crate) fn files(&self, sandboxes: &Sandboxes) -> LiveFiles {
        LiveFiles { store: Arc::clone(&sandboxes.store), sandbox: Arc::clone(&self.sandbox) }
    }

    /// Resolves when no process of the sandbox is left.
    pub(crate) async fn ended(&self) -> Result<Exit, Failure> {
        loop {
            if let Some(exit) = self.sandbox.try_wait().map_err(|e| e.to_failure())? {
                return Ok(exit);
            }
            self.status
                .readable()
                .await
                .map_err(|e| Failure::new(wflo_core::error::Code(9003), e.to_string()))?;
            // Asked inside, so that news which comes meanwhile is not taken for old.
            let asked = self.status.try_io(Interest::READABLE, || match self.sandbox.try_wait() {
                Ok(None) => Err(std::io::Error::from(std::io::ErrorKind::WouldBlock)),
                news => Ok(news),
            });
            if let Ok(news) = asked
                && let Some(exit) = news.map_err(|e| e.to_failure())?
            {
                return Ok(exit);
            }
        }
    }

    /// Kills the whole tree and waits until it is gone.
    pub(crate) async fn kill(&self) {
        let sandbox = Arc::clone(&self.sandbox);
        let killed = tokio::task::spawn_blocking(move || sandbox.kill()).await;
        if let Ok(Err(e)) = killed {
            tracing::warn!(error = %e, "a sandbox could not be killed");
        }
    }
}

/// A pipe from a sandbox: our end does not block, the program's is as programs expect it.
pub(crate) fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// Reads a pipe to its end and gives the last `most` bytes.
pub(crate) async fn tail(pipe: OwnedFd, most: usize) -> Vec<u8> {
    let Ok(mut pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0_u8; 16 << 10]);
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > 2 * most {
            kept.drain(..kept.len() - most);
        }
    }
    let from = kept.len().saturating_sub(most);
    kept.split_off(from)
}
