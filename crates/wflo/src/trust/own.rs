//! Files of the user's own, in their state folder: one for each project, of what was said there.
//!
//! One counts only when it is this user's own file, in this user's own folder: nobody else, and no project, can write
//! one. Who changes one is alone with it.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use wflo_core::error::{Code, Coded};
use wflo_sandbox::workspace::state_root;

/// The most that a record holds, in bytes.
const LIMIT: u64 = 1 << 20;

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

/// A record that is there does not count: somebody else could have written it, or it is damaged.
#[derive(Debug, thiserror::Error)]
#[error("what is kept in {} does not count: {why}", path.display())]
pub(super) struct Uncounted {
    path: PathBuf,
    why: String,
}

impl Coded for Uncounted {
    fn code(&self) -> Code {
        Code(8017)
    }

    fn hint(&self) -> Option<String> {
        let path = self.path.display();
        Some(format!(
            "look at it first: `chmod go-w` its folder and itself if its text is yours; else `rm {path}` and \
             answer anew"
        ))
    }
}

/// The file of the project at `root` in one of the user's own folders.
pub(super) fn beside(root: &Path, folder: &str) -> PathBuf {
    // A data directory in the project asks for a folder outside of it.
    let own = state_root(root, &root.join(".wflo"));
    let mut name = own.file_name().unwrap_or_default().to_owned();
    name.push(".json");
    own.with_file_name(folder).join(name)
}

/// What a file of the user's own holds, which nobody else can have written; `None` where there is none.
///
/// # Errors
/// When what is there does not count.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Uncounted> {
    let uncounted = |why: String| Uncounted { path: path.to_owned(), why };
    let unreadable = |error: io::Error| uncounted(error.to_string());
    let me = rustix::process::geteuid().as_raw();
    let own = |about: &std::fs::Metadata| about.uid() == me && about.mode() & 0o022 == 0;
    let folder = path.parent().unwrap_or(path);
    let about = match folder.symlink_metadata() {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(unreadable(error.into())),
    };
    if !about.is_dir() || !own(&about) {
        return Err(uncounted(format!("others can write in {}", folder.display())));
    }
    if !file.metadata().is_ok_and(|about| about.is_file() && own(&about)) {
        return Err(uncounted("others can write it".to_owned()));
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(unreadable)?;
    serde_json::from_str(&text).map(Some).map_err(|error| uncounted(error.to_string()))
}

/// Keeps others from changing the record at `path` for as long as the file lives.
///
/// # Errors
/// When its folder or the lock beside it cannot be made.
pub(super) fn alone(path: &Path) -> io::Result<std::fs::File> {
    folder_of(path)?;
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(&lock, flags, Mode::from_raw_mode(0o600))?);
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Makes the folder of the record at `path`, durably: others keep what must not be lost below the folders that are made
/// on the way to it, and make sure of none that is there.
///
/// # Errors
/// When it cannot be made.
fn folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let missing: Vec<&Path> = folder.ancestors().take_while(|each| !each.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(|above| std::fs::File::open(above)?.sync_all())
}

/// Writes the file anew, whole or not at all.
///
/// # Errors
/// When it cannot be written, or would be larger than what is read.
pub(super) fn write(path: &Path, record: &impl Serialize) -> io::Result<()> {
    folder_of(path)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let text = serde_json::to_vec_pretty(record)?;
    if text.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it would be larger than {LIMIT} bytes")));
    }
    let write = || {
        let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        options.open(&unfinished)?.write_all(&text)?;
        std::fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_that_could_not_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trust/x.json");
        let most = "x".repeat(usize::try_from(LIMIT).unwrap() - 2);
        write(&path, &most).unwrap();
        assert_eq!(read::<String>(&path).unwrap().as_ref(), Some(&most));
        assert!(write(&path, &format!("{most}x")).is_err());
        assert_eq!(read::<String>(&path).unwrap(), Some(most), "it is as it was");
    }
}
