//! How many calls, and how many tokens, may go where: requests and tokens a minute, calls at a time.
//!
//! Owns the meters and the one queue before them. A call takes its part of all limits that apply to it, or
//! waits and takes none. **Architecture Invariant:** in no minute more requests or tokens pass a limit than
//! it says, and at no instant more calls; of those that wait for one limit, callers take turns and none is
//! overtaken for ever.

mod meter;
mod queue;

pub use self::queue::Queue;
pub(crate) use self::queue::{Claim, Gate, Pass};

use std::time::Duration;

/// One `[limits.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name, which refusals say.
    pub name: String,
    /// Only calls of this provider.
    pub provider: Option<String>,
    /// Only calls of this model, as it is asked for at its provider.
    pub model: Option<String>,
    /// Each caller (a run's step, a key) has a limit of its own.
    pub per_caller: bool,
    /// Most requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Most tokens in a minute, of input and output together.
    pub tokens_per_minute: Option<u64>,
    /// Most calls at a time.
    pub concurrent: Option<u64>,
    /// How long a call waits for its turn.
    pub wait: Duration,
    /// How many calls may wait.
    pub queue: usize,
}

impl Limit {
    /// A limit of everything that limits nothing yet.
    pub fn new(name: &str) -> Limit {
        Limit {
            name: name.to_owned(),
            provider: None,
            model: None,
            per_caller: false,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent: None,
            wait: Duration::from_secs(60),
            queue: 1_000,
        }
    }

    fn applies(&self, claim: &Claim) -> bool {
        self.provider.as_ref().is_none_or(|provider| *provider == claim.provider)
            && self.model.as_ref().is_none_or(|model| *model == claim.model)
    }
}
