//! Connections of which nothing is known yet: whoever is at their other end has shown no key and no token.
//!
//! Owns who is sent away where there is no room for another. **Architecture Invariant:** whoever has no key keeps
//! nobody out: a connection that has shown one is never sent away for others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Those who are there, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<Strangers>);

#[derive(Debug, Default)]
struct Strangers {
    next: u64,
    all: BTreeMap<u64, Arc<Notify>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    number: u64,
    away: Arc<Notify>,
}

impl Guests {
    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, of whom nothing is known yet.
    pub(crate) fn arrive(self: &Arc<Self>) -> Guest {
        let mut strangers = self.strangers();
        let (number, away) = (strangers.next, Arc::new(Notify::new()));
        strangers.next += 1;
        strangers.all.insert(number, Arc::clone(&away));
        Guest { guests: Arc::clone(self), number, away }
    }

    /// Sends the one away that has been unknown for the longest, if there is any.
    pub(crate) fn make_room(&self) {
        if let Some((_, away)) = self.strangers().all.pop_first() {
            away.notify_one();
        }
    }
}

impl Guest {
    /// It has shown a key, or a token: it stays.
    pub(crate) fn stays(&self) {
        self.guests.strangers().all.remove(&self.number);
    }

    /// Once it has to leave.
    pub(crate) async fn sent_away(&self) {
        self.away.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.strangers().all.remove(&self.number);
    }
}
