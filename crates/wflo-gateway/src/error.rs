//! Every way in which the gateway itself ends a call, with its code.
//!
//! Owns the wording that clients see; what can be done is `hint`'s, how a client is told `told`'s. What an
//! upstream says passes through and is none of these.

mod hint;
mod told;

use wflo_core::budget::Shortfall;
use wflo_core::error::{Code, Coded};
use wflo_core::size::Millis;

use crate::dialect::Dialect;
use crate::dialect::request::RequestError;
use crate::ledger::{LedgerError, Refusal};
use crate::price::PriceError;
use crate::reserve::BoundError;
use crate::route::Written;

/// A call that the gateway ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// No budget has room for it.
    #[error("budget exceeded: {}{}", exceeded(shortfall, model), for_want_of(*unanswered))]
    BudgetExceeded {
        /// Which budget, how it stood, and what the call could take.
        shortfall: Box<Shortfall>,
        /// The model.
        model: String,
        /// The output tokens that count because the call names no limit.
        unlimited: Option<u64>,
        /// People were asked to raise it, and have not answered in this time.
        unanswered: Option<Millis>,
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
    #[error("{}", unpriced(model, provider, no_key.is_some()))]
    Unpriced {
        /// The model.
        model: String,
        /// The provider.
        provider: String,
        /// Whether `wflo.toml` names that provider.
        named: bool,
        /// The priced model that was most likely meant.
        near: Option<String>,
        /// The variable that would hold the provider's key, where that is missing as well.
        no_key: Option<String>,
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
    /// A connection that is to become another protocol.
    #[error("{path} is asked for as a WebSocket, and the gateway speaks HTTP alone")]
    WebSocket {
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
        /// Who says where it is.
        written: Written,
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
    #[error("{section}.{name:?} {reason}")]
    Routing {
        /// `aliases`, `routes` or `models`.
        section: &'static str,
        /// Which of them.
        name: String,
        /// Why not.
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
            GatewayError::WebSocket { .. } => Code(4025),
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
        hint::of(self)
    }
}

/// What is missing: without a key there, the provider is most likely not the one that was meant.
fn unpriced(model: &str, provider: &str, no_key: bool) -> String {
    let what = match no_key {
        true => format!(
            "there is no key for the provider `{provider}`, and no price of the model `{model}` there"
        ),
        false => format!("the model `{model}` has no price at the provider `{provider}`"),
    };
    format!("{what}, so its cost cannot be bounded")
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

/// That it was not for want of a question.
fn for_want_of(waited: Option<Millis>) -> String {
    let said = |waited| format!("; people were asked to raise it, and nobody answered within {waited}");
    waited.map(said).unwrap_or_default()
}

impl GatewayError {
    /// From the ledger's refusal of a call.
    pub fn from_refusal(refusal: Refusal, model: &str) -> GatewayError {
        match refusal {
            Refusal::Budget(shortfall) => GatewayError::BudgetExceeded {
                shortfall,
                model: model.to_owned(),
                unlimited: None,
                unanswered: None,
            },
            Refusal::Unanswered { shortfall, waited } => GatewayError::BudgetExceeded {
                shortfall,
                model: model.to_owned(),
                unlimited: None,
                unanswered: Some(waited),
            },
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
}
