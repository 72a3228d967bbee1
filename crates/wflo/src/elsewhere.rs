//! Systems that this release does not run agents on: they get one clear sentence.

use std::io::Write as _;
use std::process::ExitCode;

use wflo_core::error::Code;

/// Runs need Linux.
const OTHER_SYSTEM: Code = Code(8011);

/// Wrong use, as in `exit.rs`.
const USAGE: u8 = 2;

/// Says the version, or why nothing else works here.
pub(crate) fn run() -> ExitCode {
    let version = std::env::args_os().nth(1).is_some_and(|first| first == "--version" || first == "-V");
    // A terminal that is gone hears nothing; there is nobody else to tell.
    if version {
        let _ = writeln!(std::io::stdout(), "wflo {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(
        std::io::stderr(),
        "error: this release runs agents on Linux only, and this is {} [{OTHER_SYSTEM}]\n\
         hint: use a Linux machine, a Linux virtual machine, or (on Windows) WSL 2, and install wflo there",
        std::env::consts::OS
    );
    ExitCode::from(USAGE)
}
