//! Errors in the shape that each provider's clients understand.
//!
//! Owns the bodies; which status and headers go with them is [`crate::error`]'s.

use serde_json::json;

use super::Dialect;

/// What a client is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The HTTP status.
    pub status: u16,
    /// `WFLO-4001`.
    pub code: &'a str,
    /// A machine-readable kind, such as `budget_exceeded`.
    pub kind: &'a str,
    /// One sentence or two.
    pub message: &'a str,
}

impl Told<'_> {
    /// The sentence with its code behind it: clients show their users the message and nothing else of a body.
    pub(super) fn text(&self) -> String {
        format!("{} [{}]", self.message, self.code)
    }
}

/// OpenAI's error object.
pub fn object(told: Told<'_>) -> serde_json::Value {
    json!({"message": told.text(), "type": told.kind, "param": null, "code": told.code})
}

/// Google's name for a status.
fn google(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        413 => "INVALID_ARGUMENT",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "FAILED_PRECONDITION",
    }
}

/// A JSON body in the dialect's error shape.
pub fn body(dialect: Dialect, told: Told<'_>) -> String {
    let Told { status, code, kind, .. } = told;
    match dialect {
        Dialect::OpenAi => json!({"error": object(told)}),
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind, "message": told.text()},
            "request_id": null,
        }),
        Dialect::Google => json!({"error": {
            "code": status,
            "message": told.text(),
            "status": google(status),
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": kind, "domain": "wflo.dev",
                "metadata": {"code": code}}],
        }}),
        Dialect::Cohere => json!({"message": told.text(), "id": null}),
    }
    .to_string()
}
