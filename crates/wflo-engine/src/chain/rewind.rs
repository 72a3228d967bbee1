//! Taking previewed answers back: the one way in which the journal forgets them.
//!
//! Somebody else has changed the rows, or the code, so what was shown is not what would happen. The
//! sequence, with what a crash between two lines leaves behind (`a` and `b` are databases of one chain, of
//! which `a` may have been committed before):
//! 1. every database is asked which of the open writes it has recorded; crash: the next attempt asks again;
//! 2. nothing is recorded: the question is superseded and all previewed answers are dropped, in one commit;
//!    crash: the step runs from its first write, with nothing made;
//! 3. some are: they are finished from their records and the approval is used up, and what is left from the
//!    first that is not made is dropped, in one commit; crash: as a step whose first writes have happened;
//! 4. all are: they are finished, and nothing is dropped.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wflo_core::effect::{EffectRecord, OnAmbiguous};
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::event::EventBody;
use wflo_core::machine::CommandBody;
use wflo_core::ports::store::Op;
use wflo_data::{DataError, Known, RowConflict};

use super::{Chain, Halt, Open, Unapproved, evidence};
use crate::broker::{Unanswered, consumed, effect_id, failure_of, not_known};
use crate::error::EngineError;
use crate::made;

/// The rows that people approved keep being changed by others.
const KEEPS_CHANGING: Code = Code(7004);
/// How often changes are previewed before the step fails over others who keep changing the rows.
const MOST_PREVIEWS: u64 = 3;

/// The rows that are not as they were shown, and in which database.
#[derive(Debug)]
pub(crate) struct Changed {
    database: String,
    rows: Vec<RowConflict>,
    /// What it is when it is not about rows.
    detail: Option<String>,
}

impl Changed {
    pub(crate) fn rows(database: String, rows: Vec<RowConflict>) -> Self {
        Changed { database, rows, detail: None }
    }

    pub(crate) fn detail(database: String, detail: String) -> Self {
        Changed { database, rows: Vec::new(), detail: Some(detail) }
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let mut shown = serde_json::to_value(row).unwrap_or(Value::Null);
                shown["database"] = json!(self.database);
                shown
            })
            .collect();
        match &self.detail {
            Some(detail) => json!([{ "database": self.database, "detail": detail }]),
            None => Value::Array(rows),
        }
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.detail, self.rows.first()) {
            (Some(detail), _) => write!(f, "{detail}"),
            (None, Some(first)) => {
                let more = self.rows.len() - 1;
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                write!(f, "somebody else changed rows of database `{}`: {first}{more}", self.database)
            }
            (None, None) => write!(f, "somebody else changed rows of database `{}`", self.database),
        }
    }
}

impl Chain {
    /// The step fails over others who keep changing what it shows.
    pub(crate) fn keeps_changing(&self, changed: &Changed) -> Unanswered {
        self.set_halt(Halt::Failed(keeps_changing(changed)))
    }

    /// Drops the previewed answers that rest on writes which no database has: the step runs again from its
    /// first unapproved write. What was made stays, and is finished.
    pub(crate) async fn rewind(&self, open: &mut Open, changed: Changed) -> Unanswered {
        match self.drop_previews(open, &changed).await {
            Ok(halt) => {
                crate::failpoint::pass("chain.rewind.after");
                open.writes.clear();
                open.asked = None;
                self.set_halt(halt)
            }
            Err(unanswered) => unanswered,
        }
    }

    async fn drop_previews(&self, open: &mut Open, changed: &Changed) -> Result<Halt, Unanswered> {
        let unrecorded = self.look(open).await?;
        if open.begun && !unrecorded.is_empty() {
            match self.attempt.spec().and_then(|spec| spec.on_ambiguous).unwrap_or(OnAmbiguous::Fail) {
                OnAmbiguous::Rerun => {}
                OnAmbiguous::Skip => {
                    let there = open.writes.iter_mut().filter(|write| unrecorded.contains(&write.database));
                    there.for_each(|write| write.made = true);
                }
                OnAmbiguous::Fail => return Ok(Halt::Unknown(failure_of(&not_known()))),
            }
        }
        let Some(first) = open.writes.iter().find(|write| !write.made) else {
            self.finish(open, Vec::new()).await?;
            return Ok(Halt::Again);
        };
        let ops = self.rewinding(first, changed);
        let halt = if ops.is_some() { Halt::Again } else { Halt::Failed(keeps_changing(changed)) };
        if open.writes.iter().any(|write| write.made) {
            // They come after the confirmations, which they would drop otherwise.
            self.finish(open, ops.unwrap_or_default()).await?;
            return Ok(halt);
        }
        match (open.asked, ops) {
            (Some(question), None) => self.take_back(question, &changed.to_string()).await?,
            (None, None) => {}
            (Some(approval), Some(ops)) => {
                let body = CommandBody::Supersede { approval, reason: changed.to_string() };
                self.attempt.driver.tell(body, ops).await?;
            }
            (None, Some(ops)) => self.journal.under_lease(ops).await?,
        }
        Ok(halt)
    }

    /// Asks every database which of the open writes it has recorded; gives those that keep no record.
    pub(super) async fn look(&self, open: &mut Open) -> Result<BTreeSet<String>, Unanswered> {
        let (run, mut unrecorded) = (self.attempt.run, BTreeSet::new());
        for database in evidence::databases(open.writes.iter().filter(|write| !write.made)) {
            let there = open.writes.iter_mut().filter(|write| write.database == database);
            let there: Vec<&mut Unapproved> = there.collect();
            let effects = there.iter().map(|write| (effect_id(run, &write.key), write.fingerprint.clone()));
            let known = match made::look(&self.services.databases, &database, effects.collect()).await {
                Ok(known) => known,
                Err(e @ (DataError::Busy { .. } | DataError::Io { .. })) => return Err(self.lost(&e)),
                Err(e) => return Err(self.set_halt(Halt::Unknown(e.to_failure()))),
            };
            for (write, known) in there.into_iter().zip(known) {
                match known {
                    Known::Made(_) => write.made = true,
                    Known::NotMade => {}
                    Known::Unrecorded { .. } => drop(unrecorded.insert(database.clone())),
                }
            }
        }
        Ok(unrecorded)
    }

    /// What is made is finished in the journal, with the use of its approval; `then` follows in the commit.
    pub(super) async fn finish(&self, open: &Open, then: Vec<Op>) -> Result<(), EngineError> {
        let made: Vec<&Unapproved> = open.writes.iter().filter(|write| write.made).collect();
        let is_made = |row: &EffectRecord| made.iter().any(|write| write.key == row.key);
        let rows = made::standing(&self.journal.previewed(), &is_made);
        let used = open.asked.zip(made.first()).map(|(id, first)| {
            let used = Op::ConsumeApproval { id, at: self.services.clock.now() };
            (used, consumed(id, made::some_of(&first.key, made.len())))
        });
        self.journal.confirm(rows, used, then).await?;
        Ok(())
    }

    /// The ops that drop what is previewed from `first` on; none when that was done often enough.
    fn rewinding(&self, first: &Unapproved, changed: &Changed) -> Option<Vec<Op>> {
        let row = self.journal.get(&first.key.path, first.key.seq)?;
        let mut attributes = shown_again(&row, changed)?;
        // Nothing was written, and nothing is shown.
        attributes["write"] = Value::Null;
        attributes["preview"] = Value::Null;
        let run = self.attempt.run;
        let message = format!("step `{}` runs again from {}: {changed}", self.attempt.step, first.key);
        let notice = EventBody::Notice { notice: "preview.stale".to_owned(), message };
        Some(vec![
            Op::RewindEffects { run, first: first.key.clone(), attributes },
            self.journal.event(vec![notice]),
        ])
    }
}

/// What a write's row keeps when it must be shown once more; none when that was done often enough.
pub(crate) fn shown_again(row: &EffectRecord, changed: &Changed) -> Option<Value> {
    let previews = row.attributes["previews"].as_u64().unwrap_or(1);
    (previews < MOST_PREVIEWS).then(|| json!({ "previews": previews + 1, "conflicts": changed.to_json() }))
}

fn keeps_changing(changed: &Changed) -> Failure {
    let message =
        format!("the rows were changed by somebody else after each of {MOST_PREVIEWS} previews: {changed}");
    Failure::new(KEEPS_CHANGING, message).with_hint("stop the other writer, then `wflo runs retry ID`")
}
