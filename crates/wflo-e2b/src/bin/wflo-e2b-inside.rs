//! The launcher and the agent alone, for this crate's tests; the `wflo` binary has its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(argument) = std::env::args_os().nth(1) else { return ExitCode::from(2) };
    if argument == wflo_sandbox::LAUNCHER_ARGUMENT {
        return wflo_sandbox::launcher_main();
    }
    wflo_e2b::inside(&argument).unwrap_or(ExitCode::from(2))
}
