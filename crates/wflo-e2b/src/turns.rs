//! Requests with the same key, one after the other.
//!
//! Owns whose turn it is. What the next one finds is the caller's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// Turns by keys; none is kept that nobody has or waits for.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Turn>>);

/// One that has come. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    turns: &'a Turns,
    key: String,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a request with this key.
    pub(crate) async fn take(&self, key: &str) -> Held<'_> {
        let turn = Arc::clone(self.all().entry(key.to_owned()).or_default());
        // Whoever gives up waiting leaves as one whose turn is over.
        let mut held = Held { turns: self, key: key.to_owned(), turn: None };
        held.turn = Some(turn.lock_owned().await);
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut all = self.turns.all();
        self.turn = None;
        // The one that is kept here, when everybody else's is gone: more are made under this lock alone.
        if all.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_key_is_one_turn_at_a_time_and_another_is_another() {
        let turns = Turns::default();
        let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = async {
            let _held = turns.take("a").await;
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            drop(turns.take("b").await);
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
        };
        let same = || async {
            let _held = turns.take("a").await;
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
        };
        tokio::join!(one, same(), same(), same());
        assert_eq!(most.into_inner(), 1);
        assert!(turns.all().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing() {
        let turns = Turns::default();
        let held = turns.take("a").await;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(5), turns.take("a"));
        assert!(waiting.await.is_err());
        drop(held);
        assert!(turns.all().is_empty());
    }
}
