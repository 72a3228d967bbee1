//! How a client is told of a call that the gateway ended: the HTTP status, the kind, and the error in the
//! shape of its dialect.

use wflo_core::error::Coded as _;

use super::GatewayError;
use crate::dialect::errors::Told;
use crate::dialect::request::RequestError;
use crate::dialect::wire::Wire;
use crate::dialect::{Dialect, errors};
use crate::framing::Framing;

impl GatewayError {
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
            GatewayError::WebSocket { .. } => "websocket_not_served",
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
            // Clients that have both take this, and no other status, for the word to use HTTP.
            GatewayError::WebSocket { .. } => S::UPGRADE_REQUIRED,
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
