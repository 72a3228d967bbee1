//! What runs of a project: files, each with its digest, and what cannot be looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wflo_sandbox::workspace::Digest;

/// What programs load beside them, by the ends of their names.
const CODE: [&str; 20] = [
    "py", "pyc", "pyd", "pth", "so", "sh", "bash", "zsh", "js", "mjs", "cjs", "ts", "node", "json", "rb",
    "pl", "pm", "php", "lua", "ps1",
];
/// What Python loads.
const PYTHON: [&str; 4] = ["py", "pyc", "pyd", "so"];
/// What Node loads, but for data.
const NODE: [&str; 5] = ["js", "mjs", "cjs", "ts", "node"];
/// What a shell reads.
const SHELL: [&str; 3] = ["sh", "bash", "zsh"];
/// The folder of what Python has compiled.
const CACHE: &str = "__pycache__";
/// What a package of Python begins with, as a folder.
const PACKAGE: &str = "__init__.";

/// What of a folder a program may load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loads {
    /// All code, and all programs.
    All,
    Python,
    Node,
    /// Its scripts, and all programs.
    Shell,
}

impl Loads {
    /// What a program loads that lies in the project's own folder, where others' code lies as well: what its language
    /// does, by the end of its name or its first line.
    pub(super) fn of(program: &Path) -> Loads {
        match ending(program).as_deref() {
            Some(ending) if PYTHON.contains(&ending) => Loads::Python,
            Some(ending) if NODE.contains(&ending) => Loads::Node,
            Some(ending) if SHELL.contains(&ending) => Loads::Shell,
            Some(_) => Loads::All,
            None => {
                let line = first_line(program);
                let runs = |name: &str| line.starts_with("#!") && line.contains(name);
                match (runs("python"), runs("node"), runs("sh")) {
                    (true, ..) => Loads::Python,
                    (_, true, _) => Loads::Node,
                    (.., true) => Loads::Shell,
                    _ => Loads::All,
                }
            }
        }
    }

    fn takes(self, file: &Path) -> bool {
        let is_of = |endings: &[&str]| ending(file).is_some_and(|ending| endings.contains(&ending.as_str()));
        match self {
            Loads::All => is_code(file) || is_program(file),
            Loads::Python => is_of(&PYTHON),
            Loads::Node => is_of(&NODE),
            Loads::Shell => is_of(&SHELL) || is_program(file),
        }
    }

    fn is_of_python(self) -> bool {
        matches!(self, Loads::All | Loads::Python)
    }
}

/// What runs of a project, with the digest of each file, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::trust) struct Running {
    /// By the path in the project.
    pub(super) files: BTreeMap<String, String>,
    /// What is named and cannot be read.
    pub(in crate::trust) unreadable: Option<String>,
}

fn ending(file: &Path) -> Option<String> {
    file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase)
}

pub(super) fn is_code(file: &Path) -> bool {
    ending(file).is_some_and(|ending| CODE.contains(&ending.as_str()))
}

pub(super) fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0)
}

/// The first bytes of a program, as far as its first line goes.
pub(super) fn first_line(file: &Path) -> String {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| file.take(128).read_to_end(&mut start));
    let line = start.split(|byte| *byte == b'\n').next().filter(|_| read.is_ok());
    String::from_utf8_lossy(line.unwrap_or_default()).into_owned()
}

/// Whether Python takes what it has compiled for the source's, unasked (PEP 552): it cannot have been made here by
/// running the program, and hides what the program does.
fn is_believed(compiled: &Path) -> bool {
    let mut header = [0; 8];
    File::open(compiled)
        .and_then(|mut file| file.read_exact(&mut header))
        .is_ok_and(|()| header[4..] != [0; 4])
}

impl Running {
    /// One digest of all the files: there may be very many. None where there are none.
    pub(in crate::trust) fn digest(&self) -> Option<Digest> {
        let all = || Digest::of(serde_json::json!(self.files).to_string().as_bytes());
        (!self.files.is_empty()).then(all)
    }

    pub(super) fn note(&mut self, root: &Path, file: &Path) {
        let shown = shown(root, file);
        let digest = match file.canonicalize() {
            Ok(real) if real.starts_with(root) => File::open(&real).and_then(|file| Digest::of_file(&file)),
            // What lies elsewhere is not the project's; which one it is, is.
            Ok(real) => {
                self.files.insert(shown, format!("-> {}", real.display()));
                return;
            }
            Err(error) => Err(error),
        };
        match digest {
            Ok(digest) => drop(self.files.insert(shown, digest.to_string())),
            Err(error) => self.refuse(root, file, &error.to_string()),
        }
    }

    pub(super) fn refuse(&mut self, root: &Path, file: &Path, why: &str) {
        self.unreadable.get_or_insert_with(|| format!("{}: {why}", shown(root, file)));
    }

    /// The code that lies in a folder. What cannot be read there cannot be loaded, either.
    pub(super) fn note_beside(&mut self, root: &Path, folder: &Path, loads: Loads) {
        for path in entries(folder) {
            let Ok(about) = path.metadata() else { continue };
            if about.is_dir() {
                let compiled = path.file_name().is_some_and(|name| name == CACHE);
                let is_loaded = |path: &PathBuf| {
                    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                    if compiled { is_believed(path) } else { name.starts_with(PACKAGE.as_bytes()) }
                };
                if loads.is_of_python() {
                    let loaded = entries(&path).into_iter().filter(|path| path.is_file());
                    loaded.filter(is_loaded).for_each(|path| self.note(root, &path));
                }
            } else if about.is_file() && loads.takes(&path) {
                self.note(root, &path);
            }
        }
    }

    /// A module's file, or a package's folder with what is in it.
    pub(super) fn note_package(&mut self, root: &Path, at: &Path, depth: usize) {
        if at.is_file() {
            return self.note(root, at);
        }
        if !at.is_dir() {
            return;
        }
        if depth > 32 {
            return self.refuse(root, at, "its folders have no end");
        }
        self.note_beside(root, at, Loads::All);
        let folders = entries(at).into_iter().filter(|path| path.is_dir());
        let folders = folders.filter(|path| path.file_name().is_some_and(|name| name != CACHE));
        folders.for_each(|path| self.note_package(root, &path, depth + 1));
    }
}

pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn shown(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}
