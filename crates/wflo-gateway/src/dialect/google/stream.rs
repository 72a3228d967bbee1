//! The answers of a stream, and which of them may be its last.

use serde::Deserialize;

use crate::dialect::Dialect;
use crate::dialect::wire::{Event, Events};
use crate::usage;

/// Reads the answers of a stream. Each may be the last: there is no end mark but the body's end (or the
/// array's), and some models say of every answer that they have finished.
pub(super) struct Stream {
    choices: u64,
    /// The candidates that have finished.
    finished: Vec<u64>,
}

impl Stream {
    /// Of a request that `choices` candidates answer.
    pub(super) fn new(choices: u64) -> Stream {
        Stream { choices, finished: Vec::new() }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    candidates: Option<Vec<Candidate>>,
    #[serde(default, rename = "promptFeedback")]
    feedback: Option<Feedback>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Candidate {
    #[serde(default, rename = "finishReason")]
    finish: Option<String>,
    #[serde(default)]
    index: Option<u64>,
}

#[derive(Deserialize)]
struct Feedback {
    #[serde(default, rename = "blockReason")]
    block: Option<serde::de::IgnoredAny>,
}

impl Events for Stream {
    fn read(&mut self, data: &[u8]) -> Event {
        if data.trim_ascii() == b"]" {
            return Event { complete: self.finished.len() as u64 >= self.choices, ..Event::default() };
        }
        let Ok(answer) = serde_json::from_slice::<Answer>(data) else { return Event::default() };
        for candidate in answer.candidates.unwrap_or_default() {
            let index = candidate.index.unwrap_or(0);
            let finish = candidate.finish.is_some_and(|finish| finish != "FINISH_REASON_UNSPECIFIED");
            if finish && !self.finished.contains(&index) && (self.finished.len() as u64) < self.choices {
                self.finished.push(index);
            }
        }
        if answer.feedback.is_some_and(|feedback| feedback.block.is_some()) {
            // The prompt was refused: no candidate will come.
            self.finished = (0..self.choices.min(64)).collect();
            self.choices = self.finished.len() as u64;
        }
        Event {
            usage: usage::of_answer(Dialect::Google, data),
            last: self.finished.len() as u64 >= self.choices,
            error: answer.error.is_some(),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Dimension as D;

    #[test]
    fn every_candidate_must_have_finished_before_an_answer_may_be_the_last() {
        let mut stream = Stream::new(2);
        let one = br#"{"candidates":[{"finishReason":"STOP","index":0},{"index":1}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6}}"#;
        assert!(!stream.read(one).last && !stream.read(one).last, "the same one twice");
        let two = stream.read(br#"{"candidates":[{"finishReason":"MAX_TOKENS","index":1}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":3,"thoughtsTokenCount":5,"totalTokenCount":12}}"#);
        assert!(two.last && !two.complete);
        let usage = two.usage.unwrap();
        assert_eq!([D::Input, D::Output, D::Reasoning].map(|dimension| usage.get(dimension)), [4, 3, 5]);
        assert!(stream.read(b"]").complete);
        let mut blocked = Stream::new(1);
        assert!(
            blocked
                .read(
                    br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#
                )
                .last
        );
        assert!(blocked.read(br#"{"error":{"code":503}}"#).error);
    }
}
