//! A path inside a workspace: relative, bytes, and never able to leave it.
//!
//! File names on Linux are bytes, and a program in a sandbox chooses them. [`RelPath`] holds any
//! name; its text form escapes what is not plain (`\x0a`), so that it can be stored as JSON, given
//! back on a command line and printed on a terminal without doing anything to it.
//!
//! **Architecture Invariant:** a `RelPath` has no empty, `.` or `..` component and no NUL byte.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wflo_core::legible;

use super::error::WorkspaceError;

/// A path relative to the workspace's root; the root itself is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The workspace itself.
    #[must_use]
    pub fn root() -> Self {
        RelPath(Vec::new())
    }

    /// Reads a path from raw bytes, e.g. of a directory entry. A trailing slash is dropped.
    ///
    /// # Errors
    /// [`WorkspaceError::BadPath`] when it is absolute, empty, or has a `.`, `..` or NUL in it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WorkspaceError> {
        let trimmed = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let fine = !trimmed.contains(&0)
            && trimmed.split(|&b| b == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
        if fine { Ok(RelPath(trimmed.to_vec())) } else { Err(bad(bytes)) }
    }

    /// The path of `name` inside this folder. `name` must be one plain component.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        RelPath(bytes)
    }

    /// A path of this folder, as one of the folder that this one is in.
    pub(crate) fn below_with(&self, path: &RelPath) -> Self {
        path.components().fold(self.clone(), |at, part| at.join(part))
    }

    /// The raw bytes, components separated by `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the standard library, relative.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or(&[])
    }

    /// The folder this path is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<RelPath> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(RelPath(self.0.get(..end).unwrap_or(&[]).to_vec()))
    }

    /// Every folder above this path below the root, nearest first.
    pub fn folders(&self) -> impl Iterator<Item = RelPath> {
        std::iter::successors(self.parent(), RelPath::parent).filter(|path| !path.0.is_empty())
    }

    /// Its components.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|part| !part.is_empty())
    }

    /// Whether this is `folder` or lies below it.
    #[must_use]
    pub fn is_within(&self, folder: &RelPath) -> bool {
        folder.0.is_empty()
            || self
                .0
                .strip_prefix(folder.0.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// How many components it has.
    pub(crate) fn depth(&self) -> usize {
        self.components().count()
    }

    /// The first path in byte order that sorts after everything below this folder.
    pub(crate) fn below(&self) -> (RelPath, RelPath) {
        let (mut from, mut to) = (self.0.clone(), self.0.clone());
        from.push(b'/');
        to.push(b'/' + 1);
        (RelPath(from), RelPath(to))
    }
}

fn bad(bytes: &[u8]) -> WorkspaceError {
    WorkspaceError::BadPath { shown: escape(bytes) }
}

/// Printable text for any bytes: `\` and everything that is not plain becomes `\xNN`. A blank is plain between two
/// characters that are none: others cannot be counted, or not be seen at all.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    let is_edge = |at: Option<&u8>| at.is_none_or(|byte| matches!(byte, b' ' | b'/'));
    for (place, chunk) in placed(bytes) {
        for (at, c) in chunk.valid().char_indices() {
            let at = place + at;
            let beside =
                || is_edge(at.checked_sub(1).and_then(|at| bytes.get(at))) || is_edge(bytes.get(at + 1));
            if c == '\\' || legible::misleads(c) || (c == ' ' && beside()) {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|byte| push_hex(&mut shown, byte));
            } else {
                shown.push(c);
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_hex(&mut shown, byte));
    }
    shown
}

/// The pieces of text in these bytes, with where each begins.
fn placed(bytes: &[u8]) -> impl Iterator<Item = (usize, std::str::Utf8Chunk<'_>)> {
    bytes.utf8_chunks().scan(0, |next, chunk| {
        let place = *next;
        *next += chunk.valid().len() + chunk.invalid().len();
        Some((place, chunk))
    })
}

/// The bytes that [`escape`] showed; `None` for a bad escape.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let hex = std::str::from_utf8(tail.strip_prefix(b"x")?.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = tail.get(3..)?;
    }
    Some(bytes)
}

fn push_hex(shown: &mut String, byte: u8) {
    shown.push_str("\\x");
    for digit in [byte >> 4, byte & 15] {
        shown.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(".") } else { f.write_str(&escape(&self.0)) }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// Reads the text form, as it is printed and stored.
impl FromStr for RelPath {
    type Err = WorkspaceError;

    fn from_str(text: &str) -> Result<Self, WorkspaceError> {
        if text == "." {
            return Ok(RelPath::root());
        }
        let bytes = unescape(text).ok_or_else(|| bad(text.as_bytes()))?;
        RelPath::from_bytes(&bytes)
    }
}

impl Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_could_leave_the_workspace() {
        for bytes in [&b"/etc/passwd"[..], b"../x", b"a/../b", b"a//b", b"", b".", b"a/./b", b"a\0b"] {
            assert!(RelPath::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(RelPath::from_bytes(b"a/b/").unwrap().as_bytes(), b"a/b");
    }

    #[test]
    fn shows_names_without_acting_on_a_terminal() {
        let path = RelPath::from_bytes(b"a\x1b[2J\n\xff\\").unwrap();
        assert_eq!(path.to_string(), "a\\x1b[2J\\x0a\\xff\\x5c");
        // What is not seen, and what looks like another name.
        for hidden in
            ["\u{e0041}", "\u{fe0f}", "\u{2800}", "\u{ad}", "\u{200b}", "\u{2028}", "\u{a0}", "\u{202e}"]
        {
            let path = RelPath::from_bytes(format!("a{hidden}b").as_bytes()).unwrap();
            let escaped: String = hidden.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
            assert_eq!(path.to_string(), format!("a{escaped}b"));
        }
        let shown = |name: &str| RelPath::from_bytes(name.as_bytes()).unwrap().to_string();
        assert_eq!(shown("My notes é/山.txt"), "My notes é/山.txt");
        assert_eq!(shown("a  b/c /d "), "a\\x20\\x20b/c\\x20/d\\x20");
    }

    proptest! {
        #[test]
        fn text_form_gives_back_the_same_bytes(bytes in prop::collection::vec(1u8.., 1..40)) {
            if let Ok(path) = RelPath::from_bytes(&bytes) {
                prop_assert_eq!(path.to_string().parse::<RelPath>().unwrap(), path);
            }
        }
    }
}
