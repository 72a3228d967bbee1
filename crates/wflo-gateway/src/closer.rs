//! The same request with its text counted: how a call that does not fit by its bytes may fit after all.
//!
//! Owns what a ledger asks by. Counting is `reserve`'s; it takes too long for calls that fit anyway.

use std::sync::Arc;

use crate::ledger::CallIntent;
use crate::reserve::Bound;

/// Counts the text of a call.
#[derive(Clone)]
pub struct Closer(Arc<dyn Fn() -> Option<Bound> + Send + Sync>);

impl Closer {
    /// What counts it. From its first answer on, what is sent and charged for the call is within that bound,
    /// and so is what [`CallIntent::shorter`] says.
    pub fn new(count: impl Fn() -> Option<Bound> + Send + Sync + 'static) -> Closer {
        Closer(Arc::new(count))
    }

    /// What the call costs at most once its text is counted.
    pub fn bound(&self) -> Option<Bound> {
        (self.0)()
    }
}

impl std::fmt::Debug for Closer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closer")
    }
}

impl CallIntent {
    /// The same call at what it costs at most once its text is counted; `None` where that is no less, or where
    /// it has been counted already. A ledger asks when the call does not fit, and then holds this.
    pub fn counted(&self) -> Option<CallIntent> {
        let bound = self.closer.as_ref()?.bound()?;
        (bound.cost < self.hold || bound.input_tokens < self.max_input_tokens).then(|| CallIntent {
            hold: bound.cost,
            max_input_tokens: bound.input_tokens,
            max_output_tokens: bound.output_tokens,
            closer: None,
            ..self.clone()
        })
    }
}
