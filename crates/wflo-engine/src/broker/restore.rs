//! `context.db.restore`: taking back what this generation has written since a snapshot.
//!
//! It writes, so of a step that asks it is previewed like any other write, on top of those that wait: what
//! people are shown and what is committed is the captured change, with the edits of others that it would
//! overwrite or leave. A dry run is a read. Of a step that asks nobody it is made at once:
//! 1. the intent is committed; crash: the resume finds the intent and goes on here;
//! 2. the restore and its record are committed in the user's database; crash: the resume finds the record;
//! 3. the answer is committed in the journal.

use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::effect::EffectRecord;
use wflo_data::{
    Changeset, DataError, Effect, Known, OnConflict, Preview, Snapshot, UndoReport, UndoRequest,
};

use super::db::effect_id;
use super::{Broker, Outcome, bad_request, effect_error, on};
use crate::chain::{Changed, Open};
use crate::error::EngineError;
use crate::protocol::EffectCall;

impl Broker {
    pub(super) async fn restore(
        &self,
        call: &EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
    ) -> Outcome {
        let on_conflict = match serde_json::from_value::<OnConflict>(call.request["on_conflict"].clone()) {
            Ok(choice) => choice,
            Err(_) if call.request["on_conflict"].is_null() => OnConflict::Abort,
            Err(_) => {
                let detail = "`on_conflict` is abort, skip or force";
                return self.refused(call, print, bad_request(detail)).await;
            }
        };
        if self.chain.asks() {
            return self.previewed_restore(call, print, found, on_conflict).await;
        }
        let row = match found {
            Some(row) => row,
            None => {
                let intent = self.intent(call, print.clone(), self.write_attributes(call));
                self.journal.intend(intent, Vec::new()).await?
            }
        };
        let request = self.undo_request(call, &print, on_conflict);
        let (token, dry_run) = asked(call);
        let restored = self
            .settled_in_database(call, move |db| {
                db.restore(&Snapshot::from_token(&token)?, &request, dry_run)
            })
            .await?;
        match restored {
            Ok(report) => {
                let result = report_json(&report)?;
                self.journal.finish(row, self.journal.ok(result.clone()), Vec::new(), Vec::new()).await?;
                Ok(Ok(result))
            }
            Err(e) => self.fail(call, print, Some(row), effect_error("database", &e)).await,
        }
    }

    /// A restore that people see before it happens.
    async fn previewed_restore(
        &self,
        call: &EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        on_conflict: OnConflict,
    ) -> Outcome {
        // One that was begun by a build that asked nobody may have been made.
        if let Some(row) = found.as_ref().filter(|row| row.attributes["write"] == true) {
            let (id, guard) = (effect_id(self.attempt.run, &row.key), print.to_string());
            let known = self.in_database(call, move |db| db.known(Effect { id: &id, fingerprint: &guard }));
            match known.await {
                Ok(Known::Made(report)) => {
                    let end = self.journal.ok(report.clone());
                    self.journal.finish(row.clone(), end, Vec::new(), Vec::new()).await?;
                    return Ok(Ok(report));
                }
                Ok(Known::NotMade | Known::Unrecorded { .. }) => {}
                Err(e) => return self.fail(call, print, found, effect_error("database", &e)).await,
            }
        }
        let database = self.database_name(call);
        let dry_run = asked(call).1;
        loop {
            let mut open = self.chain.enter().await?;
            if open.takes_no_more() && !dry_run {
                drop(open);
                if let Err(refused) = self.chain.settle(&on(call)).await? {
                    return Ok(Err(refused));
                }
                continue;
            }
            let told = match self.restore_on(&open, call, &print, on_conflict, &database).await {
                Ok(preview) if !dry_run => {
                    let fresh = found.is_none();
                    let intent = || self.intent(call, print.clone(), Value::Null);
                    let row = found.unwrap_or_else(|| self.journal.row(intent()));
                    let row = EffectRecord { request: call.request.clone().into(), ..row };
                    return Ok(Ok(self.chain.add(&mut open, row, fresh, &database, preview).await?));
                }
                Ok(preview) => Ok(report_json(&UndoReport { dry_run, ..preview.undo.unwrap_or_default() })?),
                Err(DataError::PreviewStale { conflicts_found }) => {
                    let changed = Changed::rows(database, conflicts_found);
                    return Err(self.chain.rewind(&mut open, changed).await);
                }
                Err(e) => Err(effect_error("database", &e)),
            };
            return self.told(&open, call, print, told, json!({ "database": database })).await;
        }
    }

    /// What a restore would write, on top of the writes that wait.
    async fn restore_on(
        &self,
        open: &Open,
        call: &EffectCall,
        print: &Digest,
        on_conflict: OnConflict,
        database: &str,
    ) -> Result<Preview, DataError> {
        let before: Vec<(String, Arc<Preview>)> = open
            .writes_on(database)
            .into_iter()
            .map(|(key, preview)| (effect_id(self.attempt.run, &key), preview))
            .collect();
        let request = self.undo_request(call, print, on_conflict);
        let (token, dry_run) = asked(call);
        self.in_database(call, move |db| {
            let prior: Vec<(&str, &Changeset)> =
                before.iter().map(|(id, preview)| (id.as_str(), &preview.changeset)).collect();
            db.preview_restore(&prior, &Snapshot::from_token(&token)?, &request, dry_run)
        })
        .await
    }

    fn undo_request(&self, call: &EffectCall, print: &Digest, on_conflict: OnConflict) -> UndoRequest {
        let key = self.journal.key(&call.path, call.seq);
        UndoRequest {
            effect_id: effect_id(self.attempt.run, &key),
            fingerprint: print.to_string(),
            scope: self.own_writes(&self.database_name(call), Some(&key)),
            on_conflict,
        }
    }
}

/// The snapshot's token, and whether this is a question only.
fn asked(call: &EffectCall) -> (String, bool) {
    let token = call.request["snapshot"].as_str().unwrap_or_default().to_owned();
    (token, call.request["dry_run"].as_bool().unwrap_or(false))
}

fn report_json(report: &UndoReport) -> Result<Value, EngineError> {
    serde_json::to_value(report).map_err(|e| EngineError::Unreadable(e.to_string()))
}
