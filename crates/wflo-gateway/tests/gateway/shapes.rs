//! The ways in which an answer is asked for, over all dialects: what a test says of one, it says of all.

use wflo_core::money::NanoUsd;
use wflo_gateway::ledger::Outcome;

use crate::ledger::Entry;
use crate::world::{Got, World};

/// One way to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) path: &'static str,
    /// A body whose only gap is the user's text.
    body: &'static str,
    pub(crate) streams: bool,
    /// What a client takes for the end of a stream that is whole.
    pub(crate) end: &'static str,
}

const CHAT: &str =
    r#"{"model":"gpt-5-mini","messages":[{"role":"user","content":"TEXT"}],"max_completion_tokens":100}"#;
const STREAMED_CHAT: &str = r#"{"stream":true,"stream_options":{"include_usage":true},"model":"gpt-5-mini","messages":[{"role":"user","content":"TEXT"}],"max_completion_tokens":100}"#;
const RESPONSES: &str = r#"{"model":"gpt-5-mini","input":"TEXT","max_output_tokens":100}"#;
const STREAMED_RESPONSES: &str =
    r#"{"stream":true,"model":"gpt-5-mini","input":"TEXT","max_output_tokens":100}"#;
const MESSAGES: &str =
    r#"{"model":"claude-sonnet-4-5","max_tokens":100,"messages":[{"role":"user","content":"TEXT"}]}"#;
const STREAMED_MESSAGES: &str = r#"{"stream":true,"model":"claude-sonnet-4-5","max_tokens":100,"messages":[{"role":"user","content":"TEXT"}]}"#;
const GOOGLE: &str =
    r#"{"contents":[{"parts":[{"text":"TEXT"}],"role":"user"}],"generationConfig":{"maxOutputTokens":100}}"#;
const COHERE: &str =
    r#"{"model":"command-x","messages":[{"role":"user","content":"TEXT"}],"max_tokens":100,"stream":false}"#;
const STREAMED_COHERE: &str =
    r#"{"model":"command-x","messages":[{"role":"user","content":"TEXT"}],"max_tokens":100,"stream":true}"#;

/// All of them.
pub(crate) const SHAPES: [Shape; 11] = [
    Shape { path: "/openai/v1/chat/completions", body: CHAT, streams: false, end: "" },
    Shape { path: "/openai/v1/chat/completions", body: STREAMED_CHAT, streams: true, end: "[DONE]" },
    Shape { path: "/openai/v1/responses", body: RESPONSES, streams: false, end: "" },
    Shape {
        path: "/openai/v1/responses",
        body: STREAMED_RESPONSES,
        streams: true,
        end: "response.completed",
    },
    Shape { path: "/anthropic/v1/messages", body: MESSAGES, streams: false, end: "" },
    Shape { path: "/anthropic/v1/messages", body: STREAMED_MESSAGES, streams: true, end: "message_stop" },
    Shape { path: "/google/v1beta/models/gemini-x:generateContent", body: GOOGLE, streams: false, end: "" },
    Shape {
        path: "/google/v1beta/models/gemini-x:streamGenerateContent?alt=sse",
        body: GOOGLE,
        streams: true,
        end: "finishReason",
    },
    Shape {
        path: "/google/v1beta/models/gemini-x:streamGenerateContent",
        body: GOOGLE,
        streams: true,
        end: "finishReason",
    },
    Shape { path: "/cohere/v2/chat", body: COHERE, streams: false, end: "" },
    Shape { path: "/cohere/v2/chat", body: STREAMED_COHERE, streams: true, end: "[DONE]" },
];

/// Those that stream.
pub(crate) fn streams() -> impl Iterator<Item = Shape> {
    SHAPES.into_iter().filter(|shape| shape.streams)
}

impl Shape {
    pub(crate) fn body(self, text: &str) -> String {
        self.body.replace("TEXT", text)
    }

    /// Its stream is Google's array.
    pub(crate) fn is_array(self) -> bool {
        self.path.ends_with(":streamGenerateContent")
    }

    pub(crate) async fn ask(self, world: &World, text: &str) -> Got {
        world.post(self.path, &self.body(text)).await
    }

    /// What a provider bills for so many tokens, in nano-USD: its model's price, by hand.
    pub(crate) fn bill(self, input: i64, output: i64) -> i64 {
        match self.path.split('/').nth(1) {
            Some("openai") => input * 250 + output * 2_000,
            Some("anthropic") => input * 3_000 + output * 15_000,
            _ => input * 1_000 + output * 2_000,
        }
    }

    /// What the provider is asked at, of what the client asked at.
    pub(crate) fn target(self) -> String {
        self.path.splitn(3, '/').nth(2).map(|rest| format!("/{rest}")).unwrap()
    }
}

/// The outcome of the only call; nothing is held any more.
pub(crate) fn only_outcome(world: &World) -> Outcome {
    let calls = world.ledger.calls();
    assert_eq!((calls.len(), world.ledger.held()), (1, 0));
    match &calls[0].entry {
        Entry::Closed(outcome) => outcome.clone(),
        other => panic!("not closed: {other:?}"),
    }
}

/// The only call was charged what was held for it, and is marked.
pub(crate) fn charged_as_held(world: &World) -> Outcome {
    let outcome = only_outcome(world);
    assert!(outcome.uncertain && outcome.settled == world.ledger.calls()[0].intent.hold);
    assert!(outcome.settled > NanoUsd::ZERO);
    outcome
}
