//! Commands journaled with their result: the runner carries them out, inside its sandbox. One that is
//! [held](super::held) waits for people first.

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectClass, EffectRecord, OnAmbiguous, memory_of};
use wflo_core::ports::store::EffectEnd;

use super::{AMBIGUOUS, Broker, Outcome, Unanswered, done, on};
use crate::error::EngineError;
use crate::outbox::{Outbox, Told};
use crate::protocol::{Answer, EffectCall, EffectError, On};

/// A command of which nobody knows whether it ran to its end.
pub(crate) fn not_known() -> EffectError {
    EffectError {
        code: AMBIGUOUS.to_string(),
        kind: "failed".to_owned(),
        message: "whether this command finished before the crash is not known".to_owned(),
        hint: Some("look at what it did, then set on_ambiguous=\"rerun\" or \"skip\" on the step".to_owned()),
    }
}

/// What is said of a command that is not run a second time.
pub(crate) fn skipped() -> Value {
    json!({ "exit_code": null, "stdout": "", "stderr": "", "skipped": true })
}

impl Broker {
    pub(super) async fn tool(
        &self,
        call: &mut EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        sink: &Outbox,
    ) -> Outcome {
        let spec = self.attempt.spec();
        // What people let start is let start once.
        let guarded = spec.and_then(|s| s.effect_class) == Some(EffectClass::Guarded)
            || self.holds(&done::argv_of(&call.request)).is_some();
        let ambiguous = spec.and_then(|s| s.on_ambiguous).unwrap_or(OnAmbiguous::Fail);
        let row = match found {
            // It may have run before the crash; any other command is computation and runs again.
            Some(row) if guarded => match ambiguous {
                OnAmbiguous::Rerun => row,
                OnAmbiguous::Skip => {
                    let skipped = skipped();
                    self.journal
                        .finish(row, self.journal.ok(skipped.clone()), Vec::new(), Vec::new())
                        .await?;
                    return Ok(Ok(skipped));
                }
                OnAmbiguous::Fail => {
                    return self.fail(call, print, Some(row), not_known()).await;
                }
            },
            Some(row) => row,
            None => {
                let approval = match self.let_start(call).await? {
                    Some(Err(rejected)) => return Ok(Err(rejected)),
                    Some(Ok(approval)) => Some(approval),
                    None => None,
                };
                match self.counted(call, &print, approval.as_ref()).await? {
                    Ok(row) => row,
                    Err(error) => return self.fail(call, print, None, error).await,
                }
            }
        };
        self.let_go(call);
        let tool = self.before_tool().await?;
        let result = self.runner_does(call, None, json!({ "execute": true }), sink).await?;
        let mut sealed = self.after_tool(&tool).await?;
        crate::failpoint::pass("tool.sealed");
        let attributes = std::mem::take(&mut sealed.attributes);
        let end = EffectEnd { attributes, ..self.journal.ok(result.clone()) };
        self.journal.finish(row, end, std::mem::take(&mut sealed.ops), Vec::new()).await?;
        // What the row names is the run's own from here on.
        drop((sealed, tool));
        Ok(Ok(result))
    }

    /// Of a recorded tool: its files must be there before its result is given out.
    pub(super) async fn with_files(
        &self,
        call: &EffectCall,
        row: &EffectRecord,
        order: Option<u32>,
        sink: &Outbox,
    ) -> Result<Result<(), EffectError>, Unanswered> {
        self.runner_does(call, order, json!({ "restore": true }), sink).await?;
        self.put_back(call, row, sink).await
    }

    /// Answers a tool's effect with something to do, and waits until the runner says that it has come to
    /// it and what came of it.
    async fn runner_does(
        &self,
        call: &EffectCall,
        order: Option<u32>,
        what: Value,
        sink: &Outbox,
    ) -> Result<Value, Unanswered> {
        let (done, result) = tokio::sync::oneshot::channel();
        let on = on(call);
        if self.waits.is_withdrawn(&on) {
            return Err(Unanswered::Withdrawn);
        }
        self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(on.clone(), done);
        sink.answer(on.clone(), order, None, Told::Here(Answer::Ok(what), None));
        tokio::select! {
            // Whoever gives the wait up takes the sender away.
            result = result => result.map_err(|_| Unanswered::Withdrawn),
            () = self.waits.closed() => Err(EngineError::ShuttingDown.into()),
            () = self.waits.withdrawn(&on) => {
                self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&on);
                Err(Unanswered::Withdrawn)
            }
        }
    }

    /// The runner has carried a command out.
    pub(crate) fn tool_done(&self, on: &On, result: Value) {
        let waiting = self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(on);
        if let Some(waiting) = waiting {
            self.waits.at_hand.holds(on, memory_of(&result));
            // Nobody waits any more when the attempt is being ended.
            let _ = waiting.send(result);
        }
    }
}
