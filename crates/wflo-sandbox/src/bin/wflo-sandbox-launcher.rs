//! The launcher process alone, for this crate's tests and examples; the `wflo` binary has its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == wflo_sandbox::LAUNCHER_ARGUMENT) {
        return wflo_sandbox::launcher_main();
    }
    ExitCode::from(2)
}
