//! How model calls find their way: `[retry]`, and the waits of `[providers.NAME]`.
//!
//! Owns the reading; what the settings mean, and their defaults, belong to the gateway, whose types these
//! are.

use std::time::Duration;

use wflo_core::size::Millis;
use wflo_gateway::retry::Retry;
use wflo_gateway::routing::{Routing, Waits};

use crate::document::{Field, Problem, Reader};

/// Reads every table of routing.
pub(super) fn read(root: &mut Reader<'_>) -> Result<Routing, Problem> {
    let retry = root.optional("retry").map(|field| read_retry(&field)).transpose()?.unwrap_or_default();
    Ok(Routing { retry })
}

fn read_retry(field: &Field<'_>) -> Result<Retry, Problem> {
    let mut reader = field.table()?;
    let usual = Retry::default();
    let attempts = reader.required("attempts")?;
    let retry = Retry {
        attempts: within(&attempts, 1, 10)?,
        base: span(&mut reader, "first_wait_seconds")?.unwrap_or(usual.base),
        cap: usual.cap,
        longest: span(&mut reader, "longest_wait_seconds")?.unwrap_or(usual.longest),
        unanswered: flag(&mut reader, "unanswered")?,
        extra_percent: reader
            .optional("extra_percent")
            .map(|field| within(&field, 0, 100))
            .transpose()?
            .unwrap_or(usual.extra_percent),
    };
    reader.finish()?;
    Ok(retry)
}

/// `first_byte_seconds` and `idle_seconds` of a provider or a model.
pub(super) fn read_waits(reader: &mut Reader<'_>) -> Result<Waits, Problem> {
    Ok(Waits { first_byte: span(reader, "first_byte_seconds")?, idle: span(reader, "idle_seconds")? })
}

/// Seconds, or a duration such as `5m`; not zero.
fn span(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<Duration>, Problem> {
    let Some(field) = reader.optional(key) else { return Ok(None) };
    match field.parse()? {
        Millis(0) => Err(field.wrong("longer than nothing")),
        Millis(span) => Ok(Some(Duration::from_millis(span))),
    }
}

/// A whole number from `least` to `most`.
fn within(field: &Field<'_>, least: u32, most: u32) -> Result<u32, Problem> {
    match field.whole()? {
        number if (least..=most).contains(&number) => Ok(number),
        _ => Err(field.wrong(format!("from {least} to {most}"))),
    }
}

/// A truth value that is false when it is not said.
fn flag(reader: &mut Reader<'_>, key: &'static str) -> Result<bool, Problem> {
    reader.optional(key).map_or(Ok(false), |field| field.boolean())
}
