//! What was accepted for a project, in the user's state folder.
//!
//! A record counts only when it is this user's own file, in this user's own folder, and names the
//! project's path: nobody else, and no project, can write one.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Coded};
use wflo_sandbox::workspace::state_root;

/// The most of a record that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Record {
    project: PathBuf,
    settings: BTreeSet<String>,
}

/// The record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written: {source}", path.display())]
pub(super) struct Unkept {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl Coded for Unkept {
    fn code(&self) -> Code {
        Code(8012)
    }

    fn hint(&self) -> Option<String> {
        Some("what you trust is kept there: check its permissions, or set XDG_STATE_HOME".to_owned())
    }
}

/// Where the record of the project at `root` is.
fn place(root: &Path) -> PathBuf {
    beside(root, "trust")
}

/// The file of the project at `root` in one of the user's own folders.
pub(super) fn beside(root: &Path, folder: &str) -> PathBuf {
    // A data directory in the project asks for a folder outside of it.
    let own = state_root(root, &root.join(".wflo"));
    let mut name = own.file_name().unwrap_or_default().to_owned();
    name.push(".json");
    own.with_file_name(folder).join(name)
}

/// What was accepted; nothing when there is no record that counts.
pub(super) fn read(root: &Path) -> BTreeSet<String> {
    read_at(&place(root), root).unwrap_or_default()
}

fn read_at(path: &Path, root: &Path) -> Option<BTreeSet<String>> {
    let record: Record = read_own(path)?;
    (record.project == root).then_some(record.settings)
}

/// What a file of the user's own holds; nobody else can have written it.
pub(super) fn read_own<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let me = rustix::process::geteuid().as_raw();
    let own = |about: std::fs::Metadata| about.uid() == me && about.mode() & 0o022 == 0;
    path.parent()?.symlink_metadata().ok().filter(|folder| folder.is_dir())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    if !own(path.parent()?.metadata().ok()?)
        || !file.metadata().is_ok_and(|about| about.is_file() && own(about))
    {
        return None;
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Keeps what is accepted from now on.
pub(super) fn write(root: &Path, settings: BTreeSet<String>) -> Result<(), Unkept> {
    let path = place(root);
    let written = write_at(&path, &Record { project: root.to_owned(), settings });
    written.map_err(|source| Unkept { path, source })
}

pub(super) fn write_at(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let text = serde_json::to_vec_pretty(record)?;
    let write = || {
        let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        options.open(&unfinished)?.write_all(&text)?;
        std::fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}

/// Accepts nothing any more; whether there was a record.
pub(super) fn remove(root: &Path) -> Result<bool, Unkept> {
    let path = place(root);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Unkept { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_record_is_of_one_project_and_of_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trust/x.json");
        let root = Path::new("/a/project");
        let settings = BTreeSet::from(["sandbox.rw = \"/x:/x\"".to_owned()]);
        assert_eq!(read_at(&path, root), None);
        write_at(&path, &Record { project: root.to_owned(), settings: settings.clone() }).unwrap();
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
    fn a_record_is_never_in_the_project() {
        let project = tempfile::tempdir().unwrap();
        assert!(!place(project.path()).starts_with(project.path()));
    }
}
