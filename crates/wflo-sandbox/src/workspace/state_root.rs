//! Where the state folder of a project is.

use std::path::{Path, PathBuf};

use super::manifest::Digest;

/// The root for [`super::Store`]: the data directory when it lies outside of the project, else a
/// folder of the user's state directory that is the project's own.
///
/// It cannot be in the project: an overlay whose lower directories lie in one another fails with
/// ELOOP (a copy-on-write view of the project has the project itself as its lowest directory), and
/// content kept there would be part of the next seal. A project that contains the home folder
/// itself gets `/var/lib/wflo` (root) or a folder of that user in `/var/tmp`: not `/tmp`, which may
/// be a memory file system and is emptied at every start of the machine.
///
/// Reads `XDG_STATE_HOME` and `HOME`; creates nothing.
#[must_use]
pub fn state_root(project: &Path, data_dir: &Path) -> PathBuf {
    let project = resolved(project);
    let own = Digest::of(project.as_os_str().as_encoded_bytes()).to_string();
    let own = own.get(..16).unwrap_or(&own);
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = rustix::process::geteuid();
    let system = match user.is_root() {
        true => PathBuf::from("/var/lib/wflo"),
        false => PathBuf::from(format!("/var/tmp/wflo-{}", user.as_raw())),
    };
    let candidates = [
        (!resolved(data_dir).starts_with(&project)).then(|| data_dir.join("workspaces")),
        variable("XDG_STATE_HOME").map(|state| state.join("wflo")),
        variable("HOME").map(|home| home.join(".local/state/wflo")),
        Some(system.clone()),
    ];
    let outside =
        candidates.into_iter().flatten().find(|candidate| !resolved(candidate).starts_with(&project));
    outside.unwrap_or(system).join(own)
}

/// The path with every link resolved as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(found) = at.canonicalize() {
            return rest.iter().rev().fold(found, |path: PathBuf, name| path.join(name));
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name.to_owned());
                at = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_outside_of_the_project_wherever_the_data_is() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        std::fs::create_dir(&project).unwrap();
        let inside = state_root(&project, &project.join(".wflo"));
        assert!(!inside.starts_with(&project), "{}", inside.display());
        let data = folder.path().join("data");
        assert!(state_root(&project, &data).starts_with(&data));
        assert_ne!(
            state_root(&project, &project.join(".wflo")),
            state_root(folder.path(), &project.join(".wflo"))
        );
    }
}
