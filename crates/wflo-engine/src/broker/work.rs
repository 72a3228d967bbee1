//! Values that an attempt's effects make: bounded from when they are made until they are journaled.
//!
//! A few are made at a time. One that is made gives its place up once its size has found room among those
//! that wait for their commit, so that small ones share flushes however many they are.
//!
//! Whoever is at work waits for nobody but the store: the chain is entered before.

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use wflo_core::effect::memory_of;

/// Values that are made at a time.
const MAKING: usize = 8;
/// The memory of those that are made and not journaled yet, in bytes; one alone may take more.
const MADE: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Work {
    making: Semaphore,
    made: Semaphore,
}

impl Default for Work {
    fn default() -> Self {
        Work { making: Semaphore::new(MAKING), made: Semaphore::new(MADE) }
    }
}

/// The right to make a value.
pub(super) type Making<'a> = Option<SemaphorePermit<'a>>;

impl Work {
    /// Waits until another value may be made.
    pub(super) async fn begin(&self) -> Making<'_> {
        // It is never closed.
        self.making.acquire().await.ok()
    }

    /// A value is made; what is given is held until it is journaled.
    pub(super) async fn made(&self, making: Making<'_>, value: &Value) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(memory_of(value).min(MADE)).unwrap_or(u32::MAX);
        let made = self.made.acquire_many(bytes).await.ok();
        drop(making);
        made
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn large_values_wait_for_each_other_and_small_ones_do_not() {
        let work = Work::default();
        let mut small = Vec::new();
        for n in 0..1_000 {
            small.push(work.made(work.begin().await, &json!(n)).await);
        }
        drop(small);
        let large = json!("x".repeat(MADE));
        let first = work.made(work.begin().await, &large).await;
        let mut second = Box::pin(async { work.made(work.begin().await, &large).await });
        let waits = tokio::select! {
            biased;
            _ = &mut second => false,
            () = std::future::ready(()) => true,
        };
        assert!(waits && work.making.available_permits() == MAKING - 1);
        drop(first);
        assert!(second.await.is_some());
    }
}
