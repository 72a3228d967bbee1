//! The events of a response's stream.
//!
//! Owns which of them is the last, and the usage that it holds.

use serde::Deserialize;

use crate::dialect::Dialect;
use crate::dialect::wire::{Event, Events};
use crate::usage;

/// Reads the typed events of a stream. Only the last one holds usage.
pub(super) struct Stream;

/// The types of the event that ends a response, well or not.
const ENDS: [&str; 3] = ["response.completed", "response.incomplete", "response.failed"];

impl Events for Stream {
    fn read(&mut self, data: &[u8]) -> Event {
        #[derive(Deserialize)]
        struct Any {
            #[serde(rename = "type")]
            kind: String,
        }
        if data.trim_ascii() == b"[DONE]" {
            return Event { done: true, ..Event::default() };
        }
        let holds = |text: &str| memchr::memmem::find(data, text.as_bytes()).is_some();
        if !ENDS.iter().any(|end| holds(end)) && !holds("\"error\"") {
            return Event::default();
        }
        let Ok(any) = serde_json::from_slice::<Any>(data) else { return Event::default() };
        if ENDS.contains(&any.kind.as_str()) {
            let usage = usage::of_answer(Dialect::OpenAi, data);
            return Event { usage, finished: 1, complete: true, ..Event::default() };
        }
        Event { error: any.kind == "error", ..Event::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Dimension as D;

    #[test]
    fn the_last_event_holds_usage_and_no_other_ends_the_response() {
        let mut stream = Stream;
        let delta =
            br#"{"type":"response.output_text.delta","delta":"response.completed","sequence_number":4}"#;
        assert_eq!(stream.read(delta), Event::default());
        let end = stream.read(
            br#"{"type":"response.incomplete","response":{"service_tier":"flex","usage":{"input_tokens":10,
                "input_tokens_details":{"cached_tokens":4},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":5}}}}"#,
        );
        let usage = end.usage.unwrap();
        assert!(end.complete && end.finished == 1);
        let counts = [D::Input, D::CacheRead, D::Output, D::Reasoning].map(|dimension| usage.get(dimension));
        assert_eq!((counts, usage.tier), ([6, 4, 1, 5], Some(crate::price::Tier::Flex)));
        let failed =
            stream.read(br#"{"type":"response.failed","response":{"usage":null,"error":{"code":"x"}}}"#);
        assert!(failed.complete && failed.usage.is_none() && !failed.error);
        assert!(stream.read(br#"{"type":"error","message":"x","error":{}}"#).error);
        assert!(stream.read(b"[DONE]").done);
    }
}
