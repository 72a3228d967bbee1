//! What a person sees while packages are installed.

use tokio::sync::mpsc::Receiver;
use wflo_engine::images::{Progress, Record};

use crate::plain;
use crate::printer::{Printer, size};

use super::{counted, short, what_for};

/// Takes a line of a terminal away again.
const CLEAR: &str = "\r\x1b[K";

/// Shows what is told, to its end. On a terminal it is one line that moves; elsewhere only that it is begun.
pub(super) async fn show(mut heard: Receiver<Progress>, what: &str, printer: &Printer) {
    let mut drawn = false;
    while let Some(progress) = heard.recv().await {
        match progress {
            Progress::Waiting => printer.note(format_args!(
                "The packages of {} are being installed or removed by another wflo; waiting for it.",
                plain::line(what)
            )),
            Progress::Begun => printer.note(format_args!(
                "Installing the packages of {}: once, and again when they change.",
                plain::line(what)
            )),
            Progress::Said(text) if printer.is_live() => {
                let columns = printer.width_beside().unwrap_or(80).saturating_sub(4).max(20);
                let text = printer.beside().faint(plain::short(&text, columns));
                printer.prompt(format_args!("{CLEAR}  {text}"));
                drawn = true;
            }
            Progress::Said(text) => printer.detail(plain::line(&text)),
        }
    }
    if drawn {
        printer.prompt(CLEAR);
    }
}

/// Says what is there now.
pub(super) fn done(record: &Record, printer: &Printer) {
    if record.packages.is_empty() && record.left_out.is_empty() {
        printer
            .note(format_args!("Nothing was to be installed for {}: all of it is there.", what_for(record)));
        return;
    }
    printer.note(format_args!(
        "Installed {} for {} ({}, {}).",
        counted(record.packages.len()),
        what_for(record),
        short(record),
        size(record.bytes)
    ));
    if let Some(first) = record.left_out.first() {
        printer.note(format_args!(
            "Left out of them, because it would act in programs of this machine: {}{}.",
            plain::line(first),
            match record.left_out.len() {
                1 => String::new(),
                count => format!(" and {} more (`wflo sandbox images list --json`)", count - 1),
            }
        ));
    }
}
