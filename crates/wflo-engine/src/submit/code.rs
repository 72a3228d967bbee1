//! What makes up the code of a run: the digest that approvals bind to.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_sandbox::workspace::{RelPath, open_in_tree};

use crate::discovery::Described;

/// Files that pin a project's dependencies: part of the code digest.
const LOCK_FILES: [&str; 11] = [
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "pdm.lock",
    "requirements.txt",
    "pylock.toml",
    "package.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
];

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

/// The content of a file of the sealed project that code inside has named; `None` where there is none.
pub(super) fn content_of(tree: &Path, file: &str) -> Option<Vec<u8>> {
    let path = RelPath::from_bytes(file.as_bytes()).ok()?;
    let mut content = Vec::new();
    open_in_tree(tree, &path).ok()?.read_to_end(&mut content).ok()?;
    Some(content)
}

/// Hash of every project file imported at discovery, the lock file, and the interpreter's version.
pub(super) fn code_digest(tree: &Path, described: &Described) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(described.interpreter.as_bytes());
    let mut files: Vec<&str> = described.files.iter().map(String::as_str).chain(LOCK_FILES).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        // The names come from inside: one that leads out of the tree names nothing.
        let Some(content) = content_of(tree, file) else { continue };
        hasher.update(&(file.len() as u64).to_le_bytes());
        hasher.update(file.as_bytes());
        hasher.update(blake3::hash(&content).as_bytes());
    }
    Digest::from_hex(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_code_names_is_one_of_the_project() {
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        std::fs::create_dir_all(tree.join("src")).unwrap();
        std::fs::write(home.path().join("secret"), "SECRET").unwrap();
        std::fs::write(tree.join("src/a.py"), "code").unwrap();
        symlink("src", tree.join("lib")).unwrap();
        symlink("../secret", tree.join("secret.py")).unwrap();
        symlink("..", tree.join("up")).unwrap();
        symlink("/dev", tree.join("dev")).unwrap();
        let read = |file: &str| content_of(&tree, file);
        assert_eq!(read("src/a.py").unwrap(), b"code");
        assert_eq!(read("lib/a.py").unwrap(), b"code", "as a program in the sandbox finds it");
        for file in ["secret.py", "up/secret", "dev/zero", "../secret", "/etc/passwd", "src", "gone"] {
            assert_eq!(read(file), None, "{file}");
        }
    }
}
