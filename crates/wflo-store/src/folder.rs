//! Folders of the data directory, which a project may have brought along with links in them.
//!
//! A name is opened below its folder's descriptor, so that nothing is written, read or removed elsewhere, whoever puts
//! a link into its place and when.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that no link has led to.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Folder {
    /// The folder `name` of a data directory, made for this user alone where it is missing. Where the directory itself
    /// is, is the caller's word, links on the way included.
    ///
    /// # Errors
    /// `NotADirectory` for a link or a file of that name; any error of the file system.
    pub fn made_in(data_dir: &Path, name: &str) -> io::Result<Folder> {
        let above = rustix::fs::open(data_dir, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?;
        Folder(above).made(name)
    }

    /// The same where it is there.
    ///
    /// # Errors
    /// As [`Folder::made_in`], and `NotFound`.
    pub(crate) fn of(data_dir: &Path, name: &str) -> io::Result<Folder> {
        let above = rustix::fs::open(data_dir, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?;
        Folder(above).below(name)
    }

    /// A folder of this one, which is there.
    pub(crate) fn below(&self, name: impl AsRef<OsStr>) -> io::Result<Folder> {
        Ok(Folder(rustix::fs::openat(&self.0, name.as_ref(), FOLDER, Mode::empty())?))
    }

    /// A folder of this one, made for this user alone where it is missing.
    pub(crate) fn made(&self, name: &str) -> io::Result<Folder> {
        match rustix::fs::mkdirat(&self.0, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => self.below(name),
            Err(error) => Err(error.into()),
        }
    }

    /// A new file of this user alone, to append to.
    ///
    /// # Errors
    /// `AlreadyExists` for whatever has that name; any error of the file system.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.open(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL)
    }

    /// A file to be locked, made where it is missing.
    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        self.open(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// What a plain file holds.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = self.open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Removes a file, or a link and not what it leads to. Its bytes.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<u64> {
        let about = rustix::fs::statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::unlinkat(&self.0, name.as_ref(), AtFlags::empty())?;
        Ok(u64::try_from(about.st_size).unwrap_or(0))
    }

    /// Moves a file into another folder, into the place of what has that name there.
    pub(crate) fn rename(&self, name: &str, folder: &Folder, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &folder.0, new)?)
    }

    /// The names in it.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let entries = Dir::read_from(&self.0)?.map(|entry| {
            let entry = entry?;
            Ok(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
        });
        let names = entries.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == ".."));
        names.collect()
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
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
