//! The data folder in a project: `.wflo`, which a project may bring along.
//!
//! Whoever wrote the project may have made it a link to a folder of the user's, or given it a mode that
//! lets others read. The operator's own `--data-dir` is the operator's word and is not judged here.

use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::SettingsError;

/// The default folder's name.
const NAME: &str = ".wflo";

/// The data folder of a project whose settings name none.
pub(super) fn default(root: &Path) -> PathBuf {
    root.join(NAME)
}

/// Checks the folder and what lies in it, and takes away others' permissions. In its folders there are no links, either:
/// wflo makes none.
///
/// # Errors
/// [`SettingsError::DataFolder`] when something is a link, no plain file or folder, or somebody else's.
pub(super) fn check(folder: &Path) -> Result<(), SettingsError> {
    let Some(about) = look(folder)? else { return Ok(()) };
    if !about.is_dir() {
        return Err(refused(folder, "it is no folder"));
    }
    secure(folder, &about, 0o700)?;
    let unreadable = |error: std::io::Error| refused(folder, &error.to_string());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(about) = look(&path)? else { continue };
        secure(&path, &about, if about.is_dir() { 0o700 } else { 0o600 })?;
        if about.is_dir() {
            without_links(&path)?;
        }
    }
    Ok(())
}

/// Looks at the names alone: there may be many.
fn without_links(folder: &Path) -> Result<(), SettingsError> {
    let unreadable = |error: std::io::Error| refused(folder, &error.to_string());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            return Err(refused(&entry.path(), "it is a link"));
        }
    }
    Ok(())
}

fn refused(path: &Path, reason: &str) -> SettingsError {
    SettingsError::DataFolder { path: path.to_owned(), reason: reason.to_owned() }
}

/// What is there; nothing is fine.
fn look(path: &Path) -> Result<Option<Metadata>, SettingsError> {
    match path.symlink_metadata() {
        Ok(about) if about.is_symlink() => Err(refused(path, "it is a link")),
        Ok(about) if about.is_dir() || about.is_file() => Ok(Some(about)),
        Ok(_) => Err(refused(path, "it is neither a file nor a folder")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(path, &error.to_string())),
    }
}

fn secure(path: &Path, about: &Metadata, mode: u32) -> Result<(), SettingsError> {
    let me = rustix::process::geteuid();
    if about.uid() != me.as_raw() && !me.is_root() {
        return Err(refused(path, &format!("it belongs to user {}", about.uid())));
    }
    if about.mode() & 0o077 != 0 {
        let closed = std::fs::set_permissions(path, Permissions::from_mode(mode));
        closed.map_err(|error| refused(path, &error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_or_of_what_is_in_it_is_refused() {
        let project = tempfile::tempdir().unwrap();
        let folder = default(project.path());
        check(&folder).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), &folder).unwrap();
        assert!(matches!(check(&folder), Err(SettingsError::DataFolder { .. })));
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        for name in ["wflo.db", "blobs"] {
            symlink(elsewhere.path(), folder.join(name)).unwrap();
            assert!(matches!(check(&folder), Err(SettingsError::DataFolder { .. })), "{name}");
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        check(&folder).unwrap();
        for name in ["logs/starting-1.log", "blobs/tmp", "prices/model_prices.json"] {
            let link = folder.join(name);
            std::fs::create_dir(link.parent().unwrap()).unwrap();
            symlink(elsewhere.path(), &link).unwrap();
            assert!(matches!(check(&folder), Err(SettingsError::DataFolder { .. })), "{name}");
            std::fs::remove_file(&link).unwrap();
        }
        check(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "").unwrap();
        assert!(check(&folder).is_err(), "a file is no folder");
    }

    #[test]
    fn what_others_could_read_is_closed() {
        let project = tempfile::tempdir().unwrap();
        let folder = default(project.path());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("wflo.db"), "").unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(folder.join("wflo.db"), Permissions::from_mode(0o644)).unwrap();
        check(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("wflo.db"))), (0o700, 0o600));
    }
}
