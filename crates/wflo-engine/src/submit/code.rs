//! What makes up the code of a run: the digest that approvals bind to.

use std::path::Path;

use serde_json::{Value, json};
use wflo_core::canonical::Digest;

use crate::discovery::Described;

/// Files that pin a project's dependencies: part of the code digest.
const LOCK_FILES: [&str; 6] =
    ["uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "requirements.txt", "pylock.toml"];

/// Files that commands name, as far as they are files of the project.
pub(super) fn tool_files(definition: &Value) -> Vec<String> {
    let steps = definition["steps"].as_array().into_iter().flatten();
    let words = steps.flat_map(|step| step["run"].as_array().into_iter().flatten());
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// The definition of a program that is run as it is: one step, named after it.
pub(super) fn definition_of(name: &str, argv: &[String]) -> Value {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = name.chars().take(60).map(fits).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    json!({ "name": name, "steps": [{ "name": name, "type": "program", "argv": argv }] })
}

/// Hash of every project file imported at discovery, the lock file, and the interpreter's version.
pub(super) fn code_digest(tree: &Path, described: &Described) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(described.interpreter.as_bytes());
    let mut files: Vec<&str> = described.files.iter().map(String::as_str).chain(LOCK_FILES).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let path = Path::new(file);
        let inside = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let is_file = inside && tree.join(path).symlink_metadata().is_ok_and(|m| m.is_file());
        if !is_file {
            continue;
        }
        let Ok(content) = std::fs::read(tree.join(path)) else { continue };
        hasher.update(&(file.len() as u64).to_le_bytes());
        hasher.update(file.as_bytes());
        hasher.update(blake3::hash(&content).as_bytes());
    }
    Digest::from_hex(hasher.finalize().to_hex().to_string())
}
