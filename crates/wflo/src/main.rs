//! The door of the `wflo` command: on Linux the library does everything; elsewhere this says what is
//! missing and what to do.

#[cfg(not(target_os = "linux"))]
mod elsewhere;

#[cfg(not(target_os = "linux"))]
use elsewhere::run;
#[cfg(target_os = "linux")]
use wflo::run;

/// A call of the gateway allocates some hundred times: with the system's own allocator that is a tenth of what it takes.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    run()
}
