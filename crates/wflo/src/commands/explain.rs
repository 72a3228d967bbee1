//! `wflo explain`: an error's page, on the terminal.

mod markdown;

use serde::Serialize;

use super::Context;
use crate::cli::ExplainArgs;
use crate::error_page::Page;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::printer::Printer;

/// The widest that prose is set: longer lines are hard to read.
const WIDEST: usize = 88;
/// Columns of a file or a pipe.
const ELSEWHERE: usize = 80;

/// A page for scripts. The listing has no more than what a page is called.
#[derive(Serialize)]
struct Explanation {
    code: &'static str,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

/// Prints the pages that were asked for, or what there is.
///
/// # Errors
/// Codes that do not exist; no page is printed then.
pub(crate) fn run(args: &ExplainArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    if args.codes.is_empty() {
        list(printer);
        return Ok(Exit::Success);
    }
    let found: Result<Vec<&Page>, CliError> =
        args.codes.iter().map(|given| Page::find(given).ok_or_else(|| no_such(given))).collect();
    for (index, page) in found?.into_iter().enumerate() {
        if index > 0 {
            printer.line("");
        }
        show(printer, page);
    }
    Ok(Exit::Success)
}

fn show(printer: &Printer, page: &Page) {
    let section = |heading| Some(page.section(heading));
    let (cause, example, fix) = (section("Cause"), section("Example"), section("Fix"));
    printer.object(&Explanation { code: page.name, title: page.title(), cause, example, fix });
    let width = printer.width().unwrap_or(ELSEWHERE).min(WIDEST);
    let paint = printer.paint();
    let title = format!("{}: {}", page.name, page.title());
    for line in markdown::title(paint, &title, width) {
        printer.line(line);
    }
    printer.line("");
    for line in markdown::render(paint, page.body(), width) {
        printer.line(line);
    }
}

fn list(printer: &Printer) {
    let mut part = "";
    for page in Page::all() {
        let (cause, example, fix) = (None, None, None);
        printer.object(&Explanation { code: page.name, title: page.title(), cause, example, fix });
        if page.part() != part {
            printer.line(format_args!(
                "{}{}",
                if part.is_empty() { "" } else { "\n" },
                printer.paint().strong(page.part())
            ));
            part = page.part();
        }
        let line = format!("  {}  {}", printer.paint().link(page.name), page.title());
        let width = printer.width().unwrap_or(usize::MAX);
        printer.line(console::truncate_str(&line, width, "…"));
    }
    printer.note("\n`wflo explain CODE` says what one means, why it comes and what to do.");
}

fn no_such(given: &str) -> CliError {
    CliError::NoSuchCode {
        given: given.to_owned(),
        near: Page::near(given).iter().map(|page| format!("`{}` ({})", page.name, page.title())).collect(),
    }
}
