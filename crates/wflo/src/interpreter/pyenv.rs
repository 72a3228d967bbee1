//! pyenv's shims: `<root>/shims/python3` stands for a version below `<root>/versions`.
//!
//! Which one: `PYENV_VERSION`, `.python-version` in the project or above it, `<root>/version`. Those
//! files hold names of versions, and nothing else is taken from them.

use std::path::{Path, PathBuf};

use crate::settings::Environment;

/// The most of a version file that is read, in bytes.
const LIMIT: u64 = 4 << 10;

/// Where pyenv keeps its versions.
pub(super) struct Pyenv {
    root: PathBuf,
}

/// The pyenv that a program is a shim of.
pub(super) fn of_shim(program: &Path) -> Option<Pyenv> {
    let shims = program.parent()?;
    let root = shims.parent()?;
    let is_shim = shims.file_name()? == "shims" && root.join("versions").is_dir();
    is_shim.then(|| Pyenv { root: root.to_owned() })
}

impl Pyenv {
    /// The program that the shim would run; `None` for the system's, which is further on the path.
    pub(super) fn interpreter(
        &self,
        name: &str,
        project: &Path,
        environment: &Environment,
    ) -> Option<PathBuf> {
        let said = environment
            .get("PYENV_VERSION")
            .map(|text| text.replace(':', "\n"))
            .or_else(|| project.ancestors().find_map(|folder| read(&folder.join(".python-version"))))
            .or_else(|| read(&self.root.join("version")))?;
        // The first of them that has the program.
        said.split_whitespace().find_map(|version| {
            let program = self.version(version)?.join("bin").join(name);
            super::is_program(&program).then_some(program)
        })
    }

    /// `3.11` is the newest `3.11.x` that is there.
    fn version(&self, name: &str) -> Option<PathBuf> {
        let name = name.strip_prefix("python-").unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
            return None;
        }
        let versions = self.root.join("versions");
        let exact = versions.join(name);
        if exact.is_dir() {
            return Some(exact);
        }
        let start = format!("{name}.");
        let below = std::fs::read_dir(&versions).ok()?.flatten().filter_map(|entry| {
            let found = entry.file_name().into_string().ok()?;
            let patch = found.strip_prefix(&start)?.parse::<u32>().ok()?;
            Some((patch, entry.path()))
        });
        below.max_by_key(|(patch, _)| *patch).map(|(_, path)| path)
    }
}

/// A small regular file's text, without its comments. Never waits on a FIFO.
fn read(path: &Path) -> Option<String> {
    use rustix::fs::{Mode, OFlags};
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).ok()?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Some(lines.collect::<Vec<_>>().join("\n"))
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
}
