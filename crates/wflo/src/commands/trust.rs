//! `wflo trust [DIR]`: accept what a project's `wflo.toml` asks for beyond its own sandbox.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::TrustArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::settings::{Location, Settings};
use crate::trust::{self, Asked};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    project: &'a PathBuf,
    trusted: bool,
    settings: &'a [Asked],
}

/// Shows the settings and accepts them, or forgets that they were.
pub(crate) fn run(args: &TrustArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let location = Location {
        project: args.folder.clone().or_else(|| context.global.project.clone()),
        data_dir: context.global.data_dir.clone(),
        workflow: None,
        current: context.current.clone(),
    };
    let settings = Settings::load(&location, context.environment)?;
    let (printer, project) = (context.printer, &settings.project.root);
    let trusted = !args.revoke;
    let asked: Vec<Asked> = settings.asked.iter().cloned().chain(trust::store::brought(&settings)).collect();
    if args.revoke {
        let was = trust::forget(&settings)?;
        printer.line(format_args!(
            "{} is {} trusted.",
            project.display(),
            if was { "no longer" } else { "not" }
        ));
    } else {
        if asked.is_empty() {
            printer.line(format_args!("{} asks for nothing that needs trust.", project.display()));
        } else {
            printer.line(format_args!("{} asks for:\n", project.display()));
            for line in trust::lines(&asked, printer.width()) {
                printer.line(line);
            }
        }
        trust::accept(&settings, &settings.asked)?;
        trust::store::take(&settings)?;
        if !asked.is_empty() {
            printer.line("\nIt is trusted with them.");
            printer.note("`wflo trust --revoke` takes it back.");
        }
    }
    printer.object(&Report { project, trusted, settings: &asked });
    Ok(Exit::Success)
}
