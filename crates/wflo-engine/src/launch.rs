//! What a run needs to start its steps again, in any process: kept with the run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::definition::SandboxSpec;
use wflo_core::error::{Code, Failure};
use wflo_core::size::{Bytes, MilliCpus, Millis};

use crate::error::EngineError;

/// The interpreter cannot be used.
const NO_INTERPRETER: Code = Code(3040);
/// The workflow and the settings name different backends.
const BACKENDS_DIFFER: Code = Code(1012);
/// What is asked for needs isolation, and there is none.
const NOT_ISOLATED: Code = Code(5008);

/// How the steps of a run are launched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The project's folder; steps see their workspace at this path.
    pub project: PathBuf,
    /// `workflow.py` or `package.module:attribute`, for code steps.
    pub workflow: Option<String>,
    /// The file of a written definition, for workflows that are not code.
    #[serde(default)]
    pub definition: Option<String>,
    /// Runs code steps.
    pub interpreter: Option<Interpreter>,
    /// The sealed tree of the project.
    pub sealed: String,
    /// Limits: of the settings, with the definition's laid over them.
    pub sandbox: Limits,
    /// Names of host environment variables passed through.
    pub env: Vec<String>,
    /// Further files and folders to read: source and target.
    pub ro: Vec<(PathBuf, PathBuf)>,
    /// Files and folders that are written directly: source and target.
    pub rw: Vec<(PathBuf, PathBuf)>,
    /// Globs that are never seen.
    pub hide: Vec<String>,
    /// Limits must be enforced by the kernel.
    pub require_kernel: bool,
    /// What isolates its steps: the same for as long as the run lives.
    #[serde(default)]
    pub backend: Backend,
}

impl Launch {
    /// Refuses what the backend could not keep, before anything is run.
    ///
    /// # Errors
    /// Each setting that it could not keep.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.backend != Backend::None {
            return Ok(());
        }
        let refuse = |message: &str, hint: &str| Failure::new(NOT_ISOLATED, message).with_hint(hint);
        let mut problems = Vec::new();
        if self.require_kernel {
            problems.push(refuse(
                "`require = \"kernel\"` and the backend \"none\" exclude each other: without isolation the kernel enforces nothing",
                "leave one of them out",
            ));
        }
        if self.sandbox.disk.is_some() {
            problems.push(refuse(
                "disk_limit needs isolation: with the backend \"none\" nothing bounds what a step writes",
                "leave disk_limit out, or use the backend \"native\"",
            ));
        }
        for (source, target) in self.ro.iter().chain(&self.rw).filter(|(source, target)| source != target) {
            problems.push(refuse(
                &format!(
                    "with the backend \"none\" {} cannot be shown at {}",
                    source.display(),
                    target.display()
                ),
                "use the path that it has on this machine for both, or the backend \"native\"",
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
    }
}

/// What keeps steps from the rest of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Linux namespaces, made by wflo itself.
    #[default]
    Native,
    /// Nothing; asked for by name.
    None,
}

impl Backend {
    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Native => "native",
            Backend::None => "none",
        }
    }

    /// The backend with a name.
    pub fn named(name: &str) -> Option<Backend> {
        [Backend::Native, Backend::None].into_iter().find(|backend| backend.name() == name)
    }

    /// Whoever starts the run decides. Else the settings and the workflow must not contradict each
    /// other: code does not take off a wall that its operator put up, nor does a setting one that
    /// the code counts on.
    ///
    /// # Errors
    /// When they do.
    pub fn choose(
        given: Option<Backend>,
        settings: Option<Backend>,
        workflow: Option<Backend>,
    ) -> Result<Backend, EngineError> {
        match (given, settings, workflow) {
            (Some(given), ..) => Ok(given),
            (None, Some(settings), Some(workflow)) if settings != workflow => {
                let message = format!(
                    "wflo.toml says backend = \"{}\" and the workflow says backend=\"{}\"",
                    settings.name(),
                    workflow.name()
                );
                let hint = "make them agree, or decide for one run with --sandbox native or --sandbox none";
                Err(EngineError::Invalid(vec![Failure::new(BACKENDS_DIFFER, message).with_hint(hint)]))
            }
            (None, settings, workflow) => Ok(workflow.or(settings).unwrap_or_default()),
        }
    }
}

/// Limits of one attempt's sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the whole tree.
    pub memory: Option<Bytes>,
    /// Processor share of the whole tree.
    pub cpus: Option<MilliCpus>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// All that is written inside.
    pub disk: Option<Bytes>,
    /// The longest an attempt may be active.
    pub timeout: Option<Millis>,
}

impl Limits {
    /// What the definition says, where it says something.
    #[must_use]
    pub fn with(self, spec: &SandboxSpec) -> Self {
        Limits {
            memory: spec.memory_limit.or(self.memory),
            cpus: spec.cpu_limit.or(self.cpus),
            pids: spec.pids_limit.or(self.pids),
            disk: spec.disk_limit.or(self.disk),
            timeout: spec.timeout_seconds.or(self.timeout),
        }
    }
}

/// A Python that can import the SDK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// What is started.
    pub program: PathBuf,
    /// `cpython-3.11`.
    pub tag: String,
    /// Folders that it needs to see: its prefixes and the SDK's.
    pub folders: Vec<PathBuf>,
    /// The SDK's folder, when it is outside of the interpreter's own.
    pub sdk_path: Option<PathBuf>,
}

const QUESTION: &str = r"
import json, os, sys, sysconfig
import wflo
sdk = os.path.dirname(os.path.dirname(os.path.abspath(wflo.__file__)))
print(json.dumps({
    'program': sys.executable,
    'tag': '%s-%d.%d' % (sys.implementation.name, *sys.version_info[:2]),
    'real': os.path.realpath(sys.executable),
    'prefixes': [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix],
    'sdk': sdk,
    'path': [p for p in sys.path if p and os.path.isdir(p)],
}))
";

#[derive(Deserialize)]
struct Said {
    program: PathBuf,
    tag: String,
    real: PathBuf,
    prefixes: Vec<PathBuf>,
    sdk: PathBuf,
    path: Vec<PathBuf>,
}

impl Interpreter {
    /// There is no Python here.
    pub(crate) fn missing() -> EngineError {
        let message = "no Python was found: not beside wflo, not in an active environment, not on the PATH";
        let hint = "install Python 3.10 or newer and wflo's wheel (docs/reference/sdk.md), or name a Python with WFLO_PYTHON";
        EngineError::Failure(Failure::new(NO_INTERPRETER, message).with_hint(hint))
    }

    /// Asks a Python about itself.
    ///
    /// # Errors
    /// When it cannot be started or cannot import the SDK.
    pub async fn ask(program: &Path) -> Result<Interpreter, EngineError> {
        let no = |detail: String| {
            let message = format!("{} cannot run workflows: {detail}", program.display());
            let hint = format!(
                "put wflo into it with `{} -m pip install WHEEL` (`make install` in wflo's clone leaves the wheel in \
                 target/wheels), or name a Python that has it with WFLO_PYTHON",
                program.display()
            );
            EngineError::Failure(Failure::new(NO_INTERPRETER, message).with_hint(hint))
        };
        let asked = tokio::process::Command::new(program)
            .args(["-c", QUESTION])
            // Not in the project: its files are not to be imported outside a sandbox.
            .current_dir("/")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(std::time::Duration::from_secs(30), asked)
            .await
            .map_err(|_| no("it does not answer".to_owned()))?
            .map_err(|e| no(e.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(no(said.lines().last().unwrap_or("it failed").to_owned()));
        }
        let said: Said = serde_json::from_slice(&output.stdout).map_err(|e| no(e.to_string()))?;
        let mut folders: Vec<PathBuf> = Vec::new();
        let real_prefix = said.real.parent().and_then(Path::parent).map(Path::to_path_buf);
        let all = said.prefixes.iter().cloned().chain(real_prefix).chain(said.path.iter().cloned());
        for folder in all.chain([said.sdk.clone()]) {
            add_folder(&mut folders, folder);
        }
        let own = said.prefixes.iter().any(|prefix| said.sdk.starts_with(prefix));
        Ok(Interpreter {
            program: said.program,
            tag: said.tag,
            folders,
            sdk_path: (!own).then_some(said.sdk),
        })
    }
}

/// Keeps folders that a sandbox does not show anyway, the outermost of each.
fn add_folder(folders: &mut Vec<PathBuf>, folder: PathBuf) {
    let shown = ["/usr", "/bin", "/lib", "/lib64", "/sbin"];
    if folder == Path::new("/") || shown.iter().any(|root| folder.starts_with(root)) {
        return;
    }
    if folders.iter().any(|known| folder.starts_with(known)) {
        return;
    }
    folders.retain(|known| !known.starts_with(&folder));
    folders.push(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_the_run_decides_and_nobody_else_lowers_a_wall() {
        let choose = |given, settings, workflow| Backend::choose(given, settings, workflow).ok();
        let (native, none) = (Some(Backend::Native), Some(Backend::None));
        assert_eq!(choose(None, None, None), native);
        assert_eq!(choose(None, none, None), none);
        assert_eq!(choose(None, None, none), none);
        assert_eq!(choose(None, native, none), None, "code does not take off a wall");
        assert_eq!(choose(None, none, native), None);
        assert_eq!(choose(native, none, none), native);
        assert_eq!(choose(none, native, native), none);
    }

    #[test]
    fn a_run_of_an_earlier_release_is_isolated() {
        assert_eq!(Backend::default(), Backend::Native);
        assert_eq!(Backend::named("none"), Some(Backend::None));
        assert_eq!(Backend::named("docker"), None);
    }
}
