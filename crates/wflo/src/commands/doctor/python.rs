//! The interpreter: is there one, is it new enough, does it have the SDK.

use std::path::Path;

use crate::interpreter;
use crate::settings::Environment;

use super::{Check, Outcome};

/// The oldest version that runs steps.
const OLDEST: (u32, u32) = (3, 11);

/// Asks the project's interpreter.
pub(super) fn check(root: &Path, environment: &Environment) -> Vec<Check> {
    let Some(path) = interpreter::find(root, environment) else {
        return vec![
            Check::new("python", Outcome::Missing, "no python3 is on the path")
                .fix("install Python 3.11 or newer, or name one with WFLO_PYTHON"),
        ];
    };
    let found = match interpreter::ask(&path) {
        Ok(found) => found,
        Err(reason) => {
            return vec![
                Check::new("python", Outcome::Missing, format!("{}: {reason}", path.display()))
                    .fix("name a working interpreter with WFLO_PYTHON"),
            ];
        }
    };
    let detail = format!("{} ({})", found.version, found.path.display());
    let python = if is_new_enough(&found.version) {
        Check::new("python", Outcome::Ok, detail)
    } else {
        Check::new("python", Outcome::Missing, format!("{detail} is too old"))
            .fix("use Python 3.11 or newer: a virtual environment in .venv, or WFLO_PYTHON")
    };
    let install = format!(
        "{} -m pip install WHEEL, the wheel that `make install` leaves in target/wheels of wflo's clone; or name \
         a Python that has it with WFLO_PYTHON",
        found.path.display()
    );
    let sdk = match (found.sdk, found.sdk_error) {
        (Some(version), _) => Check::new("sdk", Outcome::Ok, format!("wflo {version}")),
        (None, Some(reason)) => {
            Check::new("sdk", Outcome::Missing, format!("`import wflo` fails: {reason}")).fix(install)
        }
        (None, None) => Check::new("sdk", Outcome::Missing, "`import wflo` gave no answer").fix(install),
    };
    vec![python, sdk]
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST
}
