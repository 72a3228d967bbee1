//! Which parts of the host a Python needs, found out without running it.
//!
//! A virtual environment in a project, its `pyvenv.cfg`, its links and its `.pth` files are written
//! by whoever wrote the project, or by a step whose files were brought in. So nothing is asked of an
//! interpreter on the host: files are read here, as untrusted text, and the program itself runs in
//! sandboxes only ([`ask`](crate::ask)).
//! **Architecture Invariant:** what is shown beside the workspace is a known part of an installation
//! or a virtual environment, or the SDK; never a folder of the project, and never one that holds the
//! project, wflo's data or a home folder, whatever those files say.

mod elsewhere;
mod prefix;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Failure};

pub use self::elsewhere::elsewhere;
use self::prefix::{Prefix, prefix_of, real_program};
pub(crate) use self::prefix::{is_toolchain, next_link};

/// The interpreter cannot be used.
const NO_INTERPRETER: Code = Code(3040);

/// A Python, and what its sandboxes show of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// What is started. A virtual environment's own path is kept: resolving its link would leave it.
    pub program: PathBuf,
    /// Files and folders that it needs to see, each at its own path.
    pub folders: Vec<PathBuf>,
    /// The SDK's folder, when it is outside of the interpreter's own.
    pub sdk_path: Option<PathBuf>,
}

/// What decides which places may be shown.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The project's folder.
    pub project: PathBuf,
    /// wflo's data directory.
    pub data_dir: Option<PathBuf>,
    /// The operator's home folder.
    pub home: Option<PathBuf>,
    /// The operator's `PYTHONPATH`.
    pub python_path: Option<OsString>,
    /// The project is no workspace that is shown anyway: its environment is shown like any other.
    pub alone: bool,
}

impl Surroundings {
    /// Of an environment.
    pub fn new(
        project: &Path,
        data_dir: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Surroundings {
        Surroundings {
            project: project.canonicalize().unwrap_or_else(|_| project.to_owned()),
            data_dir: data_dir.map(|data| data.canonicalize().unwrap_or_else(|_| data.to_owned())),
            home: variable("HOME").map(PathBuf::from).and_then(|home| home.canonicalize().ok()),
            python_path: variable("PYTHONPATH"),
            alone: false,
        }
    }

    /// Whether a file or folder may be shown beside the workspace.
    #[must_use]
    pub fn may_show(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else { return false };
        let homes = real == Path::new("/home") || real.parent() == Some(Path::new("/home"));
        let home =
            homes || real == Path::new("/root") || self.home.as_ref().is_some_and(|h| h.starts_with(&real));
        let data = self
            .data_dir
            .as_ref()
            .is_some_and(|data| data.starts_with(&real) || real.starts_with(data) || path.starts_with(data));
        let inside = real.starts_with(&self.project) || path.starts_with(&self.project);
        path.is_absolute() && !home && !data && !self.project.starts_with(&real) && (self.alone || !inside)
    }
}

impl Interpreter {
    /// Reads what `program`, an absolute path, needs.
    ///
    /// # Errors
    /// Why it cannot be used, as text for a person.
    pub fn read(program: &Path, around: &Surroundings) -> Result<Interpreter, String> {
        let (program, real) = real_program(program)?;
        let own = prefix_of(&program);
        let mut prefixes: Vec<Prefix> = own.clone().into_iter().collect();
        if let Some(home) = own.as_ref().and_then(Prefix::home) {
            prefixes.extend(home.parent().and_then(Prefix::installation));
        }
        prefixes.extend(real.parent().and_then(Path::parent).and_then(Prefix::installation));
        let mut folders = Vec::new();
        for part in prefixes.iter().flat_map(Prefix::parts) {
            add(&mut folders, part, around);
        }
        // Links on the way from a virtual environment to the interpreter itself.
        for link in prefix::links(&program) {
            if !folders.iter().any(|known| link.starts_with(known)) {
                add(&mut folders, link, around);
            }
        }
        let sdk_path = sdk(&prefixes, &real, around);
        if let Some(sdk) = &sdk_path {
            add(&mut folders, sdk.join("wflo"), around);
        }
        Ok(Interpreter { program, folders, sdk_path })
    }
}

/// There is no Python here.
pub(crate) fn missing() -> Failure {
    let message = "no Python was found: not beside wflo, not in an active environment, not on the PATH (a shim of pyenv, asdf or mise counts where a version is chosen)";
    let hint = "install Python 3.10 or newer and wflo's wheel (docs/reference/sdk.md), or name a Python with WFLO_PYTHON";
    Failure::new(NO_INTERPRETER, message).with_hint(hint)
}

/// The interpreter cannot run workflows.
pub(crate) fn unusable(program: &Path, detail: &str) -> Failure {
    let hint = format!(
        "put wflo into it with `{} -m pip install WHEEL` (`make install` in wflo's clone leaves the wheel in \
         target/wheels), or name a Python that has it with WFLO_PYTHON",
        program.display()
    );
    Failure::new(NO_INTERPRETER, format!("{} cannot run workflows: {detail}", program.display()))
        .with_hint(hint)
}

/// Keeps what a sandbox does not show anyway.
fn add(folders: &mut Vec<PathBuf>, part: PathBuf, around: &Surroundings) {
    if !prefix::is_toolchain(&part) && !folders.contains(&part) && around.may_show(&part) {
        folders.push(part);
    }
}

/// Where the SDK is, when not in the interpreter's own folders: the operator's `PYTHONPATH` counts
/// before those, as it does for Python, and the user's own packages after.
fn sdk(prefixes: &[Prefix], real: &Path, around: &Surroundings) -> Option<PathBuf> {
    let is_sdk = |folder: &Path| folder.join("wflo/__init__.py").is_file();
    let named = around.python_path.iter().flat_map(std::env::split_paths);
    let absolute = named.filter_map(|entry| std::path::absolute(entry).ok());
    if let Some(entry) = absolute.into_iter().find(|entry| is_sdk(entry)) {
        return Some(entry);
    }
    let own = prefixes.iter().flat_map(Prefix::packages).any(|packages| is_sdk(&packages));
    if own || prefixes.iter().any(Prefix::is_isolated) {
        return None;
    }
    let version = real.file_name()?.to_str().filter(|name| name.contains('.'))?;
    let user = around.home.as_ref()?.join(".local/lib").join(version).join("site-packages");
    is_sdk(&user).then_some(user)
}

#[cfg(test)]
mod tests;
