//! The disk's own rate: one 4 KiB write and one `fdatasync` after another.
//!
//! Over space that is allocated already, as a database's log is: otherwise each flush would also pay for
//! the file's new size.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;

const PAGE: usize = 4096;
const SLOTS: u64 = 1024;

/// An allocated file on the disk that is measured.
pub(crate) struct Disk {
    file: File,
    /// Added to each flush, as the store's option of the same meaning does.
    delay: Duration,
    next: u64,
}

impl Disk {
    /// Allocates the file in `dir`.
    pub(crate) fn new(dir: &Path, delay: Duration) -> Outcome<Disk> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("fdatasync"))?;
        file.write_all_at(&vec![0; PAGE * usize::try_from(SLOTS)?], 0)?;
        file.sync_all()?;
        Ok(Disk { file, delay, next: 0 })
    }

    /// One write and one flush.
    pub(crate) fn flush(&mut self) -> Outcome<()> {
        self.file.write_all_at(&[7; PAGE], (self.next % SLOTS) * PAGE as u64)?;
        self.file.sync_data()?;
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        self.next += 1;
        Ok(())
    }

    /// Flushes a second over `span`.
    pub(crate) fn rate(&mut self, span: Duration) -> Outcome<f64> {
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < span {
            self.flush()?;
            count += 1;
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    }
}
