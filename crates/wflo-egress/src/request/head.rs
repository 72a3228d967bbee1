//! The lines of a request's head.
//!
//! Stricter than RFC 9112 allows a server to be: lines end in CR LF, there is one space between the parts of
//! the first, no line is folded, no name has a space before its colon, and no control character is anywhere.

/// The most headers of a request.
const FIELDS: usize = 100;
/// The longest method.
const METHOD: usize = 32;

/// Why the lines of a head cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is the beginning of SOCKS.
    #[error("it is SOCKS; this proxy speaks HTTP only")]
    Socks,
    /// It is the beginning of TLS.
    #[error("it is TLS; this proxy is spoken to in plain HTTP/1.1, and TLS goes through CONNECT")]
    Tls,
    /// It is the beginning of HTTP/2.
    #[error("it is HTTP/2; this proxy is spoken to in HTTP/1.1")]
    Http2,
    /// A line ends in something else than CR LF.
    #[error("one of its lines does not end in CR LF")]
    LineEnd,
    /// A control character, or another one than ASCII where that is not allowed.
    #[error("it has a control character, or one that is not ASCII in its first line or a name")]
    Character,
    /// The first line.
    #[error("its first line is not METHOD TARGET HTTP/1.1, with one space between")]
    FirstLine,
    /// A header's line.
    #[error("one of its headers is not `name: value`")]
    Field,
    /// A line that goes on on the next.
    #[error("one of its headers is folded over two lines")]
    Folded,
    /// Too many headers.
    #[error("it has more than 100 headers")]
    Many,
}

/// The lines of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The target, as it was written: visible ASCII.
    pub target: &'a str,
    /// Whether it is HTTP/1.1, and not 1.0.
    pub is_1_1: bool,
    /// The headers, in their order.
    pub fields: Vec<Field<'a>>,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, without spaces around.
    pub value: &'a [u8],
}

/// What the first byte of a connection that is no HTTP says.
///
/// # Errors
/// What it is instead.
pub fn begins(first: u8) -> Result<(), HeadError> {
    match first {
        4 | 5 => Err(HeadError::Socks),
        0x16 => Err(HeadError::Tls),
        b'A'..=b'Z' => Ok(()),
        _ => Err(HeadError::FirstLine),
    }
}

impl<'a> Head<'a> {
    /// Reads a head, which ends with its empty line.
    ///
    /// # Errors
    /// What of it is not as it has to be.
    pub fn parse(bytes: &'a [u8]) -> Result<Head<'a>, HeadError> {
        begins(bytes.first().copied().unwrap_or_default())?;
        let mut lines = Lines(bytes);
        let (method, target, is_1_1) = first_line(lines.next_line()?)?;
        let mut fields = Vec::new();
        loop {
            let line = lines.next_line()?;
            if line.is_empty() {
                // Nothing may follow: who cut the head out saw another end.
                return if lines.0.is_empty() {
                    Ok(Head { method, target, is_1_1, fields })
                } else {
                    Err(HeadError::LineEnd)
                };
            }
            if fields.len() == FIELDS {
                return Err(HeadError::Many);
            }
            fields.push(field(line)?);
        }
    }

    /// The values of every header of this name.
    pub fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        self.fields.iter().filter(move |field| field.name == name).map(|field| field.value)
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<&'a [u8], HeadError> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or(HeadError::LineEnd)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(HeadError::LineEnd)?;
        let allowed = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        if line.iter().all(allowed) { Ok(line) } else { Err(HeadError::Character) }
    }
}

fn first_line(line: &[u8]) -> Result<(&str, &str, bool), HeadError> {
    let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if !line.iter().all(visible) {
        return Err(HeadError::Character);
    }
    let line = std::str::from_utf8(line).map_err(|_| HeadError::Character)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::FirstLine);
    };
    let is_method = (1..=METHOD).contains(&method.len())
        && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match version {
        "HTTP/2.0" if method == "PRI" => Err(HeadError::Http2),
        "HTTP/1.1" | "HTTP/1.0" if is_method && !target.is_empty() => {
            Ok((method, target, version == "HTTP/1.1"))
        }
        _ => Err(HeadError::FirstLine),
    }
}

fn field(line: &[u8]) -> Result<Field<'_>, HeadError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(HeadError::Folded);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadError::Field)?;
    let (name, rest) = line.split_at(colon);
    // RFC 9110, 5.6.2.
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(HeadError::Field);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = rest.get(1..).unwrap_or_default();
    Ok(Field { name, value: value.trim_ascii() })
}
