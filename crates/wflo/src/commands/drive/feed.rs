//! A run's events in order, each once, as they become durable.

use std::collections::VecDeque;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use wflo_core::event::Recorded;
use wflo_core::id::RunId;
use wflo_core::ports::store::Store;
use wflo_engine::EngineError;
use wflo_store::{Announced, SqliteStore};

use crate::failure::CommandError;

/// So many events are read at once; they may be large.
const PAGE: u32 = 64;

/// The events of one run.
pub(super) struct Feed<'a> {
    store: &'a SqliteStore,
    run: RunId,
    live: broadcast::Receiver<Announced>,
    seen: u64,
    ready: VecDeque<Recorded>,
    /// Whether the store may have events that were not announced here.
    behind: bool,
}

impl<'a> Feed<'a> {
    /// All events of the run, from its first. `live` is older than the first commit of this process for
    /// the run.
    pub(super) fn new(store: &'a SqliteStore, run: RunId, live: broadcast::Receiver<Announced>) -> Self {
        Feed { store, run, live, seen: 0, ready: VecDeque::new(), behind: true }
    }

    /// The number of the last event that was given.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The next event; waits for it. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn next(&mut self) -> Result<Recorded, CommandError> {
        loop {
            if let Some(event) = self.durable().await? {
                return Ok(event);
            }
            match self.live.recv().await {
                Ok(event) if event.run_id != self.run || event.seq <= self.seen => {}
                Ok(event) => {
                    let is_next = event.seq == self.seen + 1;
                    match event.recorded().filter(|_| is_next) {
                        Some(event) => {
                            self.seen = event.seq;
                            return Ok(event);
                        }
                        None => self.behind = true,
                    }
                }
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return Err(CommandError::engine(EngineError::ShuttingDown)),
            }
        }
    }

    /// What is durable and was not given yet.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn rest(&mut self) -> Result<Option<Recorded>, CommandError> {
        if self.ready.is_empty() {
            self.behind = true;
        }
        self.durable().await
    }

    async fn durable(&mut self) -> Result<Option<Recorded>, CommandError> {
        if self.ready.is_empty() && self.behind {
            let page = self.store.events(self.run, self.seen, PAGE).await?;
            self.behind = page.len() >= PAGE as usize;
            self.ready.extend(page);
        }
        let event = self.ready.pop_front();
        if let Some(event) = &event {
            self.seen = event.seq;
        }
        Ok(event)
    }
}
