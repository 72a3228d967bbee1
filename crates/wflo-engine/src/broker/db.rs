//! Database effects: reads, exactly-once writes, snapshots.
//!
//! A write of a step that asks nobody, with what a crash between two lines leaves behind:
//! 1. the intent is committed; crash: the resume finds the intent and goes on here;
//! 2. the change and its record in `_wflo_effects` are committed in the user's database;
//!    crash: the resume finds the record there and changes nothing. The same when the commit itself fails,
//!    and the file may hold it all the same: it is looked for before anything is told;
//! 3. the answer is committed in the journal.
//!
//! A write of a step that asks is previewed and added to the [chain](crate::chain) of those that wait for
//! approval; one whose change cannot be captured whole is asked about [alone](super::alone).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use wflo_core::approval::Approval;
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState, OnAmbiguous};
use wflo_core::ports::store::Op;
use wflo_data::{Class, DataError, Database, Databases, Effect, Requirements, Statement, Write};

use super::work::Making;
use super::{AMBIGUOUS, Broker, Outcome, Unanswered, bad_request, consumed, effect_error, on};
use crate::chain::{self, Changed, MOST_TRIES, look_again};
use crate::error::EngineError;
use crate::protocol::{EffectCall, EffectError};

/// The id under which a write is recorded in the user's database.
pub(crate) fn effect_id(run: wflo_core::id::RunId, key: &EffectKey) -> String {
    format!("{run}/{key}")
}

impl Broker {
    pub(super) async fn db(&self, call: &EffectCall, print: Digest, found: Option<EffectRecord>) -> Outcome {
        match call.name.as_str() {
            "query" => self.read(call, print).await,
            // A write that an earlier attempt began, and may have made: what the statement would do now is not
            // asked, as a table that it made is there by now. Reads leave no intent.
            "execute" if found.is_some() => self.write(call, print, found).await,
            "execute" => {
                let sql = call.request["sql"].as_str().unwrap_or_default().to_owned();
                let class = match self.in_database(call, move |db| db.classify(&sql)).await {
                    Ok(class) => class,
                    Err(e) => return self.refused(call, print, effect_error("database", &e)).await,
                };
                match class {
                    Class::Read => self.read(call, print).await,
                    // A refused statement is run all the same: its refusal is the database's own error.
                    Class::Write { .. } | Class::Refused(_) => self.write(call, print, found).await,
                }
            }
            "update" | "bulk_update" => self.write(call, print, found).await,
            "snapshot" => self.snapshot(call, print).await,
            "restore" => self.restore(call, print, found).await,
            other => {
                let detail = format!("`{other}` is not a database effect");
                self.refused(call, print, bad_request(&detail)).await
            }
        }
    }

    async fn read(&self, call: &EffectCall, print: Digest) -> Outcome {
        let mut open = self.chain.enter().await?;
        let making = self.work.begin().await;
        let database = self.database_name(call);
        let (request, before) = (call.request.clone(), open.on(&database));
        let run = move |db: &Database| {
            db.preview_query(&chain::changesets(&before), &Statement::from_request(&request)?)
        };
        let result = match self.in_database(call, run).await {
            Ok(rows) => Ok(rows_json(&rows)?),
            Err(DataError::PreviewStale { conflicts_found }) => {
                let changed = Changed::rows(database, conflicts_found);
                return Err(self.chain.rewind(&mut open, changed).await);
            }
            Err(e) => Err(effect_error("database", &e)),
        };
        let _made = self.work.made(making, result.as_ref().unwrap_or(&Value::Null)).await;
        self.told(&open, call, print, result, json!({ "database": call.request["database"] })).await
    }

    /// A statement that the database, or wflo, will not run.
    pub(super) async fn refused(&self, call: &EffectCall, print: Digest, error: EffectError) -> Outcome {
        let open = self.chain.enter().await?;
        self.told(&open, call, print, Err(error), Value::Null).await
    }

    async fn write(&self, call: &EffectCall, print: Digest, found: Option<EffectRecord>) -> Outcome {
        let write = match Write::from_request(&call.name, &call.request) {
            Ok(write) => Arc::new(write),
            Err(e) => return self.refused(call, print, effect_error("database", &e)).await,
        };
        if self.chain.asks() {
            return self.previewed_write(call, print, found, write).await;
        }
        let lost = found.is_some();
        let row = match found {
            Some(row) => row,
            None => {
                let intent = self.intent(call, print.clone(), self.write_attributes(call));
                self.journal.intend(intent, Vec::new()).await?
            }
        };
        self.apply(call, print, row, write, lost, None).await
    }

    /// A write that people see before it happens: it is previewed on top of those that wait already.
    async fn previewed_write(
        &self,
        call: &EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        write: Arc<Write>,
    ) -> Outcome {
        if let Some(row) = found.as_ref().filter(|row| row.attributes["alone"] == true) {
            return self.alone(call, print, Some(row.clone()), write, None).await;
        }
        let database = self.database_name(call);
        let undoable = self.attempt.spec().is_some_and(|s| s.rollback_enabled);
        loop {
            let mut open = self.chain.enter().await?;
            let mut waits_first = open.takes_no_more();
            if !waits_first {
                let (shown, before) = (Arc::clone(&write), open.on(&database));
                let run = move |db: &Database| {
                    db.preview(&chain::changesets(&before), &shown, Requirements { undoable })
                };
                match self.in_database(call, run).await {
                    Ok(preview) if preview.is_complete() => {
                        let fresh = found.is_none();
                        let row =
                            found.unwrap_or_else(|| self.journal.row(self.intent(call, print, Value::Null)));
                        let row = EffectRecord { request: call.request.clone().into(), ..row };
                        let told = self.chain.add(&mut open, row, fresh, &database, preview).await?;
                        return Ok(Ok(told));
                    }
                    Ok(preview) if open.is_empty() => {
                        drop(open);
                        return self.alone(call, print, found, write, Some(preview)).await;
                    }
                    // Nothing can be previewed on top of it, so those before it are decided first.
                    Ok(_) => waits_first = true,
                    Err(DataError::PreviewStale { conflicts_found }) => {
                        let changed = Changed::rows(database, conflicts_found);
                        return Err(self.chain.rewind(&mut open, changed).await);
                    }
                    Err(e) => {
                        let error = effect_error("database", &e);
                        return self
                            .told(&open, call, print, Err(error), json!({ "database": database }))
                            .await;
                    }
                }
            }
            drop(open);
            if waits_first && let Err(refused) = self.chain.settle(&on(call)).await? {
                return Ok(Err(refused));
            }
        }
    }

    /// Carries the statement out, once; `lost` says that an earlier attempt may have.
    pub(super) async fn apply(
        &self,
        call: &EffectCall,
        print: Digest,
        row: EffectRecord,
        write: Arc<Write>,
        lost: bool,
        approval: Option<&Approval>,
    ) -> Outcome {
        let (id, guard) = (effect_id(self.attempt.run, &row.key), print.to_string());
        let spec = self.attempt.spec();
        let undoable = spec.is_some_and(|s| s.rollback_enabled);
        let ambiguous = spec.and_then(|s| s.on_ambiguous).unwrap_or(OnAmbiguous::Fail);
        let making = self.work.begin().await;
        let tried = AtomicBool::new(false);
        crate::failpoint::pass("db.apply.before");
        let applied = self
            .settled_in_database(call, move |db| {
                let guarded = !matches!(db.recording()?, wflo_data::Recording::ExactlyOnce);
                // From the second time on, the first may have.
                let lost = tried.swap(true, Ordering::Relaxed) || lost;
                if guarded && lost && ambiguous != OnAmbiguous::Rerun {
                    return Ok(None);
                }
                let effect = Effect { id: &id, fingerprint: &guard };
                db.apply(effect, &write, Requirements { undoable }).map(Some)
            })
            .await?;
        match applied {
            Ok(Some(applied)) => self.written(row, &applied.result, approval, making).await,
            Ok(None) if ambiguous == OnAmbiguous::Skip => {
                self.journal.finish(row, self.journal.ok(Value::Null), Vec::new(), Vec::new()).await?;
                Ok(Ok(Value::Null))
            }
            Ok(None) => {
                let error = not_known();
                self.fail(call, print, Some(row), error).await
            }
            Err(e) => self.fail(call, print, Some(row), effect_error("database", &e)).await,
        }
    }

    pub(super) async fn written(
        &self,
        row: EffectRecord,
        rows: &wflo_data::Rows,
        approval: Option<&Approval>,
        making: Making<'_>,
    ) -> Outcome {
        crate::failpoint::pass("db.apply.after");
        let result = rows_json(rows)?;
        let _made = self.work.made(making, &result).await;
        let (mut ops, mut facts) = (Vec::new(), Vec::new());
        if let Some(approval) = approval {
            ops.push(Op::ConsumeApproval { id: approval.id, at: self.services.clock.now() });
            facts.push(consumed(approval.id, row.key.to_string()));
        }
        self.journal.finish(row, self.journal.ok(result.clone()), ops, facts).await?;
        Ok(Ok(result))
    }

    async fn snapshot(&self, call: &EffectCall, print: Digest) -> Outcome {
        // It counts from the newest committed write, which those that wait must not come after.
        if let Err(refused) = self.chain.settle(&on(call)).await? {
            return Ok(Err(refused));
        }
        let tables: Option<Vec<String>> =
            serde_json::from_value(call.request["tables"].clone()).unwrap_or(None);
        let taken = self.in_database(call, move |db| db.snapshot(tables.as_deref())).await;
        match taken {
            Ok(snapshot) => {
                let capabilities = serde_json::to_value(&snapshot.capabilities)
                    .map_err(|e| EngineError::Unreadable(e.to_string()))?;
                let result = json!({ "snapshot": snapshot.token(), "capabilities": capabilities });
                let intent = self.intent(call, print, json!({ "database": call.request["database"] }));
                self.journal.record(intent, self.journal.ok(result.clone()), Vec::new()).await?;
                Ok(Ok(result))
            }
            Err(e) => self.fail(call, print, None, effect_error("database", &e)).await,
        }
    }

    /// Ids of every write of this generation to a database, restores included; those that never
    /// happened are not on record there and count for nothing.
    pub(super) fn own_writes(&self, database: &str, but: Option<&EffectKey>) -> Vec<String> {
        own_writes(self.attempt.run, &self.journal.all(), database, but)
    }

    pub(super) fn database_name(&self, call: &EffectCall) -> String {
        match call.request["database"].as_str() {
            Some(named) => named.to_owned(),
            None => default_name(&self.services.databases),
        }
    }

    pub(super) fn write_attributes(&self, call: &EffectCall) -> Value {
        json!({ "write": true, "database": self.database_name(call) })
    }

    /// Runs something in the database that the call names, on a thread that may block.
    pub(super) async fn in_database<T: Send + 'static>(
        &self,
        call: &EffectCall,
        work: impl FnOnce(&Database) -> Result<T, DataError> + Send + 'static,
    ) -> Result<T, DataError> {
        let name = call.request["database"].as_str().map(str::to_owned);
        in_database(Arc::clone(&self.services.databases), name, work).await
    }

    /// Runs something that commits. Where it does not come out whether it has, another attempt finds out:
    /// nothing that the disk may still hold is told to the step as not done.
    pub(super) async fn settled_in_database<T: Send + 'static>(
        &self,
        call: &EffectCall,
        work: impl Fn(&Database) -> Result<T, DataError> + Send + Sync + 'static,
    ) -> Result<Result<T, DataError>, Unanswered> {
        let name = call.request["database"].as_str().map(str::to_owned);
        match settled_in_database(Arc::clone(&self.services.databases), name, work).await {
            Err(e @ DataError::CommitUnknown { .. }) => Err(self.chain.lost(&e)),
            done => Ok(done),
        }
    }
}

/// A write of which nobody knows whether it was made.
pub(crate) fn not_known() -> EffectError {
    EffectError {
        code: AMBIGUOUS.to_string(),
        kind: "database".to_owned(),
        message: "whether this write happened before the crash is not known: its database keeps no record of effects".to_owned(),
        hint: Some("look into the database, then set on_ambiguous=\"rerun\" or \"skip\" on the step".to_owned()),
    }
}

/// Ids of every write among `rows` to a database, by the order of their answers.
pub(crate) fn own_writes(
    run: wflo_core::id::RunId,
    rows: &[EffectRecord],
    database: &str,
    but: Option<&EffectKey>,
) -> Vec<String> {
    let mut writes: Vec<&EffectRecord> = rows
        .iter()
        .filter(|row| row.kind == EffectKind::Db && row.attributes["write"] == true)
        .filter(|row| row.attributes["database"] == database && Some(&row.key) != but)
        .filter(|row| !matches!(row.state, EffectState::Failed { .. }))
        .collect();
    writes.sort_by_key(|row| row.order().unwrap_or(u32::MAX));
    writes.into_iter().map(|row| effect_id(run, &row.key)).collect()
}

/// The database that a call without a name means: `main`, else the only one.
fn default_name(databases: &Databases) -> String {
    let mut names = databases.names();
    let only = names.next().filter(|_| databases.names().count() == 1);
    only.unwrap_or("main").to_owned()
}

/// Runs something in a database, on a thread that may block.
pub(crate) async fn in_database<T: Send + 'static>(
    databases: Arc<Databases>,
    name: Option<String>,
    work: impl FnOnce(&Database) -> Result<T, DataError> + Send + 'static,
) -> Result<T, DataError> {
    let run = move || databases.get(name.as_deref()).and_then(work);
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(e) => Err(DataError::Io { name: "database".to_owned(), detail: e.to_string() }),
    }
}

/// Runs something that commits once however often it is called, and again while nobody knows whether it has.
pub(crate) async fn settled_in_database<T: Send + 'static>(
    databases: Arc<Databases>,
    name: Option<String>,
    work: impl Fn(&Database) -> Result<T, DataError> + Send + Sync + 'static,
) -> Result<T, DataError> {
    let work = Arc::new(work);
    let mut tries = 1;
    loop {
        let again = Arc::clone(&work);
        match in_database(Arc::clone(&databases), name.clone(), move |db| again(db)).await {
            Err(e @ DataError::CommitUnknown { .. }) if tries < MOST_TRIES => look_again(&e).await,
            done => return done,
        }
        tries += 1;
    }
}

fn rows_json(rows: &wflo_data::Rows) -> Result<Value, EngineError> {
    serde_json::to_value(rows).map_err(|e| EngineError::Unreadable(e.to_string()))
}
