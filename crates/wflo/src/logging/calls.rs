//! The request log of `wflo gateway`: one line for each call, when it has ended.
//!
//! Owns the line; what it tells is recorded on the call's span by the gateway, which never holds a prompt, an
//! answer or a key. Off unless it is asked for, and then costs nothing.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Map, Value};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::Fields;
use crate::plain;

/// The span of a call.
const CALL: &str = "gen_ai.call";

static WANTED: AtomicBool = AtomicBool::new(false);

/// Writes the log from now on, or no longer.
pub(crate) fn want(wanted: bool) {
    if WANTED.swap(wanted, Ordering::Relaxed) != wanted {
        // What is not wanted is not even made, which is remembered for each kind of span.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// What of the program's spans the log is made of.
pub(super) fn filter() -> FilterFn {
    let wanted = |metadata: &Metadata<'_>| metadata.name() == CALL && WANTED.load(Ordering::Relaxed);
    tracing_subscriber::filter::filter_fn(wanted as fn(&Metadata<'_>) -> bool)
        .with_max_level_hint(LevelFilter::INFO)
}

/// Writes a line for each call.
pub(super) struct Calls {
    /// Objects on standard output; else text on standard error.
    pub(super) json: bool,
}

/// A call that runs.
struct Call {
    since: Instant,
    fields: Fields,
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Calls {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(Call { since: Instant::now(), fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(call) = span.extensions_mut().get_mut::<Call>() {
            values.record(&mut call.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(call) = context.span(&id).and_then(|span| span.extensions_mut().remove::<Call>()) else {
            return;
        };
        let took = u64::try_from(call.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        #[expect(clippy::disallowed_methods, reason = "a log line's time is when it is written")]
        let now = jiff::Timestamp::now();
        let time = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        // Nothing can be reported when they are gone.
        let _ = match (self.json, line(&call.fields, &time, took)) {
            (_, None) => Ok(()),
            (true, Some(line)) => writeln!(std::io::stdout().lock(), "{}", Value::Object(line)),
            (false, Some(line)) => writeln!(std::io::stderr().lock(), "{}", text(&line)),
        };
    }
}

/// What is said of a call; nothing of a list of models.
fn line(fields: &Fields, time: &str, took_ms: u64) -> Option<Map<String, Value>> {
    let named = [
        ("key", "wflo.key"),
        ("provider", "gen_ai.provider.name"),
        ("model", "gen_ai.request.model"),
        ("status", "http.response.status_code"),
        ("code", "wflo.code"),
        ("input_tokens", "gen_ai.usage.input_tokens"),
        ("output_tokens", "gen_ai.usage.output_tokens"),
        ("cost_usd", "wflo.cost_usd"),
        ("uncertain", "wflo.cost_uncertain"),
    ];
    fields.0.get("http.response.status_code")?;
    let mut line = Map::new();
    line.insert("type".to_owned(), "gateway.call".into());
    line.insert("time".to_owned(), time.into());
    for (name, field) in named {
        if let Some(value) = fields.0.get(field).filter(|value| **value != Value::Bool(false)) {
            line.insert(name.to_owned(), value.clone());
        }
    }
    line.insert("took_ms".to_owned(), took_ms.into());
    Some(line)
}

/// The same for a person.
fn text(line: &Map<String, Value>) -> String {
    let said = |name: &str| match line.get(name) {
        None => "-".to_owned(),
        Some(Value::String(text)) => plain::short(text, 120),
        Some(other) => other.to_string(),
    };
    let place = match (line.get("provider"), line.get("model")) {
        (Some(_), _) => format!("{}/{}", said("provider"), said("model")),
        _ => said("model"),
    };
    let mut text = format!("{} {} {place} {}", said("time"), said("key"), said("status"));
    for (name, before) in
        [("code", ""), ("input_tokens", "in="), ("output_tokens", "out="), ("cost_usd", "$")]
    {
        if line.contains_key(name) {
            text.push_str(&format!(" {before}{}", said(name)));
        }
    }
    if line.contains_key("uncertain") {
        text.push_str(" uncertain");
    }
    text.push_str(&format!(" {}ms", said("took_ms")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_asked_whom_and_how_it_ended() {
        let fields = |fields: &[(&'static str, Value)]| Fields(fields.iter().cloned().collect());
        let told = |fields: &Fields| text(&line(fields, "2026-11-29T09:00:00.000Z", 412).unwrap());
        let answered = fields(&[
            ("wflo.key", "ci".into()),
            ("gen_ai.provider.name", "openai".into()),
            ("gen_ai.request.model", "gpt-5-mini".into()),
            ("http.response.status_code", 200.into()),
            ("gen_ai.usage.input_tokens", 10.into()),
            ("gen_ai.usage.output_tokens", 5.into()),
            ("wflo.cost_usd", "0.00002".into()),
            ("wflo.cost_uncertain", false.into()),
        ]);
        assert_eq!(
            told(&answered),
            "2026-11-29T09:00:00.000Z ci openai/gpt-5-mini 200 in=10 out=5 $0.00002 412ms"
        );
        let refused = fields(&[
            ("gen_ai.request.model", "a\u{1b}[31m".into()),
            ("http.response.status_code", 400.into()),
            ("wflo.code", "WFLO-4002".into()),
        ]);
        let told = told(&refused);
        assert!(told.starts_with("2026-11-29T09:00:00.000Z - a") && !told.contains('\u{1b}'), "{told:?}");
        assert!(told.ends_with(" 400 WFLO-4002 412ms"), "{told:?}");
        assert!(line(&fields(&[("gen_ai.operation.name", "list_models".into())]), "", 0).is_none());
    }
}
