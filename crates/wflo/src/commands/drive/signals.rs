//! Ctrl-C and SIGTERM, counted: the first asks for an orderly end, the second for one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wflo_core::error::{Code, Failure};

use crate::failure::CommandError;

/// Both signals.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them over from now on.
    ///
    /// # Errors
    /// When the system does not let them be taken.
    pub(super) fn new() -> Result<Self, CommandError> {
        let take = |kind| {
            signal(kind).map_err(|e| {
                let message = format!("signals cannot be watched: {e}");
                CommandError::from_failure(Failure::new(Code(9005), message))
            })
        };
        Ok(Signals { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// The next of either.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
