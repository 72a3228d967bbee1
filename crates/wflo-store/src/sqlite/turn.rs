//! Turns between processes that write.
//!
//! SQLite's write lock is not a queue: who asks for it again right after a commit nearly always gets it,
//! and somebody else's commit waits for a lucky gap. So who waits says so by a shared record lock on
//! `<database>-turn`, and who commits one group after another leaves a gap when another process waits.
//!
//! Owns that file and nothing else. It is advice only: without it (it cannot be made, a process is
//! stopped while it waits) commits go on as before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// The longest pause between two tries for the lock.
const POLL: Duration = Duration::from_micros(400);
/// The gap that is left: several tries long.
const GAP: Duration = Duration::from_millis(2);
/// After so many gaps that nobody used (a stopped process), they become rare.
const FRUITLESS: u32 = 8;
const RARELY: u32 = 64;

pub(crate) struct Turn {
    path: PathBuf,
    file: Option<File>,
    unused: u32,
    groups: u32,
}

impl Turn {
    pub(crate) fn new(database: &Path) -> Turn {
        let mut path = database.to_path_buf().into_os_string();
        path.push("-turn");
        Turn { path: PathBuf::from(path), file: None, unused: 0, groups: 0 }
    }

    /// Before a group: lets a waiting process go first.
    pub(crate) fn give(&mut self) {
        self.groups = self.groups.wrapping_add(1);
        if !self.is_wanted() {
            self.unused = 0;
            return;
        }
        if self.unused >= FRUITLESS && !self.groups.is_multiple_of(RARELY) {
            return;
        }
        let end = Instant::now() + GAP;
        while Instant::now() < end {
            std::thread::sleep(POLL / 4);
            if !self.is_wanted() {
                self.unused = 0;
                return;
            }
        }
        self.unused = self.unused.saturating_add(1);
    }

    /// Says that this process waits, until [`Turn::taken`].
    pub(crate) fn ask(&mut self) {
        if let Some(file) = self.file() {
            let _ = fcntl_lock(file, FlockOperation::NonBlockingLockShared);
        }
    }

    /// This process waits no more.
    pub(crate) fn taken(&mut self) {
        if let Some(file) = self.file() {
            let _ = fcntl_lock(file, FlockOperation::NonBlockingUnlock);
        }
    }

    /// The pause after the `n`-th try.
    pub(crate) fn pause(n: u32) -> Duration {
        Duration::from_micros(50).saturating_mul(n.saturating_add(1)).min(POLL)
    }

    fn is_wanted(&mut self) -> bool {
        let asked = self.file().map(|file| fcntl_getlk(file, &Flock::from(FlockType::WriteLock)));
        matches!(asked, Some(Ok(Some(_))))
    }

    fn file(&mut self) -> Option<&File> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            self.file = options.open(&self.path).ok();
        }
        self.file.as_ref()
    }
}
