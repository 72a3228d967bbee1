//! What steps are carried out with: shared by every attempt of an engine.

use std::sync::Arc;

use tokio::sync::Notify;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::spender::Spenders;
use wflo_core::ports::store::Store;
use wflo_data::Databases;
use wflo_gateway::Gateway;

use crate::hosts::Hosts;
use crate::journal::Meters;

/// Shared by every attempt of an engine.
pub struct Services {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// The databases of `wflo.toml`.
    pub databases: Arc<Databases>,
    /// How much runs have journaled.
    pub meters: Meters,
    /// Rung whenever a hold became a bill: calls that wait for room try again.
    pub settled: Arc<Notify>,
    /// Gateways that share budgets with runs, and may have died with what they held.
    pub spenders: Arc<dyn Spenders>,
    /// Whose turn it is to take room in a budget.
    pub turns: crate::ledger::Turns,
    /// Whether what is asked of models is kept.
    pub keeps_content: bool,
    /// What connections to hosts are made with.
    pub hosts: Hosts,
    /// The model gateway; set once it has been made over this engine's ledger.
    pub gateway: std::sync::OnceLock<Gateway>,
}

impl Services {
    /// The model gateway.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.get()
    }

    /// `text` without any key that this process holds, by exact value.
    #[must_use]
    pub fn redact(&self, text: String) -> String {
        match self.gateway() {
            Some(gateway) => gateway.routes().redact(text),
            None => text,
        }
    }

    /// What a step asked of a model without anything secret that this process knows, escaped or not.
    #[must_use]
    pub(crate) fn redact_request(&self, text: String) -> String {
        let clean = |text: String| self.hosts.redact(self.redact(text));
        let text = clean(text);
        if !text.contains('\\') {
            return text;
        }
        wflo_core::content::strings(&text, |read| {
            let cleaned = clean(read.to_owned());
            (cleaned != read).then_some(cleaned)
        })
    }

    /// A failure without any key that this process holds.
    #[must_use]
    pub fn redact_failure(&self, failure: wflo_core::error::Failure) -> wflo_core::error::Failure {
        wflo_core::error::Failure {
            message: self.redact(failure.message),
            hint: failure.hint.map(|hint| self.redact(hint)),
            traceback: failure.traceback.map(|trace| self.redact(trace)),
            ..failure
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("databases", &self.databases).finish_non_exhaustive()
    }
}
