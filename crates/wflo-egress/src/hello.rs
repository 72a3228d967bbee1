//! The first bytes of TLS: the name that a client asks for (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! Read with bounds, from records that may split the message anywhere. What is encrypted about the name
//! (ECH, RFC 9849) is refused: nobody could say which host is asked for.

use crate::host::Host;

/// The most bytes of a first message, its records' headers included. Real ones with post-quantum keys
/// have about 2 KiB.
pub(crate) const MOST: usize = 16 << 10;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_HELLO: u16 = 0xfe0d;

/// Why the first bytes through a tunnel are not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// They are not TLS.
    #[error("what was sent through the tunnel is not TLS")]
    NotTls,
    /// They are TLS that cannot be read.
    #[error("the first message of TLS cannot be read")]
    Malformed,
    /// It is too long.
    #[error("the first message of TLS is longer than 16 KiB")]
    Long,
    /// It names no host.
    #[error("TLS was begun without a server's name")]
    NoName,
    /// It names another host.
    #[error("TLS was begun for another host than the tunnel's, {name}")]
    OtherName {
        /// The name, shortened.
        name: String,
    },
    /// The name is encrypted.
    #[error("TLS was begun with an encrypted name (ECH)")]
    Encrypted,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a first message.
    More,
    /// A whole first message.
    Whole {
        /// The name in it.
        name: Option<Vec<u8>>,
    },
}

/// Whether TLS is begun for `host`.
///
/// # Errors
/// Why not.
pub fn judge(name: Option<&[u8]>, host: &Host) -> Result<(), HelloError> {
    match (name, host) {
        // An address has no name (RFC 6066, 3).
        (None, Host::Address(_)) => Ok(()),
        (None, Host::Name(_)) => Err(HelloError::NoName),
        (Some(name), host) => {
            let text = std::str::from_utf8(name).unwrap_or_default();
            let same = matches!((host, Host::parse(text)), (Host::Name(own), Ok(Host::Name(other))) if *own == other);
            if same {
                return Ok(());
            }
            let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
            Err(HelloError::OtherName { name: name.iter().take(100).map(shown).collect() })
        }
    }
}

/// Reads as far as the bytes go.
///
/// # Errors
/// Why they are no first message.
pub fn read(bytes: &[u8]) -> Result<Progress, HelloError> {
    let mut message = Vec::new();
    let mut rest = Reader(bytes);
    while !rest.0.is_empty() {
        let kind = rest.u8().ok_or(HelloError::NotTls)?;
        if kind != HANDSHAKE {
            return Err(if message.is_empty() { HelloError::NotTls } else { HelloError::Malformed });
        }
        match rest.0.first() {
            None => return more(bytes),
            Some(3) => {}
            Some(_) => return Err(HelloError::NotTls),
        }
        if rest.0.len() < 4 {
            return more(bytes);
        }
        rest.u16();
        let length = usize::from(rest.u16().unwrap_or_default());
        if length == 0 || length > 1 << 14 {
            return Err(HelloError::Malformed);
        }
        let (part, is_whole) = match rest.take(length) {
            Some(part) => (part, true),
            None => (std::mem::take(&mut rest.0), false),
        };
        message.extend_from_slice(part);
        if let Some(found) = hello(&message)? {
            return Ok(Progress::Whole { name: found });
        }
        if !is_whole {
            break;
        }
    }
    more(bytes)
}

fn more(bytes: &[u8]) -> Result<Progress, HelloError> {
    if bytes.len() >= MOST { Err(HelloError::Long) } else { Ok(Progress::More) }
}

/// The name in a first message; `None` as long as it is not whole.
fn hello(message: &[u8]) -> Result<Option<Option<Vec<u8>>>, HelloError> {
    let mut rest = Reader(message);
    match rest.u8() {
        None => return Ok(None),
        Some(CLIENT_HELLO) => {}
        Some(_) => return Err(HelloError::Malformed),
    }
    let Some(length) = rest.take(3) else { return Ok(None) };
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if length > MOST {
        return Err(HelloError::Long);
    }
    let Some(body) = rest.take(length) else { return Ok(None) };
    name(body).map(Some)
}

fn name(body: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let malformed = || HelloError::Malformed;
    let mut rest = Reader(body);
    // Version and random, session, cipher suites, compression.
    rest.take(34).ok_or_else(malformed)?;
    rest.short().ok_or_else(malformed)?;
    rest.long().ok_or_else(malformed)?;
    rest.short().ok_or_else(malformed)?;
    if rest.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Reader(rest.long().ok_or_else(malformed)?);
    if !rest.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let (mut found, mut seen) = (None, Vec::new());
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or_else(malformed)?;
        let content = extensions.long().ok_or_else(malformed)?;
        // None is there twice (RFC 8446, 4.2): which one counts would be another parser's choice.
        if seen.contains(&kind) || seen.len() > 200 {
            return Err(HelloError::Malformed);
        }
        seen.push(kind);
        match kind {
            ENCRYPTED_HELLO => return Err(HelloError::Encrypted),
            SERVER_NAME => found = Some(server_name(content).ok_or_else(malformed)?),
            _ => {}
        }
    }
    Ok(found)
}

/// The one host name of a list of names.
fn server_name(content: &[u8]) -> Option<Vec<u8>> {
    let mut outer = Reader(content);
    let mut list = Reader(outer.long()?);
    let kind = list.u8()?;
    let name = list.long()?;
    let is_alone = outer.0.is_empty() && list.0.is_empty() && kind == 0 && !name.is_empty();
    is_alone.then(|| name.to_vec())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
    /// Bytes after their length in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }
    /// Bytes after their length in two.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests;
