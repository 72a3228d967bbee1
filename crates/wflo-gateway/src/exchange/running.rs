//! A call under way, and whose task it runs in.
//!
//! Owns that a call comes to its end whatever becomes of who asked. As long as somebody takes its parts it
//! runs in the taker's own task: a part is handed over without a wake. Dropped by its taker, or left alone
//! by one whose connection takes nothing, it goes on in a task of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Part;
use crate::gateway::{Shared, Work};
use crate::gone::Gone;

/// Parts that may wait for a slow client before the upstream is read no further.
const PARTS: usize = 16;

/// A call whose taker does not come for so long no longer depends on it. A provider may be silent as long:
/// then nothing is lost but a wake for each part that follows.
const ALONE: Duration = Duration::from_secs(5);

/// What is left to do; `None` when it is done, or somebody else's.
#[derive(Default)]
struct Desk {
    work: Mutex<Option<Work>>,
    /// Somebody came for a part since this was asked last.
    visited: AtomicBool,
}

impl Desk {
    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The taker's end of a call.
pub(crate) struct Running {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    parts: mpsc::Receiver<Part>,
    /// Whoever waits before anything is sent listens to it.
    gone: Gone,
    watch: Option<AbortHandle>,
}

impl Running {
    /// A call whose parts go into the sender that `work` is made with, and that hears when nobody takes them.
    pub(crate) fn new<F>(shared: &Arc<Shared>, work: impl FnOnce(mpsc::Sender<Part>, Gone) -> F) -> Running
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, parts) = mpsc::channel(PARTS);
        let gone = Gone::default();
        let work = shared.counted(work(sender, gone.clone()));
        let desk = Desk { work: Mutex::new(Some(work)), ..Desk::default() };
        Running { shared: Arc::clone(shared), desk: Arc::new(desk), parts, gone, watch: None }
    }

    /// The next part; `None` behind the last.
    pub(crate) async fn recv(&mut self) -> Option<Part> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    pub(crate) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Part>> {
        self.desk.visited.store(true, Ordering::Relaxed);
        let part = self.poll_part(context);
        if let Poll::Ready(Some(Part::Stream(_))) = part {
            self.may_be_left_alone();
        }
        part
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Part>> {
        let part = self.parts.poll_recv(context);
        if part.is_ready() {
            return part;
        }
        let mut work = self.desk.work();
        let Some(running) = work.as_mut() else { return part };
        if running.as_mut().poll(context).is_ready() {
            *work = None;
        }
        drop(work);
        self.parts.poll_recv(context)
    }

    /// From now on parts are taken only as fast as a connection takes bytes. Nothing wakes a taker whose
    /// connection is full, and what the call waits for, its deadlines among them, must not wait with it.
    fn may_be_left_alone(&mut self) {
        let desk = Arc::downgrade(&self.desk);
        let shared = Arc::clone(&self.shared);
        let alone = ALONE.min(shared.deadlines.idle);
        let watch = tokio::spawn(async move {
            loop {
                tokio::time::sleep(alone).await;
                let Some(desk) = desk.upgrade() else { return };
                if !desk.visited.swap(false, Ordering::Relaxed) {
                    shared.run(desk.work().take());
                    return;
                }
            }
        });
        self.watch = Some(watch.abort_handle());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        // The call is to see that nobody listens.
        self.parts.close();
        self.gone.go();
        self.shared.run(self.desk.work().take());
    }
}
