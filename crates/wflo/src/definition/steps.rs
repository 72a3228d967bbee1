//! The steps of a YAML definition.

use serde_json::{Map, Value};

use crate::document::{Field, Problem, Reader};
use crate::settings::read_seconds;

use super::fields::{boolean, budgets, put, text, texts, timeout};

/// Reads the list of steps. A step without `depends_on` comes after the one defined before it.
pub(super) fn read(field: &Field<'_>) -> Result<Vec<Value>, Problem> {
    let mut before: Option<String> = None;
    let mut steps = Vec::new();
    for step in field.list()? {
        let (name, value) = read_step(&step, before.as_deref())?;
        before = Some(name);
        steps.push(value);
    }
    Ok(steps)
}

fn read_step(field: &Field<'_>, before: Option<&str>) -> Result<(String, Value), Problem> {
    const KINDS: [&str; 4] = ["agent", "tool", "approval", "condition"];
    let mut reader = field.table()?;
    let mut out = Map::new();
    let name = reader.required("name")?.name()?;
    let kind = reader.required("type")?.choice(&KINDS.map(|kind| (kind, kind)))?;
    put(&mut out, "name", Some(name));
    put(&mut out, "type", Some(kind));
    let depends_on = match texts(&mut reader, "depends_on")? {
        Some(given) => given,
        None => before.into_iter().map(str::to_owned).collect(),
    };
    put(&mut out, "depends_on", Some(depends_on));
    match kind {
        "agent" => {
            read_prompt(&mut reader, &mut out)?;
            read_work(&mut reader, &mut out)?;
        }
        "tool" => {
            put(&mut out, "run", Some(read_command(&reader.required("run")?)?));
            read_work(&mut reader, &mut out)?;
        }
        "approval" => read_gate(&mut reader, &mut out)?,
        _ => put(&mut out, "when", Some(reader.required("when")?.name()?)),
    }
    put(&mut out, "place", Some(reader.origin().to_string()));
    reader.finish()?;
    Ok((name.to_owned(), out.into()))
}

fn read_prompt(reader: &mut Reader<'_>, out: &mut Map<String, Value>) -> Result<(), Problem> {
    put(out, "model", Some(reader.required("model")?.name()?));
    put(out, "prompt", Some(reader.required("prompt")?.name()?));
    put(out, "system", text(reader, "system")?);
    if let Some(field) = reader.optional("max_tokens") {
        let tokens: u64 = field.whole()?;
        if tokens == 0 {
            return Err(field.wrong("at least 1"));
        }
        put(out, "max_tokens", Some(tokens));
    }
    if let Some(field) = reader.optional("temperature") {
        let temperature = field.number()?;
        if !(0.0..=2.0).contains(&temperature) {
            return Err(field.wrong("between 0 and 2"));
        }
        put(out, "temperature", Some(temperature));
    }
    Ok(())
}

/// `[python, publish.py]`; one text would need a shell, and says so.
fn read_command(field: &Field<'_>) -> Result<Vec<String>, Problem> {
    if let Ok(line) = field.text() {
        let words: Vec<&str> = line.split_whitespace().collect();
        return Err(field
            .wrong("a list of words, not text")
            .hint(format!("write [{}]; for a shell, [sh, -c, \"…\"]", words.join(", "))));
    }
    let words = field.list()?.iter().map(Field::parse::<String>).collect::<Result<Vec<_>, _>>()?;
    if words.is_empty() { Err(field.wrong("a program and its arguments")) } else { Ok(words) }
}

/// The keys of steps that do work.
fn read_work(reader: &mut Reader<'_>, out: &mut Map<String, Value>) -> Result<(), Problem> {
    put(out, "approval", read_approval(reader)?);
    put(out, "rollback_enabled", boolean(reader, "rollback_enabled")?);
    put(out, "retries", reader.optional("retries").map(|field| field.whole::<u32>()).transpose()?);
    if let Some(field) = reader.optional("retry_backoff") {
        put(out, "retry_backoff", Some(read_backoff(&field)?));
    }
    put(out, "timeout_seconds", timeout(reader)?);
    put(out, "agent", text(reader, "agent")?);
    put(out, "budgets", budgets(reader)?);
    put(out, "cache", boolean(reader, "cache")?);
    if let Some(field) = reader.optional("effect_class") {
        let classes = ["idempotent", "at_least_once", "guarded"].map(|class| (class, class));
        put(out, "effect_class", Some(field.choice(&classes)?));
    }
    if let Some(field) = reader.optional("on_ambiguous") {
        let choices = ["rerun", "skip", "fail"].map(|choice| (choice, choice));
        put(out, "on_ambiguous", Some(field.choice(&choices)?));
    }
    Ok(())
}

/// `approval_required: true`, or `approval: {…}`.
fn read_approval(reader: &mut Reader<'_>) -> Result<Option<Value>, Problem> {
    let short = reader.optional("approval_required");
    let Some(field) = reader.optional("approval") else {
        let required = short.map(|field| field.boolean()).transpose()?.unwrap_or(false);
        return Ok(required.then(|| serde_json::json!({"required": true})));
    };
    if let Some(short) = short {
        return Err(short.wrong("left out: `approval` says it already"));
    }
    let mut reader = field.table()?;
    let mut out = Map::new();
    put(&mut out, "required", boolean(&mut reader, "required")?);
    if let Some(field) = reader.optional("when") {
        put(&mut out, "when", Some(field.choice(&[("write", "write"), ("start", "start")])?));
    }
    read_people(&mut reader, &mut out)?;
    reader.finish()?;
    Ok(Some(out.into()))
}

fn read_gate(reader: &mut Reader<'_>, out: &mut Map<String, Value>) -> Result<(), Problem> {
    read_people(reader, out)?;
    put(out, "message", text(reader, "message")?);
    if let Some(field) = reader.optional("on_rejected") {
        put(out, "on_rejected", Some(field.choice(&[("stop", "stop"), ("continue", "continue")])?));
    }
    Ok(())
}

/// Who decides, and what happens when nobody does.
fn read_people(reader: &mut Reader<'_>, out: &mut Map<String, Value>) -> Result<(), Problem> {
    put(out, "approvers", texts(reader, "approvers")?);
    put(out, "notify", texts(reader, "notify")?);
    put(out, "quorum", reader.optional("quorum").map(|field| field.whole::<u32>()).transpose()?);
    put(out, "timeout_seconds", timeout(reader)?);
    if let Some(field) = reader.optional("on_timeout") {
        let choices = ["reject", "escalate", "hold"].map(|choice| (choice, choice));
        put(out, "on_timeout", Some(field.choice(&choices)?));
    }
    Ok(())
}

fn read_backoff(field: &Field<'_>) -> Result<Value, Problem> {
    let mut reader = field.table()?;
    let mut out = Map::new();
    for key in ["initial_seconds", "max_seconds"] {
        put(&mut out, key, reader.optional(key).map(|field| read_seconds(&field)).transpose()?);
    }
    if let Some(field) = reader.optional("factor") {
        let factor = field.number()?;
        if factor < 1.0 {
            return Err(field.wrong("at least 1"));
        }
        put(&mut out, "factor", Some(factor));
    }
    put(&mut out, "jitter", boolean(&mut reader, "jitter")?);
    reader.finish()?;
    Ok(out.into())
}
