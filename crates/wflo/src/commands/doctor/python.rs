//! The interpreter: is there one, is it new enough, does it have the SDK. Asked in a sandbox: it may be
//! the project's own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wflo_engine::ask::{Said, ask};
use wflo_engine::interpreter::{Interpreter, Surroundings, elsewhere};
use wflo_sandbox::Launcher;

use crate::commands::sandbox::this_program;
use crate::interpreter;
use crate::settings::{Environment, Settings};

use super::{Check, Outcome};

/// The oldest version that runs steps.
const OLDEST: (u32, u32) = (3, 11);

/// Asks the project's interpreter.
pub(super) fn check(settings: &Settings, environment: &Environment) -> Vec<Check> {
    let root = &settings.project.root;
    let Some(path) = interpreter::find(root, environment) else {
        return vec![
            Check::new("python", Outcome::Missing, "no python3 is on the path")
                .fix("install Python 3.11 or newer, or name one with WFLO_PYTHON"),
        ];
    };
    let variable = |name: &str| environment.get(name).map(OsString::from);
    let around = Surroundings::new(root, Some(&settings.data_dir), variable);
    let ro: Vec<_> = settings.sandbox.ro.iter().map(|mount| mount.places(root)).collect();
    let (said, not_shown) = match try_out(&path, around, &ro) {
        Ok(found) => found,
        Err(reason) => {
            return vec![
                Check::new("python", Outcome::Missing, reason)
                    .fix("name a working interpreter with WFLO_PYTHON"),
            ];
        }
    };
    let detail = format!("{} ({})", said.version, path.display());
    let python = if is_new_enough(&said.version) {
        Check::new("python", Outcome::Ok, detail)
    } else {
        Check::new("python", Outcome::Missing, format!("{detail} is too old"))
            .fix("use Python 3.11 or newer: a virtual environment in .venv, or WFLO_PYTHON")
    };
    let install = format!(
        "{} -m pip install WHEEL, the wheel that `make install` leaves in target/wheels of wflo's clone; or name \
         a Python that has it with WFLO_PYTHON",
        path.display()
    );
    let sdk = match said.sdk {
        Ok(version) => Check::new("sdk", Outcome::Ok, format!("wflo {version}")),
        Err(reason) => {
            Check::new("sdk", Outcome::Missing, format!("`import wflo` fails: {reason}")).fix(install)
        }
    };
    let mut checks = vec![python, sdk];
    if !not_shown.is_empty() {
        let listed: Vec<String> = not_shown.iter().map(|path| path.display().to_string()).collect();
        let detail = format!("point at folders that steps do not see: {}", listed.join(", "));
        checks.push(
            Check::new("packages", Outcome::Note, detail)
                .fix("name them under `ro` in [sandbox] to show them"),
        );
    }
    checks
}

/// What it says, in a sandbox that shows what a run's would, and what that leaves out.
fn try_out(
    path: &Path,
    mut around: Surroundings,
    ro: &[(PathBuf, PathBuf)],
) -> Result<(Said, Vec<PathBuf>), String> {
    let named = |reason: String| format!("{}: {reason}", path.display());
    let not_shown = elsewhere(&Interpreter::read(path, &around).map_err(named)?, &around, ro);
    around.alone = true;
    let interpreter = Interpreter::read(path, &around)?;
    let launcher = this_program().map_err(|error| error.to_string())?;
    let launcher = Launcher::start(&launcher).map_err(|error| error.to_string())?;
    let said = ask(&launcher, &interpreter, ro).map_err(|failure| failure.message)?;
    Ok((said, not_shown))
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}
