//! `context.llm`: a model call made by the engine for a step, not by a client of the step's own.
//!
//! Owns the one shape in which such calls are asked (OpenAI chat) and answered, and the choice of
//! the provider by the model. The call itself goes the way of every other call.

mod anthropic;
mod cohere;
mod given;
mod google;
mod openai;
mod reply;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use wflo_core::error::{Code, Coded};
use wflo_core::money::NanoUsd;

use crate::dialect::{Dialect, Endpoint};
use crate::error::GatewayError;
use crate::exchange::{self, Ask, Delivery, Part, Running, Whole};
use crate::framing::Framing;
use crate::gateway::{Buffered, Gateway};
use crate::ledger::{Caller, Recorded};
use crate::usage::Usage;

/// A chat to hold with a model.
#[derive(Debug, Clone)]
pub struct ChatCall {
    /// The model.
    pub model: String,
    /// `messages`, `tools`, `max_tokens` … in OpenAI's chat shape. Its own `model` and `stream` are
    /// replaced by the fields here.
    pub request: Map<String, Value>,
    /// Send deltas as they come.
    pub stream: bool,
    /// Path and sequence number of the effect.
    pub positional: Option<(String, u32)>,
}

/// A piece of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    /// Text.
    Text(String),
    /// A piece of a tool call.
    ToolCall {
        /// Which of the answer's tool calls.
        index: u64,
        /// Its id, in its first piece.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        id: Option<String>,
        /// Its tool, in its first piece.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        name: Option<String>,
        /// A piece of the JSON text of its arguments.
        arguments: String,
    },
}

/// A tool that the model wants to be run.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ToolCall {
    /// The id that its result must name.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, as JSON text.
    pub arguments: String,
}

/// The model's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatReply {
    /// All its text.
    pub text: String,
    /// The tools that it wants to be run.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended, in OpenAI's words: `stop`, `length`, `tool_calls`, `content_filter`.
    pub finish_reason: Option<String>,
    /// What was used; all zero when the provider did not say.
    pub usage: Usage,
    /// What it cost.
    pub cost: NanoUsd,
    /// The model that answered, by its own word.
    pub model: String,
    /// The provider's answer; of a stream, the answer that its pieces make.
    pub raw: Value,
}

/// A chat that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The gateway ended it.
    #[error("{0}")]
    Gateway(#[from] GatewayError),
    /// The provider's dialect has no form for something in the request.
    #[error("{what} cannot be said in the {} dialect, which the model's provider speaks", dialect.name())]
    Untranslatable {
        /// What.
        what: String,
        /// The dialect.
        dialect: Dialect,
    },
    /// The provider answered with an error.
    #[error("the provider answered {status}: {message}")]
    Provider {
        /// HTTP status.
        status: u16,
        /// The provider's message.
        message: String,
        /// Seconds after which the provider wants to be asked again.
        retry_after: Option<String>,
    },
    /// The provider's answer is no answer.
    #[error("the provider's answer cannot be read: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

impl Coded for CallError {
    fn code(&self) -> Code {
        match self {
            CallError::Gateway(error) => error.code(),
            CallError::Untranslatable { .. } => Code(4018),
            CallError::Provider { .. } => Code(4019),
            CallError::Unreadable { .. } => Code(4020),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CallError::Gateway(error) => error.hint(),
            CallError::Untranslatable { .. } => {
                Some("Leave it out, or use the provider's own client in the step.".to_owned())
            }
            CallError::Provider { status: 401 | 403, .. } => Some(
                "Check the provider's key: api_key_env, api_key_file or api_key_command in wflo.toml."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl CallError {
    /// A machine-readable kind.
    pub fn kind(&self) -> &str {
        match self {
            CallError::Gateway(error) => error.kind(),
            CallError::Untranslatable { .. } => "untranslatable",
            CallError::Provider { .. } => "provider_error",
            CallError::Unreadable { .. } => "provider_answer_unreadable",
        }
    }

    /// Whether the same call may succeed later.
    pub fn may_be_retried(&self) -> bool {
        match self {
            CallError::Gateway(error) => error.may_be_retried(),
            CallError::Provider { status, .. } => *status == 429 || *status == 408 || *status >= 500,
            CallError::Unreadable { .. } => true,
            CallError::Untranslatable { .. } => false,
        }
    }
}

impl Gateway {
    /// Holds a chat. The provider is that of the model's `[models]` entry, else the first that has
    /// a price for it. With `call.stream`, deltas go to `sink` as they come; the reply is the same.
    ///
    /// Dropping the future leaves the call to be settled on its own.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        caller: Caller,
        call: ChatCall,
        sink: Option<mpsc::Sender<Delta>>,
    ) -> Result<ChatReply, CallError> {
        let route = self.shared.routes.entry(None, &call.model)?;
        let dialect = route.provider.dialect;
        let (suffix, query, body) = match dialect {
            Dialect::OpenAi => {
                let body = openai::request(&call, route.provider.output_limit);
                ("/chat/completions".to_owned(), None, body)
            }
            Dialect::Anthropic => {
                let most = route.price.as_ref().and_then(|price| price.max_output_tokens);
                ("/messages".to_owned(), None, anthropic::request(&call, most)?)
            }
            Dialect::Google => {
                let (suffix, query) = google::address(&call)?;
                (suffix, query, google::request(&call)?)
            }
            Dialect::Cohere => ("/chat".to_owned(), None, cohere::request(&call)?),
        };
        let endpoint = match endpoint(dialect) {
            Endpoint::Generate if call.stream => Endpoint::StreamGenerate,
            other => other,
        };
        let body: Bytes = Value::Object(body).to_string().into();
        let mut buffered = Buffered::request(&self.shared, &caller);
        if !buffered.grow(body.len()) {
            return Err(GatewayError::TooMuch.into());
        }
        // It is in the body now, and the answer may take long.
        let ChatCall { model, stream, positional, request: _ } = call;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("wflo/", env!("CARGO_PKG_VERSION"))),
        );
        if dialect == Dialect::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
        }
        let ask = Ask {
            caller,
            dialect,
            endpoint,
            suffix,
            query,
            method: Method::POST,
            headers,
            body,
            positional,
            since: tokio::time::Instant::now(),
            buffered: Some(buffered),
        };
        let call = exchange::start(&self.shared, ask);
        self.reply(call, dialect, &model, sink.filter(|_| stream)).await
    }

    /// The reply of a call that was answered before, from its record; nothing is sent for it.
    ///
    /// # Errors
    /// [`CallError`]: a record may be of an error.
    pub async fn again(
        &self,
        dialect: Dialect,
        provider: &str,
        model: &str,
        recorded: Recorded,
    ) -> Result<ChatReply, CallError> {
        let provider = provider.to_owned();
        let call = Running::new(&self.shared, |parts, _| async move {
            let of = (dialect, endpoint(dialect));
            exchange::replay(of, &provider, (recorded, None), &parts).await;
        });
        self.reply(call, dialect, model, None).await
    }

    /// What the parts of an answer say together; deltas go to `sink` as they come.
    async fn reply(
        &self,
        mut parts: Running,
        dialect: Dialect,
        model: &str,
        sink: Option<mpsc::Sender<Delta>>,
    ) -> Result<ChatReply, CallError> {
        match parts.recv().await {
            Some(Part::Whole(whole)) if whole.head.status.is_success() => {
                let Whole { mut head, body, usage } = *whole;
                head.delivery.take().map(Delivery::arrived);
                let raw: Value = serde_json::from_slice(&body)
                    .map_err(|error| CallError::Unreadable { reason: error.to_string() })?;
                let mut reply = match dialect {
                    Dialect::OpenAi => reply::of_completion(raw, model)?,
                    Dialect::Anthropic => reply::of_message(raw, model)?,
                    Dialect::Google => google::of_answer(raw, model)?,
                    Dialect::Cohere => cohere::of_answer(raw, model)?,
                };
                (reply.usage, reply.cost) = (usage.unwrap_or_default(), head.cost);
                if let Some(sink) = sink {
                    // The provider did not stream after all: one delta is a stream too.
                    let _ = sink.send(Delta::Text(reply.text.clone())).await;
                }
                Ok(reply)
            }
            Some(Part::Whole(whole)) => {
                let Whole { head, body, .. } = *whole;
                head.delivery.map(Delivery::arrived);
                Err(provider_error(head.status, &head.headers, &body))
            }
            Some(Part::Stream(head)) => {
                {
                    let limit = self.shared.limits.recorded_bytes;
                    let reply = streamed(parts, dialect, model, sink, limit).await;
                    // Dropped before here, by a caller that went, it tells the ledger.
                    head.delivery.map(Delivery::arrived);
                    reply
                }
            }
            Some(Part::Failed(error)) => Err((*error).into()),
            _ => Err(GatewayError::ShuttingDown.into()),
        }
    }
}

/// The endpoint at which a chat is held.
fn endpoint(dialect: Dialect) -> Endpoint {
    match dialect {
        Dialect::Anthropic => Endpoint::Messages,
        Dialect::Google => Endpoint::Generate,
        Dialect::OpenAi | Dialect::Cohere => Endpoint::Chat,
    }
}

async fn streamed(
    mut parts: Running,
    dialect: Dialect,
    model: &str,
    sink: Option<mpsc::Sender<Delta>>,
    limit: usize,
) -> Result<ChatReply, CallError> {
    let mut splitter = Framing::Events.splitter(limit);
    let mut gathered = reply::Gathered::default();
    let mut left = limit;
    loop {
        let (data, end) = match parts.recv().await {
            Some(Part::Data(data)) => (data, None),
            Some(Part::Last(last)) => (last.data, Some((last.usage, last.cost))),
            Some(Part::Broken(_, error)) => return Err((*error).into()),
            _ => return Err(GatewayError::ShuttingDown.into()),
        };
        left = left
            .checked_sub(data.len())
            .ok_or_else(|| CallError::Unreadable { reason: format!("it is larger than {limit} bytes") })?;
        splitter.push(&data);
        loop {
            let event =
                splitter.next_piece().map_err(|error| CallError::Unreadable { reason: error.to_string() })?;
            let event = match (event, &end) {
                (Some(event), _) => event,
                (None, Some(_)) => match splitter.rest() {
                    Some(event) => event,
                    None => break,
                },
                (None, None) => break,
            };
            let deltas = match dialect {
                Dialect::OpenAi => gathered.completion_chunk(&event.data),
                Dialect::Anthropic => gathered.message_event(&event.data),
                Dialect::Google => google::piece(&mut gathered, &event.data),
                Dialect::Cohere => cohere::event(&mut gathered, &event.data),
            };
            for delta in deltas {
                if let Some(sink) = &sink {
                    // A step that no longer listens still gets its reply journaled.
                    let _ = sink.send(delta).await;
                }
            }
        }
        if let Some((usage, cost)) = end {
            let mut reply = gathered.reply(model);
            (reply.usage, reply.cost) = (usage.unwrap_or_default(), cost);
            return Ok(reply);
        }
    }
}

/// What the provider says of its error, without its body's other contents.
fn provider_error(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let said = serde_json::from_slice::<Value>(body).ok();
    let message = said
        .as_ref()
        .and_then(|said| {
            said["error"]["message"].as_str().or(said["error"].as_str()).or(said["message"].as_str())
        })
        .unwrap_or_else(|| status.canonical_reason().unwrap_or("an error without a message"));
    let retry_after =
        headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    CallError::Provider {
        status: status.as_u16(),
        message: message.chars().take(2_000).collect(),
        retry_after,
    }
}
