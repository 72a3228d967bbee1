//! Where the program's own log goes: lines for a person with `-v`, JSON in a background process.
//!
//! Owns the one subscriber. Without `-v` only what is wrong with wflo itself is said, what settings ask to be warned
//! of (`[repeats] action = "warn"`), and a cache that cannot be reached: what happens to a run is told by its
//! events. Each JSON line carries the `run_id`, `step` and `trace_id` of the spans
//! that it was written in, at its top level.
//!
//! **Architecture Invariant:** spans and events name ids, steps and counts; keys, inputs, outputs and
//! statements are never fields.

pub(crate) mod calls;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::Cli;

/// What is said without being asked for.
const QUIET: &str = "error,wflo::repeats=warn,wflo_gateway::cache=warn";

/// Starts the log that the command line asks for.
pub(crate) fn start(cli: &Cli) {
    let background = cli.background().is_some();
    let own = |level: &str| {
        let crates =
            ["wflo", "wflo_core", "wflo_data", "wflo_engine", "wflo_gateway", "wflo_sandbox", "wflo_store"];
        let own = crates.map(|name| format!("{name}={level}")).join(",");
        EnvFilter::new(format!("warn,{own}"))
    };
    let filter = match (background, cli.global.verbose) {
        (true, 0) => own("info"),
        (false, 0) => EnvFilter::new(QUIET),
        (_, 1) => own("info"),
        _ => own("debug"),
    };
    let calls = calls::Calls { json: cli.global.json }.with_filter(calls::filter());
    let registry = tracing_subscriber::registry().with(calls);
    // A second subscriber cannot be: this is called once.
    let _ = if background {
        let json = fmt::layer().event_format(JsonLines).with_writer(std::io::stderr);
        registry.with(SpanFields.and_then(json).with_filter(filter)).try_init()
    } else {
        let colours = console::colors_enabled_stderr();
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
        registry.with(lines.with_filter(filter)).try_init()
    };
}

/// Fields as JSON.
#[derive(Debug, Default)]
struct Fields(BTreeMap<&'static str, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), value.into());
    }
}

/// Keeps each span's fields, so that the lines written in it can name them.
struct SpanFields;

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for SpanFields {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }
}

/// `{"time":…,"level":…,"run_id":…,"step":…,"trace_id":…,"message":…,…}`.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = Map::new();
        #[expect(clippy::disallowed_methods, reason = "a log line's time is when it is written")]
        let now = jiff::Timestamp::now();
        line.insert("time".to_owned(), Value::String(now.to_string()));
        line.insert("level".to_owned(), Value::String(name(*event.metadata().level()).to_owned()));
        line.insert("target".to_owned(), Value::String(event.metadata().target().to_owned()));
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.extend(fields.0.into_iter().map(|(name, value)| (name.to_owned(), value)));
        writeln!(writer, "{}", Value::Object(line))
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_names_the_run_and_the_step_that_it_was_written_in() {
        let kept = Kept::default();
        let writer = kept.clone();
        let json = fmt::layer().event_format(JsonLines).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(SpanFields).with(json);
        tracing::subscriber::with_default(subscriber, || {
            let run = tracing::info_span!("run", run_id = "run_1", trace_id = "abc").entered();
            let step = tracing::info_span!("step", step = "fetch").entered();
            tracing::warn!(count = 3, "a \"quoted\" thing");
            drop((step, run));
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        for (name, value) in [
            ("run_id", "run_1"),
            ("trace_id", "abc"),
            ("step", "fetch"),
            ("level", "warn"),
            ("message", "a \"quoted\" thing"),
        ] {
            assert_eq!(line[name], value, "{text}");
        }
        assert_eq!(line["count"], 3);
    }
}
