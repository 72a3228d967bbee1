//! Folders of the data directory, which a project may have brought along with links in them.
//!
//! Each folder is looked at before it is used, and each file is opened without following a link, so that what was
//! brought leads nowhere. By their paths and through the C library: tests watch there what reaches the disk.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// A folder that no link has led to.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder `name` of a data directory, made for this user alone where it is missing. Where the directory itself
    /// is, is the caller's word, links on the way included.
    ///
    /// # Errors
    /// `NotADirectory` for a link or a file of that name; any error of the file system.
    pub fn made_in(data_dir: &Path, name: &str) -> io::Result<Folder> {
        Folder(data_dir.to_owned()).made(name)
    }

    /// The same where it is there.
    ///
    /// # Errors
    /// As [`Folder::made_in`], and `NotFound`.
    pub(crate) fn of(data_dir: &Path, name: &str) -> io::Result<Folder> {
        Folder(data_dir.to_owned()).below(name)
    }

    /// A folder of this one, which is there.
    pub(crate) fn below(&self, name: impl AsRef<OsStr>) -> io::Result<Folder> {
        let path = self.0.join(name.as_ref());
        match path.symlink_metadata()?.is_dir() {
            true => Ok(Folder(path)),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// A folder of this one, made for this user alone where it is missing.
    pub(crate) fn made(&self, name: &str) -> io::Result<Folder> {
        match DirBuilder::new().mode(0o700).create(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.below(name),
        }
    }

    /// A new file of this user alone, to append to.
    ///
    /// # Errors
    /// `AlreadyExists` for whatever has that name; any error of the file system.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.open(name, OpenOptions::new().append(true).create_new(true))
    }

    /// A file to be locked, made where it is missing.
    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        self.open(name, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    /// What a plain file holds.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = self.open(name, OpenOptions::new().read(true))?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        // A FIFO of that name is not waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(self.0.join(name))
    }

    /// Removes a file, or a link and not what it leads to. Its bytes.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<u64> {
        let path = self.0.join(name.as_ref());
        let about = path.symlink_metadata()?;
        fs::remove_file(path)?;
        Ok(about.len())
    }

    /// Moves a file into another folder, into the place of what has that name there.
    pub(crate) fn rename(&self, name: &str, folder: &Folder, new: &str) -> io::Result<()> {
        fs::rename(self.0.join(name), folder.0.join(new))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn no_link_is_followed() {
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = elsewhere.path().join("file");
        fs::write(&file, "theirs").unwrap();
        symlink(elsewhere.path(), data.path().join("linked")).unwrap();
        assert!(Folder::made_in(data.path(), "linked").is_err());
        let folder = Folder::made_in(data.path(), "logs").unwrap();
        symlink(&file, data.path().join("logs/name")).unwrap();
        symlink(elsewhere.path().join("new"), data.path().join("logs/nowhere")).unwrap();
        for name in ["name", "nowhere"] {
            assert!(folder.create(name).is_err(), "{name}");
            assert!(folder.lock_file(name).is_err(), "{name}");
            assert!(folder.read(name).is_err(), "{name}");
            folder.remove(name).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
        folder.create("name").unwrap();
        assert_eq!(data.path().join("logs/name").metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(data.path().join("logs").metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(folder.names().unwrap(), ["name"]);
    }
}
