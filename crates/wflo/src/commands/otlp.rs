//! `--trace`: a run's spans to an OpenTelemetry collector, as OTLP over HTTP in its JSON encoding.
//!
//! The spans are those of `wflo runs trace`: made from what the store keeps, so that any process that
//! leaves a run can export all of it so far. Their ids follow from the run and the span's place in it: to
//! export a span again is harmless. A collector that is not there is a warning, never a failed run.

mod encode;
mod endpoint;

use std::time::Duration;

use serde_json::Value;
use wflo_core::error::{Code, Failure};
use wflo_core::id::RunId;
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;
use wflo_engine::Runtime;
use wflo_gateway::Deadlines;
use wflo_gateway::post::{Answer, Poster};

use self::endpoint::Endpoint;
use crate::commands::Context;
use crate::commands::runs::{Reader, Span, spans_of};
use crate::failure::CommandError;
use crate::session::Session;

/// Spans of one request, and about how many bytes they have: collectors take some 20 MiB.
const BATCH: usize = 1_000;
const BYTES: usize = 4 << 20;
/// Requests for a batch, when the collector says that it is busy.
const TRIES: u32 = 3;
/// The pause before the second; the third waits twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Exports what a run has so far, if it was started with `--trace`, and says so. `stop` ends it early.
///
/// # Errors
/// Store errors. What goes wrong with the collector is a warning.
pub(crate) async fn export(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    run: RunId,
    stop: impl Future<Output = ()>,
) -> Result<(), CommandError> {
    let Some(record) = session.store.run(run).await?.filter(|record| record.options.trace) else {
        return Ok(());
    };
    let printer = context.printer;
    let label = printer.beside().faint("trace    ");
    let endpoint = match Endpoint::of(context.environment) {
        Ok(Some(endpoint)) => endpoint,
        Ok(None) => {
            printer.note(format_args!(
                "  {label}  `wflo runs trace {run}`; it is not exported, because OTEL_EXPORTER_OTLP_ENDPOINT is not set"
            ));
            return Ok(());
        }
        Err(reason) => {
            printer.caution(&failed(run, &reason));
            return Ok(());
        }
    };
    let spans = finished(session, &record).await?;
    let store = session.store.as_ref() as &dyn Store;
    let reader = session.settings.traces.export_content.then(|| Reader::new(store, &record));
    let sent = tokio::select! {
        sent = tokio::time::timeout(endpoint.timeout, send(&endpoint, &spans, reader, runtime)) => {
            sent.unwrap_or_else(|_| Err(format!("no answer within {} ms", endpoint.timeout.as_millis())))
        }
        () = stop => Err("it was stopped".to_owned()),
    };
    match sent {
        Ok(()) => {
            let spans = if spans.len() == 1 { "1 span".to_owned() } else { format!("{} spans", spans.len()) };
            printer.note(format_args!("  {label}  {spans} to {}, id {}", endpoint.host(), record.trace_id));
        }
        Err(reason) => {
            printer.caution(&failed(run, &format!("{} did not take it: {reason}", endpoint.host())));
        }
    }
    Ok(())
}

fn failed(run: RunId, reason: &str) -> Failure {
    Failure::new(Code(8023), format!("the trace was not exported: {reason}"))
        .with_hint(format!("nothing is lost: `wflo runs trace {run}` has it"))
}

/// The spans that have an end: a collector takes no others.
async fn finished(session: &Session<'_>, record: &RunRecord) -> Result<Vec<Span>, CommandError> {
    let mut spans = spans_of(session, record).await?;
    spans.retain(|span| span.end.is_some());
    Ok(spans)
}

/// Sends spans, with their contents where there is a reader of them: no more of those than one request has is in
/// memory at a time.
async fn send(
    endpoint: &Endpoint,
    spans: &[Span],
    mut reader: Option<Reader<'_>>,
    runtime: &Runtime,
) -> Result<(), String> {
    // The export as a whole has a deadline; these are only not to be in its way.
    let patience = endpoint.timeout.saturating_mul(2);
    let deadlines =
        Deadlines { connect: patience, first_byte: patience, idle: patience, ..Deadlines::default() };
    let poster = Poster::new(deadlines);
    let mut batch = encode::Batch::default();
    for span in spans {
        match &mut reader {
            None => batch.add(span),
            Some(reader) => batch.add(&reader.filled(span).await.map_err(|e| e.to_string())?),
        }
        if batch.spans() >= BATCH || batch.bytes() >= BYTES {
            post(&poster, endpoint, std::mem::take(&mut batch).request(endpoint), runtime).await?;
        }
    }
    if batch.spans() > 0 {
        post(&poster, endpoint, batch.request(endpoint), runtime).await?;
    }
    Ok(())
}

/// Sends one request, and again where the collector is busy.
async fn post(poster: &Poster, endpoint: &Endpoint, text: String, runtime: &Runtime) -> Result<(), String> {
    // Keys are in no attribute; if one got into a statement all the same, it stops here.
    let text = runtime.gateway.routes().redact(text);
    let mut pause = PAUSE;
    for tried in 1.. {
        let answer = poster.json(&endpoint.address, &endpoint.headers, text.clone().into_bytes()).await;
        let answer = answer.map_err(|e| e.to_string())?;
        // The statuses that the protocol calls retryable.
        if !matches!(answer.status, 429 | 502 | 503 | 504) || tried == TRIES {
            return accepted(&answer);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// Whether the collector took all of it.
fn accepted(answer: &Answer) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = |value: &Value| crate::plain::short(value.as_str().unwrap_or_default(), 200);
    if !(200..300).contains(&answer.status) {
        let message = said(&body["message"]);
        let colon = if message.is_empty() { "" } else { ": " };
        return Err(format!("HTTP status {}{colon}{message}", answer.status));
    }
    // An int64 is a string in this encoding; some collectors write a number.
    let rejected = &body["partialSuccess"]["rejectedSpans"];
    let rejected =
        rejected.as_u64().or_else(|| rejected.as_str().and_then(|text| text.parse().ok())).unwrap_or(0);
    if rejected > 0 {
        let why = said(&body["partialSuccess"]["errorMessage"]);
        return Err(format!("{rejected} spans were rejected ({why})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<(), String> {
        accepted(&Answer { status, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn a_collector_that_takes_less_is_not_taken_for_a_success() {
        assert_eq!(answer(200, "{}"), Ok(()));
        assert_eq!(answer(202, ""), Ok(()));
        assert_eq!(answer(200, "{\"partialSuccess\": {\"rejectedSpans\": \"0\"}}"), Ok(()));
        let partly = "{\"partialSuccess\": {\"rejectedSpans\": \"3\", \"errorMessage\": \"too old\"}}";
        assert_eq!(answer(200, partly), Err("3 spans were rejected (too old)".to_owned()));
        assert_eq!(
            answer(401, "{\"message\": \"who are you\"}"),
            Err("HTTP status 401: who are you".to_owned())
        );
        assert_eq!(answer(302, ""), Err("HTTP status 302".to_owned()), "no redirect is followed");
    }
}
