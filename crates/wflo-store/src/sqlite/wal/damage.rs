//! Whether a log is damaged, and not only torn by a loss of power.
//!
//! SQLite reads a log up to the first frame that does not fit and takes that for its end. That is right
//! for the transaction that was being written when the power went. It is wrong for a frame that went bad
//! later: what was committed behind it would be gone without a word. The two can be told apart, for a
//! transaction is written only after the one before it was flushed: a frame that follows a commit proves
//! that everything before that commit was on the disk.
//!
//! The format is that of <https://www.sqlite.org/fileformat2.html#walformat>. Damage in the last two
//! transactions cannot be told from a torn end, and is read as one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The magic number without its last bit, which says how words of checksums are read.
const MAGIC: u32 = 0x377f_0682;
/// How often a log that is written while it is read is read again.
const TRIES: usize = 9;

type Sum = (u32, u32);

/// The offset of a frame that is damaged, if there is one behind which commits follow.
///
/// # Errors
/// When the log cannot be read.
pub(crate) fn find(log: &Path) -> io::Result<Option<u64>> {
    // Another process may be writing what is read here: a frame that is not whole yet looks damaged, and the
    // commits behind it may come before they are read. It was whole before them, so it is when read again;
    // what is damaged stays. A log that began anew meanwhile, over frames of the old one, says nothing.
    let mut seen = None;
    for _ in 0..TRIES {
        let file = match File::open(log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let Some(header) = read(&file, 0, HEADER)? else { return Ok(None) };
        let Some(at) = scan(&file, &header)? else { return Ok(None) };
        let is_one_log = read(&file, 0, HEADER)?.as_ref() == Some(&header);
        let found = is_one_log.then_some((header, at));
        if found.is_some() && found == seen {
            return Ok(Some(at));
        }
        seen = found;
    }
    Ok(None)
}

fn scan(file: &File, header: &[u8]) -> io::Result<Option<u64>> {
    let page = word(header, 8) as usize;
    if word(header, 0) & !1 != MAGIC || !(512..=65_536).contains(&page) || !page.is_power_of_two() {
        // Nothing says what a frame is here. A log whose first flush was lost looks like this too.
        return Ok(None);
    }
    let big = word(header, 0) & 1 == 1;
    let size = FRAME_HEADER + page;
    let mut before: Sum = add((0, 0), header.get(..24).unwrap_or_default(), big);
    let mut broken = (before != (word(header, 24), word(header, 28))).then_some(0_u64);
    // Which writing of the log a frame belongs to.
    let first = read(file, HEADER as u64, FRAME_HEADER)?.unwrap_or_default();
    let salts = if broken.is_none() { header.get(16..24) } else { first.get(8..16) };
    let (mut at, mut after_commit) = (HEADER as u64, false);
    while let Some(frame) = read(file, at, size)? {
        let said = (word(&frame, 16), word(&frame, 20));
        let sum = add(before, frame.get(..8).unwrap_or_default(), big);
        let sum = add(sum, frame.get(FRAME_HEADER..).unwrap_or_default(), big);
        // One of an earlier writing ends this one, unless it is a frame whose salt went bad.
        let own = frame.get(8..16) == salts;
        if !own || sum != said {
            broken = broken.or(Some(at));
        } else if broken.is_some() && after_commit {
            return Ok(broken);
        }
        // What is behind a broken frame is measured by what that says of itself.
        (before, after_commit) = (said, own && word(&frame, 4) != 0);
        at += size as u64;
    }
    Ok(None)
}

/// The checksum that SQLite's log has, continued from `sum`.
fn add(sum: Sum, bytes: &[u8], big: bool) -> Sum {
    let read = |word: [u8; 4]| if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
    let (pairs, _) = bytes.as_chunks::<8>();
    pairs.iter().fold(sum, |(first, second), [a, b, c, d, e, f, g, h]| {
        let first = first.wrapping_add(read([*a, *b, *c, *d])).wrapping_add(second);
        (first, second.wrapping_add(read([*e, *f, *g, *h])).wrapping_add(first))
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
    u32::from_be_bytes(word.unwrap_or_default())
}

/// So many bytes; none if the file ends before.
fn read(file: &File, at: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other.map(|()| Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rusqlite::Connection;

    use super::*;

    fn opened(path: &Path) -> Connection {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE IF NOT EXISTS t (x)",
        )
        .unwrap();
        conn
    }

    /// Short transactions, in a log that begins anew after every eighth, are looked at all the time.
    #[test]
    fn a_log_that_is_being_written_is_not_damaged() {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (file, log) = (dir.path().join("t.db"), dir.path().join("t.db-wal"));
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let conn = opened(&file);
                for round in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    conn.execute_batch("INSERT INTO t VALUES (1)").unwrap();
                    if round % 8 == 7 {
                        conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
                    }
                }
            });
            let found: Vec<_> = (0..5_000).filter_map(|_| find(&log).unwrap()).collect();
            ended.store(true, Ordering::Relaxed);
            assert_eq!(found, Vec::<u64>::new());
        });
    }
}
