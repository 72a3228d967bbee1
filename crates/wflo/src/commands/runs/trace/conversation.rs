//! `wflo runs trace RUN --content`: what the models of a run were asked, and what they said.
//!
//! Owns how a conversation is read: each call with what is new in it, one call in memory at a time. All of it came out
//! of a sandbox or from a provider: how it is written down so that it cannot pass for anything else is
//! [`page`]'s.

mod page;

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectRecord, EffectState};
use wflo_core::money::NanoUsd;
use wflo_core::run::RunRecord;

use self::page::{Page, label, quantity};
use super::calls::{self, Contents};
use super::messages::{Doubled, Message, Part, Said};
use super::{attributes, between};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Paint, duration, money};
use crate::session::Session;

/// So many calls of a run are remembered, to say what of a later one was there before.
const REMEMBERED: usize = 32;

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
    /// How many more messages the request has.
    #[serde(skip_serializing_if = "is_none")]
    asked_more: u64,
    answered: &'a [Message],
    #[serde(skip_serializing_if = "is_none")]
    answered_more: u64,
    error: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Shows the calls of a run.
pub(super) async fn show(
    session: &Session<'_>,
    record: &RunRecord,
    full: bool,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let store = session.store.as_ref() as &dyn wflo_core::ports::store::Store;
    let printer = context.printer;
    let mut told = Told::default();
    let mut is_silent = true;
    for effect in store.run_effects(record.id).await?.iter().filter(|effect| calls::is_call(effect)) {
        is_silent = false;
        let contents = calls::contents(store, record, &effect.key).await?;
        if printer.json_wanted() {
            printer.object(&line(record, effect, &contents));
        } else {
            printer.line(head(printer.paint(), record, effect));
            let known = told.known(&effect.key.step, &contents);
            let mut page = Page::new(printer.paint(), printer.width(), full);
            body(&mut page, effect, &contents, known);
            page.lines().iter().for_each(|line| printer.line(line));
        }
        if printer.is_closed() {
            break;
        }
    }
    if is_silent {
        printer.note("no model was asked");
    }
    Ok(Exit::Success)
}

/// What the last calls had asked and were answered, as the hashes of their messages.
#[derive(Default)]
struct Told(VecDeque<(String, Vec<Digest>)>);

impl Told {
    /// How many of a call's messages an earlier call of the step had in the same places, with its answer.
    fn known(&mut self, step: &str, contents: &Contents) -> usize {
        let hash = |message: &Message| serde_json::to_vec(message).map(|json| Digest::of_bytes(&json)).ok();
        let hashes = |said: &Said| said.messages.iter().map_while(hash).collect::<Vec<_>>();
        let asked = contents.asked.as_ref().map(hashes).unwrap_or_default();
        let common = |before: &Vec<Digest>| before.iter().zip(&asked).take_while(|(a, b)| a == b).count();
        let own = self.0.iter().filter(|(of, _)| of == step);
        let known = own.map(|(_, before)| common(before)).max().unwrap_or(0);
        let all = asked.into_iter().chain(hashes(&contents.answered)).collect();
        self.0.push_back((step.to_owned(), all));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
        known
    }
}

/// A call, but for its first line.
fn body(page: &mut Page, effect: &EffectRecord, contents: &Contents, known: usize) {
    if known > 0 {
        page.aside(&format!("({} as before)", quantity(known as u64, "message")));
    }
    match (&contents.outline, &contents.request, &contents.asked) {
        (None, _, _) => page.aside("(what was asked was not kept)"),
        (Some(outline), None, _) => page.aside(&format!("(asked: {} bytes, not kept)", outline.bytes)),
        (Some(outline), Some(_), None) => page.aside(&format!(
            "(asked: {} bytes, which cannot be read as JSON and are not shown; see --json)",
            outline.bytes
        )),
        (Some(_), Some(_), Some(asked)) => said(page, asked, known),
    }
    said(page, &contents.answered, 0);
    if let EffectState::Failed { error, .. } = &effect.state {
        page.failed(&error.message);
    }
}

fn said(page: &mut Page, said: &Said, known: usize) {
    if said.is_doubled {
        page.aside("(a field stands twice in it: what is shown is one reading; see --json)");
    }
    for message in said.messages.iter().skip(known) {
        page.message(message);
    }
    page.end(said.more);
    if let Some(Part::NotShown { what, bytes }) = &said.beside {
        page.beside(what, *bytes);
    }
}

fn line<'a>(record: &RunRecord, effect: &'a EffectRecord, contents: &'a Contents) -> Line<'a> {
    let facts = &effect.attributes;
    let outline = contents.outline.as_ref();
    let asked = contents.asked.as_ref();
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
        request_bytes: outline.map(|outline| outline.bytes),
        not_kept: outline.map(|outline| outline.not_kept),
        request: contents.request.as_deref().map(request),
        asked: asked.map(|asked| asked.messages.as_slice()).unwrap_or_default(),
        asked_more: asked.map_or(0, |asked| asked.more),
        answered: &contents.answered.messages,
        answered_more: contents.answered.more,
        error: match &effect.state {
            EffectState::Failed { error, .. } => Some(&error.message),
            _ => None,
        },
    }
}

/// A request as JSON; as a text where JSON would not be all of it.
fn request(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(request) if !Doubled::is_in(text) => request,
        _ => Value::String(text.to_owned()),
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
    let name = format!("{} · {}", effect.key.step, label(&attributes::name_of(effect)));
    format!("\n{}  {}", paint.strong(name), paint.faint(parts.join(" · ")))
}
