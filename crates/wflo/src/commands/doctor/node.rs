//! Node, for a project whose workflow is JavaScript: is there one that sandboxes can show.

use std::ffi::OsString;

use wflo_engine::interpreter::{Interpreter, Surroundings};

use crate::interpreter;
use crate::settings::{Environment, Settings};

use super::{Check, Outcome};

/// Looks for the project's Node. Nothing is run: the first step says if it is too old.
pub(super) fn check(settings: &Settings, environment: &Environment) -> Vec<Check> {
    let root = &settings.project.root;
    let fix = "install Node 20 or newer, or name one with WFLO_NODE";
    let Some(path) = interpreter::node(root, environment) else {
        return vec![Check::new("node", Outcome::Missing, "no node is on the path").fix(fix)];
    };
    let variable = |name: &str| environment.get(name).map(OsString::from);
    let around = Surroundings::new(root, Some(&settings.data_dir), variable);
    vec![match Interpreter::node(&path, &around) {
        Ok(_) => Check::new("node", Outcome::Ok, path.display().to_string()),
        Err(reason) => Check::new("node", Outcome::Missing, format!("{}: {reason}", path.display())).fix(fix),
    }]
}
