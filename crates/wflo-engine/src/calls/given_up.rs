//! Calls of stock clients that their step stopped waiting for: a read time-out, a cancelled task.
//!
//! Such a client closes its connection, tries again or raises, and its step goes on without the answer.
//! The call itself goes on to its end, and its answer may be journaled later; on resume it would come in
//! time, and the step would go another way. So a connection that is gone before its answer came is
//! journaled as a wait that was cancelled (`journal::places`), and on resume it gets no answer. Each
//! connection is one: a client's repetition attaches to the call of the first, and may be given up or be
//! answered itself.
//!
//! The sequence, with what a crash between two lines leaves behind (the step asks for A by a client, is
//! out of time, and asks for the effect B):
//! 1. A's intent is committed and A is sent; crash: the request comes again and A is made again;
//! 2. the client closes its connection; crash: nothing depends on it, and the resume may go the other way;
//! 3. B is read from the runner. Whatever the step did before that is in the kernel by now, and what its clients had
//!    asked for is waited for to be read, for a moment: a client whose request nobody has read has given up a call that
//!    nobody knows. Then A's wait is committed as cancelled. Crash: on resume A is asked for, gets no answer, and the
//!    client is out of time again;
//! 4. B's intent is committed, and so on: nothing that follows from 2 is carried out before 3 is durable.
//!
//! A connection that its step's death closed looks the same. What closes once the end of the step has been
//! noticed is not journaled, so that only a step that is killed from outside in the instant in which it asks
//! for something else may leave a call that it did not give up. Its client is out of time on resume then, and
//! is answered when it tries again, as the stock ones do.
//!
//! An answer of which something was given to the client is never taken for one that was given up: who
//! has read enough of a stream closes its connection too. A client that is out of time in the middle of
//! an answer may on resume read all of it; what it asks for then differs, and the resume says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use wflo_core::effect::CancelledWait;
use wflo_core::ports::store::StoreError;
use wflo_gateway::serve::Connection;

use super::Calls;

/// A call on a connection, whose answer has not come yet.
pub(super) struct Asked {
    path: String,
    seq: u32,
    nth: u32,
    on: Arc<Connection>,
    /// The call is answered. It was not, when its client went.
    over: bool,
    /// It was given up before the restart, and gets no answer.
    again: bool,
}

/// The wait of the `nth` connection for a call, as a place in the journal.
fn place(path: &str, nth: u32) -> String {
    format!("{path}#{nth}")
}

impl Calls {
    /// Notes that a connection waits for a call. False where it was given up before the restart: it gets
    /// no answer then.
    pub(crate) fn asked(&self, path: &str, seq: u32, nth: u32, on: Option<&Arc<Connection>>) -> bool {
        let Some(on) = on else { return true };
        on.becomes_known();
        let again = self.journal.is_cancelled(&place(path, nth), seq);
        if again {
            on.hangs();
            // Whoever repeats it goes on with what the journal holds of it.
            self.finished(path, seq);
        }
        let asked = Asked { path: path.to_owned(), seq, nth, on: Arc::clone(on), over: false, again };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        !again
    }

    /// A call is answered: whoever still waits for it is given the answer.
    pub(super) fn answered(&self, path: &str, seq: u32) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for one in asked.iter_mut().filter(|one| one.path == path && one.seq == seq) {
            one.over = true;
        }
        asked.retain(|one| !one.over || one.again || one.on.has_given_up());
    }

    /// The attempt is being ended, and with it its connections: nothing is given up any more.
    pub(crate) fn ends(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Makes durable which calls the step has given up by now. What it asked for since then may be
    /// carried out once this has returned. Where its runner asks, it says how many answers the step had
    /// been given.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn keep_given_up(&self, reached: Option<u32>) -> Result<(), StoreError> {
        if let Some(place) = reached {
            self.reached.store(place, Ordering::SeqCst);
        }
        // One after the other: who finds nothing more to write goes on only behind what is being written.
        let _turn = self.giving_up.lock().await;
        let gone: Vec<Asked> = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let all = std::mem::take(&mut *asked).into_iter();
            let (gone, waiting) = all.partition(|one| one.on.has_given_up());
            *asked = waiting;
            gone
        };
        // Before the kill, or it may be what closed them.
        if self.ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        for one in &gone {
            self.left(&one.path, one.seq, one.nth);
        }
        let after = self.journal.order_at(self.reached.load(Ordering::SeqCst));
        let wait = |one: Asked| CancelledWait { path: place(&one.path, one.nth), seq: one.seq, after };
        let waits: Vec<CancelledWait> = gone.into_iter().filter(|one| !one.again).map(wait).collect();
        if waits.is_empty() {
            return Ok(());
        }
        crate::failpoint::pass("call.given_up.before");
        self.journal.cancel(&waits).await?;
        crate::failpoint::pass("call.given_up.after");
        Ok(())
    }
}
