//! Server-sent events cut out of a byte stream, each with its bytes as they came.
//!
//! Owns the framing of the WHATWG event-stream format: lines end in LF, CR LF or CR, a blank line ends an
//! event, one byte-order mark may stand before the first. It changes nothing: what it hands out, joined, is
//! what went in, wherever the network cut it.

use bytes::{Bytes, BytesMut};

use crate::framing::{Piece, PieceTooLarge};

const MARK: &[u8] = "\u{feff}".as_bytes();

/// Collects bytes and hands out whole events.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    /// Where the line that is being read starts.
    line: usize,
    /// How far no line end was found.
    seen: usize,
    /// The last line ended in CR alone, and so does this stream's next.
    bare: bool,
    /// Nothing was handed out yet.
    first: bool,
    limit: usize,
}

impl Splitter {
    /// A splitter that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Splitter {
        Splitter { buffer: BytesMut::new(), line: 0, seen: 0, bare: false, first: true, limit }
    }

    /// Adds what the network delivered.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if there is one.
    ///
    /// # Errors
    /// [`PieceTooLarge`] when the unfinished event is past the limit.
    pub fn next_event(&mut self) -> Result<Option<Piece>, PieceTooLarge> {
        while let Some(found) =
            memchr::memchr2(b'\n', b'\r', self.buffer.get(self.seen..).unwrap_or_default())
        {
            let end = self.seen + found;
            let blank = end == self.line;
            let after = match (self.buffer.get(end), self.buffer.get(end + 1)) {
                (Some(b'\n'), _) => (end + 1, false),
                (_, Some(b'\n')) => (end + 2, false),
                (_, Some(_)) => (end + 1, true),
                // Whether an LF follows is not known. Where the lines end in CR alone it does not, and an
                // event is not kept back for it.
                (_, None) if blank && self.bare => (end + 1, true),
                (_, None) => {
                    self.seen = end;
                    return self.unfinished();
                }
            };
            (self.seen, self.bare) = after;
            self.line = self.seen;
            if blank {
                let raw = self.buffer.split_to(self.seen).freeze();
                return Ok(Some(self.event(raw)));
            }
        }
        self.seen = self.buffer.len();
        self.unfinished()
    }

    fn unfinished(&self) -> Result<Option<Piece>, PieceTooLarge> {
        if self.buffer.len() > self.limit { Err(PieceTooLarge(self.limit)) } else { Ok(None) }
    }

    /// What is left when the stream ended without a blank line.
    pub fn rest(&mut self) -> Option<Piece> {
        let raw = self.buffer.split().freeze();
        (!raw.is_empty()).then(|| self.event(raw))
    }

    fn event(&mut self, raw: Bytes) -> Piece {
        (self.line, self.seen) = (0, 0);
        let data = data(&raw, std::mem::take(&mut self.first));
        Piece { raw, data }
    }
}

/// The `data` lines of an event; a single one is not copied.
fn data(raw: &Bytes, first: bool) -> Bytes {
    let text = raw.strip_prefix(MARK).filter(|_| first).unwrap_or(raw);
    let mut single: Option<Bytes> = None;
    let mut joined: Vec<u8> = Vec::new();
    let mut lines = 0;
    // Of a CR LF this makes two ends with nothing between them, which says nothing.
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let value = match line.strip_prefix(b"data") {
            Some([]) => &line[..0],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => continue,
        };
        if lines > 0 {
            if let Some(first) = single.take() {
                joined.extend_from_slice(&first);
            }
            joined.push(b'\n');
            joined.extend_from_slice(value);
        } else {
            single = Some(raw.slice_ref(value));
        }
        lines += 1;
    }
    single.unwrap_or_else(|| joined.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut splitter = Splitter::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(event) = splitter.next_event().unwrap() {
                events.push(event);
            }
        }
        events.extend(splitter.rest());
        events
    }

    #[test]
    fn comments_line_ends_and_many_data_lines_are_read() {
        let events = all(&[b": ping\n\nevent: x\r\ndata: a\r\ndata:b\r\n\r\ndata: [DO", b"NE]\n\ntail"]);
        let data: Vec<&[u8]> = events.iter().map(|event| &event.data[..]).collect();
        assert_eq!(data, [&b""[..], b"a\nb", b"[DONE]", b""]);
        assert_eq!(events[3].raw, &b"tail"[..]);
    }

    #[test]
    fn lines_may_end_in_carriage_returns_alone_and_are_not_waited_for() {
        let mut splitter = Splitter::new(1 << 10);
        splitter.push(b"\xef\xbb\xbfdata: a\rdata\rdata:b\r\r");
        assert_eq!(splitter.next_event().unwrap().unwrap().data, &b"a\n\nb"[..]);
        splitter.push(b"data: c\r\n\r");
        assert_eq!(splitter.next_event().unwrap(), None, "its LF is still to come");
        splitter.push(b"\n");
        assert_eq!(splitter.next_event().unwrap().unwrap().raw, &b"data: c\r\n\r\n"[..]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::new(10);
        splitter.push(b"data: 0123456789");
        assert_eq!(splitter.next_event(), Err(PieceTooLarge(10)));
    }

    proptest! {
        #[test]
        fn wherever_the_network_cuts_the_events_are_the_same(
            text in "(data: [a-zé]{0,5}(\r\n|\n|\r)|: c\n|(\r\n|\n|\r)){0,12}", cuts in proptest::collection::vec(0_usize..64, 0..6)
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let events = all(&chunks);
            let said = |events: &[Piece]| -> Vec<Bytes> {
                events.iter().map(|event| event.data.clone()).filter(|data| !data.is_empty()).collect()
            };
            prop_assert_eq!(said(&events), said(&all(&[bytes])));
            let joined: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
