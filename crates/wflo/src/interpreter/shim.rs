//! Shims of version managers: `<root>/shims/python3` or `node` stands for an installed version.
//!
//! pyenv has them below `<root>/versions`, asdf and mise below `<root>/installs/<tool>`; those of Volta are in
//! `<root>/bin`; nvm has no shims, and puts one of its own versions on the path of a shell. Which one is said by a variable, by a file in the project or above it, or by the user's own file. Those hold names of
//! versions, and nothing else is taken from them; nothing is run.

mod volta;

use std::path::{Path, PathBuf};

use crate::document::{self, Node, Value};
use crate::settings::Environment;

/// The most of a version file that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// The most aliases of nvm that lead to one another.
const MOST_ALIASES: usize = 8;

/// A version manager, by where it keeps its versions.
pub(super) enum Manager {
    Pyenv {
        root: PathBuf,
    },
    /// asdf or mise: both read `.tool-versions`, and a program cannot tell which made a shim.
    Tools {
        installs: PathBuf,
        tool: &'static Tool,
    },
    Volta {
        root: PathBuf,
    },
}

/// What asdf and mise install, and how it is called.
pub(super) struct Tool {
    /// Its programs begin so.
    program: &'static str,
    /// What files call it: asdf and mise need not agree.
    names: &'static [&'static str],
    /// Files that name a version of it alone.
    files: &'static [&'static str],
}

const PYTHON: Tool = Tool { program: "python", names: &["python"], files: &[".python-version"] };
const NODE: Tool = Tool { program: "node", names: &["nodejs", "node"], files: &[".node-version", ".nvmrc"] };

/// The manager that a program is a shim of.
pub(super) fn of(program: &Path) -> Option<Manager> {
    if let Some(root) = volta::root_of(program) {
        return Some(Manager::Volta { root });
    }
    let shims = program.parent().filter(|folder| folder.ends_with("shims"))?;
    let root = shims.parent()?;
    let installs = root.join("installs");
    if root.join("versions").is_dir() {
        Some(Manager::Pyenv { root: root.to_owned() })
    } else {
        let name = program.file_name()?.to_str()?;
        let tool = if name.starts_with(NODE.program) { &NODE } else { &PYTHON };
        let folder = tool.names.iter().map(|name| installs.join(name)).find(|folder| folder.is_dir());
        folder.map(|installs| Manager::Tools { installs, tool })
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
        let (versions, said) = match self {
            Manager::Pyenv { root } => (root.join("versions"), pyenv(root, project, environment)?),
            Manager::Tools { installs, tool } => (installs.clone(), tools(tool, project, environment)?),
            Manager::Volta { root } => return volta::program(root, name, project),
        };
        // The first of them that has the program.
        said.split_whitespace().find_map(|version| {
            let version = version.strip_prefix("python-").unwrap_or(version);
            let version = version.strip_prefix("prefix:").unwrap_or(version);
            let program = installed(&versions, version)?.join("bin").join(name);
            super::is_program(&program).then_some(program)
        })
    }
}

/// The folder of a version: `3.11` is the newest `3.11.x` that is there, `latest` the newest of all.
fn installed(versions: &Path, name: &str) -> Option<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
        return None;
    }
    let exact = versions.join(name);
    if exact.is_dir() {
        return Some(exact);
    }
    let start = if name == "latest" { String::new() } else { format!("{name}.") };
    let below = std::fs::read_dir(versions).ok()?.flatten().filter_map(|entry| {
        let found = entry.file_name().into_string().ok()?;
        // nvm's folders begin with a letter.
        let rest = found.strip_prefix('v').unwrap_or(&found).strip_prefix(&start)?;
        let numbers = rest.split('.').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>().ok()?;
        Some((numbers, entry.path()))
    });
    below.max().map(|(_, path)| path)
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
fn tools(tool: &Tool, project: &Path, environment: &Environment) -> Option<String> {
    let variables = tool.names.iter().map(|name| name.to_ascii_uppercase());
    let named = variables
        .flat_map(|name| [format!("ASDF_{name}_VERSION"), format!("MISE_{name}_VERSION")])
        .find_map(|name| environment.get(&name));
    let home = environment.get("HOME").map(PathBuf::from);
    let in_folder = |folder: &Path| {
        let of_mise = ["mise.local.toml", "mise.toml", ".mise.toml", ".config/mise.toml"];
        let mut files = of_mise.iter().map(|name| folder.join(name));
        files
            .find_map(|file| of_settings(tool, &file))
            .or_else(|| of_list(tool, &folder.join(".tool-versions")))
            .or_else(|| tool.files.iter().find_map(|name| read(&folder.join(name))))
    };
    let of_user = || {
        let settings =
            home.as_ref().and_then(|home| of_settings(tool, &home.join(".config/mise/config.toml")));
        settings.or_else(|| home.as_deref().and_then(in_folder))
    };
    named.map(str::to_owned).or_else(|| project.ancestors().find_map(in_folder)).or_else(of_user)
}

/// The tool's line in `.tool-versions`: `python 3.12.1 3.11.9`.
fn of_list(tool: &Tool, path: &Path) -> Option<String> {
    let text = read(path)?;
    let of_tool = |line: &&str| {
        let (name, versions) = line.split_once([' ', '\t'])?;
        tool.names.contains(&name).then(|| versions.to_owned())
    };
    text.lines().find_map(|line| of_tool(&line))
}

/// `[tools] python = "3.12"`, a list of them, or a table with `version`.
fn of_settings(tool: &Tool, path: &Path) -> Option<String> {
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
    let tools = below(&file, "tools")?;
    let said = tool.names.iter().find_map(|name| below(&tools, name))?;
    Some(versions(&said).join("\n")).filter(|said| !said.is_empty())
}

/// The Node that nvm has chosen for the project (`.nvmrc`), or by default.
pub(super) fn nvm(project: &Path, environment: &Environment) -> Option<PathBuf> {
    let home = environment.get("HOME").map(|home| PathBuf::from(home).join(".nvm"));
    let root = environment.get("NVM_DIR").map(PathBuf::from).or(home).filter(|root| root.is_absolute())?;
    let wanted = project.ancestors().find_map(|folder| read(&folder.join(".nvmrc")));
    let mut name = wanted.unwrap_or_else(|| "default".to_owned());
    // An alias is a file that holds a version or another alias.
    for _ in 0..MOST_ALIASES {
        let said = name.trim().trim_start_matches('v');
        let version = if matches!(said, "node" | "stable") { "latest" } else { said };
        let folder = root.join("versions/node");
        let exact = installed(&folder, &format!("v{version}")).or_else(|| installed(&folder, version));
        if let Some(program) =
            exact.map(|version| version.join("bin/node")).filter(|path| super::is_program(path))
        {
            return Some(program);
        }
        let is_alias = said.split('/').all(|part| !matches!(part, "" | "." | ".."));
        name = is_alias.then(|| read(&root.join("alias").join(said)))??;
    }
    None
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

    #[test]
    fn shims_of_node_and_the_versions_of_nvm_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let (root, project) = (folder.path().join("asdf"), folder.path().join("project/sub"));
        std::fs::create_dir_all(&project).unwrap();
        for path in ["shims/node", "installs/nodejs/20.9.0/bin/node", "installs/nodejs/22.1.0/bin/node"] {
            program(&root.join(path));
        }
        let environment = Environment::of(&[("PATH", root.join("shims").to_str().unwrap())]);
        assert_eq!(super::super::node(&project, &environment), None, "no version is chosen");
        std::fs::write(project.join(".tool-versions"), "python 3.11\nnodejs 20\n").unwrap();
        let is = |version: &str| Some(root.join("installs/nodejs").join(version).join("bin/node"));
        assert_eq!(super::super::node(&project, &environment), is("20.9.0"));
        std::fs::write(project.join("mise.toml"), "[tools]\nnode = \"latest\"\n").unwrap();
        assert_eq!(super::super::node(&project, &environment), is("22.1.0"));

        let nvm = folder.path().join("nvm");
        for version in ["v18.20.1", "v20.11.0", "v20.9.1"] {
            program(&nvm.join("versions/node").join(version).join("bin/node"));
        }
        std::fs::create_dir_all(nvm.join("alias/lts")).unwrap();
        let environment = Environment::of(&[("NVM_DIR", nvm.to_str().unwrap())]);
        let found = || super::super::node(&project, &environment);
        let is = |version: &str| Some(nvm.join("versions/node").join(version).join("bin/node"));
        assert_eq!(found(), None, "nothing is chosen");
        std::fs::write(nvm.join("alias/default"), "lts/*\n").unwrap();
        std::fs::write(nvm.join("alias/lts/*"), "lts/iron\n").unwrap();
        std::fs::write(nvm.join("alias/lts/iron"), "v20.11.0\n").unwrap();
        assert_eq!(found(), is("v20.11.0"));
        std::fs::write(project.join(".nvmrc"), "v18\n").unwrap();
        assert_eq!(found(), is("v18.20.1"));
        for hostile in ["../../project", "/etc", "..", "lts/../../x", "none"] {
            std::fs::write(project.join(".nvmrc"), hostile).unwrap();
            assert_eq!(found(), None, "{hostile}");
        }
    }

    pub(super) fn program(path: &Path) {
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
