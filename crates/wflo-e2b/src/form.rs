//! Forms (`multipart/form-data`), part by part.
//!
//! **Architecture Invariant:** of a form no more is held than a piece of a part, or what stands between two parts
//! up to a stated length: what takes a form apart would keep whatever arrives before a boundary or within the head
//! of a part.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyDataStream;
use hyper::body::{Body as HttpBody, Frame};
use multer::{Field, Multipart};

use crate::body::SILENCE;
use crate::error::ApiError;

/// How much may stand between the contents of two parts, heads included, in bytes.
const BETWEEN: usize = 64 << 10;

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A body that is handed on a piece at a time, while not too much has been since somebody took something of it.
struct Metered<B> {
    body: B,
    since: Arc<AtomicUsize>,
    /// A piece was handed on: its taker has its turn first. It would go on for as long as there is more.
    handed: bool,
}

impl<B: HttpBody<Data = Bytes, Error: Into<Broken>> + Unpin> HttpBody for Metered<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if std::mem::take(&mut self.handed) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.since.load(Ordering::Relaxed) > BETWEEN {
            return Poll::Ready(Some(Err("too much stands between two parts".into())));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.handed = true;
                self.since.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A form that arrives.
pub(crate) struct Form<'a> {
    parts: Multipart<'a>,
    since: Arc<AtomicUsize>,
}

impl<'a> Form<'a> {
    /// Of a body with this boundary.
    pub(crate) fn new<B>(body: B, boundary: String) -> Form<'a>
    where
        B: HttpBody<Data = Bytes, Error: Into<Broken>> + Send + Unpin + 'a,
    {
        let since = Arc::new(AtomicUsize::new(0));
        let body = Metered { body, since: Arc::clone(&since), handed: false };
        Form { parts: Multipart::new(BodyDataStream::new(body), boundary), since }
    }

    /// The next part. What was not taken of the one before is read for nothing.
    ///
    /// # Errors
    /// [`ApiError::Unclear`] for what is no form, or has too much between its parts; [`ApiError::Slow`].
    pub(crate) async fn next(&mut self) -> Result<Option<Part<'a>>, ApiError> {
        self.since.store(0, Ordering::Relaxed);
        let field = in_time(self.parts.next_field()).await?.map_err(|error| unclear(&self.since, &error))?;
        Ok(field.map(|field| Part { field, since: Arc::clone(&self.since) }))
    }
}

/// A part, whose contents are taken piece by piece.
pub(crate) struct Part<'a> {
    field: Field<'a>,
    since: Arc<AtomicUsize>,
}

impl Part<'_> {
    pub(crate) fn name(&self) -> Option<&str> {
        self.field.name()
    }

    pub(crate) fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// The next piece; `None` at the end of the part.
    ///
    /// # Errors
    /// As [`Form::next`].
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.since.store(0, Ordering::Relaxed);
        in_time(self.field.chunk()).await?.map_err(|error| unclear(&self.since, &error))
    }
}

async fn in_time<T>(arrives: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::time::timeout(SILENCE, arrives).await.map_err(|_| ApiError::Slow(SILENCE.as_secs()))
}

fn unclear(since: &AtomicUsize, error: &multer::Error) -> ApiError {
    ApiError::Unclear(match since.load(Ordering::Relaxed) > BETWEEN {
        true => format!("between two parts of a form there may be {} KiB, heads included", BETWEEN >> 10),
        false => format!("the form is not understood: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a form whose body arrives in these pieces: names and lengths; and how much of it was read.
    async fn read(
        pieces: impl Iterator<Item = Bytes> + Send + 'static,
    ) -> (Result<Vec<(String, usize)>, ApiError>, usize) {
        let (fill, body) = crate::answer::flow();
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            for piece in pieces {
                let length = piece.len();
                if fill.send(Ok(piece)).await.is_err() {
                    break;
                }
                sent += length;
            }
            sent
        });
        let parts = async {
            let mut form = Form::new(body, "b".to_owned());
            let mut parts = Vec::new();
            while let Some(mut part) = form.next().await? {
                let mut length = 0;
                while let Some(piece) = part.chunk().await? {
                    length += piece.len();
                }
                parts.push((part.name().unwrap_or_default().to_owned(), length));
            }
            Ok(parts)
        };
        let parts = parts.await;
        (parts, sending.await.unwrap())
    }

    /// A part's head.
    fn head(name: &str) -> Bytes {
        format!("\r\n--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into()
    }

    #[tokio::test]
    async fn a_form_is_read_whatever_its_pieces_are() {
        let large = || Bytes::from(vec![b'x'; 3 << 20]);
        let whole = [head("a"), large(), head("b"), head("c"), large(), Bytes::from_static(b"\r\n--b--\r\n")];
        let expected = [("a".to_owned(), 3 << 20), ("b".to_owned(), 0), ("c".to_owned(), 3 << 20)];
        let whole = Bytes::from(whole.concat());
        for size in [whole.len(), 1 << 20, 4_099, 64 << 10] {
            let pieces: Vec<_> = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            let (parts, _) = read(pieces.into_iter()).await;
            assert_eq!(parts.unwrap(), expected, "{size}");
        }
    }

    #[tokio::test]
    async fn what_stands_between_parts_is_bounded() {
        let endless = || std::iter::repeat_n(Bytes::from(vec![b'x'; 16 << 10]), 4_096);
        let preamble = endless();
        let in_a_head = std::iter::once(Bytes::from_static(b"--b\r\nX: ")).chain(endless());
        let padding = std::iter::once(Bytes::from_static(b"--b"))
            .chain(std::iter::repeat_n(Bytes::from(vec![b' '; 16 << 10]), 4_096));
        let pieces: [Box<dyn Iterator<Item = Bytes> + Send>; 3] =
            [Box::new(preamble), Box::new(in_a_head), Box::new(padding)];
        for pieces in pieces {
            let (parts, sent) = read(pieces).await;
            assert!(matches!(&parts, Err(ApiError::Unclear(why)) if why.contains("64 KiB")), "{parts:?}");
            assert!(sent < 256 << 10, "{sent}");
        }
    }
}
