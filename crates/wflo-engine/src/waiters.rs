//! Who waits for a run in this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use wflo_core::error::Failure;
use wflo_core::id::RunId;
use wflo_core::run::RunStatus;

/// How far a run has come, as its driver last said.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It is being driven.
    Driving,
    /// Its driver has nothing to do until somebody or something wakes it.
    Parked(RunStatus),
    /// It has ended.
    Ended(RunStatus),
    /// Its driver gave it up: the lease is lost, or the store failed.
    GivenUp(Failure),
}

/// One channel for each run that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    channels: Mutex<HashMap<RunId, watch::Sender<Progress>>>,
}

impl Waiters {
    pub(crate) fn watch(&self, run: RunId) -> watch::Receiver<Progress> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|id, sender| *id == run || sender.receiver_count() > 0);
        channels.entry(run).or_insert_with(|| watch::channel(Progress::Driving).0).subscribe()
    }

    pub(crate) fn say(&self, run: RunId, progress: &Progress) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = channels.get(&run) {
            sender.send_replace(progress.clone());
        }
    }

    /// Tells everybody who still waits that nobody drives any more.
    pub(crate) fn give_up_all(&self, why: &Failure) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in channels.values() {
            sender.send_if_modified(|progress| {
                let waits = !matches!(progress, Progress::Ended(_) | Progress::GivenUp(_));
                if waits {
                    *progress = Progress::GivenUp(why.clone());
                }
                waits
            });
        }
    }
}
