//! What a test tells the server to do, and what the server tells it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

/// How one request goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No answer, ever; the connection stays open.
    Hang,
    /// The answer begins (head and this many events), then nothing more comes.
    HangAfter(usize),
    /// The connection is closed before any answer.
    Close,
    /// The connection breaks after this many events (of an unstreamed answer: in its middle).
    ResetAfter(usize),
    /// The stream ends properly, but after this many events: no end mark, no usage.
    EndAfter(usize),
    /// 200 and something that is no answer.
    Garbage,
    /// This status with this body, and a `retry-after` when given.
    Status(u16, String, Option<String>),
    /// A good answer without any usage.
    UsageMissing,
    /// An error event after this many events, then the stream's proper end.
    ErrorEvent(usize),
    /// The usage comes after the end mark.
    UsageAfterDone,
    /// A good answer after this time.
    Delay(Duration),
    /// A good stream with this pause before each event.
    Slow(Duration),
    /// A good answer whose usage object is this text.
    UsageIs(&'static str),
    /// 200 with these headers and these bytes, each piece written to the network by itself. As what is
    /// always so, it answers paths that the server does not know as well.
    Verbatim(Vec<(&'static str, &'static str)>, Vec<Bytes>),
}

/// What the model says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its text; `None` echoes the last user message.
    pub text: Option<String>,
    /// Input tokens that are billed; `None` counts one for four bytes of the body.
    pub input_tokens: Option<u64>,
    /// Of these, read from the cache.
    pub cached_tokens: u64,
    /// Of the output, spent on reasoning, where the dialect tells it apart.
    pub reasoning_tokens: u64,
    /// Output tokens that are billed for each choice, cut to the request's limit; `None` counts words.
    pub output_tokens: Option<u64>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What the server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that arrived at a billed endpoint.
    pub requests: u64,
    /// Of these, the ones that a provider would bill: an answer was begun.
    pub billed: u64,
    /// Input tokens billed.
    pub input_tokens: u64,
    /// Output tokens billed.
    pub output_tokens: u64,
    /// Requests to endpoints that cost nothing.
    pub free: u64,
}

impl Answer {
    /// An answer with these billed counts.
    pub fn billed(input_tokens: u64, output_tokens: u64) -> Answer {
        Answer { input_tokens: Some(input_tokens), output_tokens: Some(output_tokens), ..Answer::default() }
    }

    /// An answer with this text.
    pub fn text(text: &str) -> Answer {
        Answer { text: Some(text.to_owned()), ..Answer::default() }
    }
}
