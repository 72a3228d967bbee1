//! `wflo runs trace RUN --content`: what the models of a run were asked, and what they said.
//!
//! Owns how a conversation is read: each call with what is new in it. All of it came out of a sandbox or from a
//! provider, so nothing of it acts on a terminal.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use wflo_core::effect::{EffectRecord, EffectState};
use wflo_core::money::NanoUsd;
use wflo_core::run::RunRecord;

use super::calls::{self, Call};
use super::messages::{Message, Part};
use super::{attributes, between};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Paint, duration, money};
use crate::session::Session;

/// What is shown of one text.
const LINES: usize = 12;
const CHARACTERS: usize = 1_200;
/// What is shown of arguments, and of a result.
const SHORT: usize = 400;

/// One call; one line with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    run: String,
    step: &'a str,
    generation: u32,
    path: &'a str,
    seq: u32,
    operation: &'a str,
    model: &'a Value,
    provider: &'a Value,
    dialect: &'a Value,
    status: &'a Value,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    input_tokens: &'a Value,
    output_tokens: &'a Value,
    cost_usd: NanoUsd,
    /// How long the request was, in bytes.
    request_bytes: Option<u64>,
    /// How many parts of it were kept as their size and hash.
    not_kept: Option<u64>,
    request: Option<Value>,
    asked: &'a [Message],
    answered: &'a [Message],
    error: Option<&'a str>,
}

/// Shows the calls of a run.
pub(super) async fn show(
    session: &Session<'_>,
    record: &RunRecord,
    full: bool,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let store = session.store.as_ref() as &dyn wflo_core::ports::store::Store;
    let effects = store.run_effects(record.id).await?;
    let calls = calls::of_run(store, record, &effects).await?;
    let (printer, paint) = (context.printer, context.printer.paint());
    let of_call: HashMap<_, _> = effects.iter().map(|effect| (&effect.key, effect)).collect();
    let mut told: Vec<(&str, Vec<Message>)> = Vec::new();
    for call in &calls {
        let Some(effect) = of_call.get(&call.key).copied() else { continue };
        let asked = call.asked();
        printer.object(&line(record, effect, call, &asked));
        if printer.json_wanted() {
            continue;
        }
        printer.line(head(paint, record, effect));
        // What an earlier call of the step had, with its answer.
        let common = |before: &Vec<Message>| before.iter().zip(&asked).take_while(|(a, b)| a == b).count();
        let own = told.iter().filter(|(step, _)| *step == effect.key.step);
        let known = own.map(|(_, before)| common(before)).max().unwrap_or(0);
        if known > 0 {
            let messages = if known == 1 { "message" } else { "messages" };
            printer.line(paint.faint(format_args!("  ({known} {messages} as before)")));
        }
        match (&call.outline, &call.request) {
            (None, _) => printer.line(paint.faint("  (what was asked was not kept)")),
            (Some(outline), None) => {
                printer.line(paint.faint(format_args!("  (asked: {} bytes, not kept)", outline.bytes)));
            }
            (Some(_), Some(_)) => {}
        }
        for message in asked.iter().skip(known) {
            told_of(context, message, full);
        }
        for message in &call.answered {
            told_of(context, message, full);
        }
        if let EffectState::Failed { error, .. } = &effect.state {
            printer.line(format_args!("  {}", paint.bad(plain::line(&error.message))));
        }
        let mut all = asked;
        all.extend(call.answered.iter().cloned());
        told.push((&effect.key.step, all));
        if told.len() > 32 {
            told.remove(0);
        }
    }
    if calls.is_empty() {
        printer.note("no model was asked");
    }
    Ok(Exit::Success)
}

fn line<'a>(record: &RunRecord, effect: &'a EffectRecord, call: &'a Call, asked: &'a [Message]) -> Line<'a> {
    let facts = &effect.attributes;
    Line {
        run: record.id.to_string(),
        step: &effect.key.step,
        generation: effect.key.generation,
        path: &effect.key.path,
        seq: effect.key.seq,
        operation: &effect.name,
        model: &facts["model"],
        provider: &facts["provider"],
        dialect: &facts["dialect"],
        status: &facts["status"],
        started_at: effect.started_at,
        finished_at: effect.finished_at,
        input_tokens: &facts["input_tokens"],
        output_tokens: &facts["output_tokens"],
        cost_usd: effect.cost,
        request_bytes: call.outline.as_ref().map(|outline| outline.bytes),
        not_kept: call.outline.as_ref().map(|outline| outline.not_kept),
        request: call
            .request
            .as_ref()
            .map(|request| serde_json::from_str(request).unwrap_or_else(|_| Value::String(request.clone()))),
        asked,
        answered: &call.answered,
        error: match &effect.state {
            EffectState::Failed { error, .. } => Some(&error.message),
            _ => None,
        },
    }
}

/// `ask · chat gpt-5-mini · +1.2 s · 10 tokens in, 5 out · $0.0012`
fn head(paint: Paint, record: &RunRecord, effect: &EffectRecord) -> String {
    let facts = &effect.attributes;
    let mut parts = vec![format!("+{}", duration(between(record.created_at, effect.started_at)))];
    if let (Some(input), Some(output)) = (facts["input_tokens"].as_u64(), facts["output_tokens"].as_u64()) {
        parts.push(format!("{input} tokens in, {output} out"));
    }
    if effect.cost > NanoUsd::ZERO {
        parts.push(money(effect.cost));
    }
    if effect.finished_at.is_none() {
        parts.push("no answer yet".to_owned());
    }
    let name = format!("{} · {}", effect.key.step, plain::short(&attributes::name_of(effect), 60));
    format!("\n{}  {}", paint.strong(name), paint.faint(parts.join(" · ")))
}

fn told_of(context: &Context<'_>, message: &Message, full: bool) {
    let (printer, paint) = (context.printer, context.printer.paint());
    for part in &message.parts {
        let (label, text) = match part {
            Part::Text { content } => (plain::short(&message.role, 20), block(content, full)),
            Part::Reasoning { content } => ("thought".to_owned(), block(content, full)),
            Part::ToolCall { name, arguments, .. } => {
                ("calls".to_owned(), format!("{} {}", plain::short(name, 80), short(arguments, full)))
            }
            Part::ToolCallResponse { response, .. } => match response {
                Value::String(text) => ("result".to_owned(), block(text, full)),
                other => ("result".to_owned(), short(other, full)),
            },
            Part::Other { content } => {
                (plain::short(&message.role, 20), format!("({})", plain::short(content, SHORT)))
            }
        };
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        printer.line(format_args!("  {} {first}", paint.faint(plain::padded(&label, 9))));
        lines.for_each(|line| printer.line(format_args!("            {line}")));
    }
}

fn short(value: &Value, full: bool) -> String {
    let text = plain::line(&value.to_string());
    if full { text } else { plain::short(&text, SHORT) }
}

/// A text, with a mark where something is missing.
fn block(text: &str, full: bool) -> String {
    if full {
        return plain::block(text);
    }
    let cut: String = text.chars().take(CHARACTERS).collect();
    let mut lines: Vec<&str> = cut.lines().collect();
    let is_shorter = cut.len() < text.len() || lines.len() > LINES;
    lines.truncate(LINES);
    let shown = plain::block(&lines.join("\n"));
    if is_shorter { format!("{shown}\n… ({} bytes in all; --full shows them)", text.len()) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_says_does_not_act_on_a_terminal() {
        for full in [true, false] {
            let shown = block("a\x1b[2Jb\r\x07\u{202e}c", full);
            assert!(shown.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{shown:?}");
            let shown = short(&serde_json::json!({"\x1b[31m": "\u{9b}2J"}), full);
            assert!(shown.chars().all(|c| !c.is_control()), "{shown:?}");
        }
    }

    #[test]
    fn a_long_text_is_shortened_and_says_so() {
        let long = "line\n".repeat(40);
        assert!(block(&long, false).contains("200 bytes in all"));
        assert_eq!(block(&long, true).lines().count(), 40);
        assert_eq!(block("short", false), "short");
    }
}
