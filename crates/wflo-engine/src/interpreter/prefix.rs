//! The folder that an interpreter is installed in: `bin` and `lib` and what else belongs to it.

use std::path::{Path, PathBuf};

/// What an interpreter uses of its prefix. Not the prefix itself: `.env` and `pip.conf` may lie in it.
const PARTS: [&str; 6] = ["bin", "lib", "lib64", "include", "share", "pyvenv.cfg"];
/// Every sandbox shows these.
const TOOLCHAIN: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// The most links from a name to a program.
const MOST_LINKS: usize = 40;
/// The most of a `pyvenv.cfg` that is read, in bytes.
const CONFIG_LIMIT: u64 = 64 << 10;

/// A folder with an interpreter in its `bin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prefix {
    /// It has the standard library.
    Installation(PathBuf),
    /// It has a `pyvenv.cfg`, with this in it.
    Environment { folder: PathBuf, home: Option<PathBuf>, system: bool },
}

impl Prefix {
    /// The folder, when it holds a standard library.
    pub(super) fn installation(folder: &Path) -> Option<Prefix> {
        let holds = libraries(folder).any(|library| library.join("os.py").is_file());
        holds.then(|| Prefix::Installation(folder.to_owned()))
    }

    fn environment(folder: &Path) -> Option<Prefix> {
        let text = read_small(&folder.join("pyvenv.cfg"))?;
        let value = |key: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim())
        };
        Some(Prefix::Environment {
            folder: folder.to_owned(),
            home: value("home").map(PathBuf::from).filter(|home| home.is_absolute()),
            system: value("include-system-site-packages").is_some_and(|is| is.eq_ignore_ascii_case("true")),
        })
    }

    fn folder(&self) -> &Path {
        match self {
            Prefix::Installation(folder) | Prefix::Environment { folder, .. } => folder,
        }
    }

    /// The folder of the interpreter that a virtual environment was made with.
    pub(super) fn home(&self) -> Option<&Path> {
        match self {
            Prefix::Installation(_) => None,
            Prefix::Environment { home, .. } => home.as_deref(),
        }
    }

    /// Whether the user's own packages are not seen from it.
    pub(super) fn is_isolated(&self) -> bool {
        matches!(self, Prefix::Environment { system: false, .. })
    }

    /// What of it is shown.
    pub(super) fn parts(&self) -> Vec<PathBuf> {
        // `~/.local/share` is everybody's.
        let shared = self.folder().file_name().is_some_and(|name| name == ".local");
        let parts = PARTS.iter().filter(|part| !(shared && **part == "share"));
        parts.map(|part| self.folder().join(part)).filter(|part| part.exists()).collect()
    }

    /// Its folders of installed packages.
    pub(super) fn packages(&self) -> Vec<PathBuf> {
        let named = |library: PathBuf| ["site-packages", "dist-packages"].map(|name| library.join(name));
        libraries(self.folder()).flat_map(named).filter(|packages| packages.is_dir()).collect()
    }
}

/// `lib/python3.11` and its like.
fn libraries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let roots = ["lib", "lib64"].map(|name| folder.join(name));
    let entries = roots.into_iter().filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten();
    entries.filter(|entry| is_python(&entry.file_name())).map(|entry| entry.path())
}

fn is_python(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("python") || name.starts_with("pypy"))
}

/// A regular file that is not long, as text. Never waits on a FIFO.
pub(super) fn read_small(path: &Path) -> Option<String> {
    use rustix::fs::{Mode, OFlags};
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = Vec::new();
    file.take(CONFIG_LIMIT).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Whether every sandbox shows it.
pub(crate) fn is_toolchain(path: &Path) -> bool {
    TOOLCHAIN.iter().any(|root| path.starts_with(root))
}

/// The prefix of `<prefix>/bin/python`, when it is one.
pub(super) fn prefix_of(program: &Path) -> Option<Prefix> {
    let bin = program.parent()?;
    let folder = bin.parent()?;
    // Python looks for the file beside the program as well.
    Prefix::environment(folder).or_else(|| Prefix::environment(bin)).or_else(|| Prefix::installation(folder))
}

/// The program that is started for a name, and the file that it is in the end. A link outside of
/// any prefix, as in `~/.local/bin`, is followed; one in a virtual environment is what makes it one.
///
/// # Errors
/// Why it is no program.
pub(super) fn real_program(program: &Path) -> Result<(PathBuf, PathBuf), String> {
    use std::os::unix::fs::PermissionsExt;
    let real = program.canonicalize().map_err(|error| error.to_string())?;
    let about = real.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
        return Err("it is no program".to_owned());
    }
    if program.parent().is_some_and(|folder| folder.ends_with("shims")) {
        let message = "it is a version manager's shim, and no version that is installed is chosen for this \
                       project: choose one (`pyenv local`, `asdf set python`, `mise use python`)";
        return Err(message.to_owned());
    }
    let mut named = program.to_owned();
    for _ in 0..MOST_LINKS {
        if is_toolchain(&named) || prefix_of(&named).is_some() {
            break;
        }
        let Some(next) = next_link(&named) else { break };
        named = next;
    }
    Ok((named, real))
}

/// The links between a program's name and its file that lead to an installed interpreter.
pub(super) fn links(program: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let installed = program.canonicalize().is_ok_and(|real| {
        real.file_name().is_some_and(is_python)
            && (is_toolchain(&real)
                || real.parent().and_then(Path::parent).and_then(Prefix::installation).is_some())
    });
    let mut named = program.to_owned();
    while installed && found.len() < MOST_LINKS {
        let Some(next) = next_link(&named) else { break };
        named = next;
        found.push(named.clone());
    }
    found
}

/// What a link says, as a path without `..`.
pub(crate) fn next_link(path: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(path).ok()?;
    let joined = path.parent()?.join(target);
    let mut plain = PathBuf::new();
    for part in joined.components() {
        match part {
            std::path::Component::ParentDir => {
                // What `..` means depends on where a link leads; folders before it are resolved.
                plain = plain.canonicalize().ok()?;
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    Some(plain)
}
