//! A JSON array cut into its elements as they come: the form in which Google streams unless it is asked for
//! server-sent events.
//!
//! Owns the framing. It changes nothing: what it hands out, joined, is what went in. It parses no JSON; it
//! counts brackets outside of texts, which is enough to know where an element ends.

use bytes::BytesMut;

use crate::framing::{Piece, PieceTooLarge};

/// Collects bytes and hands out whole elements, and at last the closing bracket.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    /// How far it was looked at.
    seen: usize,
    /// Where the element that is being read begins.
    start: Option<usize>,
    /// Brackets that are open, the array's own included.
    depth: usize,
    quoted: bool,
    escaped: bool,
    /// The body is an array, and not a single object.
    listed: bool,
    limit: usize,
}

impl Splitter {
    /// A splitter that refuses elements of more than `limit` bytes.
    pub fn new(limit: usize) -> Splitter {
        Splitter {
            buffer: BytesMut::new(),
            seen: 0,
            start: None,
            depth: 0,
            quoted: false,
            escaped: false,
            listed: false,
            limit,
        }
    }

    /// Adds what the network delivered.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole element, with what stands before it, if there is one.
    ///
    /// # Errors
    /// [`PieceTooLarge`] when the unfinished element is past the limit.
    pub fn next_element(&mut self) -> Result<Option<Piece>, PieceTooLarge> {
        while let Some(byte) = self.buffer.get(self.seen).copied() {
            self.seen += 1;
            if self.quoted {
                self.quoted = self.escaped || byte != b'"';
                self.escaped = byte == b'\\' && !self.escaped;
                continue;
            }
            match byte {
                b'"' => self.quoted = true,
                b'[' if self.depth == 0 && !self.listed => {
                    self.listed = true;
                    self.depth = 1;
                }
                b'{' | b'[' => {
                    if self.depth <= usize::from(self.listed) {
                        self.start = Some(self.seen - 1);
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth <= usize::from(self.listed) {
                        return Ok(Some(self.element()));
                    }
                }
                _ => {}
            }
        }
        if self.buffer.len() > self.limit { Err(PieceTooLarge(self.limit)) } else { Ok(None) }
    }

    /// What is left when the stream ended.
    pub fn rest(&mut self) -> Option<Piece> {
        let raw = self.buffer.split().freeze();
        (self.seen, self.start) = (0, None);
        (!raw.is_empty()).then(|| Piece { raw, data: bytes::Bytes::new() })
    }

    /// What was looked at, as a piece; its data is the element, or the bracket that closes the array.
    fn element(&mut self) -> Piece {
        let raw = self.buffer.split_to(self.seen).freeze();
        let start = self.start.take().unwrap_or(raw.len() - 1);
        self.seen = 0;
        Piece { data: raw.slice(start..), raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut splitter = Splitter::new(1 << 20);
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(piece) = splitter.next_element().unwrap() {
                pieces.push(piece);
            }
        }
        pieces.extend(splitter.rest());
        pieces
    }

    const BODY: &str = "[{\n  \"a\": [1, {\"b\": \"]}\\\\\\\"{\"}]\n}\n,\r\n{\"c\": \"é\"}\n]\n";

    #[test]
    fn elements_come_with_what_separates_them() {
        let pieces = all(&[BODY.as_bytes()]);
        let said: Vec<&[u8]> = pieces.iter().map(|piece| &piece.data[..]).collect();
        assert_eq!(
            said,
            [&b"{\n  \"a\": [1, {\"b\": \"]}\\\\\\\"{\"}]\n}"[..], "{\"c\": \"é\"}".as_bytes(), b"]", b""]
        );
        assert_eq!(pieces[1].raw, "\n,\r\n{\"c\": \"é\"}");
        assert_eq!(all(&[b"{\"error\": {}}"])[0].data, &b"{\"error\": {}}"[..], "a single object");
    }

    #[test]
    fn what_is_no_json_is_handed_out_at_its_end() {
        for text in [&b"<html>"[..], b"]]}}{", b"[\"", b"[1,2,3]"] {
            assert_eq!(all(&[text]).iter().flat_map(|piece| piece.raw.to_vec()).collect::<Vec<u8>>(), text);
        }
        let mut splitter = Splitter::new(10);
        splitter.push(b"[{\"a\": \"0123456789");
        assert_eq!(splitter.next_element(), Err(PieceTooLarge(10)));
    }

    proptest! {
        #[test]
        fn wherever_the_network_cuts_the_elements_are_the_same(cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let bytes = BODY.as_bytes();
            let mut at: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(all(&chunks), all(&[bytes]));
        }

        #[test]
        fn bytes_never_panic_and_are_all_handed_out(text in proptest::collection::vec(prop_oneof![Just(b'['), Just(b']'), Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), any::<u8>()], 0..60)) {
            let joined: Vec<u8> = all(&[&text]).iter().flat_map(|piece| piece.raw.to_vec()).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
