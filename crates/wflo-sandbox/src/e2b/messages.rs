//! Messages of a stream of the Connect protocol (connectrpc.com/docs/protocol), as a hostile server sends them.
//!
//! **Architecture Invariant:** no message is longer in memory than [`MOST`], and none is read as anything but an
//! event of a process.

use super::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// The longest message: a daemon passes on what it reads at once, in Base64.
const MOST: usize = 4 << 20;
const ENVELOPE: usize = 5;
/// Ends a stream.
const LAST: u8 = 2;

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It runs, and has this number.
    Started(u32),
    Output(Bytes),
    Words(Bytes),
    /// It has ended, or nobody says anything more of it; why, in words.
    Ended(String),
    /// Nothing new.
    Nothing,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    event: Told,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Told {
    start: Option<Start>,
    data: Option<Data>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct Start {
    pid: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    stdout: Option<String>,
    stderr: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct End {
    status: String,
    error: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Last {
    error: Option<Fault>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fault {
    code: String,
    message: String,
}

/// A message in its envelope.
pub(super) fn enveloped(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// Takes events out of bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: BytesMut,
}

impl Events {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next one; `None` until it is whole.
    ///
    /// # Errors
    /// [`Error::Answer`] for what is none.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Error> {
        let wrong = |what: &str| Error::Answer { what: what.to_owned() };
        let Some([flags, length @ ..]) = self.bytes.first_chunk::<ENVELOPE>() else { return Ok(None) };
        let (flags, length) = (*flags, u32::from_be_bytes(*length) as usize);
        if length > MOST {
            return Err(wrong("a message is longer than any may be"));
        }
        if self.bytes.len() < ENVELOPE + length {
            return Ok(None);
        }
        self.bytes.advance(ENVELOPE);
        let message = self.bytes.split_to(length);
        let broken = |_| wrong("a message is none of a process");
        if flags == LAST {
            let last: Last = serde_json::from_slice(&message).map_err(broken)?;
            let said = last.error.map(|fault| format!("{}: {}", fault.code, fault.message));
            return Ok(Some(Event::Ended(said.unwrap_or_default())));
        }
        if flags != 0 {
            return Err(wrong("a message is compressed, or of no known kind"));
        }
        let Told { start, data, end } = serde_json::from_slice::<Message>(&message).map_err(broken)?.event;
        let decoded = |text: String| {
            STANDARD.decode(text).map(Bytes::from).map_err(|_| wrong("what a process wrote is no Base64"))
        };
        Ok(Some(match (start, data, end) {
            (Some(start), _, _) => Event::Started(start.pid),
            (_, Some(Data { stdout: Some(text), .. }), _) => Event::Output(decoded(text)?),
            (_, Some(Data { stderr: Some(text), .. }), _) => Event::Words(decoded(text)?),
            (_, _, Some(end)) => Event::Ended(end.error.unwrap_or(end.status)),
            _ => Event::Nothing,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(wire: &[u8], step: usize) -> Result<Vec<Event>, Error> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for part in wire.chunks(step) {
            events.push(part);
            while let Some(event) = events.next()? {
                found.push(event);
            }
        }
        Ok(found)
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let mut wire = Vec::new();
        for message in [
            r#"{"event": {"start": {"pid": 7}}}"#,
            r#"{"event": {"keepalive": {}}}"#,
            r#"{"event": {"data": {"stdout": "aGk="}}}"#,
            r#"{"event": {"data": {"stderr": "bm8="}}}"#,
            r#"{"event": {"end": {"exitCode": 1, "exited": true, "status": "exit status 1"}}}"#,
        ] {
            wire.extend(enveloped(message.as_bytes()));
        }
        let mut last = enveloped(br#"{"error": {"code": "unavailable", "message": "gone"}}"#);
        last[0] = LAST;
        wire.extend(last);
        for step in 1..9 {
            assert_eq!(
                all(&wire, step).unwrap(),
                [
                    Event::Started(7),
                    Event::Nothing,
                    Event::Output(Bytes::from_static(b"hi")),
                    Event::Words(Bytes::from_static(b"no")),
                    Event::Ended("exit status 1".to_owned()),
                    Event::Ended("unavailable: gone".to_owned()),
                ]
            );
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let mut compressed = enveloped(b"{}");
        compressed[0] = 1;
        for wrong in [
            compressed,
            vec![0, 0xff, 0xff, 0xff, 0xff],
            enveloped(b"7"),
            enveloped(b""),
            enveloped(br#"{"event": {"start": {"pid": -1}}}"#),
            enveloped(br#"{"event": {"data": {"stdout": "%"}}}"#),
        ] {
            assert!(all(&wrong, 3).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes, 7);
        }
    }
}
