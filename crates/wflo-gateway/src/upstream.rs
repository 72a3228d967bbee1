//! The way to the providers: one HTTP client, its pool, its deadlines, its headers.
//!
//! Owns connections and what is sent over them. It tells apart what was certainly never sent from
//! what may have been: only the first gives its hold back.
//!
//! **Architecture Invariant:** no redirect is followed, no client credential is passed on, and a
//! provider's key is in nothing but the request's headers.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::dialect::Dialect;
use crate::route::Provider;
use crate::together::Together;

/// How long each part of a call may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the request to the first byte of the answer. Ten minutes, as the stock clients wait: a
    /// reasoning model that does not stream is silent for long.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// To read an answer to its end after its client has gone.
    pub drain: Duration,
    /// To learn what a call cost whose step is being ended while people wait for that.
    pub ending: Duration,
    /// For a client to send a request's head, from when its connection is made or its last answer ended.
    pub head: Duration,
    /// Between two pieces of a client's request.
    pub request_idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            drain: Duration::from_secs(120),
            ending: Duration::from_secs(5),
            head: Duration::from_secs(30),
            request_idle: Duration::from_secs(60),
        }
    }
}

/// A request that got no response.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Not a byte of it left this host.
    NeverSent(String),
    /// It may have arrived and may be billed.
    Unknown(String),
}

type TlsClient = Client<HttpsConnector<Gathered>, Full<Bytes>>;

pub(crate) struct Upstream {
    plain: Client<Gathered, Full<Bytes>>,
    /// Made at the first `https` address: reading the system's roots takes milliseconds.
    tls: OnceLock<Result<TlsClient, String>>,
    connect: Duration,
}

impl Upstream {
    pub(crate) fn new(deadlines: Deadlines) -> Upstream {
        // Local servers close idle connections within five seconds; a request that meets the close
        // has an unknown outcome, so the pool lets go first.
        let plain = builder(Duration::from_secs(4)).build(connector(deadlines.connect, true));
        Upstream { plain, tls: OnceLock::new(), connect: deadlines.connect }
    }

    /// Sends it, and waits `first_byte` at most for the head of its answer.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        first_byte: Duration,
    ) -> Result<Response<Incoming>, SendError> {
        let response = if request.uri().scheme_str() == Some("https") {
            match self.tls.get_or_init(|| tls(self.connect)) {
                Ok(client) => client.request(request),
                Err(reason) => return Err(SendError::NeverSent(reason.clone())),
            }
        } else {
            self.plain.request(request)
        };
        match tokio::time::timeout(first_byte, response).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(SendError::NeverSent(reason(&error))),
            Ok(Err(error)) => Err(SendError::Unknown(reason(&error))),
            Err(_) => Err(SendError::Unknown(format!("no answer within {} s", first_byte.as_secs()))),
        }
    }
}

fn builder(idle: Duration) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(idle).pool_timer(TokioTimer::new()).timer(TokioTimer::new());
    builder
}

/// Connects, to where writes leave together.
#[derive(Clone)]
struct Gathered(HttpConnector);

impl tower_service::Service<Uri> for Gathered {
    type Response = TokioIo<Together>;
    type Error = <HttpConnector as tower_service::Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move { Ok(TokioIo::new(Together::new(connecting.await?.into_inner()))) })
    }
}

fn connector(connect: Duration, only_http: bool) -> Gathered {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(connect));
    connector.set_nodelay(true);
    connector.enforce_http(only_http);
    Gathered(connector)
}

fn tls(connect: Duration) -> Result<TlsClient, String> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(
            "this system has no certificates of trusted authorities (install ca-certificates)".to_owned()
        );
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .wrap_connector(connector(connect, false));
    Ok(builder(Duration::from_secs(30)).build(https))
}

/// An error with its causes. hyper's errors name addresses and conditions, never headers.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
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

/// Headers that belong to one connection (RFC 9110, 7.6.1), or to the gateway.
const OWN_HEADERS: [HeaderName; 10] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Of a request, besides: credentials (placeholders, replaced by the provider's), and what the
/// gateway decides.
const REQUEST_HEADERS: [HeaderName; 10] = [
    header::HOST,
    header::AUTHORIZATION,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    // Google's: each would make the request, or its answer, another than the one that was bounded.
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-goog-fieldmask"),
];

/// Beginnings of names by which a request is served elsewhere, or at another price, than it was bounded
/// for: Vertex' priority, and what gateways that may stand behind this one take as their orders, where to
/// send the provider's key among them.
const STEERING: [&str; 7] =
    ["x-vertex-ai-llm-", "x-goog-user-project", "x-portkey-", "helicone-", "cf-aig-", "x-litellm-", "x-bf-"];

/// Headers of an answer that the gateway keeps to itself.
const RESPONSE_HEADERS: [HeaderName; 2] = [header::SET_COOKIE, HeaderName::from_static("alt-svc")];

fn connection_tokens(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

fn steers(name: &HeaderName) -> bool {
    STEERING.iter().any(|beginning| name.as_str().starts_with(beginning))
}

fn passed(headers: &HeaderMap, kept_back: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let tokens = connection_tokens(headers);
    let mut out = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !OWN_HEADERS.contains(name)
            && !kept_back(name)
            && !tokens.iter().any(|token| token == name.as_str())
        {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// The headers of an answer that go to the client.
pub(crate) fn answer_headers(headers: &HeaderMap) -> HeaderMap {
    passed(headers, |name| RESPONSE_HEADERS.contains(name))
}

/// Takes out of a provider's answer what only the gateway says: who answered, and how old an answer is.
pub(crate) fn forget_ours(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("wflo-") || *name == header::AGE)
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// The headers of a request that go to the provider.
pub(crate) fn request_headers(client: &HeaderMap) -> HeaderMap {
    passed(client, |name| REQUEST_HEADERS.contains(name) || steers(name))
}

/// The request for the provider: the client's headers less its credentials, and the provider's key.
pub(crate) fn request(
    provider: &Provider,
    method: Method,
    uri: Uri,
    client: &HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, SendError> {
    let mut headers = request_headers(client);
    // Usage must be readable on the way through.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(key) = &provider.api_key {
        let invalid = |_| {
            SendError::NeverSent(format!("the key of the provider `{}` is no valid header", provider.name))
        };
        let (name, text) = match provider.dialect {
            Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
            Dialect::Google => (HeaderName::from_static("x-goog-api-key"), key.expose().to_owned()),
            _ => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
        };
        let mut value = HeaderValue::from_str(&text).map_err(invalid)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_request_elsewhere_is_kept_back() {
        let mut client = HeaderMap::new();
        for name in [
            "x-vertex-ai-llm-shared-request-type",
            "x-portkey-custom-host",
            "helicone-target-url",
            "cf-aig-authorization",
            "x-goog-user-project",
        ] {
            client.insert(name, HeaderValue::from_static("x"));
        }
        client.insert("x-title", HeaderValue::from_static("kept"));
        let provider = Provider::new("p", Dialect::OpenAi, "http://127.0.0.1:1", None).unwrap();
        let uri = provider.endpoint("/chat/completions", None).unwrap();
        let sent = request(&provider, Method::POST, uri, &client, Bytes::new()).unwrap();
        let names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-title", "accept-encoding"]);
    }

    #[tokio::test]
    async fn a_tls_provider_that_is_not_there_was_never_sent_anything() {
        // No other test can come to listen there, as it could at a port that was free a moment ago.
        let provider = Provider::new("p", Dialect::OpenAi, "https://127.0.0.1:1", None).unwrap();
        let uri = provider.endpoint("/models", None).unwrap();
        let request = request(&provider, Method::GET, uri, &HeaderMap::new(), Bytes::new()).unwrap();
        let error =
            Upstream::new(Deadlines::default()).send(request, Duration::from_secs(600)).await.unwrap_err();
        assert!(matches!(error, SendError::NeverSent(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_handshake_that_fails_was_never_sent_anything() {
        // A plain-text server where TLS is expected: the request itself never leaves.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut hello).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            String::from_utf8_lossy(&hello[..read]).into_owned()
        });
        let key = crate::secret::Secret::new("sk-hidden");
        let provider = Provider::new("p", Dialect::OpenAi, &address, key).unwrap();
        let uri = provider.endpoint("/models", None).unwrap();
        let request = request(&provider, Method::GET, uri, &HeaderMap::new(), Bytes::new()).unwrap();
        let error =
            Upstream::new(Deadlines::default()).send(request, Duration::from_secs(600)).await.unwrap_err();
        let SendError::NeverSent(reason) = error else { panic!("{error:?}") };
        assert!(!reason.contains("sk-hidden"));
        assert!(!server.await.unwrap().contains("sk-hidden"));
    }
}
