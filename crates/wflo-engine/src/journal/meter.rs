//! How much a run may journal.
//!
//! What a step asks for and is told is kept for as long as the run is, and the step decides how often and
//! how much it asks. So a run has a limit, which counts all its steps and generations, and an effect that
//! is begun beyond it is refused. Counted is what a resume finds in the store, so it makes no difference
//! where a run was interrupted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wflo_core::content::MOST_OF_RUN;
use wflo_core::effect::{EffectRecord, Kept};
use wflo_core::error::Failure;
use wflo_core::id::RunId;
use wflo_core::ports::store::{Store, StoreError};
use wflo_core::size::Bytes;

/// What an effect counts at least, in bytes: about what its rows, its events and its place in memory take.
const LEAST: u64 = 8 << 10;

/// What one run has journaled.
#[derive(Debug)]
pub struct Meter {
    limit: Bytes,
    used: AtomicU64,
    /// What is kept of requests to models, which has a limit of its own.
    content: AtomicU64,
}

impl Default for Meter {
    /// One without a limit.
    fn default() -> Self {
        Meter { limit: Bytes(u64::MAX), used: AtomicU64::new(0), content: AtomicU64::new(0) }
    }
}

impl Meter {
    /// Counts an effect that took `before` bytes and takes `now`; 0 before for one that was not there.
    pub(super) fn add(&self, before: u64, now: u64) {
        let before = if before == 0 { 0 } else { before.max(LEAST) };
        self.used.fetch_add(now.max(LEAST).saturating_sub(before), Ordering::Relaxed);
    }

    /// Whether so many more bytes of requests to models may be kept.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.content.load(Ordering::Relaxed).saturating_add(bytes) <= MOST_OF_RUN
    }

    /// Counts what was kept of a request.
    pub(crate) fn add_content(&self, bytes: u64) {
        self.content.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The limit, once it is reached.
    pub(crate) fn reached(&self) -> Option<Bytes> {
        (self.used.load(Ordering::Relaxed) >= self.limit.0).then_some(self.limit)
    }
}

/// The meters of the runs that have attempts here: those of one run share one.
#[derive(Debug)]
pub struct Meters {
    limit: Bytes,
    open: Mutex<HashMap<RunId, Weak<Meter>>>,
}

impl Meters {
    /// Meters with this limit for each run.
    pub fn new(limit: Bytes) -> Self {
        Meters { limit, open: Mutex::default() }
    }

    /// A run's meter.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn of(&self, store: &dyn Store, run: RunId) -> Result<Arc<Meter>, StoreError> {
        if let Some(meter) = self.known(run) {
            return Ok(meter);
        }
        // Nobody adds to it before there is a meter; who is first sets what all count on from.
        let used = store.journaled(run, LEAST).await?.into();
        let content = store.kept_content(run).await?.into();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = open.get(&run).and_then(Weak::upgrade) {
            return Ok(meter);
        }
        open.retain(|_, meter| meter.strong_count() > 0);
        let meter = Arc::new(Meter { limit: self.limit, used, content });
        open.insert(run, Arc::downgrade(&meter));
        Ok(meter)
    }

    fn known(&self, run: RunId) -> Option<Arc<Meter>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&run).and_then(Weak::upgrade)
    }
}

/// What an intent takes; see [`Store::journaled`].
pub(super) fn asked(row: &EffectRecord) -> u64 {
    row.request.bytes() + 4 * row.key.path.len() as u64
}

/// What an answer takes.
pub(super) fn bytes_of(answered: &Result<Kept, Failure>) -> u64 {
    match answered {
        Ok(kept) => kept.bytes(),
        Err(error) => error.message.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_counts_once_and_never_as_nothing() {
        let meter = Meter { limit: Bytes(3 * LEAST), ..Meter::default() };
        // Asked and answered in two commits, and in one.
        meter.add(0, 10);
        meter.add(10, 20);
        assert_eq!(meter.used.load(Ordering::Relaxed), LEAST);
        meter.add(0, LEAST);
        assert_eq!(meter.reached(), None);
        meter.add(LEAST, LEAST + 1);
        assert_eq!(meter.used.load(Ordering::Relaxed), 2 * LEAST + 1);
        meter.add(0, 5);
        assert_eq!(meter.reached(), Some(Bytes(3 * LEAST)));
        assert_eq!(Meter::default().reached(), None);
    }
}
