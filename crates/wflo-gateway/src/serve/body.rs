//! The body of a response, and whether all of it arrived.
//!
//! Owns the knowledge that a client went before the end: a body dropped before its last byte was
//! taken, or a connection that broke right after.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::connection::Connection;
use crate::exchange::{Delivery, Part, Running};
use crate::gateway::Buffered;
use crate::ledger::{Ledger, Ticket};

/// What one connection remembers of its last answer.
#[derive(Clone)]
pub(super) struct Link {
    ledger: Arc<dyn Ledger>,
    last: Arc<Mutex<Option<Ticket>>>,
}

impl Link {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Link {
        Link { ledger, last: Arc::default() }
    }

    fn swap(&self, ticket: Option<Ticket>) -> Option<Ticket> {
        std::mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), ticket)
    }

    /// The last answer arrived.
    pub(super) fn arrived(&self) {
        self.swap(None);
    }

    /// The connection broke: the last answer, given to it in full, may not have arrived.
    pub(super) fn broke(&self) {
        if let Some(ticket) = self.swap(None) {
            self.ledger.connection_closed_early(&ticket);
        }
    }
}

/// The stream broke off; the connection ends without the body's end.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Broken;

/// As much of a whole body is given out at a time, in bytes: what hyper has taken is out of the count of what
/// all answers take, and it holds all that it was given until the client takes it.
const SLICE: usize = 256 << 10;

/// An error drops what hyper has not flushed yet, in HTTP/2 in another task than the body's: the error event
/// gets this long.
const FLUSH: Duration = Duration::from_millis(25);

enum Source {
    Whole(Bytes),
    Stream(Running),
    /// The error event was handed over; what is left is to break the connection, once this time is over.
    Breaking(Pin<Box<Sleep>>),
    Ended,
}

/// A response body.
pub struct Body {
    source: Source,
    link: Option<Link>,
    /// Of a journaled call whose last byte has not been taken.
    delivery: Option<Delivery>,
    /// The memory that it takes.
    _held: Option<Buffered>,
    /// The connection that it goes out on.
    connection: Option<Arc<Connection>>,
}

impl Body {
    pub(super) fn text(text: String) -> Body {
        Body { source: Source::Whole(text.into()), link: None, delivery: None, connection: None, _held: None }
    }

    pub(super) fn whole(body: Bytes, link: Link, delivery: Option<Delivery>, held: Option<Buffered>) -> Body {
        let is_empty = body.is_empty();
        let source = Source::Whole(body);
        let mut whole = Body { source, link: Some(link), delivery, connection: None, _held: held };
        if is_empty {
            // hyper takes nothing from an empty body.
            whole.taken();
            whole.source = Source::Ended;
        }
        whole
    }

    pub(super) fn stream(parts: Running, link: Link, delivery: Option<Delivery>) -> Body {
        Body { source: Source::Stream(parts), link: Some(link), delivery, connection: None, _held: None }
    }

    /// The same body, whose end its connection is told of.
    pub(super) fn on(mut self, connection: Arc<Connection>) -> Body {
        self.connection = Some(connection);
        self.ended();
        self
    }

    /// Tells the connection, once all of it was taken.
    fn ended(&self) {
        if let (Source::Ended, Some(connection)) = (&self.source, &self.connection) {
            connection.answered();
        }
    }

    /// The last byte was taken; the connection answers for it from here on.
    fn taken(&mut self) {
        if let Some(link) = &self.link {
            link.swap(self.delivery.take().and_then(Delivery::arrived));
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Whole(body) => {
                let slice = body.split_to(body.len().min(SLICE));
                if body.is_empty() {
                    this.source = Source::Ended;
                    this.taken();
                }
                Some(Ok(Frame::data(slice)))
            }
            Source::Stream(parts) => match std::task::ready!(parts.poll_recv(context)) {
                Some(Part::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Part::Last(last)) => {
                    this.source = Source::Ended;
                    this.taken();
                    (!last.data.is_empty()).then(|| Ok(Frame::data(last.data)))
                }
                Some(Part::Broken(data, _)) => {
                    this.source = Source::Breaking(Box::pin(sleep(FLUSH)));
                    Some(Ok(Frame::data(data)))
                }
                _ => {
                    this.source = Source::Ended;
                    Some(Err(Broken))
                }
            },
            Source::Breaking(wait) => {
                std::task::ready!(wait.as_mut().poll(context));
                this.source = Source::Ended;
                // The answer that there is did arrive, as far as it went.
                this.delivery.take().map(Delivery::arrived);
                Some(Err(Broken))
            }
            Source::Ended => None,
        };
        this.ended();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Source::Ended => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}
