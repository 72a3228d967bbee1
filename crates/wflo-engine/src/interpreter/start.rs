//! How an interpreter is started as a runner, in each language.

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Interpreter;

/// Where the runner finds its socket.
pub(crate) const RUNNER_FD: i32 = 3;

/// Starts the runner for Python. Not `-m`: importing runpy costs some milliseconds of every step. The folder that it
/// starts in is the project's: no module there is to be taken for one of the library's, and run before its turn.
const PYTHON_RUNNER: &str =
    "import sys; sys.path[:] = filter(None, sys.path); from wflo.runner import main; main()";

/// What an interpreter runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `workflow.py`, `package.module:attribute`.
    #[default]
    Python,
    /// `workflow.mjs`, `workflow.js`.
    Node,
}

impl Language {
    /// The language of a workflow's target, by the name of its file.
    #[must_use]
    pub fn of(target: &str) -> Language {
        let file = target.rsplit_once(':').map_or(target, |(file, _)| file);
        let is_node = |name: &str| [".mjs", ".js", ".cjs"].iter().any(|end| name.ends_with(end));
        if is_node(file) || is_node(target) { Language::Node } else { Language::Python }
    }
}

impl Interpreter {
    /// The command of a runner. `node_runner` is the folder of the runner for JavaScript.
    pub(crate) fn command(&self, node_runner: Option<&Path>) -> Vec<OsString> {
        let program = self.program.clone().into_os_string();
        match (self.language, node_runner) {
            (Language::Node, Some(folder)) => vec![program, folder.join("runner/main.mjs").into()],
            _ => vec![program, "-c".into(), PYTHON_RUNNER.into()],
        }
    }

    /// The variables of a runner; what iterates a set in Python repeats itself under the same `hash_seed`.
    pub(crate) fn runner_env(&self, hash_seed: u32) -> Vec<(OsString, OsString)> {
        let mut env = vec![("WFLO_RUNNER_FD".into(), RUNNER_FD.to_string().into())];
        match self.language {
            Language::Python => env.push(("PYTHONHASHSEED".into(), hash_seed.to_string().into())),
            // A program that a step starts finds the Node that the step has.
            Language::Node => env.push(("PATH".into(), self.path())),
        }
        if self.has_packages() {
            env.push(("PATH".into(), self.path()));
        }
        env.extend(self.env());
        env
    }

    /// The variables of anything that is run beside the interpreter.
    pub(crate) fn env(&self) -> Vec<(OsString, OsString)> {
        if self.language == Language::Node {
            return Vec::new();
        }
        let mut env: Vec<(OsString, OsString)> =
            vec![("PYTHONDONTWRITEBYTECODE".into(), "1".into()), ("PYTHONUNBUFFERED".into(), "1".into())];
        if self.has_packages() {
            env.push(("VIRTUAL_ENV".into(), crate::images::PYTHON.into()));
        }
        if let Some(sdk) = &self.sdk_path {
            env.push(("PYTHONPATH".into(), sdk.clone().into_os_string()));
        }
        env
    }

    /// Whether its packages were built for the project.
    fn has_packages(&self) -> bool {
        self.program.starts_with(crate::images::PYTHON)
    }

    /// The search path with the interpreter's own folder first.
    pub(crate) fn path(&self) -> OsString {
        let mut path = OsString::new();
        if let Some(folder) = self.program.parent() {
            path.push(folder);
            path.push(":");
        }
        path.push(wflo_sandbox::PATH);
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_language_is_its_files() {
        for target in ["workflow.mjs", "flows/a.js:main", "a.cjs"] {
            assert_eq!(Language::of(target), Language::Node, "{target}");
        }
        for target in ["workflow.py", "workflow.py:flow", "package.module:attribute", "a.js.py"] {
            assert_eq!(Language::of(target), Language::Python, "{target}");
        }
    }
}
