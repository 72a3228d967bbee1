//! Making the approved changes, and what happens when the rows are not as they were shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wflo_core::approval::Approval;
use wflo_core::effect::EffectRecord;
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::event::EventBody;
use wflo_core::machine::CommandBody;
use wflo_core::ports::store::Op;
use wflo_data::{Committed, DataError, Effect, Preview, RowConflict};

use super::{Chain, Halt, Open, Unapproved, evidence};
use crate::broker::{Unanswered, consumed, effect_id, in_database};
use crate::error::EngineError;

/// The rows that people approved keep being changed by others.
const KEEPS_CHANGING: Code = Code(7004);
/// How often changes are previewed before the step fails over others who keep changing the rows.
const MOST_PREVIEWS: u64 = 3;
/// How often a commit is tried on a database that somebody else has locked, or whose disk fails.
pub(crate) const MOST_TRIES: usize = 6;

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
    /// Commits everything that is open, as it was shown: one transaction of each database.
    ///
    /// All databases are looked at before the first is written. If rows of a later one are changed in
    /// between all the same, what is committed stays and is confirmed, and the rest is previewed anew.
    ///
    /// `question` is the one that released it; writes that change nothing need none.
    pub(super) async fn commit(
        &self,
        open: &mut Open,
        question: Option<&Approval>,
    ) -> Result<(), Unanswered> {
        // Nothing is dispatched under a lost lease.
        self.journal.under_lease(Vec::new()).await?;
        let databases = evidence::databases(&open.writes);
        if databases.len() > 1 {
            for database in &databases {
                if let Err(changed) = self.commit_in(open, database, true).await? {
                    return Err(self.rewind(open, changed).await);
                }
            }
        }
        let mut done: Vec<&String> = Vec::new();
        for database in &databases {
            crate::failpoint::pass("chain.commit.before");
            let committed = self.commit_in(open, database, false).await?;
            crate::failpoint::pass("chain.commit.after");
            match committed {
                Ok(()) => done.push(database),
                Err(changed) if done.is_empty() => return Err(self.rewind(open, changed).await),
                Err(changed) => {
                    let done: Vec<String> = done.into_iter().cloned().collect();
                    return Err(self.keep_part(open, question, &done, changed).await);
                }
            }
        }
        let rows = self.journal.previewed();
        let used = question.map(|question| self.use_up(open, question));
        self.journal.confirm(rows, used, Vec::new()).await?;
        crate::failpoint::pass("chain.confirm.after");
        *open = Open { loaded: true, ..Open::default() };
        Ok(())
    }

    fn use_up(&self, open: &Open, question: &Approval) -> (Op, EventBody) {
        let released = match &open.writes[..] {
            [first, .., last] => format!("{} to {}, {} writes", first.key, last.key, open.writes.len()),
            [one] => one.key.to_string(),
            [] => String::new(),
        };
        let used = Op::ConsumeApproval { id: question.id, at: self.services.clock.now() };
        (used, consumed(question.id, released))
    }

    async fn commit_in(
        &self,
        open: &Open,
        database: &str,
        dry_run: bool,
    ) -> Result<Result<(), Changed>, Unanswered> {
        let run = self.attempt.run;
        let there = open.writes.iter().filter(|write| write.database == database);
        let effects: Vec<(String, String, Arc<Preview>)> = there
            .map(|write| (effect_id(run, &write.key), write.fingerprint.clone(), Arc::clone(&write.preview)))
            .collect();
        let effects = Arc::new(effects);
        for tries in 1.. {
            let effects = Arc::clone(&effects);
            let databases = Arc::clone(&self.services.databases);
            let committed = in_database(databases, Some(database.to_owned()), move |db| {
                let chain: Vec<(Effect<'_>, &Preview)> = effects
                    .iter()
                    .map(|(id, fingerprint, preview)| (Effect { id, fingerprint }, &**preview))
                    .collect();
                db.commit_previews(&chain, dry_run)
            })
            .await;
            match committed {
                Ok(Committed::Applied(_)) => return Ok(Ok(())),
                Ok(Committed::Conflict { rows, .. }) => {
                    return Ok(Err(Changed::rows(database.to_owned(), rows)));
                }
                Err(e @ DataError::SchemaChanged { .. }) => {
                    return Ok(Err(Changed::detail(database.to_owned(), e.to_string())));
                }
                Err(
                    e @ (DataError::Busy { .. } | DataError::Io { .. } | DataError::CommitUnknown { .. }),
                ) if tries < MOST_TRIES => {
                    look_again(&e).await;
                }
                Err(e @ (DataError::Io { .. } | DataError::CommitUnknown { .. })) => {
                    return Err(self.lost(&e));
                }
                Err(e) => return Err(self.set_halt(Halt::Failed(e.to_failure()))),
            }
        }
        Ok(Ok(()))
    }

    /// Whether a write was made is not known: whoever comes next finds its record, or not.
    pub(crate) fn lost(&self, error: &DataError) -> Unanswered {
        self.set_halt(Halt::Lost(error.to_string()))
    }

    /// The step fails over others who keep changing what it shows.
    pub(crate) fn keeps_changing(&self, changed: &Changed) -> Unanswered {
        self.set_halt(Halt::Failed(keeps_changing(changed)))
    }

    /// Drops every previewed answer: the step runs again from its first unapproved write.
    pub(crate) async fn rewind(&self, open: &mut Open, changed: Changed) -> Unanswered {
        match self.drop_previews(open, &changed).await {
            Ok(halt) => {
                crate::failpoint::pass("chain.rewind.after");
                open.writes.clear();
                open.asked = None;
                self.set_halt(halt)
            }
            Err(e) => Unanswered::Broken(e),
        }
    }

    async fn drop_previews(&self, open: &Open, changed: &Changed) -> Result<Halt, EngineError> {
        let Some(first) = open.writes.first() else { return Ok(Halt::Again) };
        let Some(ops) = self.rewinding(first, changed) else {
            if let Some(question) = open.asked {
                self.take_back(question, &changed.to_string()).await?;
            }
            return Ok(Halt::Failed(keeps_changing(changed)));
        };
        match open.asked {
            Some(approval) => {
                let body = CommandBody::Supersede { approval, reason: changed.to_string() };
                self.attempt.driver.tell(body, ops).await?;
            }
            None => self.journal.under_lease(ops).await?,
        }
        Ok(Halt::Again)
    }

    /// Some databases have the approved changes and one has others' since: those stay, the rest is dropped.
    async fn keep_part(
        &self,
        open: &mut Open,
        question: Option<&Approval>,
        done: &[String],
        changed: Changed,
    ) -> Unanswered {
        let left = |write: &&Unapproved| !done.contains(&write.database);
        let Some(first) = open.writes.iter().find(left) else { return self.set_halt(Halt::Again) };
        let from = self.journal.get(&first.key.path, first.key.seq).and_then(|row| row.order());
        let mut rows = self.journal.previewed();
        let made: BTreeMap<_, _> =
            open.writes.iter().map(|write| (&write.key, done.contains(&write.database))).collect();
        rows.retain(|row| made.get(&row.key).copied().unwrap_or_else(|| row.order() < from));
        let ops = self.rewinding(first, &changed);
        let halt = if ops.is_some() { Halt::Again } else { Halt::Failed(keeps_changing(&changed)) };
        let used = question.map(|question| self.use_up(open, question));
        // They come after the confirmations, which they would drop otherwise.
        match self.journal.confirm(rows, used, ops.unwrap_or_default()).await {
            Ok(()) => self.set_halt(halt),
            Err(e) => e.into(),
        }
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

/// Waits a moment before a commit is tried once more that failed, or of which nobody knows.
pub(crate) async fn look_again(error: &DataError) {
    if matches!(error, DataError::CommitUnknown { .. }) {
        crate::failpoint::pass("db.commit.unknown");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn keeps_changing(changed: &Changed) -> Failure {
    let message =
        format!("the rows were changed by somebody else after each of {MOST_PREVIEWS} previews: {changed}");
    Failure::new(KEEPS_CHANGING, message).with_hint("stop the other writer, then `wflo runs retry ID`")
}
