//! One POST to an address that is no provider's: what else leaves this process over HTTP uses the same
//! stack, the same roots of trust and the same deadlines.
//!
//! **Architecture Invariant:** no redirect is followed, and a header's value is in nothing but the
//! request.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};

use crate::secret::Secret;
use crate::upstream::{Deadlines, SendError, Upstream};

/// More of an answer than this is not read.
const ANSWER: usize = 64 << 10;

/// A client for such requests.
pub struct Poster {
    upstream: Upstream,
    deadlines: Deadlines,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The beginning of the body; empty when it could not be read.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The address is none.
    #[error("{0} is not an http or https address")]
    Address(String),
    /// A header cannot be sent.
    #[error("the header {0} cannot be sent: its name or value has characters that HTTP does not allow")]
    Header(String),
    /// The request failed.
    #[error("{0}")]
    Failed(String),
}

impl Poster {
    /// A client with these deadlines.
    #[must_use]
    pub fn new(deadlines: Deadlines) -> Self {
        Poster { upstream: Upstream::new(deadlines), deadlines }
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// [`PostError`]; the texts name addresses and conditions, never a header's value.
    pub async fn json(
        &self,
        address: &str,
        headers: &[(String, Secret)],
        body: Vec<u8>,
    ) -> Result<Answer, PostError> {
        let uri: Uri = address.parse().map_err(|_| PostError::Address(address.to_owned()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(PostError::Address(address.to_owned()));
        }
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let bad = || PostError::Header(name.clone());
            let field: HeaderName = name.parse().map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
            value.set_sensitive(true);
            request.headers_mut().insert(field, value);
        }
        let response =
            self.upstream.send(request, self.deadlines.first_byte).await.map_err(|error| match error {
                SendError::NeverSent(reason) | SendError::Unknown(reason) => PostError::Failed(reason),
            })?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER).collect();
        let body = match tokio::time::timeout(self.deadlines.idle, body).await {
            Ok(Ok(body)) => body.to_bytes().to_vec(),
            _ => Vec::new(),
        };
        Ok(Answer { status, body })
    }
}
