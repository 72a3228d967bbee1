//! Paths in parts, as a server reads them, and patterns of them.
//!
//! A path that servers could read in different ways has no parts here: it is refused where a rule
//! depends on it.

/// A path whose parts mean the same to every server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments(Vec<Vec<u8>>);

/// Why a path has no parts that everybody agrees on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("it does not begin with /")]
    Relative,
    /// An escape that is none.
    #[error("one of its escapes is not % and two hexadecimal digits")]
    Escape,
    /// An empty part that is not the last, or `.` or `..`.
    #[error("it has an empty, `.` or `..` part")]
    Dots,
    /// A part that holds what separates parts, a control character, or an escape within an escape.
    #[error("one of its parts hides a separator, a control character or a second escape")]
    Hidden,
    /// A part that is not UTF-8: some servers read a dot or a slash in a form of it that is too long.
    #[error("one of its parts is not UTF-8")]
    NotText,
}

impl Segments {
    /// The parts of a path, escapes undone once.
    ///
    /// # Errors
    /// Why it has none.
    pub fn read(path: &str) -> Result<Segments, PathError> {
        let mut parts = Vec::new();
        let mut rest = path.strip_prefix('/').ok_or(PathError::Relative)?.split('/').peekable();
        while let Some(part) = rest.next() {
            let part = undone(part.as_bytes())?;
            if part.is_empty() && rest.peek().is_some() || part == b"." || part == b".." {
                return Err(PathError::Dots);
            }
            // `;` begins parameters for some servers, which they cut off.
            let hidden = |byte: &u8| matches!(byte, b'/' | b'\\' | b';') || byte.is_ascii_control();
            if part.iter().any(hidden) || has_escape(&part) {
                return Err(PathError::Hidden);
            }
            if std::str::from_utf8(&part).is_err() {
                return Err(PathError::NotText);
            }
            parts.push(part);
        }
        // A slash at the end is no part of its own.
        if parts.last().is_some_and(Vec::is_empty) {
            parts.pop();
        }
        Ok(Segments(parts))
    }
}

fn undone(part: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut plain = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            plain.push(*first);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(PathError::Escape) };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or(PathError::Escape);
        plain.push((digit(high)? * 16 + digit(low)?) as u8);
        rest = after;
    }
    Ok(plain)
}

fn has_escape(part: &[u8]) -> bool {
    let escape = |window: &[u8]| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    part.windows(3).any(escape)
}

/// Paths that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// `None` is any one part.
    parts: Vec<Option<Vec<u8>>>,
    /// Whether any parts may follow.
    open: bool,
}

impl Pattern {
    /// Reads a pattern: `*` is one part, `**` at the end is any number of them.
    pub(super) fn parse(text: &str) -> Option<Pattern> {
        let mut parts: Vec<Option<Vec<u8>>> = Vec::new();
        let open = text.ends_with("/**");
        let text = if open { text.strip_suffix("**")? } else { text };
        if text.contains(['%', '?', '#']) || text.contains("**") {
            return None;
        }
        for part in Segments::read(text).ok()?.0 {
            match part.as_slice() {
                b"*" => parts.push(None),
                name if name.contains(&b'*') => return None,
                name => parts.push(Some(name.to_vec())),
            }
        }
        Some(Pattern { parts, open })
    }

    pub(super) fn fits(&self, path: &Segments) -> bool {
        self.fits_by(path, |own, other| own == other)
    }

    /// The same whatever the case of letters: there are servers to which that is one path.
    pub(super) fn fits_in_any_case(&self, path: &Segments) -> bool {
        let lower = |part: &[u8]| String::from_utf8_lossy(part).to_lowercase();
        self.fits_by(path, |own, other| lower(own) == lower(other))
    }

    fn fits_by(&self, Segments(path): &Segments, same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let long_enough =
            if self.open { path.len() >= self.parts.len() } else { path.len() == self.parts.len() };
        let fits =
            |(own, other): (&Option<Vec<u8>>, &Vec<u8>)| own.as_ref().is_none_or(|own| same(own, other));
        long_enough && self.parts.iter().zip(path).all(fits)
    }

    /// Whether every path that fits `other` fits this.
    pub(super) fn covers(&self, other: &Pattern) -> bool {
        let long_enough = match (self.open, other.open) {
            (true, _) => other.parts.len() >= self.parts.len(),
            (false, true) => false,
            (false, false) => other.parts.len() == self.parts.len(),
        };
        let covers = |(own, other): (&Option<Vec<u8>>, &Option<Vec<u8>>)| own.is_none() || own == other;
        long_enough && self.parts.iter().zip(&other.parts).all(covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_hold_nothing_that_a_server_would_part_again(path in "/[a-z./\\\\%;0-9a-f]{0,24}") {
            if let Ok(Segments(parts)) = Segments::read(&path) {
                for part in parts {
                    prop_assert!(!part.is_empty() && part != b"." && part != b"..");
                    prop_assert!(!part.iter().any(|b| matches!(b, b'/' | b'\\' | b';' | 0)));
                    // Undoing escapes once more changes nothing.
                    prop_assert!(undone(&part).is_err() || undone(&part).unwrap() == part);
                }
            }
        }
    }
}
