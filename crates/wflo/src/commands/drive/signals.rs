//! Ctrl-C and SIGTERM, counted: the first asks for an orderly end, the second for one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wflo_core::error::{Code, Failure};

use crate::failure::CommandError;

/// Both signals, and where a program has the terminal those that would leave it as the program has it.
pub(crate) struct Signals {
    interrupt: Option<Signal>,
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
        // What whoever started this had it ignore stays ignored: under `nohup` a terminal that goes, in the background
        // of a script what is typed to end the script.
        let unless_ignored = |kind| (!is_ignored(kind)).then(|| take(kind)).transpose();
        let of_program = |kind| if has_program { unless_ignored(kind) } else { Ok(None) };
        Ok(Signals {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hangup: of_program(SignalKind::hangup())?,
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
            () = of(&mut self.interrupt) => SignalKind::interrupt(),
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
