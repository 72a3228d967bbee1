//! The file of the audit log: lines are added to it, and it does not grow without end.
//!
//! **Architecture Invariant:** the folder may have been brought by a project. No link of it is followed, and
//! nothing is written to what is no plain file: what stands there is beneath the folder that was opened.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde_json::json;

/// How long the file becomes, in bytes; then it is put aside, and another begun.
const FULL: u64 = 64 << 20;
/// How many files that were put aside are kept. The oldest makes room for the next.
const KEPT: u32 = 4;
/// The file that is written to.
pub(super) const NAME: &str = "audit.jsonl";

/// The file that is written to, and the folder that it is in.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    folder: OwnedFd,
    full: u64,
}

impl Log {
    /// Opens or makes it in a folder that is there.
    ///
    /// # Errors
    /// When it cannot be written; when it or the folder is a link, or the folder somebody else's.
    pub(super) fn open(folder: &Path) -> io::Result<Log> {
        let folder = own_folder(folder)?;
        Ok(Log { file: opened(&folder)?, folder, full: FULL })
    }

    /// Adds a line, with its end, at a time.
    ///
    /// # Errors
    /// When it, or what a full file needs, cannot be written.
    pub(super) fn add(&mut self, time: &str, line: &str) -> io::Result<()> {
        // What cannot be put aside goes on.
        let turned = self.turn(time);
        self.file.write_all(line.as_bytes()).and(turned)
    }

    /// Puts the file aside where it is full, and begins another that says so.
    fn turn(&mut self, time: &str) -> io::Result<()> {
        let own = self.file.metadata()?;
        if own.len() < self.full {
            return Ok(());
        }
        // Another server of the same folder may have done it.
        let there = rustix::fs::statat(&self.folder, NAME, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| there.st_ino == own.ino()) {
            for age in (1..KEPT).rev() {
                let _ = rustix::fs::renameat(&self.folder, aside(age), &self.folder, aside(age + 1));
            }
            rustix::fs::renameat(&self.folder, NAME, &self.folder, aside(1))?;
        }
        self.file = opened(&self.folder)?;
        tracing::warn!(kept = KEPT, "the audit log was full: another is begun");
        let line = json!({ "time": time, "event": "log.turned", "sandbox": null, "kept": KEPT });
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// A file that was put aside; the newest has age 1.
fn aside(age: u32) -> String {
    format!("audit.{age}.jsonl")
}

/// The folder itself, which is no link, and in which nobody else decides what stands.
fn own_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    let (owner, user) = (rustix::fs::fstat(&folder)?.st_uid, rustix::process::geteuid());
    if owner != user.as_raw() && !user.is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("its folder belongs to user {owner}"),
        ));
    }
    Ok(folder)
}

fn opened(folder: &OwnedFd) -> io::Result<File> {
    // Nobody waits for the other end of a pipe in its place.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, NAME, flags, Mode::RUSR | Mode::WUSR)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_was_brought_along_is_not_followed() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = elsewhere.path().join("profile");
        std::fs::write(&victim, "of the user").unwrap();
        let folder = place.path().join("serve");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&victim, folder.join(NAME)).unwrap();
        assert!(Log::open(&folder).is_err(), "a link to a file");
        std::fs::remove_file(folder.join(NAME)).unwrap();
        // A link that comes while it is open, as a pull brings one.
        let mut log = Log { full: 1, ..Log::open(&folder).unwrap() };
        log.add("now", "line\n").unwrap();
        std::fs::remove_file(folder.join(NAME)).unwrap();
        std::os::unix::fs::symlink(&victim, folder.join(NAME)).unwrap();
        assert!(log.add("now", "line\n").is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "of the user");
        let link = place.path().join("link");
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        assert!(Log::open(&link).is_err(), "a link to a folder");
        assert!(!elsewhere.path().join(NAME).exists());
        // What is no file at all.
        std::fs::remove_file(folder.join(NAME)).unwrap();
        let _pipe = std::process::Command::new("mkfifo").arg(folder.join(NAME)).status().unwrap();
        assert!(Log::open(&folder).is_err(), "a pipe");
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log { full: 4_096, ..Log::open(folder.path()).unwrap() };
        for number in 0..2_000 {
            log.add("now", &format!("{{\"number\":{number}}}\n")).unwrap();
        }
        let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert_eq!(files.len(), KEPT as usize + 1, "{files:?}");
        // The oldest has the highest number, and the one that is written to has none.
        files[..KEPT as usize].reverse();
        let mut numbers = Vec::new();
        for path in &files {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(
                text.len() < 4_200 && text.lines().next().is_some_and(|line| line.contains("log.turned")),
                "{text}"
            );
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            numbers.extend(lines.filter_map(|line| line["number"].as_u64()));
        }
        let first = 2_000 - numbers.len() as u64;
        assert_eq!(numbers, (first..2_000).collect::<Vec<_>>(), "the newest, each once and in their order");
        assert!(numbers.len() > 500);
    }
}
