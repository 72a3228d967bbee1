//! Ctrl-C and SIGTERM, counted: the first asks for an orderly end, the second for one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wflo_core::error::{Code, Failure};

use crate::failure::CommandError;

/// Both signals, and where a program has the terminal those that would leave it as the program has it.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
    quit: Option<Signal>,
}

impl Signals {
    /// Takes them over from now on.
    ///
    /// # Errors
    /// When the system does not let them be taken.
    pub(crate) fn new(has_program: bool) -> Result<Self, CommandError> {
        let take = |kind| {
            signal(kind).map_err(|e| {
                let message = format!("signals cannot be watched: {e}");
                CommandError::from_failure(Failure::new(Code(9005), message))
            })
        };
        let of_program = |kind| has_program.then(|| take(kind)).transpose();
        Ok(Signals {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            // Under `nohup` it is ignored, and stays so.
            hangup: match is_ignored(SignalKind::hangup()) {
                true => None,
                false => of_program(SignalKind::hangup())?,
            },
            quit: of_program(SignalKind::quit())?,
        })
    }

    /// The next of any.
    pub(super) async fn next(&mut self) {
        self.which().await;
    }

    /// The next of any, and which it is.
    pub(crate) async fn which(&mut self) -> SignalKind {
        async fn of(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = of(&mut self.hangup) => SignalKind::hangup(),
            () = of(&mut self.quit) => SignalKind::quit(),
        }
    }
}

/// Whether this process was started to ignore a signal.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
