//! The door of the `wflo` command: on Linux the library does everything; elsewhere this says what is
//! missing and what to do.

#[cfg(not(target_os = "linux"))]
mod elsewhere;

#[cfg(not(target_os = "linux"))]
use elsewhere::run;
#[cfg(target_os = "linux")]
use wflo::run;

fn main() -> std::process::ExitCode {
    run()
}
