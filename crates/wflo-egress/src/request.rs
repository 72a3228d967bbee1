//! What a client asks of the proxy: one strict reading of the head of a request.
//!
//! Two forms are taken: `CONNECT host:port` and, for plain HTTP, the absolute form
//! (`GET http://host/path`). What comes out is all that anybody ever looks at: the target that is judged is
//! the target that is dialled, and the request that is sent is written anew from what was read here, never
//! copied. Whatever another parser could read in a different way is refused.

pub mod head;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::host::{Target, TargetError};
use head::{Head, HeadError};

/// One request, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A tunnel.
    Connect(Target),
    /// A request of plain HTTP.
    Forward(Box<Forward>),
}

/// A request of plain HTTP that is to be sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where to.
    pub target: Target,
    /// The method, in capitals.
    pub method: String,
    /// The path; begins with a slash.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Headers that are sent on: not those of the connection, the proxy, the host or the body's framing.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Where its body ends.
    pub body: Framing,
    /// Whether the client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// Whether the client may be answered in chunks, and may ask again on the same connection.
    pub is_http_1_1: bool,
    /// Whether the client wants the connection closed.
    pub close: bool,
    /// The port that its scheme means where none is written.
    pub usual_port: u16,
    /// Whether it asks for a WebSocket, with the key of its handshake. Other upgrades are left out, as a server may.
    pub websocket: Option<String>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Its head.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Its target.
    #[error("its target: {0}")]
    Target(#[from] TargetError),
    /// It names a path only: it was not meant for a proxy.
    #[error("its target is a path; a proxy is asked for a whole address (http://host/path) or with CONNECT")]
    OriginForm,
    /// It names more than a path, where the host is known already.
    #[error("its target is more than a path, within a connection to one host")]
    NotOrigin,
    /// TLS is the client's, through a tunnel.
    #[error(
        "its target begins with something else than http://; encrypted connections are asked for with CONNECT"
    )]
    Scheme,
    /// A character that an address does not have.
    #[error("its target has a character that an address does not have, or an escape that is none")]
    Character,
    /// The headers `host` are none, several, or another than the target's.
    #[error("its `host` is missing, there twice, or another than its target's")]
    Host,
    /// The body's end could be read in two ways.
    #[error(
        "the end of its body is not said in one way: one `content-length`, or `transfer-encoding: chunked`"
    )]
    Framing,
    /// Another method or path than its own, for servers that heed that.
    #[error(
        "a header of it stands for another method or path or has a `_`, where rules name methods and paths"
    )]
    Override,
    /// A handshake that servers could take for something else.
    #[error(
        "it asks for a WebSocket, and not as RFC 6455 has it: GET in HTTP/1.1, no body, one `upgrade: websocket`, version 13, one key of 16 bytes"
    )]
    WebSocket,
    /// An expectation that nobody knows.
    #[error("it expects something else than 100-continue")]
    Expectation,
}

/// Headers that are about this connection, or the proxy, and are never sent on.
const OWN: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Request {
    /// Reads a head, which ends with its empty line.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn parse(head: &[u8]) -> Result<Request, RequestError> {
        let head = Head::parse(head)?;
        if head.method == "CONNECT" {
            let target = Target::parse(head.target, None)?;
            if framing(&head)? != Framing::Empty {
                return Err(RequestError::Framing);
            }
            agree(&head, &target, None)?;
            return Ok(Request::Connect(target));
        }
        let (target, path, query) = absolute(head.target)?;
        forward(&head, target, (path, query), 80).map(|asked| Request::Forward(Box::new(asked)))
    }

    /// Reads the head of a request within TLS that is ended here, to the one host that it was begun for.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn within(head: &[u8], target: &Target) -> Result<Forward, RequestError> {
        let head = Head::parse(head)?;
        if !head.target.starts_with('/') || head.method == "CONNECT" {
            return Err(RequestError::NotOrigin);
        }
        forward(&head, target.clone(), parted(head.target)?, 443)
    }
}

fn forward(
    head: &Head<'_>,
    target: Target,
    (path, query): (String, Option<String>),
    usual_port: u16,
) -> Result<Forward, RequestError> {
    agree(head, &target, Some(usual_port))?;
    let body = framing(head)?;
    let expects_continue = expectation(head)?;
    let named = connection_options(head);
    let websocket = websocket(head, &named, body)?;
    let is_sent = |name: &str| {
        !OWN.contains(&name) && !name.starts_with("proxy-") && !named.iter().any(|option| option == name)
    };
    let headers = head.fields.iter().filter(|field| is_sent(&field.name));
    let headers = headers.map(|field| (field.name.clone(), field.value.to_vec())).collect();
    Ok(Forward {
        target,
        method: head.method.to_owned(),
        path,
        query,
        headers,
        body,
        expects_continue,
        is_http_1_1: head.is_1_1,
        close: !head.is_1_1 || named.iter().any(|option| option == "close"),
        usual_port,
        websocket,
    })
}

/// The key of the handshake of a WebSocket (RFC 6455, 4.1), if it is one.
fn websocket(head: &Head<'_>, named: &[String], body: Framing) -> Result<Option<String>, RequestError> {
    let mut upgrades = head.all("upgrade").flat_map(|value| value.split(|byte| *byte == b','));
    if !upgrades.any(|value| value.trim_ascii().eq_ignore_ascii_case(b"websocket")) {
        return Ok(None);
    }
    let only = |name| {
        let mut all = head.all(name);
        all.next().filter(|_| all.next().is_none())
    };
    let key = only("sec-websocket-key").and_then(|key| std::str::from_utf8(key).ok());
    let key = key.filter(|key| BASE64.decode(key).is_ok_and(|key| key.len() == 16));
    let is_sound = head.method == "GET"
        && head.is_1_1
        && body == Framing::Empty
        && named.iter().any(|option| option == "upgrade")
        && only("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && only("sec-websocket-version") == Some(&b"13"[..]);
    key.filter(|_| is_sound).map(|key| Some(key.to_owned())).ok_or(RequestError::WebSocket)
}

/// The parts of `http://host[:port]/path?query`.
fn absolute(text: &str) -> Result<(Target, String, Option<String>), RequestError> {
    if text.starts_with('/') || text == "*" {
        return Err(RequestError::OriginForm);
    }
    let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let rest = scheme.and(text.get(7..)).ok_or(RequestError::Scheme)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = Target::parse(authority, Some(80))?;
    let (path, query) = parted(rest)?;
    Ok((target, path, query))
}

/// A path, and what follows its question mark.
fn parted(text: &str) -> Result<(String, Option<String>), RequestError> {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let path = if path.is_empty() { "/" } else { path };
    // RFC 3986; brackets and bars are common in queries.
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
    let in_query = |byte: u8| usual(byte) || b"?[]|".contains(&byte);
    let is_sound = path.bytes().all(usual) && query.is_none_or(|query| query.bytes().all(in_query));
    if !is_sound || !has_sound_escapes(path) || !query.is_none_or(has_sound_escapes) {
        return Err(RequestError::Character);
    }
    Ok((path.to_owned(), query.map(str::to_owned)))
}

/// Every `%` begins an escape of something else than a control character.
fn has_sound_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .is_some_and(|byte| byte >= 0x20 && byte != 0x7f)
    })
}

/// The one `host` is the target's own.
fn agree(head: &Head<'_>, target: &Target, usual: Option<u16>) -> Result<(), RequestError> {
    let mut hosts = head.all("host");
    match (hosts.next(), hosts.next()) {
        // RFC 9112, 3.2.
        (None, _) if !head.is_1_1 => Ok(()),
        (Some(host), None) => {
            let host = std::str::from_utf8(host).map_err(|_| RequestError::Host)?;
            // Some clients leave the port out, or write the host of a tunnel without it.
            let same = Target::parse(host, usual.or(Some(target.port))).is_ok_and(|host| host == *target);
            if same { Ok(()) } else { Err(RequestError::Host) }
        }
        _ => Err(RequestError::Host),
    }
}

fn framing(head: &Head<'_>) -> Result<Framing, RequestError> {
    let mut lengths = head.all("content-length");
    let mut codings = head.all("transfer-encoding");
    let found = (lengths.next(), lengths.next(), codings.next(), codings.next());
    match found {
        (None, _, None, _) => Ok(Framing::Empty),
        (Some(length), None, None, _) => {
            let is_number = (1..=15).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(length).ok().filter(|_| is_number);
            match text.and_then(|text| text.parse().ok()) {
                Some(0) => Ok(Framing::Empty),
                Some(length) => Ok(Framing::Length(length)),
                None => Err(RequestError::Framing),
            }
        }
        (None, _, Some(coding), None) if head.is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        _ => Err(RequestError::Framing),
    }
}

fn expectation(head: &Head<'_>) -> Result<bool, RequestError> {
    let mut all = head.all("expect");
    match (all.next(), all.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(head.is_1_1),
        _ => Err(RequestError::Expectation),
    }
}

/// What `connection` names, in lower case: options, and headers for this connection alone.
fn connection_options(head: &Head<'_>) -> Vec<String> {
    let values = head.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
    values.map(|value| String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
