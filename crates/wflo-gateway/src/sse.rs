//! Server-sent events cut out of a byte stream, each with its bytes as they came.
//!
//! Owns the framing of the WHATWG event-stream format as far as providers use it (lines end in LF or
//! CR LF, a blank line ends an event). It changes nothing: what it hands out, joined, is what went
//! in, wherever the network cut it.

use bytes::{Bytes, BytesMut};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// All its bytes, the blank line included.
    pub raw: Bytes,
    /// Its `data`, lines joined; empty for comments and keep-alives.
    pub data: Bytes,
}

/// A stream whose single event is larger than the gateway keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a single event is larger than {0} bytes")]
pub struct EventTooLarge(pub usize);

/// Collects bytes and hands out whole events.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    /// Where the line that is being read starts.
    line: usize,
    /// How far no line end was found.
    seen: usize,
    limit: usize,
}

impl Splitter {
    /// A splitter that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Splitter {
        Splitter { buffer: BytesMut::new(), line: 0, seen: 0, limit }
    }

    /// Adds what the network delivered.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if there is one.
    ///
    /// # Errors
    /// [`EventTooLarge`] when the unfinished event is past the limit.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[self.seen..]) {
            let end = self.seen + found;
            let line = &self.buffer[self.line..end];
            let blank = line.is_empty() || line == b"\r";
            self.line = end + 1;
            self.seen = end + 1;
            if blank {
                let raw = self.buffer.split_to(end + 1).freeze();
                (self.line, self.seen) = (0, 0);
                let data = data(&raw);
                return Ok(Some(Event { raw, data }));
            }
        }
        self.seen = self.buffer.len();
        if self.buffer.len() > self.limit { Err(EventTooLarge(self.limit)) } else { Ok(None) }
    }

    /// What is left when the stream ended without a blank line.
    pub fn rest(&mut self) -> Option<Event> {
        if self.buffer.is_empty() {
            return None;
        }
        let raw = self.buffer.split().freeze();
        (self.line, self.seen) = (0, 0);
        let data = data(&raw);
        Some(Event { raw, data })
    }
}

/// The `data` lines of an event; a single one is not copied.
fn data(raw: &Bytes) -> Bytes {
    let mut single: Option<Bytes> = None;
    let mut joined: Vec<u8> = Vec::new();
    let mut lines = 0;
    for line in raw.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
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

    fn all(chunks: &[&[u8]]) -> Vec<Event> {
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
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::new(10);
        splitter.push(b"data: 0123456789");
        assert_eq!(splitter.next_event(), Err(EventTooLarge(10)));
    }

    proptest! {
        #[test]
        fn wherever_the_network_cuts_the_events_are_the_same(
            text in "(data: [a-zé]{0,5}\r?\n|: c\n|\r?\n){0,12}", cuts in proptest::collection::vec(0_usize..64, 0..6)
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let events = all(&chunks);
            prop_assert_eq!(&events, &all(&[bytes]));
            let joined: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
