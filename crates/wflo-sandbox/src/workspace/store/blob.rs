//! File contents, each stored once and never written again.
//!
//! A blob's name holds its hash, mode and modification time, because the trees hold it as a hard
//! link and a link shares those; and the digest of its extended attributes, where it has some. Modification times
//! are kept: without them every compiled Python file beside a sealed source would look out of date.
//!
//! **Architecture Invariant:** a content gets that name only once it is flushed. Whoever finds the name
//! takes what it says for true and reads nothing; after a loss of power a file that was never flushed may
//! hold anything.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps};
use rustix::io::Errno;
use tempfile::TempPath;

use super::super::attributes::{self, Attributes};
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::Digest;
use super::{PROBE, Store, children};

/// The buffer for copying and hashing, in bytes.
const CHUNK: usize = 128 * 1024;

/// A content that was added.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) hash: Digest,
    pub(crate) size: u64,
    pub(crate) content: Content,
    /// Whether the attributes that it was to have were refused: it has none.
    pub(crate) refused: bool,
}

/// Where a content is, for the tree that will hold it.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Under its name, or in another stored tree.
    Stored(PathBuf),
    /// Written and not flushed. It gets its name with the first tree that holds it, and is gone if none
    /// does.
    Fresh { file: Arc<TempPath>, name: PathBuf },
}

impl Content {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Content::Stored(path) => path,
            Content::Fresh { file, .. } => file,
        }
    }

    /// Gives a content its name, now that `flushed` is the same and durable.
    pub(super) fn settle(&self, flushed: &Path) -> io::Result<()> {
        let Content::Fresh { name, .. } = self else { return Ok(()) };
        let mut named = fs::hard_link(flushed, name);
        if named.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            fs::create_dir_all(name.parent().unwrap_or(name))?;
            named = fs::hard_link(flushed, name);
        }
        match named {
            // Somebody else stored the same at the same moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // No room for another link: the next one is stored anew.
            Err(error) if error.raw_os_error() == Some(Errno::MLINK.raw_os_error()) => Ok(()),
            other => other,
        }
    }
}

/// Modification time, nanoseconds since the epoch. Fits until the year 2262.
pub(crate) type Nanos = i64;

pub(crate) fn nanos(seconds: i64, nanoseconds: i64) -> Nanos {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

impl Store {
    /// Where a content with this mode, time and attributes is kept.
    pub(crate) fn blob_path(&self, hash: &Digest, mode: u32, mtime: Nanos, has: &Attributes) -> PathBuf {
        let hex = hash.to_string();
        let shard = hex.get(..2).unwrap_or("00").to_owned();
        let mut name = format!("{hex}-{:o}-{mtime:x}", stored_mode(mode));
        if !has.is_empty() {
            // Whole: a program chooses them, and could choose two sets that begin alike.
            name.push_str(&format!("-{}", has.digest()));
        }
        self.folder("blobs").join(shard).join(name)
    }

    /// Adds the content of `source` from its start: a reflink where the file system can, else a
    /// copy that keeps holes. The hash is of what was stored, whatever happens to `source`.
    ///
    /// # Errors
    /// An error of the kind `FileTooLarge` when there are more than `limit` bytes.
    pub(crate) fn add_file(
        &self,
        source: &File,
        mode: u32,
        mtime: Nanos,
        has: &Attributes,
        limit: u64,
    ) -> io::Result<Blob> {
        let mut temporary = tempfile::NamedTempFile::new_in(self.folder("tmp"))?;
        let copy = temporary.as_file_mut();
        let (hash, size) = copy_into(source, copy, limit)?;
        self.keep(temporary, (hash, size), mode, mtime, has)
    }

    /// Whether a file or folder of the store can have these. Some file systems have little room for them.
    pub(crate) fn takes(&self, wanted: &Attributes) -> io::Result<bool> {
        if wanted.is_empty() {
            return Ok(true);
        }
        // With the mark that an overlay's folder may have beside them.
        let probe = tempfile::Builder::new().prefix(PROBE).tempdir_in(self.folder("tmp"))?;
        super::tree::mark_opaque(probe.path(), self.marks())?;
        attributes::give(File::open(probe.path())?, wanted)
    }

    /// Adds a content that is in memory.
    pub(crate) fn add_bytes(&self, content: &[u8], mode: u32, mtime: Nanos) -> io::Result<Blob> {
        let mut temporary = tempfile::NamedTempFile::new_in(self.folder("tmp"))?;
        temporary.write_all(content)?;
        let what = (Digest::of(content), content.len() as u64);
        self.keep(temporary, what, mode, mtime, &Attributes::default())
    }

    fn keep(
        &self,
        temporary: tempfile::NamedTempFile,
        (hash, size): (Digest, u64),
        mode: u32,
        mtime: Nanos,
        has: &Attributes,
    ) -> io::Result<Blob> {
        let mut name = self.blob_path(&hash, mode, mtime, has);
        let mut refused = false;
        // Before its mode: who may not write a file may not give it attributes.
        if !name.exists() && !attributes::give(temporary.as_file(), has)? {
            refused = true;
            name = self.blob_path(&hash, mode, mtime, &Attributes::default());
        }
        if name.exists() {
            return Ok(Blob { hash, size, content: Content::Stored(name), refused });
        }
        rustix::fs::fchmod(temporary.as_file(), Mode::from_raw_mode(stored_mode(mode)))?;
        set_mtime(temporary.as_file(), mtime)?;
        let file = Arc::new(temporary.into_temp_path());
        Ok(Blob { hash, size, content: Content::Fresh { file, name }, refused })
    }
}

/// The mode on disk. An ordinary user must be able to read what wflo stored as that user; root can
/// anyway, and so a step sees exactly the modes that it left.
pub(crate) fn stored_mode(mode: u32) -> u32 {
    (mode & 0o777) | if rustix::process::geteuid().is_root() { 0 } else { 0o400 }
}

/// The same for a folder, which must also be entered and filled.
pub(crate) fn stored_folder_mode(mode: u32) -> u32 {
    (mode & 0o777) | if rustix::process::geteuid().is_root() { 0 } else { 0o700 }
}

pub(crate) fn set_mtime(file: impl AsFd, mtime: Nanos) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &modified(mtime))?)
}

/// The same for what stands at a path that the caller trusts.
pub(crate) fn set_mtime_at(path: &Path, mtime: Nanos) -> io::Result<()> {
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &modified(mtime), AtFlags::empty())?)
}

fn modified(mtime: Nanos) -> Timestamps {
    let time = Timespec { tv_sec: mtime.div_euclid(1_000_000_000), tv_nsec: mtime.rem_euclid(1_000_000_000) };
    let accessed = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    Timestamps { last_access: accessed, last_modification: time }
}

/// The hash and size of a file from its start.
pub(crate) fn hash_file(file: &File, limit: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0u64;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok((hasher.finalize().into(), at));
        };
        hasher.update(chunk);
        at += read as u64;
        if at > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Writes the content of `source` to `copy`, which is empty: a reflink where the file system can, else
/// a copy that keeps holes. The hash and size are of what was written.
///
/// # Errors
/// An error of the kind `FileTooLarge` when there are more than `limit` bytes.
pub(crate) fn copy_into(source: &File, copy: &mut File, limit: u64) -> io::Result<(Digest, u64)> {
    match rustix::fs::ioctl_ficlone(&*copy, source) {
        Ok(()) => hash_file(copy, limit),
        Err(_) => copy_and_hash(source, copy, limit),
    }
}

/// Copies data extents, leaves holes as holes, and hashes both.
fn copy_and_hash(source: &File, copy: &mut File, limit: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let (size, blocks) = source.metadata().map(|meta| (meta.len(), meta.blocks()))?;
    if size > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if blocks.saturating_mul(512) >= size {
        return copy_dense(source, copy, limit);
    }
    let zeros = vec![0; CHUNK];
    let mut at = 0u64;
    while at < size {
        let data = next(source, rustix::fs::SeekFrom::Data(at), size)?.max(at);
        hash_zeros(&mut hasher, &zeros, data - at);
        let hole = next(source, rustix::fs::SeekFrom::Hole(data), size)?;
        at = data;
        copy.seek(SeekFrom::Start(at))?;
        while at < hole {
            let want = usize::try_from(hole - at).unwrap_or(CHUNK).min(CHUNK);
            let read = source.read_at(buffer.get_mut(..want).unwrap_or(&mut []), at)?;
            let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
            hasher.update(chunk);
            copy.write_all(chunk)?;
            at += read as u64;
        }
        if at < hole {
            // Truncated meanwhile: what is stored ends here.
            break;
        }
    }
    copy.set_len(at)?;
    Ok((hasher.finalize().into(), at))
}

fn copy_dense(source: &File, copy: &mut File, limit: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0u64;
    loop {
        let read = source.read_at(&mut buffer, at)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok((hasher.finalize().into(), at));
        };
        hasher.update(chunk);
        copy.write_all(chunk)?;
        at += read as u64;
        if at > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

fn next(file: &File, from: rustix::fs::SeekFrom, size: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, from) {
        Ok(at) => Ok(at.min(size)),
        // No data after this point: a hole up to the end.
        Err(Errno::NXIO) => Ok(size),
        Err(error) => Err(error.into()),
    }
}

fn hash_zeros(hasher: &mut blake3::Hasher, zeros: &[u8], mut count: u64) {
    while count > 0 {
        let step = usize::try_from(count).unwrap_or(usize::MAX).min(zeros.len());
        hasher.update(zeros.get(..step).unwrap_or(zeros));
        count -= step as u64;
    }
}

/// Reads at most `limit` bytes of a file.
pub(crate) fn read_up_to(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut reader = file;
    reader.seek(SeekFrom::Start(0))?;
    reader.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Removes every blob that no tree links to; gives the bytes freed.
pub(super) fn sweep(blobs: &Path) -> Result<u64, WorkspaceError> {
    let mut freed = 0;
    for shard in children(blobs)? {
        let shard = blobs.join(shard);
        for name in children(&shard)? {
            let path = shard.join(name);
            let meta = fs::symlink_metadata(&path).at("read", &path)?;
            if meta.nlink() == 1 {
                fs::remove_file(&path).at("remove", &path)?;
                freed += meta.blocks() * 512;
            }
        }
    }
    Ok(freed)
}
