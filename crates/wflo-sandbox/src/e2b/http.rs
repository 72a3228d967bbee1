//! Requests to a cloud, and its answers: each with a deadline, each bounded.
//!
//! **Architecture Invariant:** nothing is followed that an answer points to, and no answer is longer in memory
//! than who asked has said.

use super::error::Error;
use crate::remote::hushed::Hushed;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// The longest answer that is read whole.
const ANSWER: usize = 1 << 20;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// How long an idle connection is kept: servers close theirs after a few seconds.
const IDLE: Duration = Duration::from_secs(4);
/// What is kept of an answer's words.
const WORDS: usize = 300;

/// What is sent.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Makes requests.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// What no error may repeat, though a cloud does.
    pub(super) hushed: Hushed,
}

/// An answer that was read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// Where the next page of a list begins.
    pub(super) next: Option<String>,
    /// After how long it wants to be asked again, in whole seconds (RFC 9110, section 10.2.3).
    pub(super) again: Option<Duration>,
}

/// A text as the body of a request.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl Http {
    /// Reads the system's roots of trust where the cloud is to be reached by TLS.
    pub(super) fn new(with_tls: bool, hushed: Hushed) -> Result<Http, Error> {
        let failed = |reason: String| Error::Io { what: "preparing TLS", source: io::Error::other(reason) };
        let mut roots = rustls::RootCertStore::empty();
        if with_tls {
            let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                let reason =
                    "this system has no certificates of trusted authorities (install ca-certificates)";
                return Err(failed(reason.to_owned()));
            }
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        Ok(Http { client: builder.build(https.wrap_connector(connector)), hushed })
    }

    /// The same, with something more that no error may repeat.
    pub(super) fn keeping(&self, secret: &str) -> Http {
        Http { client: self.client.clone(), hushed: self.hushed.and(secret) }
    }

    /// Sends a request, and waits for the head of its answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub(super) async fn begin(
        &self,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let address = origin(&request);
        let unreachable = |reason: String| Error::Unreachable { address, reason };
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unreachable(self.words(&chain(&error)))),
            Err(_) => Err(unreachable(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Answer`] for one that has no end.
    pub(super) async fn ask(&self, request: Request<Body>, limit: Duration) -> Result<Answer, Error> {
        let address = origin(&request);
        let all = async {
            let response = self.begin(request, limit).await?;
            let status = response.status();
            let next = response.headers().get("x-next-token").and_then(|next| next.to_str().ok());
            let next = next.filter(|next| !next.is_empty()).map(str::to_owned);
            let again = response.headers().get(header::RETRY_AFTER).and_then(|again| again.to_str().ok());
            let again = again.and_then(|again| again.trim().parse().ok()).map(Duration::from_secs);
            let body = self.read(response.into_body(), ANSWER, &address).await?;
            Ok(Answer { status, body, next, again })
        };
        let late = |_| {
            let reason = format!("no whole answer within {} s", limit.as_secs());
            Error::Unreachable { address: address.clone(), reason }
        };
        tokio::time::timeout(limit, all).await.map_err(late)?
    }

    async fn read(&self, mut body: Incoming, most: usize, address: &str) -> Result<Bytes, Error> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken = |error: hyper::Error| {
                let reason = self.words(&chain(&error));
                Error::Unreachable { address: address.to_owned(), reason }
            };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                if bytes.len() + data.len() > most {
                    return Err(Error::Answer { what: format!("it has more than {most} bytes") });
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    }

    /// Words of a cloud for a person: on one line, short, and without what is secret.
    pub(super) fn words(&self, text: &str) -> String {
        self.hushed.told(text, WORDS)
    }

    /// What an answer that is a refusal says.
    pub(super) fn said(&self, body: &[u8]) -> String {
        let message = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|told| told.get("message").and_then(Value::as_str).map(str::to_owned));
        self.words(&message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()))
    }
}

/// A request; nothing of its answer may be compressed.
pub(super) fn request(method: Method, address: &str, body: Body) -> Result<Request<Body>, Error> {
    let wrong = |_| Error::Address { given: address.to_owned(), why: "it is none" };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = address.parse().map_err(wrong)?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("wflo/", env!("CARGO_PKG_VERSION"))));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(request)
}

/// A secret as a header.
///
/// # Errors
/// [`Error::NoKey`] for what cannot stand in one.
pub(super) fn hidden(secret: &str) -> Result<HeaderValue, Error> {
    let wrong = |_| Error::NoKey {
        reason: "it cannot stand in a header".to_owned(),
        hint: "the key must stand there alone, on one line".to_owned(),
    };
    let mut value = HeaderValue::from_str(secret).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

fn origin(request: &Request<Body>) -> String {
    let uri = request.uri();
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    format!("{}://{authority}", uri.scheme_str().unwrap_or("http"))
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let next = inner.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = inner.source();
    }
    text
}
