//! Which Python, or which Node, runs a project's steps.
//!
//! Of Python: `WFLO_PYTHON`, the active virtual environment, the project's `.venv`, the `python3` beside this
//! program (the environment that `wflo` was installed in), `python3` and `python` on the path.
//!
//! Of Node: `WFLO_NODE`, `node` on the path, the one that nvm has chosen for the project or by default.
//!
//! Nothing is run to find out: a virtual environment in a project is the project's word, and a version
//! manager's shim would read the project's files. What a shim leads to is read instead.

mod shim;

use std::path::{Path, PathBuf};

use crate::settings::Environment;

/// The interpreter that a project's steps run with, absolute.
pub(crate) fn find(root: &Path, environment: &Environment) -> Option<PathBuf> {
    if let Some(given) = environment.get("WFLO_PYTHON") {
        let found = match given.contains('/') {
            true => of_shim(Path::new(given), root, environment),
            false => on_path(&[given], root, environment),
        };
        return found.or_else(|| std::path::absolute(given).ok());
    }
    let active = environment.get("VIRTUAL_ENV").map(PathBuf::from);
    let folders = active.into_iter().chain([root.join(".venv"), root.join("venv")]);
    let of_folder = folders.map(|folder| folder.join("bin/python")).find(|path| path.is_file());
    of_folder
        .or_else(beside_this_program)
        .or_else(|| on_path(&["python3", "python"], root, environment))
        .and_then(|path| std::path::absolute(path).ok())
}

/// The Python of the environment that this program was installed in.
fn beside_this_program() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("python3");
    is_program(&path).then_some(path)
}

/// The Node that a project's steps run with, absolute.
pub(crate) fn node(root: &Path, environment: &Environment) -> Option<PathBuf> {
    if let Some(given) = environment.get("WFLO_NODE") {
        let found = match given.contains('/') {
            true => of_shim(Path::new(given), root, environment),
            false => on_path(&[given], root, environment),
        };
        return found.or_else(|| std::path::absolute(given).ok());
    }
    on_path(&["node"], root, environment).or_else(|| shim::nvm(root, environment))
}

/// What a shim that was named by its path leads to.
fn of_shim(program: &Path, root: &Path, environment: &Environment) -> Option<PathBuf> {
    let program = std::path::absolute(program).ok()?;
    shim::of(&program)?.interpreter(program.file_name()?.to_str()?, root, environment)
}

/// The first program of these names on the search path. A relative entry of it is none: it would be a
/// folder of the project.
pub(crate) fn on_path(names: &[&str], root: &Path, environment: &Environment) -> Option<PathBuf> {
    let path = environment.get("PATH").unwrap_or_default();
    for name in names {
        for folder in std::env::split_paths(path).filter(|folder| folder.is_absolute()) {
            let program = folder.join(name);
            if !is_program(&program) {
                continue;
            }
            match shim::of(&program) {
                None => return Some(program),
                Some(manager) => {
                    if let Some(found) = manager.interpreter(name, root, environment) {
                        return Some(found);
                    }
                }
            }
        }
    }
    None
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}
