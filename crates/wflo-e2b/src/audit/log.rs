//! The file of the audit log: lines are added to it, and it does not grow without end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

/// How long the file becomes, in bytes; then it is put aside, and another begun.
const FULL: u64 = 64 << 20;
/// How many files that were put aside are kept. The oldest makes room for the next.
const KEPT: u32 = 4;

/// The file that is written to.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    full: u64,
}

impl Log {
    /// Opens or makes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: &Path) -> io::Result<Log> {
        Ok(Log { file: opened(path)?, path: path.to_owned(), full: FULL })
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
        if std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == own.ino()) {
            for age in (1..KEPT).rev() {
                let _ = std::fs::rename(self.aside(age), self.aside(age + 1));
            }
            std::fs::rename(&self.path, self.aside(1))?;
        }
        self.file = opened(&self.path)?;
        tracing::warn!(path = %self.path.display(), kept = KEPT, "the audit log was full: another is begun");
        let line = json!({ "time": time, "event": "log.turned", "sandbox": null, "kept": KEPT });
        self.file.write_all(format!("{line}\n").as_bytes())
    }

    /// A file that was put aside; the newest has age 1.
    fn aside(&self, age: u32) -> PathBuf {
        self.path.with_file_name(format!("audit.{age}.jsonl"))
    }
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log { full: 4_096, ..Log::open(&folder.path().join("audit.jsonl")).unwrap() };
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
