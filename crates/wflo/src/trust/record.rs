//! What was accepted for a project, in the user's state folder.
//!
//! A record counts only when it is the user's own (`own`) and names the project's path.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::own::{self, Unkept};

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Record {
    project: PathBuf,
    settings: BTreeSet<String>,
}

/// Where the record of the project at `root` is.
fn place(root: &Path) -> PathBuf {
    own::beside(root, "trust")
}

/// What was accepted; nothing when there is no record that counts.
pub(super) fn read(root: &Path) -> BTreeSet<String> {
    read_at(&place(root), root).unwrap_or_default()
}

fn read_at(path: &Path, root: &Path) -> Option<BTreeSet<String>> {
    // One that does not count accepts nothing.
    let record: Record = own::read(path).ok()??;
    (record.project == root).then_some(record.settings)
}

/// Accepts these as well from now on.
///
/// # Errors
/// When that cannot be kept.
pub(super) fn add(root: &Path, settings: impl IntoIterator<Item = String>) -> Result<(), Unkept> {
    let path = place(root);
    add_at(&path, root, settings).map_err(|source| Unkept { path, source })
}

fn add_at(path: &Path, root: &Path, more: impl IntoIterator<Item = String>) -> io::Result<()> {
    // What two commands accept at the same moment is kept of both.
    let _alone = own::alone(path)?;
    let mut settings = read_at(path, root).unwrap_or_default();
    settings.extend(more);
    own::write(path, &Record { project: root.to_owned(), settings })
}

/// Accepts nothing any more; whether there was a record.
pub(super) fn remove(root: &Path) -> Result<bool, Unkept> {
    let path = place(root);
    let _alone = own::alone(&path).map_err(|source| Unkept { path: path.clone(), source })?;
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Unkept { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_record_is_of_one_project_and_of_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trust/x.json");
        let root = Path::new("/a/project");
        let settings = BTreeSet::from(["sandbox.rw = \"/x:/x\"".to_owned()]);
        assert_eq!(read_at(&path, root), None);
        own::write(&path, &Record { project: root.to_owned(), settings: settings.clone() }).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_at(&path, root), Some(settings));
        assert_eq!(read_at(&path, Path::new("/another")), None);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(read_at(&path, root), None, "others could have written it");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::set_permissions(folder.path().join("trust"), PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(read_at(&path, root), None, "others could have put it there");
        std::fs::set_permissions(folder.path().join("trust"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::rename(&path, folder.path().join("y.json")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("y.json"), &path).unwrap();
        assert_eq!(read_at(&path, root), None, "a link");
    }

    #[test]
    fn what_is_accepted_at_the_same_moment_is_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (&folder.path().join("trust/x.json"), Path::new("/a/project"));
        let many = 16;
        std::thread::scope(|threads| {
            for n in 0..many {
                threads.spawn(move || add_at(path, root, [format!("sandbox.env = {n}")]).unwrap());
            }
        });
        assert_eq!(read_at(path, root).unwrap().len(), many);
    }

    #[test]
    fn a_record_is_never_in_the_project() {
        let project = tempfile::tempdir().unwrap();
        assert!(!place(project.path()).starts_with(project.path()));
    }
}
