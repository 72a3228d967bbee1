//! The `wflo` command: the command line, the settings, and one verb a file.
//!
//! `cli` says what can be typed, `settings` what the project is configured to be, `commands` does
//! it; `printer` alone writes to the terminal.
//! Linux only: `main` says so elsewhere.
//! **Architecture Invariant:** `--help`, `--version` and completions read no settings and start no
//! runtime; a command that needs one builds it itself.

#![cfg(target_os = "linux")]

mod cli;
mod commands;
mod definition;
mod descriptors;
mod document;
mod error_page;
mod exit;
mod failure;
mod interpreter;
mod logging;
mod paths;
mod plain;
mod printer;
mod probe;
mod session;
mod settings;
mod trust;
mod wrap;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use wflo_core::error::{Code, Failure};

use crate::cli::Cli;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::settings::Environment;

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    // The launcher forks: it must come before everything, above all before any thread.
    if std::env::args_os().nth(1).is_some_and(|first| first == wflo_sandbox::LAUNCHER_ARGUMENT) {
        return wflo_sandbox::launcher_main();
    }
    // In a served sandbox this program is the agent there, and nothing else.
    if let Some(code) = std::env::args_os().nth(1).and_then(|first| wflo_e2b::inside(&first)) {
        return code;
    }
    descriptors::raise();
    let environment = Environment::capture();
    let exit = match typed(&environment) {
        Ok(cli) => {
            let printer = Printer::new(&cli.global, &environment);
            logging::start(&cli);
            let exit = commands::run(cli, &environment, &printer).unwrap_or_else(|error| {
                for failure in &error.failures {
                    printer.failure(failure);
                }
                error.exit
            });
            printer.see_also();
            exit
        }
        Err(error) => refuse(&error, &environment),
    };
    ExitCode::from(exit.code())
}

/// The command line as it was typed.
fn typed(environment: &Environment) -> Result<Cli, clap::Error> {
    let mut command = cli::command(printer::columns_of_help(environment).unwrap_or(cli::WIDEST));
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Help and version are results; anything else is wrong use.
fn refuse(error: &clap::Error, environment: &Environment) -> Exit {
    let printer = Printer::bare(environment);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            printer.raw(styled(error, printer.paint().is_on()));
            Exit::Success
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            printer.note(styled(error, printer.paint().is_on()).trim_end());
            Exit::Usage
        }
        _ => {
            let usage = cli::render_usage_error(error);
            let mut failure = Failure::new(Code(8001), usage.message);
            failure.hint = usage.hint;
            printer.failure(&failure);
            if let Some(line) = usage.usage {
                let words = line.split(' ').take_while(|word| word.starts_with(char::is_lowercase));
                let command = words.collect::<Vec<_>>().join(" ");
                printer.note(format_args!("\nUsage: {line}\n\nFor more, try `{command} --help`."));
            }
            Exit::Usage
        }
    }
}

fn styled(error: &clap::Error, colours: bool) -> String {
    let text = error.render();
    if colours { text.ansi().to_string() } else { text.to_string() }
}
