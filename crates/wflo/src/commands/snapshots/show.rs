//! `wflo snapshots show`: every file of one.

use serde::Serialize;
use wflo_sandbox::workspace::{Attributes, Digest, Kind, RelPath, Target};

use crate::cli::SnapshotRef;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Table, size};

use super::{Held, held};

/// So much of a hash is shown to people.
const SHOWN: usize = 12;

/// One line with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a RelPath,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Octal, of files and folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// BLAKE3 of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    /// Extended attributes.
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: &'a Attributes,
}

pub(super) async fn run(which: &SnapshotRef, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::existing(context)?;
    let Held { snapshot, view, .. } = &held(&session, which).await?;
    let contents = view.contents();
    let mut table = Table::new(&["MODE", "SIZE", "BLAKE3", "PATH"]).right(&[1]);
    let mut files = 0_u64;
    for (path, entry) in &contents.entries {
        let mode = format!("{:04o}", entry.mode);
        let mut line = Line {
            path,
            kind: "folder",
            mode: Some(mode.clone()),
            bytes: None,
            hash: None,
            target: None,
            attributes: &entry.attributes,
        };
        let row = match &entry.kind {
            Kind::File { size: bytes, hash } => {
                files += 1;
                (line.kind, line.bytes, line.hash) = ("file", Some(*bytes), Some(hash));
                let short = hash.to_string();
                vec![mode, size(*bytes), short.get(..SHOWN).unwrap_or(&short).to_owned(), path.to_string()]
            }
            Kind::Symlink { target } => {
                (line.kind, line.mode, line.target) = ("link", None, Some(target));
                vec!["link".to_owned(), String::new(), String::new(), format!("{path} -> {target:?}")]
            }
            Kind::Dir { .. } | Kind::Whiteout => {
                vec![mode, String::new(), String::new(), format!("{path}/")]
            }
        };
        printer.object(&line);
        table.row(row);
        if printer.is_closed() {
            return Ok(Exit::Success);
        }
    }
    printer.line(table);
    printer.note(format_args!("\n{snapshot}: {files} files, {}.", size(contents.bytes())));
    if !view.sealed.rest.live.is_empty() {
        let live: Vec<String> = view.sealed.rest.live.iter().map(ToString::to_string).collect();
        printer.note(format_args!("Seen live by its steps, and not part of it: {}.", live.join(", ")));
    }
    Ok(Exit::Success)
}
