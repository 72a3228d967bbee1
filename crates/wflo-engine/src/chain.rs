//! The writes of a step that nobody has approved yet: one question for all of them.
//!
//! A write of a step that asks is run on top of the ones before it, captured and rolled back. The step is
//! told what it would have got and runs on; its reads see the changes so far. The question is put when the
//! step can run no further without something leaving: at its end, or at the first effect that is not a read,
//! the time or a random number. What people approve is committed as it was captured, in one transaction of
//! each database, and the answers that the step was given become its history.
//!
//! The sequence, with what a crash between two lines leaves behind:
//! 1. each write is previewed, and each answer given on top of it journaled as previewed; crash: the resume
//!    gives the same answers again and asks the database for nothing;
//! 2. the question is put; crash: it is found by the first write that it is about;
//! 3. people decide; crash: the decision is durable, and the next attempt begins with the commit;
//! 4. the changes and their records are committed in the user's database; crash: the records are found there
//!    and nothing is changed again;
//! 5. the answers are confirmed and the approval is used, in one commit of the journal.
//!
//! Nobody is asked about writes that change nothing (an UPDATE that matches no row): where all that is open
//! is of that kind it is committed at 4 without 2 and 3. What is committed is the empty change that was
//! captured, with a record, and the statement is not run again: it cannot change a row that came to match
//! meanwhile. A crash before 4 is found as previewed answers without a question, and they are committed when
//! the step comes to the same place again.
//!
//! An attempt that finds unapproved writes asks their databases for records before it does anything else:
//! what is recorded is finished from there, whatever has become of the rest ([`crate::made`]).
//!
//! When somebody else has changed the rows, nothing is committed: the previewed answers are dropped from the
//! journal, the attempt ends, and the step runs again from its first unapproved write. That loses nothing,
//! because nothing that depends on a previewed answer has left. What a database has recorded is never dropped:
//! there is one way to drop answers ([`Chain::rewind`]), and it asks the databases first.
//!
//! **Architecture Invariant:** while writes wait for approval, no effect of the step is begun that is not
//! answered on top of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{MutexGuard, watch};
use wflo_core::approval::{ApprovalStatus, Purpose};
use wflo_core::effect::{EffectKey, EffectRecord, EffectState, json_bytes};
use wflo_core::error::Failure;
use wflo_core::id::ApprovalId;
use wflo_data::{Changeset, Preview};

use crate::broker::{Unanswered, asks_at_writes};
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::journal::Journal;
use crate::protocol::On;
use crate::services::Services;
use crate::waits::Waits;

mod commit;
mod evidence;
mod rewind;
mod settle;

pub(crate) use commit::{MOST_TRIES, look_again};
pub(crate) use evidence::{evidence, one_line};
pub(crate) use rewind::{Changed, shown_again};

/// The most writes that one question holds.
const MOST_WRITES: usize = 200;
/// The most that the requests and previews of one question may take as JSON, in bytes; the last may
/// exceed it.
const MOST_BYTES: usize = 2 << 20;

/// The unapproved writes of one attempt.
pub(crate) struct Chain {
    attempt: Attempt,
    journal: Arc<Journal>,
    services: Arc<Services>,
    waits: Arc<Waits>,
    asks: bool,
    /// Held while one effect is previewed or all are committed: the order of the chain is the journal's.
    open: tokio::sync::Mutex<Open>,
    /// Why this attempt must end: the answers that it was given are not its history any more.
    halted: Mutex<Option<Halt>>,
    /// Effects that wait until the step can run no further.
    blocked: Mutex<HashSet<On>>,
    /// Rung when the runner says that only answers can wake it.
    calm: watch::Sender<()>,
    /// The question that a call of a stock client waits for, whose program cannot say that it waits.
    held: watch::Sender<Option<ApprovalId>>,
}

/// Why an attempt must end.
#[derive(Debug, Clone)]
pub(crate) enum Halt {
    /// It runs again on the journal that is left.
    Again,
    /// The step fails.
    Failed(Failure),
    /// The step fails, and nothing is tried again: nobody knows whether a write was made.
    Unknown(Failure),
    /// Another attempt finds out how far it came.
    Lost(String),
}

/// A write that was previewed.
#[derive(Clone)]
struct Unapproved {
    key: EffectKey,
    database: String,
    fingerprint: String,
    name: String,
    request: Value,
    preview: Arc<Preview>,
    /// Its database has it.
    made: bool,
}

/// What is open.
#[derive(Default)]
pub(crate) struct Open {
    loaded: bool,
    writes: Vec<Unapproved>,
    bytes: usize,
    /// The question about these writes, once it is put: what it shows does not grow.
    asked: Option<ApprovalId>,
    /// They are approved since before this attempt: an earlier one may have made some of them.
    begun: bool,
}

impl Open {
    /// Whether no write waits for approval: what is answered then is answered for good.
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether all of it together changes nothing, so that there is nothing to approve.
    fn changes_nothing(&self) -> bool {
        self.writes.iter().all(|write| write.preview.changes_nothing())
    }

    /// Whether another write must wait for these to be decided.
    pub(crate) fn takes_no_more(&self) -> bool {
        self.asked.is_some() || self.writes.len() >= MOST_WRITES || self.bytes >= MOST_BYTES
    }

    /// The previewed writes in a database, oldest first.
    pub(crate) fn writes_on(&self, database: &str) -> Vec<(EffectKey, Arc<Preview>)> {
        let there = self.writes.iter().filter(|write| write.database == database);
        there.map(|write| (write.key.clone(), Arc::clone(&write.preview))).collect()
    }

    /// The previews in a database, oldest first.
    pub(crate) fn on(&self, database: &str) -> Vec<Arc<Preview>> {
        let there = self.writes.iter().filter(|write| write.database == database);
        there.map(|write| Arc::clone(&write.preview)).collect()
    }
}

/// The chain in the hands of one effect. Where nobody is asked it is empty, and nobody waits for it.
pub(crate) enum Entered<'a> {
    Free(Open),
    Held(MutexGuard<'a, Open>),
}

impl std::ops::Deref for Entered<'_> {
    type Target = Open;
    fn deref(&self) -> &Open {
        match self {
            Entered::Free(open) => open,
            Entered::Held(open) => open,
        }
    }
}

impl std::ops::DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Open {
        match self {
            Entered::Free(open) => open,
            Entered::Held(open) => open,
        }
    }
}

/// The changes of previews, for the data layer.
pub(crate) fn changesets(previews: &[Arc<Preview>]) -> Vec<&Changeset> {
    previews.iter().map(|preview| &preview.changeset).collect()
}

impl Chain {
    pub(crate) fn new(
        attempt: Attempt,
        journal: Arc<Journal>,
        services: Arc<Services>,
        waits: Arc<Waits>,
    ) -> Self {
        let asks = asks_at_writes(&attempt);
        Chain {
            attempt,
            journal,
            services,
            waits,
            asks,
            open: tokio::sync::Mutex::default(),
            halted: Mutex::default(),
            blocked: Mutex::default(),
            calm: watch::channel(()).0,
            held: watch::channel(None).0,
        }
    }

    /// Whether writes of this step wait for approval.
    pub(crate) const fn asks(&self) -> bool {
        self.asks
    }

    /// The chain, for one effect at a time.
    pub(crate) async fn enter(&self) -> Result<Entered<'_>, Unanswered> {
        if !self.asks {
            return Ok(Entered::Free(Open::default()));
        }
        let mut open = self.open.lock().await;
        if self.halt().is_some() {
            return Err(Unanswered::Halted);
        }
        if !open.loaded {
            *open = self.load().await?;
        }
        Ok(Entered::Held(open))
    }

    /// What earlier attempts of this generation left open, less what they made: that is finished from its
    /// records.
    async fn load(&self) -> Result<Open, Unanswered> {
        let mut open = Open { loaded: true, ..Open::default() };
        for row in self.journal.previewed() {
            if let EffectState::Previewed { outcome: Ok(_), .. } = row.state
                && row.attributes["write"] == true
                && let Some(row) = self.journal.whole(&row.key.path, row.key.seq).await?
            {
                let preview: Preview = serde_json::from_value(row.attributes["preview"].clone())
                    .map_err(|e| EngineError::Unreadable(format!("the preview of {}: {e}", row.key)))?;
                open.bytes += size(&row, &row.attributes["preview"]);
                open.writes.push(unapproved(row, preview));
            }
        }
        let Some(first) = open.writes.first() else { return Ok(open) };
        let about = Purpose::Write { effect: first.key.clone() };
        let all = self.services.store.approvals_about(self.attempt.run, about).await?;
        let known = all.iter().find(|a| a.status != ApprovalStatus::Superseded);
        open.asked = known.map(|question| question.id);
        open.begun = known.is_some_and(|question| question.status == ApprovalStatus::Approved);
        // While people have not said yes, nothing can have been made.
        if open.begun || known.is_none() {
            self.look(&mut open).await?;
            if open.writes.iter().all(|write| write.made) {
                self.finish(&open, Vec::new()).await?;
                return Ok(Open { loaded: true, ..Open::default() });
            }
        }
        Ok(open)
    }

    /// Adds a write with its preview, and journals what the step is told.
    pub(crate) async fn add(
        &self,
        open: &mut Open,
        row: EffectRecord,
        fresh: bool,
        database: &str,
        preview: Preview,
    ) -> Result<Value, Unanswered> {
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let result = preview.answer().map_err(unreadable)?;
        let kept = serde_json::to_value(&preview).map_err(unreadable)?;
        let bytes = size(&row, &kept);
        let attributes = json!({ "write": true, "database": database, "preview": kept });
        let row = self.journal.preview(row, fresh, Ok(result.clone()), attributes).await?;
        open.bytes += bytes;
        open.writes.push(unapproved(row, preview));
        Ok(result)
    }

    /// Why this attempt must end, if it must.
    pub(crate) fn halt(&self) -> Option<Halt> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_halt(&self, halt: Halt) -> Unanswered {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = Some(halt);
        Unanswered::Halted
    }
}

/// What a write takes while it waits: its request is shown, too.
fn size(row: &EffectRecord, preview: &Value) -> usize {
    usize::try_from(row.request.bytes() + json_bytes(preview)).unwrap_or(usize::MAX)
}

fn unapproved(row: EffectRecord, preview: Preview) -> Unapproved {
    Unapproved {
        database: row.attributes["database"].as_str().unwrap_or_default().to_owned(),
        fingerprint: row.fingerprint.to_string(),
        key: row.key,
        name: row.name,
        request: row.request.into_here().unwrap_or_default(),
        preview: Arc::new(preview),
        made: false,
    }
}
