//! One small question to a model server, to see whether it answers: `GET …/models`.
//!
//! For `wflo init` and `wflo doctor` only; model calls go through the gateway. Plain HTTP is asked
//! fully; for HTTPS only the connection is tried, and the answer says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The longest answer that is read.
const MOST: u64 = 1 << 20;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A status and a body.
    Http { status: u16, body: String },
    /// The port accepts connections; nothing was asked.
    Connected,
}

/// Asks `base_url` + `path`, all within `limit`.
///
/// # Errors
/// Why there was no answer, as text for a person. It never holds the key.
pub(crate) fn ask(base_url: &str, path: &str, key: Option<&str>, limit: Duration) -> Result<Answer, String> {
    let end = Instant::now() + limit;
    let (secure, rest) = match (base_url.strip_prefix("http://"), base_url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("its address is not http:// or https://".to_owned()),
    };
    let (host, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let address =
        if has_port(host) { host.to_owned() } else { format!("{host}:{}", if secure { 443 } else { 80 }) };
    let stream = connect(&address, end)?;
    if secure {
        return Ok(Answer::Connected);
    }
    exchange(stream, host, &format!("{prefix}{path}"), key, end)
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn left(end: Instant) -> Result<Duration, String> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err("no answer in time".to_owned()) } else { Ok(left) }
}

fn connect(address: &str, end: Instant) -> Result<TcpStream, String> {
    // A resolver can hang for longer than anyone waits, and takes no deadline.
    let (sender, receiver) = mpsc::channel();
    let name = address.to_owned();
    std::thread::spawn(move || {
        let found = name.to_socket_addrs().map(|found| found.collect::<Vec<SocketAddr>>());
        let _ = sender.send(found);
    });
    let found = receiver
        .recv_timeout(left(end)?)
        .map_err(|_| format!("the name in {address} was not resolved in time"))?
        .map_err(|error| format!("{address}: {error}"))?;
    let mut reason = format!("{address} has no address");
    for address in found {
        match TcpStream::connect_timeout(&address, left(end)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = format!("{address}: {error}"),
        }
    }
    Err(reason)
}

fn exchange(
    mut stream: TcpStream,
    host: &str,
    path: &str,
    key: Option<&str>,
    end: Instant,
) -> Result<Answer, String> {
    let lost = |error: std::io::Error| format!("{host}: {error}");
    let key =
        key.map(|key| format!("Authorization: Bearer {key}\r\nx-api-key: {key}\r\n")).unwrap_or_default();
    // HTTP/1.0: the answer is not chunked and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n{key}\r\n");
    stream.set_write_timeout(Some(left(end)?)).map_err(lost)?;
    stream.write_all(request.as_bytes()).map_err(lost)?;
    let mut answer = Vec::new();
    let mut piece = [0_u8; 16 * 1024];
    while (answer.len() as u64) < MOST {
        stream.set_read_timeout(Some(left(end)?)).map_err(lost)?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // Some servers keep the connection open; what came is judged by its length.
            Err(error) if answer.is_empty() => return Err(lost(error)),
            Err(_) => break,
        }
        if complete(&answer) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    status.map(|status| Answer::Http { status, body }).ok_or_else(|| format!("{host} does not speak HTTP"))
}

/// Whether `content-length` bytes of the body are there.
fn complete(answer: &[u8]) -> bool {
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..at]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= at + 4 + length)
}
