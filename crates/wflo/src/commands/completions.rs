//! `wflo completions SHELL`.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Printer;

/// Prints the script.
pub(crate) fn run(shell: clap_complete::Shell, printer: &Printer) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wflo", &mut script);
    printer.raw(String::from_utf8_lossy(&script));
    Ok(Exit::Success)
}
