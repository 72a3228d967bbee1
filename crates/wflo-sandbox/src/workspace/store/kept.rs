//! What the store keeps of earlier looks at files that have not changed. Losing it costs time and nothing else.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::Digest;
use super::blob::{Nanos, nanos};
use super::{Store, children};

/// What was changed later than so long before a look may change again without another time: longer than a tick of any
/// clock for files. An ext4 with small inodes counts in seconds.
pub(crate) const SETTLED: Nanos = 2_100_000_000;
/// What was not written for so long is forgotten.
const OLD: Duration = Duration::from_secs(30 * 86_400);

/// The time by the clock that files are given theirs by.
pub(crate) fn clock(store: &Store) -> Result<Nanos, WorkspaceError> {
    let tmp = store.folder("tmp");
    let file = tempfile::tempfile_in(&tmp).at("create a file in", &tmp)?;
    let stat = rustix::fs::fstat(&file).at("read", &tmp)?;
    Ok(nanos(stat.st_mtime, stat.st_mtime_nsec.cast_signed()))
}

/// What was written to `path`; `None` where nothing was, or not all of it.
pub(crate) fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    let (length, is_whole) = (body.len(), Digest::of(body) == Digest::from(*sum));
    bytes.truncate(length);
    is_whole.then_some(bytes)
}

/// Replaces the file, whole or not at all, but without waiting for the disk: the sum at its end tells.
pub(crate) fn write(path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    file.write_all(&bytes)?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

impl Store {
    /// Removes what has not been of use for long, as of folders that are gone.
    pub(super) fn forget_old(&self) -> Result<(), WorkspaceError> {
        let cache = self.folder("cache");
        for path in children(&cache)?.into_iter().map(|name| cache.join(name)) {
            let written = path.symlink_metadata().and_then(|meta| meta.modified());
            if written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD)) {
                // Another pass may have done it.
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_was_cut_off_or_changed_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept");
        assert_eq!(read(&file), None);
        write(&file, b"what was seen".to_vec()).unwrap();
        assert_eq!(read(&file).unwrap(), b"what was seen");
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(read(&file), None, "{length}");
            let mut changed = whole.clone();
            changed[length] ^= 1;
            fs::write(&file, changed).unwrap();
            assert_eq!(read(&file), None, "{length}");
        }
    }

    #[test]
    fn what_was_not_written_for_long_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let [old, new] = ["old", "new"].map(|name| store.folder("cache").join(name));
        write(&old, Vec::new()).unwrap();
        write(&new, Vec::new()).unwrap();
        fs::File::open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        store.collect::<WorkspaceError>(Duration::from_secs(60), || Ok(Vec::new())).unwrap();
        assert!(!old.exists() && new.exists());
    }
}
