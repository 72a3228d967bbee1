//! Whether a connection is used: a client that asks for nothing wakes nobody, so it is looked at from outside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::answer::Body;

/// What one connection came to.
#[derive(Debug, Default)]
struct Counts {
    /// Requests whose heads were read.
    begun: AtomicU64,
    /// Of these, those whose answer was taken or dropped.
    ended: AtomicU64,
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Requests(Arc<Counts>);

impl Requests {
    /// A request was read.
    pub(crate) fn begin(&self) -> Request {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(&self.0))
    }

    /// Looks so often, and resolves once no request is under way and none has come since the last look.
    pub(crate) async fn quiet(&self, every: Duration) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let mut before = count(&self.0.begun);
        loop {
            tokio::time::sleep(every).await;
            let now = count(&self.0.begun);
            if now == before && now == count(&self.0.ended) {
                return;
            }
            before = now;
        }
    }
}

/// One that is under way.
pub(crate) struct Request(Arc<Counts>);

impl Request {
    /// Its answer's body, whose end is the request's.
    pub(crate) fn answered(self, body: Body) -> Answering {
        Answering { body, _request: self }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body on its way.
pub(crate) struct Answering {
    body: Body,
    _request: Request,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
