//! Effects of a run that has journaled as much as it may.
//!
//! A refusal is an answer like any other: it is in the journal, and a resume hears it at the same place.
//! Code that does not listen to it is ended, or it would journal refusals for ever.

use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectRecord, EffectState};
use wflo_core::error::{Code, Failure};
use wflo_core::size::Bytes;

use super::{Broker, Unanswered};
use crate::protocol::{EffectCall, EffectError};

/// The run has journaled as much as it may.
const FULL: Code = Code(3032);
/// So many refusals does a generation hear before it is ended.
const MOST_REFUSALS: usize = 100;

impl Broker {
    /// The refusal of a new effect, if the run's journal has no room for it.
    pub(super) async fn no_room(
        &self,
        call: &EffectCall,
        print: &Digest,
    ) -> Result<Option<EffectError>, Unanswered> {
        let Some(limit) = self.journal.meter().reached() else { return Ok(None) };
        let failure = full(limit);
        let is_refusal = |row: &&EffectRecord| matches!(&row.state, EffectState::Failed { error, .. } if error.code == failure.code);
        if self.journal.all().iter().filter(is_refusal).count() >= MOST_REFUSALS {
            return Err(Unanswered::Failed(failure));
        }
        let error = EffectError {
            code: failure.code,
            kind: "failed".to_owned(),
            message: failure.message,
            hint: failure.hint,
        };
        let open = self.chain.enter().await?;
        // Of its request nothing is kept: it may be what there is no room for.
        let told = self.told(&open, &call.without_request(), print.clone(), Err(error), Value::Null).await?;
        Ok(told.err())
    }
}

/// What a step is told.
pub(crate) fn full(limit: Bytes) -> Failure {
    let message = format!("the run has journaled {limit} and may journal no more");
    Failure::new(FULL, message).with_hint(
        "keep large values in files of the workspace; if the run needs more, raise journal_limit under [storage] in wflo.toml",
    )
}
