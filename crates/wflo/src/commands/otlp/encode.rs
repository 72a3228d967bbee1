//! Spans as `ExportTraceServiceRequest` in OTLP's JSON encoding.
//!
//! Ids are hexadecimal and 64-bit integers are strings, as the encoding has it; money stays a decimal
//! string. <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use jiff::Timestamp;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use crate::commands::runs::{Span, SpanKind, SpanStatus};

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_CLIENT`.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;

/// The spans of one request, as they are written.
#[derive(Default)]
pub(super) struct Batch {
    spans: usize,
    /// One behind the other, with commas.
    text: String,
}

impl Batch {
    pub(super) fn add(&mut self, of: &Span) {
        if self.spans > 0 {
            self.text.push(',');
        }
        self.spans += 1;
        self.text.push_str(&span(of).to_string());
    }

    pub(super) const fn spans(&self) -> usize {
        self.spans
    }

    pub(super) const fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The request.
    pub(super) fn request(self, endpoint: &Endpoint) -> String {
        let resource: Vec<Value> =
            endpoint.resource.iter().map(|(key, value)| attribute(key, &json!(value))).collect();
        let resource = json!({ "attributes": resource });
        let scope = json!({ "name": "wflo", "version": env!("CARGO_PKG_VERSION") });
        let spans = self.text;
        format!(
            r#"{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":[{spans}]}}]}}]}}"#
        )
    }
}

fn span(span: &Span) -> Value {
    let status = match span.status {
        SpanStatus::Unset => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    };
    // What leaves this process for another: a model, a database, another host.
    let calls = span.attributes.contains_key("gen_ai.operation.name")
        || span.attributes.contains_key("db.system.name");
    let kind = if span.kind == SpanKind::Connection || span.kind == SpanKind::Effect && calls {
        CLIENT
    } else {
        INTERNAL
    };
    let mut out = json!({
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanos(span.start),
        "endTimeUnixNano": nanos(span.end.unwrap_or(span.start)),
        "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
        "status": { "code": status },
    });
    if let Some(parent) = &span.parent_span_id {
        out["parentSpanId"] = json!(parent);
    }
    out
}

fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(is) => json!({ "boolValue": is }),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => json!({ "intValue": integer.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}
