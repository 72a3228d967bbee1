//! The write-ahead log: kept allocated, and emptied without holding commits up.
//!
//! Owns checkpoints and the log's size. A flush that must also record a new file size costs a second
//! disk write, so the log is filled with zeros ahead of its end (SQLite ignores them: a frame without
//! the log's salt ends it) and is reused from its start after each checkpoint.
//!
//! A checkpoint has two parts. A thread of its own copies most frames into the database while commits
//! go on; the writer copies the few that came meanwhile between two groups. Only then is every frame
//! copied, and the next commit starts the log anew.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::fault::Fault;
use super::open::{self, Place};

pub(crate) mod damage;
pub(crate) mod origin;

/// A page and its frame header.
const FRAME: u64 = 4096 + 24;
const HEADER: u64 = 32;
/// Frames after which a checkpoint begins: 8 MiB.
const SOFT: u32 = 2048;
/// Frames that the writer copies itself.
const FEW: u32 = 256;
/// Commits of a process before it pays for allocation: a command that writes once does not.
const PATIENCE: u32 = 4;
/// Room kept ahead of the log's end.
const AHEAD: u64 = 1 << 20;
const MOST_AHEAD: u64 = 4 << 20;

/// What the checkpointing thread and the writer tell each other.
#[derive(Default)]
struct Pass {
    running: AtomicBool,
    /// Set by a finished pass: how many frames of the log are copied.
    copied: AtomicU32,
    finished: AtomicBool,
}

/// The writer's view of its log.
pub(crate) struct Wal {
    path: PathBuf,
    file: Option<File>,
    /// Bytes that the file is known to have.
    reserved: u64,
    commits: u32,
    /// Frames in the log after this connection's last commit.
    frames: Arc<AtomicU32>,
    seen: u32,
    threshold: u32,
    tight: bool,
    pass: Arc<Pass>,
    start: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Watches the log of `conn`, the writer's connection.
    ///
    /// # Errors
    /// As SQLite says; when the thread cannot be started.
    pub(crate) fn new(place: &Place, conn: &mut Connection, wait: Duration) -> Result<Wal, Fault> {
        let frames = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&frames);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counter.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let pass = Arc::new(Pass::default());
        let (start, started) = mpsc::sync_channel::<()>(1);
        let (theirs, place_of) = (Arc::clone(&pass), place.clone());
        let thread = std::thread::Builder::new()
            .name("wflo-checkpoint".to_owned())
            .spawn(move || {
                let mut conn = None;
                while started.recv().is_ok() {
                    let copied = checkpoint_with(&mut conn, &place_of, wait);
                    theirs.copied.store(copied, Ordering::Relaxed);
                    theirs.finished.store(true, Ordering::Relaxed);
                    theirs.running.store(false, Ordering::Release);
                }
            })
            .map_err(|error| super::failed_thread(&error))?;
        Ok(Wal {
            path: place.log(),
            file: None,
            reserved: 0,
            commits: 0,
            frames,
            seen: 0,
            threshold: SOFT,
            tight: false,
            pass,
            start: Some(start),
            thread: Some(thread),
        })
    }

    /// Allocates room ahead of the log's end. Called with the write lock held, so that nobody appends to
    /// the file at the same time. Failing is harmless: the log then grows as it is written.
    pub(crate) fn reserve(&mut self) {
        self.commits = self.commits.saturating_add(1);
        let end = HEADER + u64::from(self.frames.load(Ordering::Relaxed)) * FRAME;
        if self.tight || self.commits <= PATIENCE || self.reserved >= end + AHEAD / 2 {
            return;
        }
        let target = end + end.clamp(AHEAD, MOST_AHEAD);
        self.reserved = match self.fill(target) {
            Ok(length) => length,
            // Ask again only once the log is past the point where room was wanted.
            Err(_) => target,
        };
    }

    fn fill(&mut self, target: u64) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().write(true).open(&self.path)?),
        };
        let end = file.metadata()?.len();
        let (mut at, zeros) = (end, [0_u8; 64 * 1024]);
        while at < target {
            let length = usize::try_from(target - at).unwrap_or(usize::MAX).min(zeros.len());
            if let Err(error) = file.write_all_at(zeros.get(..length).unwrap_or(&zeros), at) {
                // The last of the disk is for commits, not for room ahead of them.
                file.set_len(end)?;
                return Err(error);
            }
            at += length as u64;
        }
        Ok(at)
    }

    /// Looks after the log between two groups. Whether the writer itself flushed the database.
    pub(crate) fn tend(&mut self, conn: &Connection) -> bool {
        let frames = self.frames.load(Ordering::Relaxed);
        if frames < self.seen {
            // The log began anew.
            self.threshold = SOFT;
        }
        self.seen = frames;
        if frames < self.threshold || self.pass.running.load(Ordering::Acquire) {
            return false;
        }
        let copied = self.pass.copied.load(Ordering::Relaxed);
        if self.pass.finished.swap(false, Ordering::Relaxed) && frames.saturating_sub(copied) <= FEW {
            // Should a reader keep the log from starting anew, wait for as much again.
            self.threshold = frames.saturating_add(SOFT);
            return checkpoint(conn).is_ok();
        }
        self.pass.running.store(true, Ordering::Release);
        if self.start.as_ref().is_none_or(|start| start.try_send(()).is_err()) {
            self.pass.running.store(false, Ordering::Release);
        }
        false
    }
}

impl Wal {
    /// The disk is full: copies the log into the database, so that the log can be written over from its
    /// start. Whether that was possible.
    pub(crate) fn relieve(&mut self, conn: &Connection) -> bool {
        let copied = checkpoint(conn).unwrap_or(0);
        self.tight = copied == 0 || copied < self.frames.load(Ordering::Relaxed);
        !self.tight
    }

    /// Whether the disk was full and the log could not be copied since. Then it must be, before the log
    /// takes the room that was freed and the database needs.
    pub(crate) fn is_tight(&self) -> bool {
        self.tight
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        drop(self.start.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies what can be copied without waiting for anybody; how many frames are copied in all.
fn checkpoint(conn: &Connection) -> Result<u32, Fault> {
    let copied: i64 =
        conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |row| row.get(2))?;
    Ok(u32::try_from(copied).unwrap_or(0))
}

fn checkpoint_with(conn: &mut Option<Connection>, place: &Place, wait: Duration) -> u32 {
    let outcome = match conn.take() {
        Some(conn) => Ok(conn),
        None => open::further(place, wait),
    }
    .and_then(|opened| {
        let copied = checkpoint(&opened)?;
        *conn = Some(opened);
        Ok(copied)
    });
    outcome.unwrap_or_else(|fault| {
        // Nothing is lost: the frames stay in the log and are copied by a later pass.
        tracing::warn!(error = %fault.named(&place.file), "the log could not be copied into the database");
        0
    })
}
