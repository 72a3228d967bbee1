//! The certificates that a sandbox trusts, as a file that it is shown.
//!
//! Nothing in it is secret, and it is removed with the value that made it. What one that was killed has left is
//! removed by whoever makes the next one: a file whose maker lives is locked.
//!
//! Sequence: the file is made, then locked, then looked at once more, because between the first two somebody may
//! have taken it for one that was left. Whoever removes one holds its lock while it does.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

const PREFIX: &str = "wflo-trusted-";

/// The file.
#[derive(Debug)]
pub struct Shown(NamedTempFile);

impl Shown {
    /// One that whoever is in the sandbox can read.
    ///
    /// # Errors
    /// That no file can be made.
    pub(super) fn new(bundle: &str) -> io::Result<Shown> {
        Shown::new_in(&std::env::temp_dir(), bundle)
    }

    fn new_in(folder: &Path, bundle: &str) -> io::Result<Shown> {
        let mut file = loop {
            let file = NamedTempFile::with_prefix_in(PREFIX, folder)?;
            file.as_file().lock()?;
            if file.as_file().metadata()?.nlink() > 0 {
                break file;
            }
        };
        sweep(folder, file.as_file().metadata()?.uid());
        file.write_all(bundle.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        Ok(Shown(file))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Removes what this user's dead processes have left.
fn sweep(folder: &Path, user: u32) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Of a link this says that it is one; and a file of this user is replaced by nobody else.
        let is_own = is_named && entry.metadata().is_ok_and(|found| found.is_file() && found.uid() == user);
        if is_own
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_dead_is_removed_and_what_the_living_have_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let living = Shown::new_in(folder.path(), "one").unwrap();
        // As a process leaves it that is killed: there, and locked by nobody.
        std::fs::write(folder.path().join(format!("{PREFIX}left")), "").unwrap();
        std::fs::write(folder.path().join("another-file"), "").unwrap();
        std::os::unix::fs::symlink("another-file", folder.path().join(format!("{PREFIX}link"))).unwrap();
        let second = Shown::new_in(folder.path(), "two").unwrap();
        let name = |shown: &Shown| shown.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut kept = vec![name(&living), name(&second), "another-file".to_owned(), format!("{PREFIX}link")];
        kept.sort();
        assert_eq!(names(), kept);
        assert_eq!(std::fs::read_to_string(living.path()).unwrap(), "one");
        assert_eq!(second.path().metadata().unwrap().mode() & 0o777, 0o644);
        drop((living, second));
        assert_eq!(names(), ["another-file".to_owned(), format!("{PREFIX}link")]);
    }

    #[test]
    fn many_at_once_remove_none_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let make = || {
            for _ in 0..50 {
                let shown = Shown::new_in(folder.path(), "mine").unwrap();
                assert_eq!(std::fs::read_to_string(shown.path()).unwrap(), "mine");
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(make))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
