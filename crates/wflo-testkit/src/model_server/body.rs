//! Bodies that come in pieces and break on command.

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::Fault;

/// Closing a connection is the one answer that is an error of the service.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

pub(super) async fn feed(
    sender: mpsc::Sender<Result<Bytes, Closed>>,
    pieces: Vec<String>,
    error_event: String,
    fault: Option<Fault>,
    streams: bool,
) {
    if !streams {
        let whole = pieces.concat();
        let _ = sender.send(Ok(Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]))).await;
        breathe().await;
        let _ = sender.send(Err(Closed)).await;
        return;
    }
    for (index, piece) in pieces.into_iter().enumerate() {
        match fault {
            Some(Fault::HangAfter(events)) if index >= events => {
                // Until the other side goes.
                sender.closed().await;
                return;
            }
            Some(Fault::ResetAfter(events)) if index >= events => {
                breathe().await;
                let _ = sender.send(Err(Closed)).await;
                return;
            }
            Some(Fault::EndAfter(events)) if index >= events => return,
            Some(Fault::ErrorEvent(events)) if index >= events => {
                let _ = sender.send(Ok(error_event.into())).await;
                return;
            }
            Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        if sender.send(Ok(piece.into())).await.is_err() {
            return;
        }
    }
}

/// Writes pieces to the network one by one.
pub(super) async fn write(sender: mpsc::Sender<Result<Bytes, Closed>>, pieces: Vec<Bytes>) {
    for piece in pieces {
        if sender.send(Ok(piece)).await.is_err() {
            return;
        }
        breathe().await;
    }
}

/// Lets hyper flush what it has: an error drops its buffer.
async fn breathe() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// The body of an answer.
pub(super) enum Pieces {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Result<Bytes, Closed>>),
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match &mut *self {
            Pieces::Whole(body) => std::task::Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Pieces::Stream(receiver) => {
                receiver.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Pieces::Whole(Some(body)) => hyper::body::SizeHint::with_exact(body.len() as u64),
            _ => hyper::body::SizeHint::default(),
        }
    }
}
