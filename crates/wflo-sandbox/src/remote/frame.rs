//! The frames between the engine and a keeper: kind, stream, length, bytes.
//!
//! They run over the keeper's own standard input and output, which is all that the two have in
//! common: no socket, no folder and no port of the host is where the keeper is. Many streams share the two
//! directions, so each has a [`WINDOW`] of bytes that may be under way; who has read some gives credit
//! for more, and nobody who does not read holds up anybody else.
//! **Architecture Invariant:** what a keeper says is taken for hostile: a frame has a bound, and an
//! unknown or a broken one ends the sandbox, never the engine.

use std::io;

/// Bytes of one stream, in one direction, that may be under way.
pub(crate) const WINDOW: usize = 128 << 10;
/// The most data in one frame.
pub(crate) const PIECE: usize = 32 << 10;
/// The most bytes in any frame: an order with its environment.
const MOST: usize = 4 << 20;
const HEADER: usize = 9;

/// The stream numbers of standard input, output and error; the further descriptors follow, and then
/// the connections that the program makes.
pub(crate) const STDIO: [u32; 3] = [1, 2, 3];
/// The first of the further descriptors.
pub(crate) const FIRST_FD: u32 = 16;
/// The first of the connections.
pub(crate) const FIRST_CONNECTION: u32 = 1 << 16;

/// What a frame says. The letters are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the keeper: what is to be run.
    Order,
    /// Either: a file, folder, link or removal. To the keeper, the stream says in which of the order's places.
    Entry,
    /// Either: bytes of the file before it; the stream number is not used.
    Piece,
    /// To the keeper: the files are complete.
    Begin,
    /// Either: bytes of a stream.
    Data,
    /// Either: a stream has no more bytes.
    End,
    /// Either: so many bytes of a stream have been taken.
    Credit,
    /// To the engine: the program has made a connection.
    Open,
    /// To the keeper: say what differs from the files that were given.
    Capture,
    /// To the engine: that was all.
    Captured,
    /// To the keeper: end the program.
    Kill,
    /// To the keeper: say what the program takes.
    Measure,
    /// To the keeper: the engine lives.
    Alive,
    /// To the keeper: rows and columns of the program's terminal.
    Size,
    /// To the engine: there is a keeper, and it waits for an order. Its bytes are the hash of the program that it
    /// is, where it was told which file that is.
    Ready,
    /// To the engine: a [`crate::native::wire::Notice`].
    Notice,
}

const LETTERS: [(Kind, u8); 16] = [
    (Kind::Order, b'O'),
    (Kind::Entry, b'E'),
    (Kind::Piece, b'P'),
    (Kind::Begin, b'B'),
    (Kind::Data, b'D'),
    (Kind::End, b'Z'),
    (Kind::Credit, b'C'),
    (Kind::Open, b'N'),
    (Kind::Capture, b'Q'),
    (Kind::Captured, b'q'),
    (Kind::Kill, b'K'),
    (Kind::Measure, b'U'),
    (Kind::Alive, b'.'),
    (Kind::Size, b'S'),
    (Kind::Ready, b'R'),
    (Kind::Notice, b'X'),
];

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) stream: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: Kind, stream: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Frame { kind, stream, bytes: bytes.into() }
    }

    pub(crate) fn bare(kind: Kind) -> Self {
        Frame::new(kind, 0, [])
    }

    pub(crate) fn credit(stream: u32, taken: usize) -> Self {
        Frame::new(Kind::Credit, stream, u32::try_from(taken).unwrap_or(u32::MAX).to_le_bytes())
    }

    /// How many bytes a credit is for.
    pub(crate) fn taken(&self) -> Option<usize> {
        Some(u32::from_le_bytes(self.bytes.as_slice().try_into().ok()?) as usize)
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let letter = LETTERS.iter().find(|(kind, _)| *kind == self.kind).map_or(0, |(_, letter)| *letter);
        to.push(letter);
        to.extend_from_slice(&self.stream.to_le_bytes());
        to.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        to.extend_from_slice(&self.bytes);
    }
}

/// Takes frames out of bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until there is one.
    ///
    /// # Errors
    /// What is no frame.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let broken = || io::Error::from_raw_os_error(libc::EPROTO);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((head, rest)) = rest.split_at_checked(HEADER) else { return Ok(None) };
        let number = |at: usize| {
            head.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let letter = head.first().copied().unwrap_or(0);
        let kind = LETTERS.iter().find(|(_, known)| *known == letter).ok_or_else(broken)?.0;
        let length = number(5) as usize;
        if length > MOST {
            return Err(broken());
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let frame = Frame::new(kind, number(1), bytes);
        self.at += HEADER + length;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(b"?\0\0\0\0\0\0\0\0");
        assert!(decoder.next().is_err());
        let mut decoder = Decoder::default();
        decoder.push(b"D\0\0\0\0\xff\xff\xff\xff");
        assert!(decoder.next().is_err(), "longer than any frame may be");
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            frames in prop::collection::vec((0..LETTERS.len(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            step in 1..17_usize,
        ) {
            let frames: Vec<Frame> =
                frames.into_iter().map(|(kind, stream, bytes)| Frame::new(LETTERS[kind].0, stream, bytes)).collect();
            let mut wire = Vec::new();
            frames.iter().for_each(|frame| frame.write(&mut wire));
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());
            for cut in wire.chunks(step) {
                decoder.push(cut);
                while let Some(frame) = decoder.next().unwrap() {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}
