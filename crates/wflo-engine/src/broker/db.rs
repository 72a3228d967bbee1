//! Database effects: reads, exactly-once writes, previews that people approve, snapshots, restores.
//!
//! A write's sequence, with what a crash between two lines leaves behind:
//! 1. the intent is committed (with the question and its preview, if people are asked);
//!    crash: the resume finds the intent and goes on here;
//! 2. people decide; crash: the decision is durable;
//! 3. the change and its record in `_wflo_effects` are committed in the user's database;
//!    crash: the resume finds the record there and changes nothing;
//! 4. the answer, and the use of the approval, are committed in the journal.

use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState, OnAmbiguous};
use wflo_core::error::Code;
use wflo_core::machine::CommandBody;
use wflo_core::ports::store::Op;
use wflo_data::{
    Class, Committed, DataError, Database, Databases, Effect, OnConflict, Preview, Requirements, Snapshot,
    Statement, UndoRequest, Write,
};

use super::{AMBIGUOUS, Broker, Outcome, Unanswered, bad_request, consumed, effect_error};
use crate::error::EngineError;
use crate::protocol::{EffectCall, EffectError};

/// The rows that people approved keep being changed by others.
const KEEPS_CHANGING: Code = Code(7004);
/// The run is being rejected.
const REJECTED: Code = Code(7003);
/// How often a conflicting preview is shown anew before the effect fails.
const MOST_PREVIEWS: u64 = 3;

/// The id under which a write is recorded in the user's database.
pub(crate) fn effect_id(run: wflo_core::id::RunId, key: &EffectKey) -> String {
    format!("{run}/{key}")
}

impl Broker {
    pub(super) async fn db(&self, call: &EffectCall, print: Digest, found: Option<EffectRecord>) -> Outcome {
        match call.name.as_str() {
            "query" => self.read(call, print).await,
            "execute" => {
                let sql = call.request["sql"].as_str().unwrap_or_default().to_owned();
                let class = match self.in_database(call, move |db| db.classify(&sql)).await {
                    Ok(class) => class,
                    Err(e) => return self.fail(call, print, found, effect_error("database", &e)).await,
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
                self.fail(call, print, found, bad_request(&detail)).await
            }
        }
    }

    async fn read(&self, call: &EffectCall, print: Digest) -> Outcome {
        let request = call.request.clone();
        let run = move |db: &Database| db.query(&Statement::from_request(&request)?);
        match self.in_database(call, run).await {
            Ok(rows) => {
                let result = rows_json(&rows)?;
                let intent = self.intent(call, print, json!({ "database": call.request["database"] }));
                self.journal.record(intent, self.journal.ok(result.clone()), Vec::new()).await?;
                Ok(Ok(result))
            }
            Err(e) => self.fail(call, print, None, effect_error("database", &e)).await,
        }
    }

    async fn write(&self, call: &EffectCall, print: Digest, found: Option<EffectRecord>) -> Outcome {
        let write = match Write::from_request(&call.name, &call.request) {
            Ok(write) => Arc::new(write),
            Err(e) => return self.fail(call, print, found, effect_error("database", &e)).await,
        };
        if self.asks_at_writes() {
            return self.approved_write(call, print, found, write).await;
        }
        let lost = found.is_some();
        let row = match found {
            Some(row) => row,
            None => {
                let intent = self.intent(call, print.clone(), self.write_attributes(call, None));
                self.journal.intend(intent, Vec::new()).await?
            }
        };
        self.apply(call, print, row, write, lost, None).await
    }

    /// Carries the statement out, once; `lost` says that an earlier attempt may have.
    async fn apply(
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
        crate::failpoint::pass("db.apply.before");
        let applied = self
            .in_database(call, move |db| {
                let guarded = !matches!(db.recording()?, wflo_data::Recording::ExactlyOnce);
                if guarded && lost && ambiguous != OnAmbiguous::Rerun {
                    return Ok(None);
                }
                let effect = Effect { id: &id, fingerprint: &guard };
                db.apply(effect, &write, Requirements { undoable }).map(Some)
            })
            .await;
        match applied {
            Ok(Some(applied)) => self.written(row, &applied.result, approval).await,
            Ok(None) if ambiguous == OnAmbiguous::Skip => {
                self.journal.finish(row, self.journal.ok(Value::Null), Vec::new(), Vec::new()).await?;
                Ok(Ok(Value::Null))
            }
            Ok(None) => {
                let error = EffectError {
                    code: AMBIGUOUS.to_string(),
                    kind: "database".to_owned(),
                    message: "whether this write happened before the crash is not known: its database keeps no record of effects".to_owned(),
                    hint: Some("look into the database, then set on_ambiguous=\"rerun\" or \"skip\" on the step".to_owned()),
                };
                self.fail(call, print, Some(row), error).await
            }
            Err(e) => self.fail(call, print, Some(row), effect_error("database", &e)).await,
        }
    }

    async fn written(
        &self,
        row: EffectRecord,
        rows: &wflo_data::Rows,
        approval: Option<&Approval>,
    ) -> Outcome {
        crate::failpoint::pass("db.apply.after");
        let result = rows_json(rows)?;
        let (mut ops, mut facts) = (Vec::new(), Vec::new());
        if let Some(approval) = approval {
            ops.push(Op::ConsumeApproval { id: approval.id, at: self.services.clock.now() });
            facts.push(consumed(approval.id, row.key.to_string()));
        }
        self.journal.finish(row, self.journal.ok(result.clone()), ops, facts).await?;
        Ok(Ok(result))
    }

    /// A write that people see before it happens: the change they approve is the change that is made.
    async fn approved_write(
        &self,
        call: &EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        write: Arc<Write>,
    ) -> Outcome {
        let action = json!(["db", call.name, call.request]);
        let key = self.journal.key(&call.path, call.seq);
        let about = |a: &Approval| matches!(&a.request.purpose, Purpose::Write { effect } if *effect == key);
        let mut row = found;
        loop {
            let Some(known) = row.clone() else {
                match self.preview_and_ask(call, &print, None, &write, &action, 1).await? {
                    Ok(asked) => row = Some(asked),
                    Err(error) => return self.fail(call, print, None, error).await,
                }
                continue;
            };
            let previews = known.attributes["previews"].as_u64().unwrap_or(1);
            let question = match self.question(about).await? {
                Some(question) if self.still_good(&question, &action) => question,
                stale => {
                    if let Some(stale) = stale.filter(|s| s.status != ApprovalStatus::Consumed) {
                        self.take_back(&stale, "the code that would run has changed").await?;
                    }
                    match self.preview_and_ask(call, &print, Some(known), &write, &action, previews).await? {
                        Ok(asked) => row = Some(asked),
                        Err(error) => return self.fail(call, print, row, error).await,
                    }
                    continue;
                }
            };
            let status = match question.status {
                ApprovalStatus::Pending => self.decided(call, question.id).await?,
                status => status,
            };
            match status {
                ApprovalStatus::Approved | ApprovalStatus::Consumed => {}
                ApprovalStatus::Pending | ApprovalStatus::Superseded => continue,
                ApprovalStatus::Rejected | ApprovalStatus::Expired => return Ok(Err(rejected(&question))),
            }
            let preview: Option<Preview> = serde_json::from_value(known.attributes["preview"].clone()).ok();
            let Some(preview) = preview.filter(Preview::is_complete) else {
                return self.apply(call, print, known, write, true, Some(&question)).await;
            };
            let (id, guard) = (effect_id(self.attempt.run, &key), print.to_string());
            let commit =
                move |db: &Database| db.commit_preview(Effect { id: &id, fingerprint: &guard }, &preview);
            match self.in_database(call, commit).await {
                Ok(Committed::Applied(applied)) => {
                    return self.written(known, &applied.result, Some(&question)).await;
                }
                Ok(Committed::Conflict { .. }) if previews < MOST_PREVIEWS => {
                    self.take_back(&question, "somebody else changed these rows since they were shown")
                        .await?;
                    match self
                        .preview_and_ask(call, &print, Some(known), &write, &action, previews + 1)
                        .await?
                    {
                        Ok(asked) => row = Some(asked),
                        Err(error) => return self.fail(call, print, row, error).await,
                    }
                }
                Ok(Committed::Conflict { .. }) => {
                    let error = EffectError {
                        code: KEEPS_CHANGING.to_string(),
                        kind: "database".to_owned(),
                        message: format!(
                            "the rows were changed by somebody else after each of {MOST_PREVIEWS} approvals"
                        ),
                        hint: Some("stop the other writer, then `wflo runs retry ID`".to_owned()),
                    };
                    return self.fail(call, print, Some(known), error).await;
                }
                Err(e) => return self.fail(call, print, Some(known), effect_error("database", &e)).await,
            }
        }
    }

    /// Runs the write and rolls it back, and puts what it would change before people.
    async fn preview_and_ask(
        &self,
        call: &EffectCall,
        print: &Digest,
        row: Option<EffectRecord>,
        write: &Arc<Write>,
        action: &Value,
        previews: u64,
    ) -> Result<Result<EffectRecord, EffectError>, Unanswered> {
        let shown = Arc::clone(write);
        let preview = match self.in_database(call, move |db| db.preview(&[], &shown)).await {
            Ok(preview) => preview,
            Err(e) => return Ok(Err(effect_error("database", &e))),
        };
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let evidence = json!({
            "statement": call.request["sql"],
            "params": call.request["params"],
            "database": call.request["database"],
            "previewed": preview.is_complete(),
            "change": serde_json::to_value(&preview.evidence).map_err(unreadable)?,
        });
        let mut attributes =
            self.write_attributes(call, Some(serde_json::to_value(&preview).map_err(unreadable)?));
        attributes["previews"] = json!(previews);
        let effect = self.journal.key(&call.path, call.seq);
        let title = format!(
            "step `{}` changes database `{}`: {}",
            self.attempt.step,
            self.database_name(call),
            one_line(call)
        );
        let request = self.request(Purpose::Write { effect }, title, action, evidence)?;
        let ask = CommandBody::Ask { request: Box::new(request) };
        match row {
            None => {
                let row = self.journal.row(self.intent(call, print.clone(), attributes));
                self.attempt.driver.tell(ask, self.journal.intent_ops(&row)).await?;
                self.journal.keep(row.clone());
                Ok(Ok(row))
            }
            Some(row) => {
                let row = self
                    .journal
                    .reopen(row, None, wflo_core::money::NanoUsd::ZERO, attributes, Vec::new())
                    .await?;
                self.attempt.driver.tell(ask, Vec::new()).await?;
                Ok(Ok(row))
            }
        }
    }

    async fn take_back(&self, question: &Approval, reason: &str) -> Result<(), Unanswered> {
        let body = CommandBody::Supersede { approval: question.id, reason: reason.to_owned() };
        self.attempt.driver.tell(body, Vec::new()).await?;
        Ok(())
    }

    async fn snapshot(&self, call: &EffectCall, print: Digest) -> Outcome {
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

    async fn restore(&self, call: &EffectCall, print: Digest, found: Option<EffectRecord>) -> Outcome {
        let on_conflict = match serde_json::from_value::<OnConflict>(call.request["on_conflict"].clone()) {
            Ok(choice) => choice,
            Err(_) if call.request["on_conflict"].is_null() => OnConflict::Abort,
            Err(_) => {
                let detail = "`on_conflict` is abort, skip or force";
                return self.fail(call, print, found, bad_request(detail)).await;
            }
        };
        let row = match found {
            Some(row) => row,
            None => {
                let intent = self.intent(call, print.clone(), self.write_attributes(call, None));
                self.journal.intend(intent, Vec::new()).await?
            }
        };
        let token = call.request["snapshot"].as_str().unwrap_or_default().to_owned();
        let dry_run = call.request["dry_run"].as_bool().unwrap_or(false);
        let request = UndoRequest {
            effect_id: effect_id(self.attempt.run, &row.key),
            fingerprint: print.to_string(),
            scope: self.own_writes(&self.database_name(call), Some(&row.key)),
            on_conflict,
        };
        let restored = self
            .in_database(call, move |db| db.restore(&Snapshot::from_token(&token)?, &request, dry_run))
            .await;
        match restored {
            Ok(report) => {
                let result =
                    serde_json::to_value(&report).map_err(|e| EngineError::Unreadable(e.to_string()))?;
                self.journal.finish(row, self.journal.ok(result.clone()), Vec::new(), Vec::new()).await?;
                Ok(Ok(result))
            }
            Err(e) => self.fail(call, print, Some(row), effect_error("database", &e)).await,
        }
    }

    /// Ids of every write of this generation to a database, restores included; those that never
    /// happened are not on record there and count for nothing.
    fn own_writes(&self, database: &str, but: Option<&EffectKey>) -> Vec<String> {
        own_writes(self.attempt.run, &self.journal.all(), database, but)
    }

    fn database_name(&self, call: &EffectCall) -> String {
        match call.request["database"].as_str() {
            Some(named) => named.to_owned(),
            None => default_name(&self.services.databases),
        }
    }

    fn write_attributes(&self, call: &EffectCall, preview: Option<Value>) -> Value {
        let mut attributes = json!({ "write": true, "database": self.database_name(call) });
        if let Some(preview) = preview {
            attributes["preview"] = preview;
        }
        attributes
    }

    /// Runs something in the database that the call names, on a thread that may block.
    async fn in_database<T: Send + 'static>(
        &self,
        call: &EffectCall,
        work: impl FnOnce(&Database) -> Result<T, DataError> + Send + 'static,
    ) -> Result<T, DataError> {
        let name = call.request["database"].as_str().map(str::to_owned);
        in_database(Arc::clone(&self.services.databases), name, work).await
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

fn rows_json(rows: &wflo_data::Rows) -> Result<Value, EngineError> {
    serde_json::to_value(rows).map_err(|e| EngineError::Unreadable(e.to_string()))
}

fn rejected(question: &Approval) -> EffectError {
    EffectError {
        code: REJECTED.to_string(),
        kind: "approval_rejected".to_owned(),
        message: format!("\"{}\" was not approved", question.request.title),
        hint: None,
    }
}

fn one_line(call: &EffectCall) -> String {
    let text = match call.request["sql"].as_str() {
        Some(sql) => sql.split_whitespace().collect::<Vec<_>>().join(" "),
        None => format!("{} of {} rows", call.name, call.request["rows"].as_array().map_or(0, Vec::len)),
    };
    text.chars().take(160).collect()
}
