//! Every way in which the gateway itself ends a call, with its code and its HTTP status.
//!
//! Owns the wording that clients see. What an upstream says passes through and is none of these.

use wflo_core::budget::Shortfall;
use wflo_core::error::{Code, Coded};

use crate::dialect::errors::Told;
use crate::dialect::request::RequestError;
use crate::dialect::wire::Wire;
use crate::dialect::{Dialect, errors};
use crate::framing::Framing;
use crate::ledger::{LedgerError, Refusal};
use crate::price::{PriceError, suggestion};
use crate::reserve::BoundError;

/// A call that the gateway ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No budget has room for it.
    #[error("budget exceeded: {}", exceeded(shortfall, model))]
    BudgetExceeded {
        /// Which budget, how it stood, and what the call could take.
        shortfall: Box<Shortfall>,
        /// The model.
        model: String,
        /// The output tokens that count because the call names no limit.
        unlimited: Option<u64>,
    },
    /// The ledger refused it for another reason.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Machine-readable kind.
        kind: String,
        /// The ledger's code.
        code: String,
        /// The ledger's message.
        message: String,
        /// The ledger's hint.
        hint: Option<String>,
    },
    /// Not now, for a reason of the gateway's own.
    #[error("{message}")]
    Later {
        /// HTTP status.
        status: u16,
        /// Machine-readable kind.
        kind: String,
        /// Its code.
        code: String,
        /// What happened, and who says so.
        message: String,
        /// What can be done.
        hint: Option<String>,
        /// After how long it is worth another try.
        wait: std::time::Duration,
    },
    /// The caller goes round in circles.
    #[error("`{caller}` has made this call, or one like it, {times} times: it goes round in circles")]
    Repeated {
        /// Who.
        caller: String,
        /// How often, this time included.
        times: u32,
    },
    /// The model has no price.
    #[error("the model `{model}` has no price at the provider `{provider}`, so its cost cannot be bounded")]
    Unpriced {
        /// The model.
        model: String,
        /// The provider.
        provider: String,
        /// Whether `wflo.toml` names that provider.
        named: bool,
        /// The priced model that was most likely meant.
        near: Option<String>,
    },
    /// The request has no upper bound at this price.
    #[error("{0}")]
    Unboundable(#[from] BoundError),
    /// A request on a listener that others can reach, without the key of the step that it is for.
    #[error("this address belongs to a step of a wflo run, and the request does not carry its key")]
    NotTheCaller,
    /// The body cannot be used.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// An endpoint that is not served.
    #[error("{method} {path} is not an endpoint that the gateway serves")]
    UnknownEndpoint {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// The head is one that two servers could read differently.
    #[error("two servers could read the request differently: {what}")]
    Ambiguous {
        /// What is wrong with it.
        what: String,
    },
    /// The body says of itself that it is not plain JSON.
    #[error("the request body must be JSON in UTF-8, and the request says `{what}`")]
    MediaType {
        /// The header that says so.
        what: String,
    },
    /// The body is larger than the gateway takes.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// All running requests, or all answers, together are larger than the gateway holds.
    #[error("the gateway holds as many bytes of requests or answers as it may at one time")]
    TooMuch,
    /// The client's body did not arrive.
    #[error("the request body did not arrive: {reason}")]
    BodyBroke {
        /// What happened.
        reason: String,
    },
    /// The provider could not be reached; nothing was sent.
    #[error("the provider `{provider}` could not be reached: {reason}")]
    Unreachable {
        /// The provider.
        provider: String,
        /// What happened.
        reason: String,
    },
    /// The provider did not answer in time, or its connection broke before it answered.
    #[error("the provider `{provider}` gave no answer: {reason}")]
    NoAnswer {
        /// The provider.
        provider: String,
        /// What happened.
        reason: String,
    },
    /// The answer broke off.
    #[error("the answer of the provider `{provider}` broke off: {reason}")]
    Interrupted {
        /// The provider.
        provider: String,
        /// What happened.
        reason: String,
    },
    /// It was tried more than once, and the last attempt got no answer either.
    #[error("{attempts} attempts failed; the last: {last}")]
    Exhausted {
        /// How many.
        attempts: usize,
        /// How the last one ended.
        last: Box<GatewayError>,
    },
    /// The provider answered with a redirect, which is not followed.
    #[error("the provider `{provider}` redirects to another address, which the gateway does not follow")]
    Redirected {
        /// The provider.
        provider: String,
    },
    /// No provider serves the model in this dialect.
    #[error("{reason}")]
    NoProvider {
        /// What was looked for.
        reason: String,
    },
    /// What the settings say of routing cannot be done.
    #[error("{reason}")]
    Routing {
        /// What, and why not.
        reason: String,
    },
    /// A provider of another dialect serves the model.
    #[error(
        "the model `{model}` is served by the provider `{provider}` to clients of the {} dialect, and this request is of the {} dialect: the gateway does not translate between them",
        speaks.name(), asked.name()
    )]
    OtherDialect {
        /// The model.
        model: String,
        /// Who serves it.
        provider: String,
        /// What that provider speaks.
        speaks: Dialect,
        /// What the client speaks.
        asked: Dialect,
    },
    /// The call has come through this gateway before.
    #[error("this call has come back to the gateway that sent it: the address of a provider leads here")]
    Loop,
    /// The provider wants a key and there is none.
    #[error("there is no key for the provider `{provider}`")]
    NoKey {
        /// The provider.
        provider: String,
        /// The environment variable that would hold it.
        variable: String,
        /// The provider of the settings that was perhaps meant to serve the model, and has no prices.
        meant: Option<String>,
    },
    /// An entry of `[models]` is wrong.
    #[error("{0}")]
    Price(#[from] PriceError),
    /// The journal failed; nothing was sent, or the answer could not be recorded.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The gateway is ending.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl Coded for GatewayError {
    fn code(&self) -> Code {
        match self {
            GatewayError::BudgetExceeded { .. } => Code(4001),
            GatewayError::Repeated { .. } => Code(4085),
            GatewayError::Refused { code, .. } | GatewayError::Later { code, .. } => {
                Code(code.strip_prefix("WFLO-").and_then(|n| n.parse().ok()).unwrap_or(4016))
            }
            GatewayError::Unpriced { .. } => Code(4002),
            GatewayError::Unboundable(error) => error.code(),
            GatewayError::Request(RequestError::Unboundable { .. }) => Code(4003),
            GatewayError::Request(RequestError::Unreadable { .. }) => Code(4030),
            GatewayError::MediaType { .. } => Code(4031),
            GatewayError::Ambiguous { .. } => Code(4120),
            GatewayError::NotTheCaller => Code(4022),
            GatewayError::UnknownEndpoint { .. } => Code(4004),
            GatewayError::Request(_) | GatewayError::BodyBroke { .. } => Code(4006),
            GatewayError::TooLarge { .. } | GatewayError::TooMuch => Code(4007),
            GatewayError::Unreachable { .. } => Code(4008),
            GatewayError::NoAnswer { .. } => Code(4009),
            GatewayError::Interrupted { .. } => Code(4010),
            GatewayError::Exhausted { .. } => Code(4080),
            GatewayError::Routing { .. } => Code(4082),
            GatewayError::Loop => Code(4130),
            GatewayError::NoProvider { .. } | GatewayError::OtherDialect { .. } => Code(4011),
            GatewayError::Redirected { .. } => Code(4012),
            GatewayError::Ledger(_) => Code(4013),
            GatewayError::ShuttingDown => Code(4014),
            GatewayError::NoKey { .. } => Code(4021),
            GatewayError::Price(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            GatewayError::BudgetExceeded { unlimited: Some(tokens), .. } => format!(
                "The call names no max_tokens, so all {tokens} output tokens that the model can write count: send max_tokens, raise the budget, or use a cheaper model."
            ),
            GatewayError::BudgetExceeded { .. } => {
                "Raise the budget, lower max_tokens, or use a cheaper model.".to_owned()
            }
            GatewayError::Refused { hint, .. } | GatewayError::Later { hint, .. } => return hint.clone(),
            GatewayError::Repeated { .. } => {
                "Find out why it repeats itself; [repeats] in wflo.toml says from how many on a call is refused.".to_owned()
            }
            GatewayError::Unpriced { model, provider, named, near } => {
                unpriced_hint(model, provider, *named, near.as_deref())
            }
            GatewayError::Unboundable(error) => return error.hint(),
            GatewayError::Request(RequestError::Unboundable { instead, .. }) => instead.clone(),
            GatewayError::UnknownEndpoint { path, .. } if path.contains("/responses/") => {
                "A stored response is not read, ended or deleted through the gateway: keep the response that its request was answered with.".to_owned()
            }
            GatewayError::UnknownEndpoint { path, .. } if path.starts_with("/v1/v1/") => {
                "The client adds /v1 by itself: leave it out of its base URL.".to_owned()
            }
            GatewayError::UnknownEndpoint { .. } => {
                "Served are OpenAI chat/completions, responses, embeddings and models; Anthropic messages, count_tokens and models; Google generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents and models; Cohere v2 chat, embed, rerank and models.".to_owned()
            }
            GatewayError::Request(RequestError::Unreadable { .. }) => {
                "Leave it out: alt=json and alt=sse are served, each with the whole answer.".to_owned()
            }
            GatewayError::Ambiguous { .. } => {
                "Send one `host`, and a body by its `content-length` or by `transfer-encoding: chunked`.".to_owned()
            }
            GatewayError::MediaType { .. } => {
                "Send the body as it is, with `content-type: application/json` and without a content-encoding.".to_owned()
            }
            GatewayError::NotTheCaller => {
                "Leave the API key to the step's environment: wflo sets it for each attempt.".to_owned()
            }
            GatewayError::Unreachable { .. } => "Check base_url under [providers] in wflo.toml, and that the server runs.".to_owned(),
            GatewayError::Redirected { .. } => "Write the final address as base_url.".to_owned(),
            GatewayError::NoProvider { .. } => "Name the provider under [models.\"…\"] in wflo.toml.".to_owned(),
            GatewayError::OtherDialect { model, speaks, asked, .. } => other_dialect_hint(model, *speaks, *asked),
            GatewayError::Loop => {
                "Check base_url under [providers] in wflo.toml and OPENAI_BASE_URL, ANTHROPIC_BASE_URL, GOOGLE_GEMINI_BASE_URL and CO_API_URL where the gateways on the way were started: those variables are for clients of a gateway.".to_owned()
            }
            GatewayError::NoKey { provider, variable, meant: Some(meant) } => format!(
                "Export {variable}. Or, where `{meant}` is to serve it and costs what {provider} does, write prices = \"{provider}\" under [providers.{meant}] in wflo.toml: by its name alone no price of the map counts there."
            ),
            GatewayError::NoKey { variable, .. } => format!(
                "Export {variable}, or name another provider (a local model server, for example) under [providers] in wflo.toml."
            ),
            GatewayError::Price(error) => return error.hint(),
            GatewayError::Exhausted { last, .. } => return last.hint(),
            GatewayError::Routing { .. } => {
                "Name models that have a price, at providers that are configured and speak the dialect of the model that they stand for.".to_owned()
            }
            _ => return None,
        })
    }
}

/// The arithmetic of a refusal.
fn exceeded(shortfall: &Shortfall, model: &str) -> String {
    let budget = &shortfall.budget;
    if !budget.measure.is_cost() {
        return shortfall.explain();
    }
    format!(
        "the {} budget of {} USD has {} USD left, and this call of {model} could cost up to {} USD",
        budget.short_name(),
        budget.limit.money(),
        budget.left().money(),
        shortfall.wanted.money()
    )
}

/// Whom to ask instead.
fn other_dialect_hint(model: &str, speaks: Dialect, asked: Dialect) -> String {
    let path = match speaks {
        Dialect::OpenAi => "/v1/chat/completions",
        Dialect::Anthropic => "/v1/messages",
        Dialect::Google => "/v1beta/models",
        Dialect::Cohere => "/v2/chat",
    };
    format!(
        "Call it at {path} with a client of the {} dialect, whose base URL is the gateway's address. Where a provider of the {} dialect serves it, too, name that one under [models.\"{model}\"] in wflo.toml, with its prices.",
        speaks.name(),
        asked.name()
    )
}

fn unpriced_hint(model: &str, provider: &str, named: bool, near: Option<&str>) -> String {
    let elsewhere = match suggestion(model) {
        Some((other, input, output)) if other != provider => {
            let same = match named {
                true => format!(
                    "; where `{provider}` costs the same, prices = \"{other}\" under [providers.{provider}] is enough"
                ),
                false => String::new(),
            };
            format!(" At {other} it costs input = \"{input}\", output = \"{output}\"{same}.")
        }
        _ => String::new(),
    };
    // Which provider serves it is known only where somebody has said so.
    let serves = if named { format!("provider = \"{provider}\"") } else { "its provider".to_owned() };
    let meant = near.map_or_else(|| "P".to_owned(), |near| format!("Did you mean {near}? If not: p"));
    format!(
        "{meant}rice it in wflo.toml: [models.\"{model}\"] with {serves}, input and output in USD per million tokens (\"0\" for a local model), and context_tokens, the most that it reads.{elsewhere}"
    )
}

impl GatewayError {
    /// From the ledger's refusal of a call.
    pub fn from_refusal(refusal: Refusal, model: &str) -> GatewayError {
        match refusal {
            Refusal::Budget(shortfall) => {
                GatewayError::BudgetExceeded { shortfall, model: model.to_owned(), unlimited: None }
            }
            Refusal::Later { status, kind, failure, wait } => GatewayError::Later {
                status,
                kind,
                code: failure.code,
                message: failure.message,
                hint: failure.hint,
                wait,
            },
            Refusal::Other { status, kind, failure } => GatewayError::Refused {
                status,
                kind,
                code: failure.code,
                message: failure.message,
                hint: failure.hint,
            },
        }
    }

    /// The same, of a call for which so many output tokens count because it names no limit.
    #[must_use]
    pub(crate) fn counting(mut self, tokens: Option<u64>) -> GatewayError {
        if let GatewayError::BudgetExceeded { unlimited, .. } = &mut self {
            *unlimited = tokens;
        }
        self
    }

    /// A machine-readable kind.
    pub fn kind(&self) -> &str {
        match self {
            GatewayError::BudgetExceeded { .. } => "budget_exceeded",
            GatewayError::Refused { kind, .. } | GatewayError::Later { kind, .. } => kind,
            GatewayError::Repeated { .. } => "repeated_call",
            GatewayError::Unpriced { .. } => "model_unpriced",
            GatewayError::Unboundable(_) | GatewayError::Request(RequestError::Unboundable { .. }) => {
                "cost_unboundable"
            }
            GatewayError::Request(_) | GatewayError::BodyBroke { .. } | GatewayError::Ambiguous { .. } => {
                "invalid_request_error"
            }
            GatewayError::MediaType { .. } => "unsupported_media_type",
            GatewayError::NotTheCaller => "authentication_error",
            GatewayError::UnknownEndpoint { .. } => "endpoint_not_served",
            GatewayError::TooLarge { .. } | GatewayError::TooMuch => "request_too_large",
            GatewayError::Unreachable { .. } => "upstream_unreachable",
            GatewayError::NoAnswer { .. } => "upstream_no_answer",
            GatewayError::Interrupted { .. } => "upstream_interrupted",
            GatewayError::Exhausted { .. } => "attempts_exhausted",
            GatewayError::Routing { .. } => "invalid_routing",
            GatewayError::Redirected { .. } => "upstream_redirected",
            GatewayError::NoProvider { .. } | GatewayError::OtherDialect { .. } => "no_provider",
            GatewayError::Loop => "loop_detected",
            GatewayError::NoKey { .. } => "no_key",
            GatewayError::Price(_) => "invalid_price",
            GatewayError::Ledger(_) => "journal_failed",
            GatewayError::ShuttingDown => "shutting_down",
        }
    }

    /// The HTTP status. What cannot succeed by repetition has one that clients do not retry.
    pub fn status(&self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            GatewayError::BudgetExceeded { .. } => S::PAYMENT_REQUIRED,
            GatewayError::Refused { status, .. } | GatewayError::Later { status, .. } => {
                S::from_u16(*status).unwrap_or(S::FORBIDDEN)
            }
            GatewayError::Repeated { .. } => S::FORBIDDEN,
            GatewayError::NotTheCaller => S::UNAUTHORIZED,
            GatewayError::UnknownEndpoint { .. } => S::NOT_FOUND,
            GatewayError::Loop => S::LOOP_DETECTED,
            GatewayError::TooLarge { .. } => S::PAYLOAD_TOO_LARGE,
            GatewayError::MediaType { .. } => S::UNSUPPORTED_MEDIA_TYPE,
            GatewayError::Unreachable { .. }
            | GatewayError::Redirected { .. }
            | GatewayError::Interrupted { .. } => S::BAD_GATEWAY,
            GatewayError::NoAnswer { .. } => S::GATEWAY_TIMEOUT,
            GatewayError::Exhausted { last, .. } => last.status(),
            // What is missing is the operator's, and nothing of the request.
            GatewayError::NoKey { .. }
            | GatewayError::Ledger(_)
            | GatewayError::ShuttingDown
            | GatewayError::TooMuch => S::SERVICE_UNAVAILABLE,
            _ => S::BAD_REQUEST,
        }
    }

    /// Whether a client's own retry could do better. Only a failure of the way to the provider is
    /// like that; `x-should-retry: false` goes with the others.
    pub fn may_be_retried(&self) -> bool {
        matches!(
            self,
            GatewayError::Unreachable { .. }
                | GatewayError::NoAnswer { .. }
                | GatewayError::Interrupted { .. }
                | GatewayError::TooMuch
                | GatewayError::Later { .. }
        )
    }

    /// After how long it is worth another try, where that is known.
    pub fn wait(&self) -> Option<std::time::Duration> {
        match self {
            GatewayError::Later { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Message and hint as one text, for clients that show nothing else.
    pub fn full_message(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}. {hint}"),
            None => self.to_string(),
        }
    }

    /// The body in a dialect's error shape.
    pub fn body(&self, dialect: Dialect) -> String {
        self.body_at(dialect, self.status())
    }

    /// The body for an answer of another status than this error's usual one.
    pub(crate) fn body_at(&self, dialect: Dialect, status: http::StatusCode) -> String {
        self.told(|told| errors::body(dialect, Told { status: status.as_u16(), ..told }))
    }

    /// What ends a stream that is in these pieces with this error.
    pub(crate) fn event(&self, wire: &dyn Wire, framing: Framing) -> String {
        self.told(|told| wire.error_event(framing, told))
    }

    fn told<T>(&self, tell: impl FnOnce(Told<'_>) -> T) -> T {
        let (code, message) = (self.code().to_string(), self.full_message());
        tell(Told { status: self.status().as_u16(), code: &code, kind: self.kind(), message: &message })
    }
}
