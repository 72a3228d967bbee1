//! What a program needs to see of the host, found out without running it.
//!
//! The user's shell would find it by the search path; what it needs is read from files, as untrusted text:
//! where its links lead, what runs a script. A program of the toolchain is seen anyway, one of the project is
//! in the workspace. Of any other its own file is shown, and of a prefix that is one (`…/bin/name`) the parts
//! that programs have.
//! **Architecture Invariant:** a home folder is never shown, nor what of it is no program's: a script in
//! `~/bin` is shown as that file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Failure};

use crate::interpreter::{Interpreter, Surroundings, is_toolchain, next_link};
use crate::launch::{Backend, Launch};

/// There is no such program.
const NOT_FOUND: Code = Code(3103);
/// It cannot be shown.
const NOT_SHOWN: Code = Code(3104);
/// The parts of a prefix that its programs use.
const PARTS: [&str; 6] = ["bin", "lib", "lib64", "libexec", "share", "include"];
/// The most scripts that run one another, and links that lead to one another.
const DEEPEST: usize = 8;

/// A program that is run as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What it is called, for people: the last part of its path.
    pub name: String,
    /// Its file. A virtual environment's own path is kept: resolving its link would leave it.
    pub file: PathBuf,
    /// Where it starts, relative to the project.
    pub folder: PathBuf,
    /// Files and folders that it needs to see, each at its own path.
    pub shown: Vec<PathBuf>,
    /// Its search path: what of the user's is there inside.
    pub path: String,
    /// Further variables that it has from the user.
    pub variables: BTreeMap<String, String>,
}

/// Where programs are looked for.
pub trait Search {
    /// The program of this name on the user's search path, absolute.
    fn find(&self, name: &str) -> Option<PathBuf>;
    /// The folders of that path.
    fn folders(&self) -> Vec<PathBuf>;
}

impl Program {
    /// Finds `name` as a shell in `folder` would, and reads what it needs.
    ///
    /// # Errors
    /// That there is none, or that it may not be shown.
    pub fn find(
        name: &str,
        folder: &Path,
        search: &dyn Search,
        around: &Surroundings,
    ) -> Result<Program, Failure> {
        let file = match name.contains('/') {
            true => Some(plain(&folder.join(name))).filter(|path| is_program(path)),
            false => search.find(name),
        };
        let file = within(file.ok_or_else(|| not_found(name, folder))?, around);
        let mut shown = Vec::new();
        need(&file, search, around, &mut shown, 0)?;
        let visible = |path: &Path| {
            is_everywhere(path)
                || path.starts_with(&around.project)
                || shown.iter().any(|known| path.starts_with(known))
        };
        let own = file.parent().into_iter().map(Path::to_owned);
        let folders = own.chain(search.folders()).filter(|folder| visible(folder));
        let standard = std::env::split_paths(wflo_sandbox::PATH);
        let mut path: Vec<PathBuf> = Vec::new();
        for folder in folders.chain(standard) {
            if !path.contains(&folder) {
                path.push(folder);
            }
        }
        let path = std::env::join_paths(path).unwrap_or_default().to_string_lossy().into_owned();
        let folder = folder.strip_prefix(&around.project).unwrap_or(Path::new("")).to_owned();
        let called = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = Path::new(name).file_name().map(|name| name.to_string_lossy().into_owned()).or(called);
        let name = name.unwrap_or_default();
        Ok(Program { name, file, folder, shown, path, variables: BTreeMap::new() })
    }

    /// The command that starts it where the project's files are in the sandbox.
    pub(crate) fn command(&self, argv: &[String], launch: &Launch) -> Vec<OsString> {
        let file = match self.file.strip_prefix(&launch.project) {
            // Its project is somewhere else there: the way from where it starts is the same.
            Ok(within) if launch.backend == Backend::None => {
                let up = self.folder.components().filter(|part| matches!(part, Component::Normal(_)));
                let mut file = PathBuf::from(".");
                up.for_each(|_| file.push(".."));
                file.join(within)
            }
            _ => self.file.clone(),
        };
        std::iter::once(file.into_os_string()).chain(argv.iter().skip(1).map(Into::into)).collect()
    }

    /// Its variables, beside those of its terminal and of model clients.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let fixed = [("PATH", self.path.as_str()), ("PYTHONDONTWRITEBYTECODE", "1")];
        let own = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        fixed.into_iter().chain(own).map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// A link from elsewhere to a program of the project is that program: there is no other way to it inside.
fn within(file: PathBuf, around: &Surroundings) -> PathBuf {
    let is_seen = |path: &Path| {
        let is_data = around.data_dir.as_ref().is_some_and(|data| path.starts_with(data));
        path.starts_with(&around.project) && !is_data
    };
    match file.canonicalize() {
        Ok(real) if is_seen(&real) && !file.starts_with(&around.project) => real,
        _ => file,
    }
}

/// Every sandbox shows it.
fn is_everywhere(path: &Path) -> bool {
    is_toolchain(path) || path.starts_with("/etc/alternatives")
}

/// Adds what `file` needs to see, and what runs it if it is a script.
fn need(
    file: &Path,
    search: &dyn Search,
    around: &Surroundings,
    shown: &mut Vec<PathBuf>,
    deep: usize,
) -> Result<(), Failure> {
    if deep > DEEPEST {
        return Ok(());
    }
    let mut on_the_way = vec![file.to_owned()];
    while let Some(next) =
        on_the_way.last().and_then(|last| next_link(last)).filter(|_| on_the_way.len() < 40)
    {
        on_the_way.push(next);
    }
    on_the_way.extend(file.canonicalize());
    for path in &on_the_way {
        show(path, around, shown)?;
    }
    // An interpreter says itself what belongs to it.
    if file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python"))
        && let Ok(interpreter) = Interpreter::read(file, around)
    {
        interpreter.folders.into_iter().for_each(|folder| add(folder, shown));
    }
    let Some(line) = shebang(file) else { return Ok(()) };
    let mut words = line.split_whitespace();
    let Some(runs) = words.next() else { return Ok(()) };
    let by_name = Path::new(runs).file_name().is_some_and(|name| name == "env");
    let runner = match by_name {
        true => {
            let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
            named.and_then(|name| search.find(name))
        }
        false => Some(PathBuf::from(runs)).filter(|path| is_program(path)),
    };
    match runner {
        Some(runner) => need(&runner, search, around, shown, deep + 1),
        None => {
            Err(Failure::new(NOT_FOUND, format!("{} is run by `{line}`, which is not there", file.display()))
                .with_hint("install what its first line names"))
        }
    }
}

/// Makes one path of the host visible, if it is not.
fn show(path: &Path, around: &Surroundings, shown: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let known = |path: &Path| {
        is_everywhere(path)
            || path.starts_with(&around.project)
            || shown.iter().any(|folder| path.starts_with(folder))
    };
    if known(path) {
        return Ok(());
    }
    if !around.may_show(path) {
        return Err(Failure::new(NOT_SHOWN, format!("{} cannot be shown to a sandbox", path.display()))
            .with_hint(
                "it lies in wflo's own data, or holds the project or a home folder: install it elsewhere",
            ));
    }
    match prefix(path, around) {
        Some(prefix) => {
            let parts = PARTS.iter().map(|part| prefix.join(part));
            parts.filter(|part| part.exists() && around.may_show(part)).for_each(|part| add(part, shown));
        }
        None => add(path.to_owned(), shown),
    }
    Ok(())
}

/// Keeps what another one does not hold.
fn add(path: PathBuf, shown: &mut Vec<PathBuf>) {
    if !shown.iter().any(|known| path.starts_with(known)) {
        shown.retain(|known| !known.starts_with(&path));
        shown.push(path);
    }
}

/// The folder that a program is installed in, when it has one for itself: `~/.nvm/versions/node/v22` of its
/// `bin/node`, and of `lib/node_modules/x/cli.js` as well. `~/bin` and `~/.local/bin` hold programs of many.
fn prefix(path: &Path, around: &Surroundings) -> Option<PathBuf> {
    let is_shared = |folder: &Path| {
        around.home.as_deref() == Some(folder)
            || folder.file_name().is_some_and(|name| name == ".local")
            || folder.parent().is_none()
            || folder == Path::new("/root")
            || folder.parent() == Some(Path::new("/home"))
    };
    let part = |folder: &Path| {
        folder.file_name().is_some_and(|name| name == "bin" || name == "lib" || name == "libexec")
    };
    path.ancestors()
        .skip(1)
        .filter(|folder| part(folder))
        .filter_map(Path::parent)
        .filter(|prefix| !is_shared(prefix) && around.may_show(prefix))
        .find(|prefix| prefix.join("bin").is_dir())
        .map(Path::to_owned)
}

/// What runs a script, by its first line.
fn shebang(file: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut head = Vec::new();
    std::fs::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}

/// Whether it can be executed.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// The path without `.` and `..`, links as they are.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn not_found(name: &str, folder: &Path) -> Failure {
    let path = folder.join(name);
    if name.contains('/') {
        let (message, hint) = match path.metadata() {
            Ok(about) if about.is_dir() => {
                (format!("{} is a folder", path.display()), "name a program in it")
            }
            Ok(_) => (
                format!("{} is no program", path.display()),
                "make it one with `chmod +x`, or name what runs it: `wflo run -- python FILE`",
            ),
            Err(_) => (
                format!("there is no program {}", path.display()),
                "check its path; a relative one is seen from this folder",
            ),
        };
        return Failure::new(NOT_FOUND, message).with_hint(hint);
    }
    let hint = match is_program(&path) {
        true => format!("there is one in this folder: `wflo run -- ./{name}`"),
        false => {
            "install it, or name it by its path; aliases and functions of a shell are no programs".to_owned()
        }
    };
    Failure::new(NOT_FOUND, format!("there is no program `{name}` on the search path (PATH)")).with_hint(hint)
}

#[cfg(test)]
mod tests;
