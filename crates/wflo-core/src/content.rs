//! What was asked of a model, cut into pieces that are kept once.
//!
//! Owns how a request is cut and put together again. A conversation repeats its history in every call, so each
//! list of a request (`messages`, `input`, `contents`, `system`, `tools`) becomes a chain of pieces: a longer list
//! that begins as an earlier one adds its new pieces and nothing else. No field is known by name: a request is
//! its bytes, in whatever dialect.
//!
//! **Architecture Invariant:** the pieces of a request, put together, are the text that was cut, byte for byte; where a
//! bound left something out, a note with its size and its hash stands there.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canonical::Digest;

mod strings;

pub use self::strings::{has_lone_surrogate, mended, strings};

/// An element of a list, or another field, beyond so many bytes is kept as its size and its hash.
pub const MOST_OF_ELEMENT: usize = 256 << 10;
/// So much of one request is kept, in bytes.
pub const MOST_OF_REQUEST: usize = 4 << 20;
/// So much of all requests of one run is kept, in bytes.
pub const MOST_OF_RUN: u64 = 64 << 20;
/// Elements are put together until a piece has so many bytes: a list of numbers is not one of as many pieces.
const PIECE: usize = 512;
/// A field of fewer bytes stands in the outline itself.
const SMALL: usize = 256;
/// An outline has so many bytes at most; a request with more is one list of its bytes.
const OUTLINE: usize = 4 << 10;
/// About the length of a note, in bytes.
const NOTE: usize = 128;
/// No request that is put together is longer, in bytes: what is kept of one, with its notes.
const MOST_TOGETHER: usize = 2 * MOST_OF_REQUEST;
/// The key of a note in place of what is not kept.
pub const NOT_KEPT: &str = "wflo.not_kept";

/// The name of a piece: a BLAKE3.
pub type Name = [u8; 32];

/// What is kept beside the outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A text.
    Text {
        /// Its name.
        name: Name,
        /// Itself.
        text: Arc<str>,
    },
    /// A list that ends in a text.
    Link {
        /// Its name.
        name: Name,
        /// The list before; none for its first piece.
        before: Option<Name>,
        /// The name of the text.
        text: Name,
    },
}

impl Piece {
    /// Its name.
    pub const fn name(&self) -> &Name {
        match self {
            Piece::Text { name, .. } | Piece::Link { name, .. } => name,
        }
    }

    /// About what it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Piece::Text { text, .. } => text.len() as u64 + 64,
            Piece::Link { .. } => 128,
        }
    }
}

/// How a request is put together; it stands with the call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// How long the request was, in bytes.
    pub bytes: u64,
    /// Its BLAKE3, where nothing else of it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Digest>,
    /// Its parts in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// How many elements or fields are kept as size and hash.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_kept: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// Some of it.
    Text(String),
    /// A list of pieces.
    List {
        /// The name of its last link, in hexadecimal.
        list: String,
    },
}

impl Outline {
    /// The outline of a request of which only the size and the hash are kept.
    pub fn unkept(body: &[u8]) -> Outline {
        Outline {
            bytes: body.len() as u64,
            blake3: Some(Digest::of_bytes(body)),
            not_kept: 1,
            ..Outline::default()
        }
    }
}

/// Cuts a request.
pub fn cut(text: &str) -> (Outline, Vec<Piece>) {
    let mut cutter = Cutter::default();
    if !cutter.object(text) {
        cutter = Cutter::default();
        cutter.bytes(text);
    }
    let Cutter { parts, pieces, not_kept, .. } = cutter;
    (Outline { bytes: text.len() as u64, blake3: None, parts, not_kept }, pieces)
}

#[derive(Default)]
struct Cutter {
    parts: Vec<Part>,
    pieces: Vec<Piece>,
    not_kept: u64,
    /// What is kept so far, in bytes.
    kept: usize,
}

impl Cutter {
    /// Cuts an object by its fields; `false` for anything that is better cut by its bytes.
    fn object(&mut self, text: &str) -> bool {
        let Some(values) = values(text) else { return false };
        let (mut at, mut outline) = (0, 0);
        for range in values {
            let Some(value) = text.get(range.clone()) else { return false };
            if value.len() <= SMALL {
                continue;
            }
            let Some(between) = text.get(at..range.start) else { return false };
            self.literal(between);
            outline += between.len() + 80;
            at = range.end;
            match elements(value) {
                Some(ends) => self.list(value, &ends),
                None => {
                    let whole = 0..value.len();
                    self.list(value, std::slice::from_ref(&whole));
                }
            }
        }
        let Some(rest) = text.get(at..) else { return false };
        self.literal(rest);
        outline + rest.len() <= OUTLINE
    }

    fn literal(&mut self, text: &str) {
        if !text.is_empty() {
            self.parts.push(Part::Text(text.to_owned()));
        }
    }

    /// Cuts what is no object of a few fields into pieces of one size.
    fn bytes(&mut self, text: &str) {
        let (mut ranges, mut from) = (Vec::new(), 0);
        while from < text.len() {
            let mut to = (from + (32 << 10)).min(text.len());
            while !text.is_char_boundary(to) {
                to += 1;
            }
            ranges.push(from..to);
            from = to;
        }
        self.list(text, &ranges);
    }

    /// Cuts a value at the ends of its elements.
    fn list(&mut self, value: &str, elements: &[Range<usize>]) {
        let (mut before, mut at, mut piece) = (None, 0, String::new());
        for range in elements {
            let between = value.get(at..range.start).unwrap_or_default();
            let element = value.get(range.clone()).unwrap_or_default();
            let is_large = element.len() > MOST_OF_ELEMENT;
            let taken = if is_large { NOTE } else { element.len() };
            // White space is bounded like an element: between two of them nobody needs more.
            if between.len() > MOST_OF_ELEMENT
                || self.kept + piece.len() + between.len() + taken > MOST_OF_REQUEST
            {
                // Of the rest one note, without the bracket that ends it.
                let is_list = value.starts_with('[');
                let end = value.len() - usize::from(is_list);
                let rest = value.get(at..end).unwrap_or_default();
                piece.push_str(match at {
                    _ if !is_list => "",
                    0 => "[",
                    _ => ",",
                });
                piece.push_str(&self.note(rest));
                at = end;
                break;
            }
            piece.push_str(between);
            at = range.end;
            match is_large {
                true => piece.push_str(&self.note(element)),
                false => piece.push_str(element),
            }
            if piece.len() >= PIECE {
                before = Some(self.link(before, &piece));
                piece.clear();
            }
        }
        let rest = value.get(at..).unwrap_or_default();
        let is_too_much =
            rest.len() > MOST_OF_ELEMENT || self.kept + piece.len() + rest.len() > MOST_OF_REQUEST + NOTE;
        piece.push_str(if is_too_much { rest.trim_start() } else { rest });
        if !piece.is_empty() {
            before = Some(self.link(before, &piece));
        }
        let list = before.map(|name| hex(&name)).unwrap_or_default();
        self.parts.push(Part::List { list });
    }

    fn note(&mut self, left_out: &str) -> String {
        self.not_kept += 1;
        let (bytes, hash) = (left_out.len(), Digest::of_bytes(left_out.as_bytes()));
        serde_json::json!({ NOT_KEPT: { "bytes": bytes, "blake3": hash } }).to_string()
    }

    fn link(&mut self, before: Option<Name>, text: &str) -> Name {
        self.kept += text.len();
        let name = *blake3::hash(text.as_bytes()).as_bytes();
        self.pieces.push(Piece::Text { name, text: text.into() });
        let mut hasher = blake3::Hasher::new_derive_key("wflo content link");
        hasher.update(&before.unwrap_or_default()).update(&name);
        let link = *hasher.finalize().as_bytes();
        self.pieces.push(Piece::Link { name: link, before, text: name });
        link
    }
}

/// Where the values of an object's fields stand.
fn values(text: &str) -> Option<Vec<Range<usize>>> {
    struct Fields;
    impl<'de> serde::de::Visitor<'de> for Fields {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some((_, value)) = map.next_entry::<serde::de::IgnoredAny, &'de RawValue>()? {
                values.push(value.get());
            }
            Ok(values)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let values = serde::Deserializer::deserialize_map(&mut reader, Fields).ok()?;
    reader.end().ok()?;
    Some(values.into_iter().map(|value| within(text, value)).collect())
}

/// Where the elements of a list stand, if it is one that has some.
fn elements(text: &str) -> Option<Vec<Range<usize>>> {
    let elements =
        serde_json::from_str::<Vec<&RawValue>>(text).ok().filter(|elements| !elements.is_empty())?;
    Some(elements.into_iter().map(|element| within(text, element.get())).collect())
}

/// Where a part of a text stands in it.
fn within(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// A name in hexadecimal.
pub fn hex(name: &Name) -> String {
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name that stands in hexadecimal.
pub fn name(hex: &str) -> Option<Name> {
    let hash = blake3::Hash::from_hex(hex).ok()?;
    Some(*hash.as_bytes())
}

/// A link of a list: its name, the link before, and the name of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: Name,
    /// The one before; none for the first.
    pub before: Option<Name>,
    /// The name of its text.
    pub text: Name,
}

/// Puts the request of an outline together, from where links and texts are found; none where it was not kept, or not
/// all of it is there. No more than that one request is ever in memory.
///
/// # Errors
/// Those of `link` and `text`.
pub fn together<E>(
    outline: &Outline,
    mut link: impl FnMut(&Name) -> Result<Option<Link>, E>,
    mut text: impl FnMut(&Name) -> Result<Option<String>, E>,
) -> Result<Option<String>, E> {
    if outline.parts.is_empty() {
        return Ok(None);
    }
    let mut request = String::new();
    for part in &outline.parts {
        let list = match part {
            Part::Text(text) => {
                request.push_str(text);
                continue;
            }
            Part::List { list } => list,
        };
        let Some(last) = name(list) else { return Ok(None) };
        let (mut next, mut texts) = (Some(last), Vec::new());
        while let Some(at) = next {
            let Some(found) = link(&at)? else { return Ok(None) };
            // A longer one is a circle that somebody wrote.
            if texts.len() > MOST_TOGETHER / PIECE {
                return Ok(None);
            }
            texts.push(found.text);
            next = found.before;
        }
        for at in texts.iter().rev() {
            let Some(piece) = text(at)? else { return Ok(None) };
            request.push_str(&piece);
            if request.len() > MOST_TOGETHER {
                return Ok(None);
            }
        }
    }
    Ok(Some(request))
}

#[cfg(test)]
mod tests;
