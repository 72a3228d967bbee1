//! What wakes runs: messages of other processes, and timers.

use std::time::Duration;

use wflo_core::id::RunId;

use super::Engine;
use crate::driver::Msg;

/// How often the store is asked whether another process has committed something.
const POLL: Duration = Duration::from_millis(20);

impl Engine {
    /// Hears of messages that other processes leave.
    pub(super) async fn watch_inbox(self) {
        let mut closing = self.inner.closing.subscribe();
        let mut seen = None;
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = closing.changed() => return,
            }
            let Ok(counter) = self.store().change_counter().await else { continue };
            if seen == Some(counter) {
                continue;
            }
            match self.store().inbox(self.inner.id).await {
                Ok(messages) => {
                    seen = Some(counter);
                    let mut runs: Vec<RunId> = messages.into_iter().map(|m| m.run).collect();
                    runs.dedup();
                    for run in runs {
                        self.deliver(run, Msg::Inbox).await;
                    }
                }
                Err(e) => tracing::warn!(error = %e, "the inbox cannot be read"),
            }
        }
    }

    pub(super) async fn watch_timers(self) {
        let mut closing = self.inner.closing.subscribe();
        loop {
            let (run, key, due) = tokio::select! {
                due = self.inner.shared.timers.next() => due,
                _ = closing.changed() => return,
            };
            self.deliver(run, Msg::Timer(key, due)).await;
        }
    }
}
