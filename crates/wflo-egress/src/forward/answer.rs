//! A host's answer, written to the client from what hyper read of it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::secrets::{REDACTED, Redactor};

/// What of its request an answer depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// It may be answered in chunks.
    pub(super) is_1_1: bool,
    /// The client wants the connection closed.
    pub(super) close: bool,
    /// The answer has no body.
    pub(super) is_head: bool,
}

/// Writes a host's answer to the client. Whether the client may ask again.
///
/// # Errors
/// When one side broke it off.
pub(super) async fn pass_on(
    client: &mut (impl AsyncWrite + Unpin),
    response: Response<Incoming>,
    asked: Asked,
    mut redactor: Redactor,
) -> std::io::Result<bool> {
    let (mut head, mut body) = response.into_parts();
    let length = head.headers.get(header::CONTENT_LENGTH).cloned();
    strip(&mut head.headers);
    for value in head.headers.values_mut() {
        if redactor.is_in(value.as_bytes()) {
            *value = HeaderValue::from_static(REDACTED);
        }
    }
    let is_empty = asked.is_head || matches!(head.status.as_u16(), 204 | 304);
    // What is taken out of a body changes its length.
    let exact = body.size_hint().exact().filter(|exact| redactor.is_idle() || *exact == 0);
    let chunked = !is_empty && exact.is_none() && asked.is_1_1;
    // To a client of HTTP/1.0 the end of the connection is the end of the body.
    let kept = !asked.close && asked.is_1_1;
    let mut text = format!(
        "HTTP/1.1 {} {}\r\n",
        head.status.as_str(),
        head.status.canonical_reason().unwrap_or_default()
    )
    .into_bytes();
    write_headers(&mut text, &head.headers);
    match (is_empty, exact) {
        // What a body would have had.
        (true, _) => {
            if let Some(length) = length {
                text.extend_from_slice(b"content-length: ");
                text.extend_from_slice(length.as_bytes());
                text.extend_from_slice(b"\r\n");
            }
        }
        (false, Some(exact)) => text.extend_from_slice(format!("content-length: {exact}\r\n").as_bytes()),
        (false, None) if chunked => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (false, None) => {}
    }
    text.extend_from_slice(if kept { b"\r\n" } else { b"connection: close\r\n\r\n" });
    client.write_all(&text).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(std::io::Error::other)?;
        let Ok(data) = frame.into_data() else { continue };
        write_part(client, &redactor.push(data), chunked, is_empty).await?;
    }
    write_part(client, &redactor.finish(), chunked, is_empty).await?;
    if chunked {
        client.write_all(b"0\r\n\r\n").await?;
    }
    client.flush().await?;
    Ok(kept)
}

/// Writes the head of an answer by which a WebSocket begins.
///
/// # Errors
/// When the client has gone.
pub(super) async fn pass_switch(
    client: &mut (impl AsyncWrite + Unpin),
    mut headers: HeaderMap,
) -> std::io::Result<()> {
    strip(&mut headers);
    let mut text = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    write_headers(&mut text, &headers);
    text.extend_from_slice(b"\r\n");
    client.write_all(&text).await?;
    client.flush().await
}

fn write_headers(text: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

async fn write_part(
    client: &mut (impl AsyncWrite + Unpin),
    data: &Bytes,
    chunked: bool,
    is_empty: bool,
) -> std::io::Result<()> {
    if data.is_empty() || is_empty {
        return Ok(());
    }
    if chunked {
        client.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await?;
    }
    client.write_all(data).await?;
    if chunked {
        client.write_all(b"\r\n").await?;
    }
    // Through TLS it would stand in a buffer, however long the host takes for the next.
    client.flush().await
}

/// Takes off what is about the host's connection, or about proxies.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in
        ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
    {
        headers.remove(name);
    }
    let of_proxies: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    for name in of_proxies {
        headers.remove(name);
    }
}
