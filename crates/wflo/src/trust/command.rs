//! What a key command is: its form, its words, and what of the project runs when it does.
//!
//! A command runs outside of every sandbox, in the project's folder. What it runs is found by its words: files that
//! they name there, the module of `-m`, and for a program the ones beside it, which it may load. What these load from
//! elsewhere, and what a program finds out by itself, is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wflo_sandbox::workspace::{Digest, RelPath};

use crate::document::{Node, Value};
use crate::paths::lexical;

/// What programs load beside them, by the ends of their names.
const CODE: [&str; 20] = [
    "py", "pyc", "pyd", "pth", "so", "sh", "bash", "zsh", "js", "mjs", "cjs", "ts", "node", "json", "rb",
    "pl", "pm", "php", "lua", "ps1",
];
/// The folder of what Python has compiled.
const CACHE: &str = "__pycache__";
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

/// What runs of a project, with the digest of each file, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// By the path in the project.
    pub(super) files: BTreeMap<String, String>,
    /// What is named and cannot be read.
    pub(super) unreadable: Option<String>,
}

/// Looks at what `words` run of the project at `root`, a real path.
pub(super) fn running(words: &[String], root: &Path) -> Running {
    let mut found = Running::default();
    for named in named(words, root) {
        match named.metadata() {
            Ok(about) if about.is_file() => {
                found.note(root, &named);
                for folder in folders_of(&named, root) {
                    found.note_beside(root, &folder);
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
    let parts: Vec<&str> = parts(words).into_iter().filter(|part| !part.starts_with('-')).collect();
    let at = |folder: &Path, part: &str| {
        let path = lexical(&folder.join(part));
        (path != root && path.starts_with(root)).then_some(path)
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

/// What `-m package.module` names: the module's file, and the folder of the package that it is in.
fn modules(words: &[String], root: &Path) -> BTreeSet<PathBuf> {
    let parts = parts(words);
    let after = parts.windows(2).filter(|pair| pair[0] == "-m").map(|pair| pair[1]);
    let joined = parts.iter().filter_map(|part| part.strip_prefix("-m")).filter(|name| !name.is_empty());
    let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let mut found = BTreeSet::new();
    let folders = named(words, root).into_iter().filter(|path| path.is_dir());
    let folders: Vec<PathBuf> = folders.chain([root.to_owned()]).collect();
    for name in after.chain(joined).filter(is_name) {
        let Some(first) = name.split('.').next().filter(|first| !first.is_empty()) else { continue };
        for folder in &folders {
            found.insert(folder.join(first));
            found.insert(folder.join(format!("{first}.py")));
        }
    }
    found
}

/// The folders of a program, by its name and by what that leads to: what it loads lies there. Not the project itself.
fn folders_of(file: &Path, root: &Path) -> BTreeSet<PathBuf> {
    let Some(real) = file.canonicalize().ok().filter(|real| real.is_file()) else { return BTreeSet::new() };
    let runs = || real.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0);
    if !is_code(&real) && !runs() && !starts_with(&real, b"#!") {
        return BTreeSet::new();
    }
    let folders = [file, &real].into_iter().filter_map(Path::parent);
    folders.filter(|folder| *folder != root && folder.starts_with(root)).map(Path::to_owned).collect()
}

fn is_code(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| CODE.contains(&ending.as_str()))
}

fn starts_with(file: &Path, wanted: &[u8]) -> bool {
    let mut start = vec![0; wanted.len()];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start == wanted)
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
    pub(super) fn digest(&self) -> Option<Digest> {
        let all = || Digest::of(serde_json::json!(self.files).to_string().as_bytes());
        (!self.files.is_empty()).then(all)
    }

    fn note(&mut self, root: &Path, file: &Path) {
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

    fn refuse(&mut self, root: &Path, file: &Path, why: &str) {
        self.unreadable.get_or_insert_with(|| format!("{}: {why}", shown(root, file)));
    }

    /// The code that lies in a folder. What cannot be read there cannot be loaded, either.
    fn note_beside(&mut self, root: &Path, folder: &Path) {
        for path in entries(folder) {
            let Ok(about) = path.metadata() else { continue };
            let compiled = about.is_dir() && path.file_name().is_some_and(|name| name == CACHE);
            if compiled {
                let believed = entries(&path).into_iter().filter(|path| path.is_file() && is_believed(path));
                believed.for_each(|path| self.note(root, &path));
            } else if about.is_file() && (is_code(&path) || about.permissions().mode() & 0o111 != 0) {
                self.note(root, &path);
            }
        }
    }

    /// A module's file, or a package's folder with what is in it.
    fn note_package(&mut self, root: &Path, at: &Path, depth: usize) {
        if at.is_file() {
            return self.note(root, at);
        }
        if !at.is_dir() {
            return;
        }
        if depth > 32 {
            return self.refuse(root, at, "its folders have no end");
        }
        self.note_beside(root, at);
        let folders = entries(at).into_iter().filter(|path| path.is_dir());
        let folders = folders.filter(|path| path.file_name().is_some_and(|name| name != CACHE));
        folders.for_each(|path| self.note_package(root, &path, depth + 1));
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn shown(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;

    struct Project(
        #[expect(dead_code, reason = "it is there until it is dropped")] tempfile::TempDir,
        PathBuf,
    );

    fn project(files: &[(&str, &str)]) -> Project {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let project = Project(folder, root);
        files.iter().for_each(|(path, text)| project.write(path, text));
        project
    }

    impl Project {
        fn write(&self, path: &str, text: &str) {
            let path = self.1.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn runs(&self, words: &[&str]) -> Running {
            running(&owned(words), &self.1)
        }

        /// Whether a change of `path` is seen by whoever trusted the command.
        fn sees(&self, words: &[&str], path: &str) -> bool {
            let before = self.runs(words);
            let old = std::fs::read_to_string(self.1.join(path)).unwrap_or_default();
            self.write(path, &format!("{old}+"));
            self.runs(words) != before
        }
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_change_of_what_runs_is_seen() {
        let files = [
            ("tools/key.py", "import helper"),
            ("tools/helper.py", "x"),
            ("tools/notes.txt", "x"),
            ("tools/sub/mod.py", "x"),
            ("big.bin", "x"),
        ];
        let project = project(&files);
        let command = ["python3", "tools/key.py"];
        assert!(project.sees(&command, "tools/key.py"));
        assert!(project.sees(&command, "tools/helper.py"), "it may be loaded");
        assert!(project.sees(&command, "tools/json.py"), "it would be loaded");
        assert!(!project.sees(&command, "tools/notes.txt"));
        assert!(!project.sees(&command, "src/main.py"));
        for module in ["tools.key", "tools"] {
            assert!(project.sees(&["python3", "-m", module], &format!("tools/{module}2.py")), "{module}");
        }
        assert!(project.sees(&["sh", "-c", "python3 -mtools.sub.mod"], "tools/sub/new.py"));
        assert!(project.sees(&["sh", "-c", "cd tools && python3 'key.py'"], "tools/helper.py"));
        assert!(project.sees(&["sh", "-c", "x=$(cat tools/notes.txt); echo $x"], "tools/notes.txt"));
        project.write("big.bin", &"x".repeat(3 << 20));
        assert!(project.sees(&["cat", "big.bin"], "big.bin"), "however large it is");
    }

    #[test]
    fn what_python_would_believe_unasked_is_seen_and_what_it_compiled_itself_is_not() {
        let project = project(&[("tools/key.py", "import helper"), ("tools/helper.py", "x")]);
        let command = ["python3", "tools/key.py"];
        let before = project.runs(&command);
        project.write("tools/__pycache__/helper.cpython-312.pyc", "\u{1}\u{1}\r\n\0\0\0\0time and size");
        assert_eq!(project.runs(&command), before);
        project.write("tools/__pycache__/helper.cpython-312.pyc", "\u{1}\u{1}\r\n\u{1}\0\0\0hash");
        assert_ne!(project.runs(&command), before);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let project = project(&[("tools/key.py", "x")]);
        assert_eq!(project.runs(&["python3", "tools/key.py"]).unreadable, None);
        assert_eq!(project.runs(&["op", "read", "op://vault/item/key", "--no-newline"]), Running::default());
        let pipe = project.1.join("tools/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let why = project.runs(&["sh", "tools/pipe"]).unreadable.unwrap();
        assert!(why.starts_with("tools/pipe: "), "{why}");
        std::os::unix::fs::symlink("/bin/sh", project.1.join("tools/sh")).unwrap();
        let linked = project.runs(&["tools/sh"]);
        assert!(linked.files["tools/sh"].starts_with("-> "), "{linked:?}");
    }

    #[test]
    fn what_a_command_runs_is_guarded_there_or_not() {
        let project = project(&[("tools/key.py", "x"), ("key.txt", "x"), ("lib/real.sh", "x")]);
        std::os::unix::fs::symlink("../lib/real.sh", project.1.join("tools/link.sh")).unwrap();
        let of = |words: &[&str]| -> Vec<String> {
            guarded(&owned(words), &project.1).iter().map(ToString::to_string).collect()
        };
        assert_eq!(of(&["python3", "tools/key.py"]), ["tools", "tools/key.py"]);
        assert_eq!(of(&["cat", "key.txt"]), ["key.txt"], "what is read loads nothing");
        assert_eq!(of(&["python3", "-m", "pkg.key"]), ["pkg", "pkg.key", "pkg.py"]);
        assert_eq!(of(&["tools/link.sh"]), ["lib", "lib/real.sh", "tools", "tools/link.sh"]);
        assert_eq!(of(&["./new.sh", "."]), ["new.sh"], "never the whole project");
        assert!(of(&["sh", "/etc/x", "../y", "-c"]).is_empty());
    }

    #[test]
    fn however_many_files_run_what_is_recorded_of_them_is_short() {
        let project = project(&[]);
        let command = ["python3", "-m", "pkg.key"];
        assert_eq!(project.runs(&command).digest(), None);
        for n in 0..300 {
            project.write(&format!("pkg/m{n}.py"), "x");
        }
        let before = project.runs(&command);
        let digest = before.digest().unwrap();
        assert!(digest.to_string().len() <= 64 && before.files.len() == 300);
        project.write("pkg/m7.py", "y");
        assert_ne!(project.runs(&command).digest(), Some(digest));
    }

    #[test]
    fn a_line_and_words_are_never_the_same() {
        let line = Written::Line("a b".to_owned());
        for words in [&["a b"][..], &["a", "b"], &["sh", "-c", "a b"]] {
            assert_ne!(Written::Words(owned(words)).json(), line.json());
        }
        assert_ne!(Written::Words(owned(&["a b"])).json(), Written::Words(owned(&["a", "b"])).json());
    }
}
