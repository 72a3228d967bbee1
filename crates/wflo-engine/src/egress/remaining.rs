//! What a run has left of what it may send, receive and ask for in all.
//!
//! Shared by the run's attempts in this process. What attempts before it took, in whatever process, is read from the
//! run's events once, when the first of them has a way out: a resume goes on where the run was. Of a connection that an
//! engine died with, no event says how many bytes it carried; it counts as one connection. Of those that have no event of
//! their own, about the last 100 are not counted then.

use std::sync::Arc;

use tokio::sync::OnceCell;
use wflo_core::event::EventBody;
use wflo_core::id::RunId;
use wflo_core::ports::store::{Store, StoreError};
use wflo_egress::{Limits, Totals, Used};

/// Events that are read at once.
const PAGE: u32 = 1_000;

/// What is left, once somebody has asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remaining(Arc<OnceCell<Arc<Totals>>>);

impl Remaining {
    /// What is left of `limits`.
    pub(crate) async fn of(
        &self,
        store: &dyn Store,
        run: RunId,
        limits: &Limits,
    ) -> Result<Arc<Totals>, StoreError> {
        let read = || async { Ok(Arc::new(Totals::after(limits, used(store, run).await?))) };
        self.0.get_or_try_init(read).await.cloned()
    }
}

async fn used(store: &dyn Store, run: RunId) -> Result<Used, StoreError> {
    let (mut used, mut seen) = (Used::default(), 0);
    loop {
        let page = store.events(run, seen, PAGE).await?;
        let Some(last) = page.last() else { return Ok(used) };
        seen = last.seq;
        page.iter().for_each(|recorded| take(&recorded.event.body, &mut used));
    }
}

fn take(body: &EventBody, used: &mut Used) {
    let (requests, sent, received) = match body {
        EventBody::EgressOpened { .. } => (1, 0, 0),
        EventBody::EgressClosed { sent_bytes, received_bytes, .. } => (0, *sent_bytes, *received_bytes),
        EventBody::EgressMore { connections, sent_bytes, received_bytes, .. } => {
            (*connections, *sent_bytes, *received_bytes)
        }
        _ => return,
    };
    used.requests = used.requests.saturating_add(requests);
    used.sent = used.sent.saturating_add(sent);
    used.received = used.received.saturating_add(received);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_in_the_events() {
        let (step, host) = (|| "a".to_owned(), || "h.example".to_owned());
        let opened = |connection| EventBody::EgressOpened {
            step: step(),
            connection,
            host: host(),
            port: 443,
            way: "tls".to_owned(),
            request: None,
            secrets: Vec::new(),
        };
        let closed = EventBody::EgressClosed {
            step: step(),
            connection: 1,
            host: host(),
            port: 443,
            address: None,
            sent_bytes: 10,
            received_bytes: 20,
            duration_ms: 1,
            end: "done".to_owned(),
            error: None,
        };
        let more = EventBody::EgressMore {
            step: step(),
            connections: 3,
            refused: 9,
            sent_bytes: 5,
            received_bytes: 6,
        };
        let mut used = Used::default();
        // What is counted is written again and again, each time what came since.
        [opened(1), closed, opened(2), more.clone(), more].iter().for_each(|body| take(body, &mut used));
        assert_eq!(used, Used { requests: 8, sent: 20, received: 32 });
    }
}
