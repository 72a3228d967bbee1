//! What a program needs to see of the host, found out without running it.
//!
//! The user's shell would find it by the search path; what it needs is read from files, as untrusted text:
//! where its links lead, what runs a script. A program of the toolchain is seen anyway, one of the project is
//! in the workspace. Of any other its own file is shown, and of a prefix that is one (`…/bin/name`) the parts
//! that programs have.
//! **Architecture Invariant:** a home folder is never shown, nor what of it is no program's: a script in
//! `~/bin` is shown as that file. What a file of the project leads to is told apart (`led`): whoever starts it
//! has named that file, and not what it names. But for an interpreter that their own search path finds.

mod script;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Failure};

use crate::interpreter::{Interpreter, Surroundings, is_toolchain, next_link};
use crate::launch::Launch;

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
    /// What of that is shown because a file of the project leads there; known while it is found, and not recorded.
    #[serde(skip)]
    pub led: Vec<PathBuf>,
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
        let mut needs = Needs { search, around, shown: Vec::new(), led: Vec::new() };
        needs.add(&file, false, 0)?;
        let Needs { shown, led, .. } = needs;
        let visible = |path: &Path| {
            is_everywhere(path)
                || path.starts_with(&around.project)
                || shown.iter().any(|known| path.starts_with(known))
        };
        let mut folders = search.folders();
        if let Some(own) = file.parent().filter(|own| !folders.iter().any(|folder| folder == own)) {
            // In the place of the shim that leads to it; what was started by its path comes before nothing.
            let shim =
                folders.iter().position(|folder| !name.contains('/') && is_program(&folder.join(name)));
            folders.insert(shim.unwrap_or(folders.len()), own.to_owned());
        }
        let folders = folders.into_iter().filter(|folder| visible(folder));
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
        Ok(Program { name, file, folder, shown, led, path, variables: BTreeMap::new() })
    }

    /// A program that the packages of the project bring: what it needs is shown with them.
    #[must_use]
    pub fn of_packages(name: &str, folder: &Path, around: &Surroundings) -> Program {
        Program {
            name: name.to_owned(),
            file: Path::new(crate::images::PYTHON).join("bin").join(name),
            folder: folder.strip_prefix(&around.project).unwrap_or(Path::new("")).to_owned(),
            shown: Vec::new(),
            led: Vec::new(),
            path: wflo_sandbox::PATH.to_owned(),
            variables: BTreeMap::new(),
        }
    }

    /// A program of the distribution that was fetched for the project, at this path in each of its sandboxes.
    #[must_use]
    pub fn of_system(file: PathBuf, folder: &Path, around: &Surroundings) -> Program {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Program { file, ..Program::of_packages(&name, folder, around) }
    }

    /// Puts the programs of the project's packages before all others.
    pub fn find_packages(&mut self) {
        self.path = format!("{}/bin:{}", crate::images::PYTHON, self.path);
        self.variables.insert("VIRTUAL_ENV".to_owned(), crate::images::PYTHON.to_owned());
    }

    /// The command that starts it where the project's files are in the sandbox.
    pub(crate) fn command(&self, argv: &[String], launch: &Launch) -> Vec<OsString> {
        let file = match self.file.strip_prefix(&launch.project) {
            // Its project is somewhere else there: the way from where it starts is the same.
            Ok(within) if launch.is_elsewhere() => {
                let up = self.folder.components().filter(|part| matches!(part, Component::Normal(_)));
                let mut file = PathBuf::from(".");
                up.for_each(|_| file.push(".."));
                file.join(within)
            }
            // An image has its own, by the same name.
            Err(_) if launch.in_image() => argv.first().map_or_else(|| self.file.clone(), PathBuf::from),
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

/// What a program needs to see that its links lead to; nothing of what runs it.
///
/// # Errors
/// That it may not be shown.
pub(crate) fn shown_of(file: &Path, around: &Surroundings) -> Result<Vec<PathBuf>, Failure> {
    let mut shown = Vec::new();
    for path in on_the_way(file) {
        show(&path, around, &mut shown)?;
    }
    Ok(shown)
}

/// The file, what its links lead to one after the other, and what it is in the end.
fn on_the_way(file: &Path) -> Vec<PathBuf> {
    let mut found = vec![file.to_owned()];
    while let Some(next) = found.last().and_then(|last| next_link(last)).filter(|_| found.len() < 40) {
        found.push(next);
    }
    found.extend(file.canonicalize());
    found
}

/// What a program needs, as far as it is known.
struct Needs<'a> {
    search: &'a dyn Search,
    around: &'a Surroundings,
    shown: Vec<PathBuf>,
    led: Vec<PathBuf>,
}

impl Needs<'_> {
    /// Adds what `file` needs to see, and what runs it if it is a script. Whatever comes after a file of the
    /// project is its word: `by_project`.
    fn add(&mut self, file: &Path, mut by_project: bool, deep: usize) -> Result<(), Failure> {
        if deep > DEEPEST {
            return Ok(());
        }
        for path in on_the_way(file) {
            by_project |= path.starts_with(&self.around.project);
            self.show(by_project, |around, shown| show(&path, around, shown))?;
        }
        // An interpreter says itself what belongs to it.
        if file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python"))
            && let Ok(interpreter) = Interpreter::read(file, self.around)
        {
            self.show(by_project, |_, shown| {
                interpreter.folders.into_iter().for_each(|folder| add(folder, shown));
                Ok(())
            })?;
        }
        match script::runner_of(file, self.search)? {
            // The project names the script's language, and the user's search path says what that is: they could have
            // typed it. Where that leads through the project it is the project's word again.
            Some(runner) => self.add(&runner.file, by_project && !runner.is_typed, deep + 1),
            None => Ok(()),
        }
    }

    fn show(
        &mut self,
        by_project: bool,
        more: impl FnOnce(&Surroundings, &mut Vec<PathBuf>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let before = self.shown.clone();
        more(self.around, &mut self.shown)?;
        if by_project {
            self.led.extend(self.shown.iter().filter(|path| !before.contains(path)).cloned());
        }
        Ok(())
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
    // A package of Node needs those beside it, and is looked for in the folder that holds them.
    if let Some(packages) = path.ancestors().filter(|folder| folder.ends_with("node_modules")).last()
        && around.may_show(packages)
    {
        add(packages.to_owned(), shown);
        return Ok(());
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
    // Without the `./` of its name.
    let path: PathBuf = folder.join(name).components().collect();
    if name.contains('/') {
        let (message, hint) = match path.metadata() {
            Ok(about) if about.is_dir() => {
                (format!("{} is a folder", path.display()), "name a program in it")
            }
            Ok(_) => (
                format!("{} is no program", path.display()),
                "make it one with `chmod +x`, or name what runs it, as in `wflo run -- python FILE`",
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
