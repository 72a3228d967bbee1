//! In what pieces an answer is streamed.
//!
//! Owns the choice between the forms; each is cut up in a module of its own ([`crate::sse`],
//! [`crate::array`]). Whatever the form, the pieces joined are the bytes that came.

use bytes::Bytes;

use crate::{array, sse};

/// The form of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// The elements of one JSON array.
    Array,
}

/// One piece that means something by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// All its bytes, with what separates it from the next.
    pub raw: Bytes,
    /// What it says; empty for comments and keep-alives.
    pub data: Bytes,
}

/// A stream whose single piece is larger than the gateway keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a single event is larger than {0} bytes")]
pub struct PieceTooLarge(pub usize);

/// Collects bytes and hands out whole pieces.
#[derive(Debug)]
pub enum Splitter {
    /// Of server-sent events.
    Events(sse::Splitter),
    /// Of an array's elements.
    Array(array::Splitter),
}

impl Framing {
    /// A splitter that refuses pieces of more than `limit` bytes.
    pub fn splitter(self, limit: usize) -> Splitter {
        match self {
            Framing::Events => Splitter::Events(sse::Splitter::new(limit)),
            Framing::Array => Splitter::Array(array::Splitter::new(limit)),
        }
    }
}

impl Splitter {
    /// Adds what the network delivered.
    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Splitter::Events(splitter) => splitter.push(bytes),
            Splitter::Array(splitter) => splitter.push(bytes),
        }
    }

    /// The next whole piece, if there is one.
    ///
    /// # Errors
    /// [`PieceTooLarge`] when the unfinished piece is past the limit.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, PieceTooLarge> {
        match self {
            Splitter::Events(splitter) => splitter.next_event(),
            Splitter::Array(splitter) => splitter.next_element(),
        }
    }

    /// What is left when the stream ended in the middle of a piece.
    pub fn rest(&mut self) -> Option<Piece> {
        match self {
            Splitter::Events(splitter) => splitter.rest(),
            Splitter::Array(splitter) => splitter.rest(),
        }
    }
}
