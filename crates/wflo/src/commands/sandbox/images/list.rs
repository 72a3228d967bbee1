//! `wflo sandbox images list`.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::ports::clock::Clock as _;
use wflo_engine::clock::SystemClock;
use wflo_engine::images::{Archive, Kind, Record};

use crate::commands::Context;
use crate::commands::runs::age;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Table, size};

use super::provide::{current, images};
use super::{short, what_for};

/// One line with `--json`.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    key: &'a str,
    kind: Kind,
    /// Whether wflo.toml asks for it now.
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    python: Option<&'a Path>,
    version: &'a str,
    requirements: &'a [String],
    packages: &'a [String],
    #[serde(skip_serializing_if = "<[Archive]>::is_empty")]
    files: &'a [Archive],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    left_out: &'a [String],
    bytes: u64,
    tree: String,
    time: Timestamp,
}

pub(super) fn line(record: &Record, current: bool) -> Line<'_> {
    Line {
        key: &record.key,
        kind: record.kind,
        current,
        python: record.python.as_deref(),
        version: &record.version,
        requirements: &record.requirements,
        packages: &record.packages,
        files: &record.files,
        left_out: &record.left_out,
        bytes: record.bytes,
        tree: record.tree.to_string(),
        time: record.at,
    }
}

pub(super) fn run(context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    let (printer, all) = (context.printer, images(&settings)?.list()?);
    let (wanted, now) = (current(context, &settings), SystemClock::default().now());
    let table = Table::new(&["IMAGE", "FOR", "PACKAGES", "SIZE", "AGE", ""]);
    let mut table = table.within(printer.width(), &[], &[]).ids(&[0]).right(&[2, 3, 4]);
    for record in &all {
        let is_current = wanted.contains(&record.key);
        printer.object(&line(record, is_current));
        table.row(vec![
            short(record).to_owned(),
            what_for(record),
            record.packages.len().to_string(),
            size(record.bytes),
            age(now, record.at),
            if is_current { "asked for now".to_owned() } else { String::new() },
        ]);
    }
    match all.is_empty() {
        true => {
            printer.note("Nothing is installed. `wflo sandbox images build` installs what wflo.toml names.")
        }
        false => printer.line(table),
    }
    Ok(Exit::Success)
}
