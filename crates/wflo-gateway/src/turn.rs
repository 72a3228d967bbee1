//! A call's turn: what it must have been given before its intent is written.
//!
//! Owns the order of breaker and limits, and gives both back. A ledger takes the turn after it has looked
//! for a recorded answer, which needs none, and right before the commit that takes the hold: what waits for
//! a slot is not journaled as sent. It gives the turn back while the call waits for money or for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wflo_core::error::{Code, Failure};

use crate::health::{Probe, Way};
use crate::ledger::Refusal;
use crate::limits::{Claim, Gate, Pass};

/// A call's turn at one provider. Cheap to clone; all clones are one turn.
#[derive(Debug, Clone, Default)]
pub struct Turn(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    /// The way whose breaker must let the call pass.
    way: Option<Arc<Way>>,
    gate: Option<(Arc<Gate>, Claim)>,
    taken: Mutex<Option<Taken>>,
}

/// What was taken; dropping it gives it back.
#[derive(Debug)]
struct Taken {
    _probe: Option<Probe>,
    pass: Option<Pass>,
}

impl Turn {
    /// The turn of a call that nothing holds up.
    pub fn free() -> Turn {
        Turn(None)
    }

    pub(crate) fn new(way: Option<Arc<Way>>, gate: Option<(Arc<Gate>, Claim)>) -> Turn {
        if way.is_none() && gate.is_none() {
            return Turn::free();
        }
        Turn(Some(Arc::new(Inner { way, gate, taken: Mutex::default() })))
    }

    /// Waits for the turn; does nothing when it is taken already. Left in the middle, it has taken nothing.
    ///
    /// # Errors
    /// [`Refusal::Later`] when a breaker is open, or the turn does not come in time.
    pub async fn take(&self) -> Result<(), Refusal> {
        let Some(inner) = &self.0 else { return Ok(()) };
        if inner.taken().is_some() {
            return Ok(());
        }
        // Limits first: a probe must not wait in a queue while it keeps others away.
        let pass = match &inner.gate {
            None => None,
            Some((gate, claim)) => {
                gate.take(claim.clone()).await.map_err(|denied| limited(&denied.limit, claim, denied.wait))?
            }
        };
        let probe = match &inner.way {
            None => None,
            Some(way) => way.admit().map_err(|wait| broken(way.name(), wait))?,
        };
        *inner.taken() = Some(Taken { _probe: probe, pass });
        Ok(())
    }

    /// Gives the turn back; it can be taken again.
    pub fn give_back(&self) {
        if let Some(inner) = &self.0 {
            let taken = inner.taken().take();
            drop(taken);
        }
    }

    /// The call goes out now: its part of the minute is used. A turn that is given back before counts nowhere.
    pub(crate) fn sends(&self) {
        if let Some(inner) = &self.0
            && let Some(Taken { pass: Some(pass), .. }) = &*inner.taken()
        {
            pass.sends();
        }
    }

    /// What the call has used, so that limits of tokens count that.
    pub(crate) fn used(&self, tokens: u64) {
        if let Some(inner) = &self.0
            && let Some(Taken { pass: Some(pass), .. }) = &*inner.taken()
        {
            pass.used(tokens);
        }
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that is given back with this.
#[derive(Debug)]
pub(crate) struct Held(pub(crate) Turn);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

fn limited(limit: &str, claim: &Claim, wait: Duration) -> Refusal {
    let message = format!(
        "wflo limits calls of {} at `{}`: [limits.{limit}] had no room in time",
        claim.model, claim.provider
    );
    let hint = "Ask later, or raise the limit or its wait_seconds in wflo.toml. The provider was not asked.";
    let failure = Failure::new(Code(4084), message).with_hint(hint);
    Refusal::Later { status: 429, kind: "rate_limit_exceeded".to_owned(), failure, wait }
}

fn broken(way: &str, wait: Duration) -> Refusal {
    let message = format!("wflo makes no calls of {way} for now: too many have failed lately");
    let hint = "Ask later: one call is let through to see whether it works again. Or name fallbacks.";
    let failure = Failure::new(Code(4083), message).with_hint(hint);
    Refusal::Later { status: 503, kind: "breaker_open".to_owned(), failure, wait }
}
