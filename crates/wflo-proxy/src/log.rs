//! The log of one process: what it may have sent and what came of it, appended before anything follows.
//!
//! Owns the files `<data>/gateway/<process>.<n>.log`. Nothing in them is synced: what was written
//! survives the end of its process, however it comes, and not the loss of power. A file that has grown
//! large is followed by another, which begins with the intents that are still open; it goes once
//! everything in it is in the store.

mod record;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use wflo_core::id::EngineId;

use self::record::Tail;
pub(crate) use self::record::{Encoder, End, Intent, Record};

/// What every file begins with, so that one that was emptied is told from one with no records.
const MAGIC: &[u8] = b"wflo slices 2\n";

/// A file of this many bytes is followed by another.
const LARGE: u64 = 8 << 20;

/// A log that is being written.
pub(crate) struct Log {
    dir: PathBuf,
    spender: EngineId,
    file: File,
    /// The current file's number and length.
    number: u32,
    length: u64,
    /// Earlier files, each with the last record's number at its end.
    earlier: Vec<(u32, u64)>,
    /// What could not be taken back after a failed write; the next file does not have it.
    spoilt: bool,
    /// The last number that was given.
    last: u64,
    encoder: Encoder,
}

impl Log {
    /// Begins the log of a process.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(crate) fn create(data_dir: &Path, spender: EngineId) -> io::Result<Log> {
        let dir = folder(data_dir);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let file = new_file(&path(&dir, spender, 0))?;
        (&file).write_all(MAGIC)?;
        Ok(Log {
            dir,
            spender,
            file,
            number: 0,
            length: MAGIC.len() as u64,
            earlier: Vec::new(),
            spoilt: false,
            last: 0,
            encoder: Encoder::default(),
        })
    }

    /// The last record's number.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Appends an intent under the next number, which it is given.
    ///
    /// # Errors
    /// Any error of the file system; the intent is then not in the log.
    pub(crate) fn intent(&mut self, intent: &mut Intent) -> io::Result<()> {
        intent.seq = self.last + 1;
        self.encoder.clear();
        self.encoder.intent(intent);
        self.append()
    }

    /// Appends a settlement under the next number.
    ///
    /// # Errors
    /// Any error of the file system; the settlement is then not in the log.
    pub(crate) fn settled(&mut self, seq: u64, end: &End) -> io::Result<()> {
        self.encoder.clear();
        self.encoder.settled(self.last + 1, seq, end);
        self.append()
    }

    /// Appends a release under the next number.
    ///
    /// # Errors
    /// Any error of the file system; the release is then not in the log.
    pub(crate) fn released(&mut self, seq: u64) -> io::Result<()> {
        self.encoder.clear();
        self.encoder.released(self.last + 1, seq);
        self.append()
    }

    fn append(&mut self) -> io::Result<()> {
        if self.spoilt {
            return Err(io::Error::other("the log has a torn record that could not be taken back"));
        }
        match self.file.write_all(self.encoder.bytes()) {
            Ok(()) => {
                self.length += self.encoder.bytes().len() as u64;
                self.last += 1;
                Ok(())
            }
            Err(error) => {
                // A part of it may be there, and what follows would stand behind it, unread.
                self.spoilt = self.file.set_len(self.length).is_err();
                Err(error)
            }
        }
    }

    /// Goes on in a new file if the current one is large or spoilt. `open` are the intents that have no end.
    ///
    /// # Errors
    /// Any error of the file system; the log then goes on where it was.
    pub(crate) fn turn<'a>(&mut self, open: impl Iterator<Item = &'a Intent>) -> io::Result<()> {
        if self.length < LARGE && !self.spoilt {
            return Ok(());
        }
        let number = self.number + 1;
        let file = new_file(&path(&self.dir, self.spender, number))?;
        self.encoder.clear();
        open.for_each(|intent| self.encoder.intent(intent));
        (&file).write_all(&[MAGIC, self.encoder.bytes()].concat())?;
        self.earlier.push((self.number, self.last));
        (self.file, self.number) = (file, number);
        (self.length, self.spoilt) = ((MAGIC.len() + self.encoder.bytes().len()) as u64, false);
        // The buffer of many intents is not kept.
        self.encoder = Encoder::default();
        Ok(())
    }

    /// Everything up to `position` is in the store: files with nothing behind it go.
    pub(crate) fn folded(&mut self, position: u64) {
        let (dir, spender) = (&self.dir, self.spender);
        self.earlier.retain(|(number, last)| {
            *last > position || fs::remove_file(path(dir, spender, *number)).is_err()
        });
    }

    /// What is written from now on fails as on a full disk, until the next file.
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self) {
        self.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    }

    /// The process has ended and everything is in the store.
    pub(crate) fn remove(&self) {
        remove_files(&self.dir, self.spender);
    }
}

/// What a log says.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Settlements, in order, each with its own number.
    pub(crate) settled: Vec<(Intent, u64, End)>,
    /// Intents without an end, oldest first.
    pub(crate) open: Vec<Intent>,
    /// The last number that is there.
    pub(crate) last: u64,
    /// Something is there that no end of a process leaves behind, or something is missing.
    pub(crate) damaged: bool,
}

/// Reads the log of a process that is dead; `None` when there is none. What stands up to `position` is in
/// the store; everything behind it has to be there.
///
/// A process that ends in the middle of a write leaves one record that is shorter than it says, at the end
/// of a file. Anything else is damage, and so is a file that cannot be read.
///
/// # Errors
/// Any error of the file system, when the folder is read.
pub(crate) fn read(data_dir: &Path, spender: EngineId, position: u64) -> io::Result<Option<Read>> {
    let dir = folder(data_dir);
    let mut numbers = files(&dir)?.into_iter().filter(|(id, _)| *id == spender).map(|(_, n)| n);
    let mut sorted: Vec<u32> = numbers.by_ref().collect();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return Ok(None);
    }
    let mut found = Read::default();
    let mut open: BTreeMap<u64, Intent> = BTreeMap::new();
    // A settlement may stand in an earlier file than the intent's copy, never before the intent itself.
    let mut ended: HashSet<u64> = HashSet::new();
    let mut behind: Vec<u64> = Vec::new();
    for (nth, number) in sorted.into_iter().enumerate() {
        let (records, whole) = content(&path(&dir, spender, number), nth > 0);
        found.damaged |= !whole;
        for record in records {
            behind.extend(Some(record.number()).filter(|number| *number > position));
            match record {
                Record::Intent(intent) => {
                    found.last = found.last.max(intent.seq);
                    if !ended.contains(&intent.seq) {
                        open.insert(intent.seq, intent);
                    }
                }
                Record::Settled { lsn, seq, end } => {
                    found.last = found.last.max(lsn);
                    ended.insert(seq);
                    if let Some(intent) = open.remove(&seq) {
                        found.settled.push((intent, lsn, end));
                    }
                }
                Record::Released { lsn, seq } => {
                    found.last = found.last.max(lsn);
                    ended.insert(seq);
                    open.remove(&seq);
                }
            }
        }
    }
    behind.sort_unstable();
    behind.dedup();
    found.damaged |= found.last < position || behind.len() as u64 != found.last.saturating_sub(position);
    found.open = open.into_values().collect();
    Ok(Some(found))
}

/// The records of a file, and whether it is as its process left it. A file that follows another may have
/// been begun and no more.
fn content(path: &Path, follows: bool) -> (Vec<Record>, bool) {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a log of calls cannot be read");
            return (Vec::new(), false);
        }
    };
    let Some(rest) = text.strip_prefix(MAGIC) else {
        return (Vec::new(), follows && MAGIC.starts_with(&text));
    };
    let (records, tail) = record::read(rest);
    (records, tail != Tail::Damaged)
}

/// The processes that have left files.
///
/// # Errors
/// Any error of the file system but a missing folder.
pub(crate) fn writers(data_dir: &Path) -> io::Result<Vec<EngineId>> {
    let mut ids: Vec<EngineId> = files(&folder(data_dir))?.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Removes the log of a process that is dead and whose end is in the store.
pub(crate) fn remove(data_dir: &Path, spender: EngineId) {
    remove_files(&folder(data_dir), spender);
}

fn remove_files(dir: &Path, spender: EngineId) {
    for (id, number) in files(dir).unwrap_or_default() {
        if id == spender {
            let _ = fs::remove_file(path(dir, id, number));
        }
    }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("gateway")
}

fn path(dir: &Path, spender: EngineId, number: u32) -> PathBuf {
    dir.join(format!("{spender}.{number}.log"))
}

fn files(dir: &Path) -> io::Result<Vec<(EngineId, u32)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let parsed = name.to_str().and_then(|name| {
            let (id, number) = name.strip_suffix(".log")?.rsplit_once('.')?;
            Some((id.parse().ok()?, number.parse().ok()?))
        });
        found.extend(parsed);
    }
    Ok(found)
}

fn new_file(path: &Path) -> io::Result<File> {
    // What an attempt that failed has left.
    let _ = fs::remove_file(path);
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}
