//! Shims of version managers: `<root>/shims/python3` stands for an installed version.
//!
//! pyenv has them below `<root>/versions`, asdf and mise below `<root>/installs/python`. Which one is
//! said by a variable, by a file in the project or above it, or by the user's own file. Those hold names of
//! versions, and nothing else is taken from them; nothing is run.

use std::path::{Path, PathBuf};

use crate::document::{self, Node, Value};
use crate::settings::Environment;

/// The most of a version file that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// A version manager, by where it keeps its versions.
pub(super) enum Manager {
    Pyenv {
        root: PathBuf,
    },
    /// asdf or mise: both read `.tool-versions`, and a program cannot tell which made a shim.
    Tools {
        installs: PathBuf,
    },
}

/// The manager that a program is a shim of.
pub(super) fn of(program: &Path) -> Option<Manager> {
    let shims = program.parent().filter(|folder| folder.ends_with("shims"))?;
    let root = shims.parent()?;
    let installs = root.join("installs");
    if root.join("versions").is_dir() {
        Some(Manager::Pyenv { root: root.to_owned() })
    } else {
        installs.is_dir().then(|| Manager::Tools { installs: installs.join("python") })
    }
}

impl Manager {
    /// The program that the shim would run; `None` for the system's, which is further on the path, and
    /// where no version that is there has been chosen.
    pub(super) fn interpreter(
        &self,
        name: &str,
        project: &Path,
        environment: &Environment,
    ) -> Option<PathBuf> {
        let said = match self {
            Manager::Pyenv { root } => pyenv(root, project, environment),
            Manager::Tools { .. } => tools(project, environment),
        }?;
        // The first of them that has the program.
        said.split_whitespace().find_map(|version| {
            let program = self.version(version)?.join("bin").join(name);
            super::is_program(&program).then_some(program)
        })
    }

    /// `3.11` is the newest `3.11.x` that is there.
    fn version(&self, name: &str) -> Option<PathBuf> {
        let versions = match self {
            Manager::Pyenv { root } => root.join("versions"),
            Manager::Tools { installs } => installs.clone(),
        };
        let name = name.strip_prefix("python-").unwrap_or(name);
        let name = name.strip_prefix("prefix:").unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
            return None;
        }
        let exact = versions.join(name);
        if exact.is_dir() {
            return Some(exact);
        }
        let start = if name == "latest" { String::new() } else { format!("{name}.") };
        let below = std::fs::read_dir(&versions).ok()?.flatten().filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let rest = found.strip_prefix(&start)?;
            let numbers = rest.split('.').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>().ok()?;
            Some((numbers, entry.path()))
        });
        below.max().map(|(_, path)| path)
    }
}

/// `PYENV_VERSION`, `.python-version`, `<root>/version`.
fn pyenv(root: &Path, project: &Path, environment: &Environment) -> Option<String> {
    environment
        .get("PYENV_VERSION")
        .map(|text| text.replace(':', "\n"))
        .or_else(|| project.ancestors().find_map(|folder| read(&folder.join(".python-version"))))
        .or_else(|| read(&root.join("version")))
}

/// `ASDF_PYTHON_VERSION`, `MISE_PYTHON_VERSION`, then the nearest folder that names a version, then the
/// home folder and mise's own settings.
fn tools(project: &Path, environment: &Environment) -> Option<String> {
    let named =
        ["ASDF_PYTHON_VERSION", "MISE_PYTHON_VERSION"].into_iter().find_map(|name| environment.get(name));
    let home = environment.get("HOME").map(PathBuf::from);
    let in_folder = |folder: &Path| {
        let of_mise = ["mise.local.toml", "mise.toml", ".mise.toml", ".config/mise.toml"];
        let mut files = of_mise.iter().map(|name| folder.join(name));
        files
            .find_map(|file| of_settings(&file))
            .or_else(|| of_list(&folder.join(".tool-versions")))
            .or_else(|| read(&folder.join(".python-version")))
    };
    let of_user = || {
        let settings = home.as_ref().and_then(|home| of_settings(&home.join(".config/mise/config.toml")));
        settings.or_else(|| home.as_deref().and_then(in_folder))
    };
    named.map(str::to_owned).or_else(|| project.ancestors().find_map(in_folder)).or_else(of_user)
}

/// The line of Python in `.tool-versions`: `python 3.12.1 3.11.9`.
fn of_list(path: &Path) -> Option<String> {
    let text = read(path)?;
    text.lines()
        .find_map(|line| line.strip_prefix("python").filter(|rest| rest.starts_with([' ', '\t'])))
        .map(str::to_owned)
}

/// `[tools] python = "3.12"`, a list of them, or a table with `version`.
fn of_settings(path: &Path) -> Option<String> {
    let text = read_whole(path)?;
    let file = document::toml::parse("", &text).ok()?;
    let below = |node: &Node, key: &str| match &node.value {
        Value::Table(table) => table.get(key).cloned(),
        _ => None,
    };
    fn versions(node: &Node) -> Vec<&str> {
        match &node.value {
            Value::Text(text) | Value::Number(text) => vec![text],
            Value::List(items) => items.iter().flat_map(versions).collect(),
            Value::Table(table) => table.get("version").map(versions).unwrap_or_default(),
            _ => Vec::new(),
        }
    }
    let python = below(&below(&file, "tools")?, "python")?;
    Some(versions(&python).join("\n")).filter(|said| !said.is_empty())
}

/// A small regular file's text, without its comments.
fn read(path: &Path) -> Option<String> {
    let text = read_whole(path)?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// A small regular file's text. Never waits on a FIFO.
fn read_whole(path: &Path) -> Option<String> {
    use rustix::fs::{Mode, OFlags};
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_shim_is_read_and_a_version_file_is_a_name_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let (root, project) = (folder.path().join("pyenv"), folder.path().join("project/sub"));
        std::fs::create_dir_all(&project).unwrap();
        for path in ["shims/python3", "versions/3.11.2/bin/python3", "versions/3.11.10/bin/python3"] {
            program(&root.join(path));
        }
        program(&folder.path().join("project/evil/bin/python3"));
        let environment = Environment::of(&[("PATH", root.join("shims").to_str().unwrap())]);
        let found = || super::super::on_path(&["python3"], &project, &environment);
        assert_eq!(found(), None, "no version is chosen");
        std::fs::write(root.join("version"), "system\n3.11.2\n").unwrap();
        assert_eq!(found(), Some(root.join("versions/3.11.2/bin/python3")));
        std::fs::write(project.parent().unwrap().join(".python-version"), "# ours\n3.11\n").unwrap();
        assert_eq!(found(), Some(root.join("versions/3.11.10/bin/python3")));
        for hostile in ["../../project/evil", "/etc", "..", "."] {
            std::fs::write(project.join(".python-version"), hostile).unwrap();
            assert_eq!(found(), None, "{hostile}");
        }
    }
    #[test]
    fn shims_of_asdf_and_mise_are_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let (root, project) = (folder.path().join("mise"), folder.path().join("project/sub"));
        std::fs::create_dir_all(&project).unwrap();
        let versions =
            ["3.9.1", "3.11.2", "3.11.10"].map(|version| root.join("installs/python").join(version));
        program(&root.join("shims/python3"));
        versions.iter().for_each(|version| program(&version.join("bin/python3")));
        let home = folder.path().join("home");
        std::fs::create_dir_all(home.join(".config/mise")).unwrap();
        let variables = |more: &[(&str, &str)]| {
            let mut all = vec![
                ("PATH", root.join("shims").display().to_string()),
                ("HOME", home.display().to_string()),
            ];
            all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Environment::of(&all)
        };
        let found = |more: &[(&str, &str)]| super::super::on_path(&["python3"], &project, &variables(more));
        let is = |version: &str| Some(root.join("installs/python").join(version).join("bin/python3"));
        assert_eq!(found(&[]), None, "no version is chosen");
        std::fs::write(home.join(".config/mise/config.toml"), "[tools]\npython = \"latest\"\n").unwrap();
        assert_eq!(found(&[]), is("3.11.10"));
        std::fs::write(
            project.parent().unwrap().join(".tool-versions"),
            "nodejs 20\npython 3.8.0 3.9.1 # old\n",
        )
        .unwrap();
        assert_eq!(found(&[]), is("3.9.1"), "the first that is there");
        std::fs::write(project.join("mise.toml"), "[tools]\npython = [\"3.11\", \"3.9\"]\n").unwrap();
        assert_eq!(found(&[]), is("3.11.10"));
        assert_eq!(found(&[("ASDF_PYTHON_VERSION", "3.11.2")]), is("3.11.2"));
        assert_eq!(found(&[("MISE_PYTHON_VERSION", "3.9")]), is("3.9.1"));
        for hostile in ["../../../project", "/etc", "path:/etc", "ref:x", ".."] {
            std::fs::write(project.join("mise.toml"), format!("[tools]\npython = {hostile:?}\n")).unwrap();
            assert_eq!(found(&[]), None, "{hostile}");
        }
        // Named by its path it is the same.
        std::fs::write(project.join("mise.toml"), "[tools]\npython = \"3.11\"\n").unwrap();
        let shim = root.join("shims/python3").display().to_string();
        assert_eq!(super::super::find(&project, &variables(&[("WFLO_PYTHON", &shim)])), is("3.11.10"));
    }
}
