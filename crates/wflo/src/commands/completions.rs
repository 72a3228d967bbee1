//! `wflo completions SHELL`.

use std::fmt::Write as _;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error_page::Page;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Printer;

/// Prints the script.
pub(crate) fn run(shell: Shell, printer: &Printer) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wflo", &mut script);
    printer.raw(String::from_utf8_lossy(&script));
    if shell == Shell::Fish {
        printer.raw(codes_in_fish());
    }
    Ok(Exit::Success)
}

/// The error codes: for fish, `clap_complete` writes options and commands, and no values of arguments.
fn codes_in_fish() -> String {
    let mut script = String::new();
    for page in Page::all() {
        let title = page.title().replace('\\', "\\\\").replace('\'', "\\'");
        // Writing into a String cannot fail.
        let _ = writeln!(
            script,
            "complete -c wflo -n \"__fish_wflo_using_subcommand explain\" -f -a \"{}\" -d '{title}'",
            page.name
        );
    }
    script
}
