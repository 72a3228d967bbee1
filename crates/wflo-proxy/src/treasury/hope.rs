//! A call that waits for room, seen from the call.
//!
//! **Architecture Invariant:** a hold that nobody hears of is given back: whoever stops waiting (for want of
//! time, or because its client has gone) in the moment in which room was found for it leaves nothing held.

use tokio::sync::oneshot::Receiver;

use super::Treasury;
use crate::spending::{Answer, Seq};

/// What is hoped for.
pub(crate) struct Hope<'a> {
    treasury: &'a Treasury,
    answer: Receiver<Answer>,
}

impl Treasury {
    /// Whoever waits for this answer.
    pub(crate) fn hope(&self, answer: Receiver<Answer>) -> Hope<'_> {
        Hope { treasury: self, answer }
    }
}

impl Hope<'_> {
    /// The answer; `None` when nobody will give one.
    pub(crate) async fn answered(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }

    /// Gives up, unless it was answered in this moment.
    pub(crate) fn give_up(mut self) -> Option<Answer> {
        self.answer.close();
        self.answer.try_recv().ok()
    }
}

impl Drop for Hope<'_> {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Ok(Seq(unheard))) = self.answer.try_recv() {
            // Nothing was sent.
            self.treasury.spending().end(unheard, None);
            self.treasury.wake();
        }
    }
}
