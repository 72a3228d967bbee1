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

/// A JSON body in the dialect's error shape.
pub fn body(dialect: Dialect, told: Told<'_>) -> String {
    let Told { status, code, kind, message } = told;
    match dialect {
        Dialect::OpenAi => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        }
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind, "message": format!("{message} [{code}]")},
            "request_id": null,
        }),
        Dialect::Google => json!({"error": {
            "code": status,
            "message": message,
            "status": if status == 402 { "RESOURCE_EXHAUSTED" } else { "FAILED_PRECONDITION" },
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": kind, "domain": "wflo.dev",
                "metadata": {"code": code}}],
        }}),
        Dialect::Cohere => json!({"message": format!("{message} [{code}]"), "id": null}),
    }
    .to_string()
}
