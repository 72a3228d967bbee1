//! What a key command is: its form, its words, and what of the project runs when it does.
//!
//! A command runs outside of every sandbox, in the project's folder. What it runs is found by its words: files that
//! they name there, the module of `-m`, and for a program the ones beside it, which it may load. What these load from
//! elsewhere, and what a program finds out by itself, is not seen. A word that only a shell can tell, and that may name
//! something of the project, is refused.

mod expanded;
mod line;
mod python;
mod running;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use wflo_sandbox::workspace::RelPath;

use self::expanded::{expanded, may_name};
use self::line::{ANY, GLOB};
use self::python::{loads_nothing_beside, pythons};
pub(super) use self::running::Running;
use self::running::{Loads, first_line, is_code, is_program};

use crate::document::{Node, Value};
use crate::paths::lexical;

/// What a shell's line is cut at to find the names in it.
const BETWEEN: &str = "\"'`;|&()<>=,:$\\{}";
/// A command as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// A line for a shell.
    Line(String),
    /// Its words.
    Words(Vec<String>),
}

impl Written {
    pub(super) fn read(node: &Node) -> Written {
        let text = |node: &Node| match &node.value {
            Value::Text(text) | Value::Untyped(text) => Some(text.clone()),
            _ => None,
        };
        match &node.value {
            Value::List(items) => Written::Words(items.iter().filter_map(text).collect()),
            _ => Written::Line(text(node).unwrap_or_default()),
        }
    }

    /// As JSON: a line is never taken for words.
    pub(super) fn json(&self) -> String {
        match self {
            Written::Line(line) => serde_json::json!(line).to_string(),
            Written::Words(words) => serde_json::json!(words).to_string(),
        }
    }

    /// What is run.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Written::Line(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
            Written::Words(words) => words.clone(),
        }
    }
}

/// Looks at what `words` run of the project at `root`, a real path.
pub(super) fn running(words: &[String], root: &Path) -> Running {
    let mut found = Running::default();
    let pythons = pythons(words);
    for word in expanded(words, root).iter().filter(|word| may_name(word, root)) {
        let why = || format!("{}: only a shell knows which file that is", word.replace([ANY, GLOB], "*"));
        found.unreadable.get_or_insert_with(why);
    }
    for named in named(words, root) {
        match named.metadata() {
            Ok(about) if about.is_file() => {
                found.note(root, &named);
                let folders = folders_of(&named, root);
                for folder in folders.iter().filter(|_| !loads_nothing_beside(&named, &pythons)) {
                    let loads = if folder == root { Loads::of(&named) } else { Loads::All };
                    found.note_beside(root, folder, loads);
                }
            }
            Ok(about) if about.is_dir() => {}
            Ok(_) => found.refuse(root, &named, "it is neither a file nor a folder"),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.refuse(root, &named, &error.to_string());
            }
            Err(_) => {}
        }
    }
    for module in modules(words, root) {
        found.note_package(root, &module, 0);
    }
    if pythons.iter().any(|python| python.is_inline && !python.is_isolated) {
        for folder in folders_named(words, root) {
            found.note_beside(root, &folder, Loads::Python);
        }
    }
    found
}

/// The paths of the project that `words` run, or would if they were there, with the folders of what loads its
/// neighbours: whoever can write there decides what the command does.
pub(crate) fn guarded(words: &[String], root: &Path) -> Vec<RelPath> {
    let mut paths: BTreeSet<PathBuf> = modules(words, root);
    // A bare word that names nothing here is a program of the machine, or no name at all; one that comes to be a file is
    // seen by who trusted the command.
    let is_name = |path: &PathBuf| path.exists() || path.parent() != Some(root) || path.extension().is_some();
    for named in named(words, root).into_iter().filter(is_name) {
        paths.extend(folders_of(&named, root));
        paths.extend(named.canonicalize());
        paths.insert(named);
    }
    let inside = paths.iter().filter_map(|path| path.strip_prefix(root).ok());
    // Never the project itself: everything is in it.
    let inside = inside.filter(|path| !path.as_os_str().is_empty());
    inside.filter_map(|path| RelPath::from_bytes(path.as_os_str().as_encoded_bytes()).ok()).collect()
}

/// The places in the project that words may name, there or not, the project itself not among them.
fn named(words: &[String], root: &Path) -> BTreeSet<PathBuf> {
    let expanded = expanded(words, root);
    let expanded = expanded.iter().map(String::as_str).filter(|word| !word.contains([ANY, GLOB]));
    let parts = parts(words).into_iter().chain(expanded).filter(|part| !part.starts_with('-'));
    let parts: Vec<&str> = parts.collect();
    let at = |folder: &Path, part: &str| {
        let inside =
            |path: PathBuf| Some(lexical(&path)).filter(|path| path != root && path.starts_with(root));
        // What stands before it may be the way to the project: `"$X"/tools/key.sh`.
        let rest = || inside(folder.join(part.trim_start_matches('/'))).filter(|path| path.exists());
        inside(folder.join(part)).or_else(rest)
    };
    let mut found: BTreeSet<PathBuf> = parts.iter().filter_map(|part| at(root, part)).collect();
    // `cd tools && ./key.sh`
    let folders: Vec<PathBuf> = found.iter().filter(|path| path.is_dir()).cloned().collect();
    for folder in &folders {
        let below = parts.iter().filter_map(|part| at(folder, part)).filter(|path| path.exists());
        found.extend(below);
    }
    found
}

/// Every word whole, and what it is made of.
fn parts(words: &[String]) -> Vec<&str> {
    let cut = |c: char| c.is_whitespace() || BETWEEN.contains(c);
    let within = words.iter().flat_map(|word| word.split(cut));
    words.iter().map(String::as_str).chain(within).filter(|part| !part.is_empty()).collect()
}

/// The project, and the folders of it that words name: where a command may run.
fn folders_named(words: &[String], root: &Path) -> Vec<PathBuf> {
    named(words, root).into_iter().filter(|path| path.is_dir()).chain([root.to_owned()]).collect()
}

/// What `-m package.module` names: the module's file, and the folder of the package that it is in.
fn modules(words: &[String], root: &Path) -> BTreeSet<PathBuf> {
    let parts = parts(words);
    let after = parts.windows(2).filter(|pair| pair[0] == "-m").map(|pair| pair[1]);
    let joined = parts.iter().filter_map(|part| part.strip_prefix("-m")).filter(|name| !name.is_empty());
    let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let mut found = BTreeSet::new();
    let folders = folders_named(words, root);
    for name in after.chain(joined).filter(is_name) {
        let Some(first) = name.split('.').next().filter(|first| !first.is_empty()) else { continue };
        for folder in &folders {
            found.insert(folder.join(first));
            found.insert(folder.join(format!("{first}.py")));
        }
    }
    found
}

/// The folders of a program, by its name and by what that leads to: what it loads lies there.
fn folders_of(file: &Path, root: &Path) -> BTreeSet<PathBuf> {
    let Some(real) = file.canonicalize().ok().filter(|real| real.is_file()) else { return BTreeSet::new() };
    if !is_code(&real) && !is_program(&real) && !first_line(&real).starts_with("#!") {
        return BTreeSet::new();
    }
    let folders = [file, &real].into_iter().filter_map(Path::parent);
    folders.filter(|folder| folder.starts_with(root)).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests;
