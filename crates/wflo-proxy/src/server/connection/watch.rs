//! Whether a client still does something on its connection.
//!
//! Owns two questions, asked from outside because a client that does nothing wakes nobody: whether a
//! connection without a call has got a request, and whether an answer that could be taken is being taken. An
//! answer that waits for its provider is neither.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};

/// What one connection came to.
#[derive(Debug, Default)]
struct Counts {
    /// Requests whose heads were read.
    begun: AtomicU64,
    /// Of these, those whose answer was taken or dropped.
    ended: AtomicU64,
    /// Answers of which the client could take something now.
    owed: AtomicU64,
    /// Pieces of answers that it took.
    taken: AtomicU64,
}

/// The watch of one connection.
#[derive(Debug, Default)]
pub(super) struct Watch(Arc<Counts>);

/// Requests that were read and pieces that were taken, at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    begun: u64,
    taken: u64,
    /// No request is under way.
    idle: bool,
    /// Something could be taken.
    owed: bool,
}

impl Watch {
    /// A request was read.
    pub(super) fn call(&self) -> Call {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(&self.0))
    }

    fn look(&self) -> Look {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Look {
            begun: count(&self.0.begun),
            taken: count(&self.0.taken),
            idle: count(&self.0.begun) == count(&self.0.ended),
            owed: count(&self.0.owed) > 0,
        }
    }

    /// Looks so often, and resolves once no request is under way and none has come since the last look, or
    /// nothing of an answer was taken for the idle time.
    pub(super) async fn quiet(&self, every: Duration, idle: Duration) {
        let stalled = idle.as_nanos().div_ceil(every.as_nanos().max(1));
        let (mut before, mut looks) = (self.look(), 0);
        loop {
            tokio::time::sleep(every).await;
            let now = self.look();
            if now.idle && before.begun == now.begun {
                return;
            }
            looks = if now.owed && before.owed && before.taken == now.taken { looks + 1 } else { 0 };
            if looks >= stalled {
                return;
            }
            before = now;
        }
    }
}

/// One request that is under way.
pub(super) struct Call(Arc<Counts>);

impl Call {
    /// Its answer's body, whose end is the request's.
    pub(super) fn answered<B>(self, body: B) -> Answering<B> {
        self.0.owed.fetch_add(1, Ordering::Relaxed);
        Answering { body, call: self, owed: true }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body on its way.
pub(super) struct Answering<B> {
    body: B,
    call: Call,
    /// It counts among those of which something could be taken.
    owed: bool,
}

impl<B> Answering<B> {
    fn owes(&mut self, owed: bool) {
        if std::mem::replace(&mut self.owed, owed) != owed {
            let count = &self.call.0.owed;
            let _ = if owed {
                count.fetch_add(1, Ordering::Relaxed)
            } else {
                count.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }
}

impl<B> Drop for Answering<B> {
    fn drop(&mut self) {
        self.owes(false);
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // Who asks for more has room for it; what is not there yet is not the client's to take.
        self.owes(frame.is_ready());
        if frame.is_ready() {
            self.call.0.taken.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use tokio::time::{Instant, timeout};

    use super::*;

    const EVERY: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(300);

    /// A body that waits for its provider, or has something.
    struct Part(bool);

    impl Body for Part {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.0 { Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))) } else { Poll::Pending }
        }
    }

    fn asked(answer: &mut Answering<Part>) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        Pin::new(answer).poll_frame(&mut context).is_ready()
    }

    /// How long it stays, if not for ever.
    async fn stays(watch: &Watch) -> Option<Duration> {
        let since = Instant::now();
        timeout(Duration::from_secs(3_600), watch.quiet(EVERY, IDLE)).await.ok().map(|()| since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_quiet_and_one_that_waits_for_its_answer_is_not() {
        let watch = Watch::default();
        assert_eq!(stays(&watch).await, Some(EVERY));
        let call = watch.call();
        assert_eq!(stays(&watch).await, None, "it waits");
        let mut answer = call.answered(Part(false));
        assert!(!asked(&mut answer));
        assert_eq!(stays(&watch).await, None, "its provider is slow, not its client");
        drop(answer);
        assert_eq!(stays(&watch).await, Some(EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_could_be_taken_is_waited_for_only_a_while() {
        let watch = Watch::default();
        let mut answer = watch.call().answered(Part(true));
        assert!(asked(&mut answer));
        assert_eq!(stays(&watch).await, Some(IDLE));
        // As long as something is taken now and then it stays, whatever else does not move.
        let mut other = watch.call().answered(Part(true));
        let taking = async {
            loop {
                tokio::time::sleep(IDLE / 2).await;
                assert!(asked(&mut other));
            }
        };
        tokio::select! {
            stays = stays(&watch) => assert_eq!(stays, None),
            () = taking => {}
        }
    }
}
