//! A request that asks for a WebSocket (RFC 6455), and what is said over it.
//!
//! The request is written anew like any other. Only an answer by which the host proves that it has read it as a
//! handshake (101, with the digest of the key) lets bytes through unread: a host that took it for something else could be
//! told a second request in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::answer::{Asked, pass_on, pass_switch};
use super::{Failed, is_plainly_framed};
use crate::body::Sending;
use crate::host::Target;
use crate::secrets::Redactor;

/// What is put behind a key before its digest is taken (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sends the request of a handshake with `key`, and carries bytes once the host has agreed; an answer of another kind is
/// passed on. Whether the client may ask again. `buffer` is what it has sent after its request.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut S,
    buffer: &mut BytesMut,
    (sender, request): (&mut SendRequest<Sending>, http::Request<Sending>),
    (target, about): (&Target, Asked),
    key: &str,
) -> Result<bool, Failed> {
    let no_answer = |why: &str| Failed::answerless(target, why);
    let response = sender.send_request(request).await;
    let response = response.map_err(|_| no_answer("what it sent is no answer in HTTP/1.1"))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if !is_plainly_framed(response.headers()) {
            return Err(no_answer("its answer has a transfer coding other than `chunked`"));
        }
        let passed = pass_on(client, response, about, Redactor::new(Vec::new())).await;
        return passed.map_err(|_| Failed::BROKEN);
    }
    if !agrees(response.headers(), key) {
        return Err(no_answer("it changed the protocol, and not to the WebSocket that was asked for"));
    }
    pass_switch(client, response.headers().clone()).await.map_err(|_| Failed::BROKEN)?;
    let host = hyper::upgrade::on(response).await.map_err(|_| Failed::BROKEN)?;
    let mut host = TokioIo::new(host);
    host.write_all(&buffer.split()).await.map_err(|_| Failed::BROKEN)?;
    tokio::io::copy_bidirectional(client, &mut host).await.map_err(|_| Failed::BROKEN)?;
    Ok(false)
}

/// Whether it is the answer to the handshake with `key`.
fn agrees(headers: &HeaderMap, key: &str) -> bool {
    let only = |name| {
        let mut all = headers.get_all(name).iter();
        all.next().filter(|_| all.next().is_none()).map(|value| value.as_bytes().trim_ascii())
    };
    let accept = BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    only(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && only(header::SEC_WEBSOCKET_ACCEPT) == Some(accept.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_agrees_by_the_digest_of_the_key() {
        let answer = |upgrade: &str, accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::UPGRADE, upgrade.parse().unwrap());
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
            headers
        };
        // The example of RFC 6455, 1.3.
        let (key, accept) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(agrees(&answer("WebSocket", accept), key));
        assert!(!agrees(&answer("h2c", accept), key) && !agrees(&answer("websocket", "x"), key));
        let mut twice = answer("websocket", accept);
        twice.append(header::SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
        assert!(!agrees(&twice, key) && !agrees(&HeaderMap::new(), key));
    }
}
