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
pub(crate) mod node;
mod prefix;
mod start;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Failure};

pub use self::elsewhere::elsewhere;
use self::prefix::{Prefix, prefix_of, real_program};
pub(crate) use self::prefix::{is_toolchain, next_link};
pub use self::start::Language;
pub(crate) use self::start::RUNNER_FD;

/// The interpreter cannot be used.
const NO_INTERPRETER: Code = Code(3040);

/// A Python or a Node, and what its sandboxes show of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// What is started. A virtual environment's own path is kept: resolving its link would leave it.
    pub program: PathBuf,
    /// Files and folders that it needs to see, each at its own path.
    pub folders: Vec<PathBuf>,
    /// The SDK's folder, when it is outside of the interpreter's own.
    pub sdk_path: Option<PathBuf>,
    /// What it runs; with a run of before there was more than one language, Python.
    #[serde(default)]
    pub language: Language,
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

/// The environment and the installations that an interpreter belongs to.
fn prefixes(program: &Path, real: &Path) -> Vec<Prefix> {
    let own = prefix_of(program);
    let home = own.as_ref().and_then(Prefix::home);
    let base = home.and_then(Path::parent).and_then(Prefix::installation);
    let installation = real.parent().and_then(Path::parent).and_then(Prefix::installation);
    own.into_iter().chain(base).chain(installation).collect()
}

impl Interpreter {
    /// Reads what `program`, an absolute path, needs.
    ///
    /// # Errors
    /// Why it cannot be used, as text for a person.
    pub fn read(program: &Path, around: &Surroundings) -> Result<Interpreter, String> {
        let (program, real) = real_program(program)?;
        let prefixes = prefixes(&program, &real);
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
        Ok(Interpreter { program, folders, sdk_path, language: Language::Python })
    }

    /// Where its packages and the SDK are installed: what a Python looks through when it starts.
    pub(crate) fn packages(&self) -> Vec<PathBuf> {
        let Ok((program, real)) = real_program(&self.program) else { return Vec::new() };
        let installed = prefixes(&program, &real).iter().flat_map(Prefix::packages).collect::<Vec<_>>();
        installed.into_iter().chain(self.sdk_path.iter().map(|sdk| sdk.join("wflo"))).collect()
    }

    /// The folder of the SDK's own files that this interpreter would use.
    #[must_use]
    pub fn sdk_files(&self, around: &Surroundings) -> Option<PathBuf> {
        let own = || {
            let home = prefix_of(&self.program)?;
            home.packages().into_iter().find(|packages| packages.join("wflo/__init__.py").is_file())
        };
        let real = || {
            let (_, real) = real_program(&self.program).ok()?;
            let prefix = real.parent().and_then(Path::parent).and_then(Prefix::installation)?;
            prefix.packages().into_iter().find(|packages| packages.join("wflo/__init__.py").is_file())
        };
        let found = self.sdk_path.clone().or_else(own).or_else(real)?.join("wflo");
        around.may_show(&found).then_some(found)
    }

    /// The SDK's own files, for an environment that has nothing but what was asked for. Those of an environment in
    /// the project are the project's, as all that is in it: they are shown as long as no link leads out of it.
    #[must_use]
    pub fn own_sdk(&self, around: &Surroundings) -> Option<PathBuf> {
        let within = || {
            let packages = prefix_of(&self.program)?.packages();
            let found = packages.into_iter().map(|packages| packages.join("wflo"));
            let real = found.filter_map(|sdk| sdk.canonicalize().ok());
            let mut own = real.filter(|sdk| sdk.starts_with(&around.project));
            own.find(|sdk| sdk.join("__init__.py").is_file())
        };
        self.sdk_files(around).or_else(within)
    }

    /// The same installation, in the environment of packages that was built for it.
    #[must_use]
    pub fn with_packages(&self) -> Interpreter {
        Interpreter {
            program: Path::new(crate::images::PYTHON).join("bin/python"),
            folders: self.folders.clone(),
            sdk_path: Some(PathBuf::from(crate::containers::SDK_IN_IMAGE)),
            language: Language::Python,
        }
    }

    /// The interpreter of an image or a template, by the name that it has there; Python with the SDK of this host,
    /// which is in the folder `sdk`.
    #[must_use]
    pub fn in_image(language: Language, sdk: PathBuf) -> Interpreter {
        let (program, sdk_path) = match language {
            Language::Python => ("python3", Some(sdk)),
            Language::Node => ("node", None),
        };
        Interpreter { program: PathBuf::from(program), folders: Vec::new(), sdk_path, language }
    }
}

/// There is no Python here.
#[must_use]
pub fn missing() -> Failure {
    let message = "no Python was found: not beside wflo, not in an active environment, not on the PATH (a shim of pyenv, asdf or mise counts where a version is chosen)";
    let hint = "install Python 3.10 or newer and wflo's wheel (docs/reference/sdk.md), or name a Python with WFLO_PYTHON";
    Failure::new(NO_INTERPRETER, message).with_hint(hint)
}

/// There is no Node here.
pub(crate) fn no_node() -> Failure {
    let message = "no Node was found: not in WFLO_NODE, not on the PATH (a shim of asdf, mise or Volta counts where a version is chosen), not among those of nvm";
    let hint = "install Node 20 or newer, or name one with WFLO_NODE";
    Failure::new(NO_INTERPRETER, message).with_hint(hint)
}

/// The Node cannot run workflows.
pub(crate) fn unusable_node(program: &Path, detail: &str) -> Failure {
    let hint = "name a Node of version 20 or newer with WFLO_NODE";
    Failure::new(NO_INTERPRETER, format!("{} cannot run workflows: {detail}", program.display()))
        .with_hint(hint)
}

/// The interpreter cannot run workflows.
pub(crate) fn unusable(program: &Path, detail: &str) -> Failure {
    let hint = format!(
        "put wflo into it with `{} -m pip install WHEEL` (`make install` in wflo's clone leaves the wheel in \
         target/wheels), or name a Python that has it with WFLO_PYTHON; what is no workflow runs unmodified by \
         `wflo run -- python FILE`",
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
