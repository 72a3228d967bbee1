//! `wflo sandbox images prune`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::ports::clock::Clock as _;
use wflo_core::size::Millis;
use wflo_engine::clock::SystemClock;
use wflo_engine::images::Record;
use wflo_engine::retention::remove_images;

use crate::cli::PruneImagesArgs;
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::size;

use super::provide::{current, images};
use super::short;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    removed: Vec<Gone>,
    /// Those that a run still needs, or somebody uses now.
    kept: Vec<Gone>,
    /// Disk space that came back, in bytes.
    freed_bytes: u64,
    /// Whether files stay until a later pass, because others were adding to them.
    later: bool,
}

#[derive(Serialize)]
struct Gone {
    key: String,
    bytes: u64,
}

fn gone(record: &Record) -> Gone {
    Gone { key: record.key.clone(), bytes: record.bytes }
}

pub(super) async fn run(args: &PruneImagesArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    let (printer, images) = (context.printer, Arc::new(images(&settings)?));
    let wanted = if args.all { Vec::new() } else { current(context, &settings) };
    let before = args.older_than.map(|Millis(age)| {
        let ago = jiff::SignedDuration::from_millis(i64::try_from(age).unwrap_or(i64::MAX));
        SystemClock::default().now().checked_sub(ago).unwrap_or(Timestamp::MIN)
    });
    let mut chosen = images.list()?;
    chosen.retain(|record| !wanted.contains(&record.key) && before.is_none_or(|before| record.at < before));
    if args.dry_run {
        let removed: Vec<Gone> = chosen.iter().map(gone).collect();
        for record in &chosen {
            printer.line(format_args!("{}  {}", short(record), size(record.bytes)));
        }
        printer.object(&Report { dry_run: true, removed, kept: Vec::new(), freed_bytes: 0, later: false });
        printer.note("Nothing was removed.");
        return Ok(Exit::Success);
    }
    let workspaces = freed::workspaces(&settings, &settings.project.root)?;
    let session = pick::session(context)?;
    let own = session.as_ref().map(|session| (session.port(), session.storage()));
    let keys = chosen.iter().map(|record| record.key.clone()).collect();
    let removed = remove_images(own, workspaces, images, keys).await.map_err(CommandError::engine)?;
    printer.object(&Report {
        dry_run: false,
        removed: removed.records.iter().map(gone).collect(),
        kept: removed.busy.iter().map(gone).collect(),
        freed_bytes: removed.bytes,
        later: removed.later,
    });
    let count = match removed.records.len() {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    printer.line(format_args!("Removed {count}. Freed {}.", size(removed.bytes)));
    for record in &removed.busy {
        printer.note(format_args!("{} stays: a run needs it, or it is in use.", short(record)));
    }
    if removed.later {
        printer.note("Files of them are freed by a later pass: others are adding some now.");
    }
    Ok(Exit::Success)
}
