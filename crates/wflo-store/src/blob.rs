//! Content-addressed blobs: large values as files named by their BLAKE3.
//!
//! Owns `<data>/blobs/ab/cdef…`. A blob is whole or absent: it is written beside under another name,
//! flushed, renamed, and the folder flushed, before anything refers to it. The same content exists
//! once.
//!
//! A blob is written before the commit that refers to it, so who writes one holds `blobs/lock` shared
//! until that commit has returned ([`Adding`]), and who removes unreferenced ones holds it alone
//! ([`BlobStore::alone`]). The lock ends with its process and lasts while that is stopped.
//!
//! **Architecture Invariant:** [`BlobStore::get`] gives the bytes whose digest was asked for, or an error.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use wflo_core::canonical::Digest;
use wflo_core::ports::store::StoreError;

use crate::folder::Folder;

/// The folder in the data directory.
const NAME: &str = "blobs";

/// Numbers the temporary files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The blobs of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct BlobStore {
    data_dir: PathBuf,
    /// For people.
    root: PathBuf,
    /// Whether this process has flushed the name of `root` itself.
    rooted: Arc<AtomicBool>,
}

/// Keeps blobs from being removed that no commit refers to yet.
#[derive(Debug)]
pub(crate) struct Adding {
    _lock: File,
}

/// Keeps everybody out who would add a blob.
#[derive(Debug)]
pub(crate) struct Alone {
    _lock: File,
}

impl BlobStore {
    /// The blobs below `data_dir`. Their folder is made with the first of them.
    pub(crate) fn new(data_dir: &Path) -> Self {
        BlobStore { data_dir: data_dir.to_owned(), root: data_dir.join(NAME), rooted: Arc::default() }
    }

    /// Begins to add blobs; held until the commit that refers to them has returned. Waits while
    /// unreferenced ones are removed.
    ///
    /// # Errors
    /// As [`BlobStore::put`].
    pub(crate) fn adding(&self) -> Result<Adding, StoreError> {
        let locked = self.lock_file().and_then(|file| {
            loop {
                match flock(&file, FlockOperation::LockShared) {
                    Err(rustix::io::Errno::INTR) => {}
                    other => break other.map(|()| Adding { _lock: file }).map_err(io::Error::from),
                }
            }
        });
        locked.map_err(|error| self.unlockable(&error))
    }

    /// Keeps everybody out who would add a blob, unless somebody is adding one.
    ///
    /// # Errors
    /// As [`BlobStore::put`].
    pub(crate) fn alone(&self) -> Result<Option<Alone>, StoreError> {
        let file = self.lock_file().map_err(|error| self.unlockable(&error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Alone { _lock: file })),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(self.unlockable(&error.into())),
        }
    }

    /// Removes every blob whose digest is not in `referred`; how many, and their bytes.
    ///
    /// # Errors
    /// [`StoreError::Failed`]; what was removed until then stays removed.
    pub(crate) fn remove_all_but(
        &self,
        _alone: &Alone,
        referred: &BTreeSet<String>,
    ) -> Result<(u64, u64), StoreError> {
        let failed = |error: io::Error| self.unlockable(&error);
        let (mut count, mut bytes) = (0, 0);
        let root = Folder::of(&self.data_dir, NAME).map_err(failed)?;
        for shard in root.names().map_err(failed)? {
            let Some(start) = shard.to_str().filter(|name| name.len() == 2) else { continue };
            let folder = root.below(&shard).map_err(failed)?;
            for name in folder.names().map_err(failed)? {
                if name.to_str().is_some_and(|name| referred.contains(&format!("{start}{name}"))) {
                    continue;
                }
                bytes += folder.remove(&name).map_err(failed)?;
                count += 1;
            }
        }
        Ok((count, bytes))
    }

    fn lock_file(&self) -> io::Result<File> {
        Folder::made_in(&self.data_dir, NAME)?.lock_file("lock")
    }

    fn unlockable(&self, error: &io::Error) -> StoreError {
        let path = self.root.display().to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
            _ => StoreError::Failed(format!("{path}: {error}")),
        }
    }

    /// Keeps some bytes durably.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], or [`StoreError::Failed`] for any other I/O error.
    pub(crate) fn put(&self, _adding: &Adding, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_file(digest, bytes).map_err(|error| self.translate(digest, &error))
    }

    /// Reads a blob back and proves it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is absent or is not what its name says.
    pub(crate) fn get(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let (shard, name) = self.place(digest)?;
        let path = self.root.join(shard).join(name).display().to_string();
        let corrupt = |detail: String| StoreError::Corrupt { path: path.clone(), detail };
        let folder = Folder::of(&self.data_dir, NAME).and_then(|root| root.below(shard));
        let bytes = folder.and_then(|folder| folder.read(name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => corrupt("the blob is missing".to_owned()),
            _ => self.translate(digest, &error),
        })?;
        if Digest::of_bytes(&bytes) != *digest {
            return Err(corrupt("the blob's content does not match its name".to_owned()));
        }
        Ok(bytes)
    }

    /// Removes what processes left behind that died while writing a blob.
    pub(crate) fn sweep(&self) {
        let staged = Folder::of(&self.data_dir, NAME).and_then(|root| root.below("tmp"));
        let Ok((staged, names)) = staged.and_then(|staged| staged.names().map(|names| (staged, names)))
        else {
            return;
        };
        for name in names {
            let pid = name.to_str().and_then(|name| name.split('-').next()).and_then(|pid| pid.parse().ok());
            let alive = pid
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
            if !alive {
                // A name taken by a process of another pid namespace is written again by its owner.
                let _ = staged.remove(&name);
            }
        }
    }

    /// A blob's folder, and its name there.
    fn place<'a>(&self, digest: &'a Digest) -> Result<(&'a str, &'a str), StoreError> {
        let hex = digest.as_str();
        let is_digest =
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.split_at_checked(2).filter(|_| is_digest).ok_or_else(|| StoreError::Corrupt {
            path: self.root.display().to_string(),
            detail: format!("`{hex}` is not the name of a blob"),
        })
    }

    fn put_file(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let (shard, name) = self.place(digest).map_err(io::Error::other)?;
        let root = Folder::made_in(&self.data_dir, NAME)?;
        let folder = root.made(shard)?;
        // Compared, not trusted: a damaged blob is healed by whoever keeps the same content again.
        if folder.read(name).is_ok_and(|found| found == bytes) {
            // Whoever wrote it may have died before it flushed the names.
            return self.sync_names(&folder, &root);
        }
        let staged = root.made("tmp")?;
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{}-{unique}-{}", std::process::id(), digest.short());
        let mut tries = 0;
        loop {
            tries += 1;
            let written = write_new(&staged, &temporary, bytes);
            match written.and_then(|()| staged.rename(&temporary, &folder, name)) {
                Ok(()) => break,
                // A sweeper that cannot see this process (another pid namespace) took the file.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 3 => {}
                Err(error) => {
                    let _ = staged.remove(&temporary);
                    return Err(error);
                }
            }
        }
        self.sync_names(&folder, &root)
    }

    /// Makes the way to a blob durable: its name, its folder's, and once a process that of `blobs`.
    fn sync_names(&self, folder: &Folder, root: &Folder) -> io::Result<()> {
        folder.sync()?;
        root.sync()?;
        if !self.rooted.load(Ordering::Acquire) {
            sync_dir(&self.data_dir)?;
            self.rooted.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn translate(&self, digest: &Digest, error: &io::Error) -> StoreError {
        let path = self.root.display().to_string();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
            _ => StoreError::Failed(format!("blob {} in {path}: {error}", digest.short())),
        }
    }
}

fn write_new(folder: &Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    // What a process of the same number has left.
    let _ = folder.remove(name);
    let mut file = folder.create(name)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    impl BlobStore {
        fn path(&self, digest: &Digest) -> PathBuf {
            let (shard, name) = self.place(digest).unwrap();
            self.root.join(shard).join(name)
        }
    }

    #[test]
    fn a_blob_is_read_back_and_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let digest = Digest::of_bytes(b"content");
        blobs.put(&blobs.adding().unwrap(), &digest, b"content").unwrap();
        blobs.put(&blobs.adding().unwrap(), &digest, b"content").unwrap();
        assert_eq!(blobs.get(&digest).unwrap(), b"content");
        let folder = dir.path().join("blobs").join(&digest.as_str()[..2]);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        assert_eq!(fs::read_dir(dir.path().join("blobs/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_blob_is_refused_and_then_healed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let digest = Digest::of_bytes(b"content");
        blobs.put(&blobs.adding().unwrap(), &digest, b"content").unwrap();
        fs::write(blobs.path(&digest), b"contend").unwrap();
        assert!(matches!(blobs.get(&digest), Err(StoreError::Corrupt { .. })));
        blobs.put(&blobs.adding().unwrap(), &digest, b"content").unwrap();
        assert_eq!(blobs.get(&digest).unwrap(), b"content");
        fs::remove_file(blobs.path(&digest)).unwrap();
        assert!(matches!(blobs.get(&digest), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_name_that_is_no_digest_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        assert!(matches!(blobs.get(&Digest::from_hex("../../etc/passwd")), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn only_the_leftovers_of_the_dead_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let staged = dir.path().join("blobs/tmp");
        fs::create_dir_all(&staged).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (dead, alive) =
            (staged.join(format!("{}-0-x", child.id())), staged.join(format!("{}-0-x", std::process::id())));
        fs::write(&dead, b"").unwrap();
        fs::write(&alive, b"").unwrap();
        blobs.sweep();
        assert!(!dead.exists() && alive.exists());
    }

    #[test]
    fn links_that_were_brought_lead_nowhere() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = elsewhere.path().join("theirs");
        fs::write(&theirs, b"theirs").unwrap();
        let blobs = BlobStore::new(dir.path());
        let digest = Digest::of_bytes(b"content");
        let root = dir.path().join("blobs");
        fs::create_dir(&root).unwrap();
        symlink(elsewhere.path(), root.join("tmp")).unwrap();
        blobs.sweep();
        assert!(theirs.exists(), "what lies elsewhere is nobody's leftover");
        assert!(blobs.put(&blobs.adding().unwrap(), &digest, b"content").is_err());
        fs::remove_file(root.join("tmp")).unwrap();
        symlink(elsewhere.path(), root.join("ff")).unwrap();
        assert!(blobs.remove_all_but(&blobs.alone().unwrap().unwrap(), &BTreeSet::new()).is_err());
        fs::remove_file(root.join("ff")).unwrap();
        fs::remove_file(root.join("lock")).unwrap();
        symlink(elsewhere.path().join("lock"), root.join("lock")).unwrap();
        assert!(blobs.adding().is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
        fs::remove_dir_all(&root).unwrap();
        symlink(elsewhere.path(), &root).unwrap();
        fs::create_dir(elsewhere.path().join("tmp")).unwrap();
        fs::write(elsewhere.path().join("tmp/theirs"), b"theirs").unwrap();
        blobs.sweep();
        assert!(elsewhere.path().join("tmp/theirs").exists());
    }
}
