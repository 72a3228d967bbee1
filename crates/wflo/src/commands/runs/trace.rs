//! `wflo runs trace`: where a run's time went, as spans run > step > effect.
//!
//! The spans are made from what the store keeps, so they are there for every run, exported or not. What models were
//! asked and said is no part of them: whoever exports it reads it a span at a time ([`Reader`]).

mod attributes;
mod calls;
mod connections;
mod conversation;
mod messages;
mod reader;

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectRecord, EffectState};
use wflo_core::machine::{RunState, StepStatus};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::RunRecord;
use wflo_engine::engine::load;

use self::calls::Call;
use self::connections::Connection;
pub(crate) use self::reader::Reader;
use crate::cli::RunRef;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Paint, Table, duration};
use crate::session::Session;

/// Cells of the bar that shows when a span was.
const CELLS: u128 = 28;

/// One span; one line with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_span_id: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) start: Timestamp,
    /// Absent while it lasts.
    pub(crate) end: Option<Timestamp>,
    pub(crate) status: Status,
    pub(crate) attributes: Map<String, Value>,
    /// What it has contents of.
    #[serde(skip)]
    of: Option<Of>,
}

/// What a span has contents of.
#[derive(Debug, Clone, PartialEq)]
enum Of {
    /// A call of a model.
    Call(EffectKey),
    /// A tool of its answer, by its number there.
    Tool(EffectKey, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Run,
    Step,
    Effect,
    Approval,
    Connection,
    /// What a model asked for, and its program did.
    Tool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Unset,
    Ok,
    Error,
}

/// Shows a run's spans.
pub(super) async fn run(
    which: &RunRef,
    content: bool,
    full: bool,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    if content {
        return conversation::show(&session, &record, full, context).await;
    }
    let spans = spans_of(&session, &record).await?;
    for span in &spans {
        context.printer.object(span);
    }
    let table = tree(context.printer.paint(), &spans, session.clock.now());
    context.printer.line(table.within(context.printer.width(), &[0], &[4, 3]));
    context.printer.note(format_args!("\ntrace {}", record.trace_id));
    Ok(Exit::Success)
}

/// A run's spans as they are now, parents first, then by start.
///
/// # Errors
/// Store errors.
pub(crate) async fn spans_of(session: &Session<'_>, record: &RunRecord) -> Result<Vec<Span>, CommandError> {
    let store = session.store.as_ref();
    let (_, state) = load(store, record).await.map_err(CommandError::engine)?;
    let effects = store.run_effects(record.id).await?;
    let filter = ApprovalFilter { run: Some(record.id), ..ApprovalFilter::default() };
    let approvals = store.approvals(filter).await?;
    let connections = connections::of_run(store, record.id).await?;
    let calls = calls::of_run(store, record, &effects).await?;
    Ok(spans(record, &state, &effects, &approvals, &connections, &calls))
}

/// An id that is the same whenever the trace is read: of the trace and the span's place in the run.
fn span_id(trace: &str, place: &str) -> String {
    let digest = Digest::of_bytes(format!("{trace}/{place}").as_bytes());
    digest.as_str().chars().take(16).collect()
}

/// Every span, parents first, then by start.
fn spans(
    record: &RunRecord,
    state: &RunState,
    effects: &[EffectRecord],
    approvals: &[Approval],
    connections: &[Connection],
    calls: &[Call],
) -> Vec<Span> {
    let id = |place: &str| span_id(&record.trace_id, place);
    let make = |place: &str, parent: Option<&str>, name: String, kind: Kind, start: Timestamp| Span {
        trace_id: record.trace_id.clone(),
        span_id: id(place),
        parent_span_id: parent.map(id),
        name,
        kind,
        start,
        end: None,
        status: Status::Unset,
        attributes: Map::new(),
        of: None,
    };
    let mut root = make("run", None, record.workflow.clone(), Kind::Run, record.created_at);
    root.end = record.finished_at;
    root.status = match record.status {
        wflo_core::run::RunStatus::Completed => Status::Ok,
        status if status.is_terminal() => Status::Error,
        _ => Status::Unset,
    };
    root.attributes = attributes::of_run(record);
    let calls: HashMap<&EffectKey, &Call> = calls.iter().map(|call| (&call.key, call)).collect();
    let mut all = vec![root];
    for (spec, step) in state.definition.steps.iter().zip(&state.steps) {
        let place = format!("step/{}", spec.name);
        let mut inner = Vec::new();
        for effect in effects.iter().filter(|e| e.key.step == spec.name && !attributes::is_carried(e)) {
            let name = attributes::name_of(effect);
            let mut span =
                make(&format!("effect/{}", effect.key), Some(&place), name, Kind::Effect, effect.started_at);
            span.end = effect.finished_at;
            span.status = match &effect.state {
                // Neither has come to anything yet.
                EffectState::Intent | EffectState::Previewed { .. } => Status::Unset,
                EffectState::Finished { .. } => Status::Ok,
                EffectState::Failed { .. } => Status::Error,
            };
            span.attributes = attributes::of_effect(effect);
            let call = calls.get(&effect.key).copied();
            if let Some(call) = call {
                span.attributes.extend(attributes::of_call(call));
                span.of = Some(Of::Call(effect.key.clone()));
            }
            inner.push(span);
            for (nth, tool) in call.into_iter().flat_map(|call| call.tools.iter().enumerate()) {
                let at = format!("tool/{}/{nth}", effect.key);
                let name = format!("execute_tool {}", plain::short(&tool.name, 80));
                let mut span = make(&at, Some(&place), name, Kind::Tool, tool.asked);
                // One whose result no later call carries is as long as nobody knows.
                span.end = tool.answered.or(record.status.is_terminal().then_some(tool.asked));
                span.status = if tool.answered.is_some() { Status::Ok } else { Status::Unset };
                span.attributes = attributes::of_tool(&effect.key, tool);
                span.of = Some(Of::Tool(effect.key.clone(), nth));
                inner.push(span);
            }
        }
        let own = approvals.iter().filter(|a| a.request.step.as_deref() == Some(&spec.name));
        // A question that code asks is an effect of its own.
        for approval in own.filter(|a| !matches!(a.request.purpose, Purpose::Asked { .. })) {
            let name = format!("approval {}", plain::short(&approval.request.title, 80));
            let mut span = make(
                &format!("approval/{}", approval.id),
                Some(&place),
                name,
                Kind::Approval,
                approval.requested_at,
            );
            span.end = approval.decision.as_ref().map(|decision| decision.at);
            span.status = match approval.status {
                ApprovalStatus::Pending | ApprovalStatus::Superseded => Status::Unset,
                ApprovalStatus::Approved | ApprovalStatus::Consumed => Status::Ok,
                ApprovalStatus::Rejected | ApprovalStatus::Expired => Status::Error,
            };
            span.attributes = attributes::of_approval(approval);
            inner.push(span);
        }
        for connection in connections.iter().filter(|connection| connection.step == spec.name) {
            let (place_of_it, name) = (format!("egress/{}", connection.seq), connection.name.clone());
            inner.push(Span {
                end: connection.end,
                status: connection.status,
                attributes: connection.attributes.clone(),
                ..make(&place_of_it, Some(&place), name, Kind::Connection, connection.start)
            });
        }
        inner.sort_by_key(|span| span.start);
        let first = inner.first().map(|span| span.start);
        let Some(start) = step.started_at.into_iter().chain(first).min() else { continue };
        let mut span = make(&place, Some("run"), spec.name.clone(), Kind::Step, start);
        span.end = step.finished_at;
        span.status = match step.status {
            StepStatus::Succeeded => Status::Ok,
            StepStatus::Failed => Status::Error,
            _ => Status::Unset,
        };
        span.attributes = attributes::of_step(spec, step);
        all.push(span);
        all.extend(inner);
    }
    all
}

fn tree(paint: Paint, spans: &[Span], now: Timestamp) -> Table {
    let mut table = Table::new(&["SPAN", "AT", "TOOK", "COST", ""]);
    let Some(root) = spans.first() else { return table };
    let end =
        root.end.unwrap_or(now).max(spans.iter().filter_map(|span| span.end).max().unwrap_or(root.start));
    let whole = between(root.start, end).as_micros().max(1);
    for (index, span) in spans.iter().enumerate() {
        let last_here = |kind_is_inner: bool| {
            let later = spans.get(index + 1..).unwrap_or_default();
            match kind_is_inner {
                true => later.first().is_none_or(|next| next.kind == Kind::Step),
                false => !later.iter().any(|next| next.kind == Kind::Step),
            }
        };
        let later_steps = spans.get(index + 1..).unwrap_or_default().iter().any(|s| s.kind == Kind::Step);
        let indent = match span.kind {
            Kind::Run => String::new(),
            Kind::Step => (if last_here(false) { "└─ " } else { "├─ " }).to_owned(),
            Kind::Effect | Kind::Approval | Kind::Connection | Kind::Tool => {
                let above = if later_steps { "│  " } else { "   " };
                format!("{above}{}", if last_here(true) { "└─ " } else { "├─ " })
            }
        };
        let mut name = plain::short(&span.name, 60);
        if let Some(more) = span.attributes.get("wflo.tools_not_shown") {
            name.push_str(&format!(" ({more} of its tools are not shown)"));
        }
        let name = match span.status {
            Status::Error => paint.bad(name),
            Status::Unset => paint.careful(name),
            Status::Ok => name,
        };
        let from = between(root.start, span.start);
        let took = between(span.start, span.end.unwrap_or(now));
        let cost = match &span.attributes.get("wflo.cost_usd") {
            Some(Value::String(cost)) if cost.bytes().any(|b| (b'1'..=b'9').contains(&b)) => {
                format!("${cost}")
            }
            _ => String::new(),
        };
        table.row(vec![
            format!("{}{name}", paint.faint(indent)),
            format!("+{}", duration(from)),
            if span.end.is_some() { duration(took) } else { format!("{} …", duration(took)) },
            cost,
            bar(paint, from.as_micros(), took.as_micros(), whole),
        ]);
    }
    table
}

fn bar(paint: Paint, from: u128, took: u128, whole: u128) -> String {
    let start = (from * CELLS / whole).min(CELLS - 1);
    let cells = (took * CELLS).div_ceil(whole).clamp(1, CELLS - start);
    let width = |cells: u128| usize::try_from(cells).unwrap_or(0);
    format!("{}{}", " ".repeat(width(start)), paint.link("▬".repeat(width(cells))))
}

fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spans_id_is_of_its_place_and_nothing_else() {
        let one = span_id("0af7651916cd43dd8448eb211c80319c", "step/a");
        assert_eq!(one.len(), 16);
        assert!(one.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(one, span_id("0af7651916cd43dd8448eb211c80319c", "step/a"));
        assert_ne!(one, span_id("0af7651916cd43dd8448eb211c80319c", "step/b"));
    }
}
