//! Undoing the data changes of a generation: the net of its writes, as an effect of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectRecord};
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::ports::store::Fence;
use wflo_data::{OnConflict, UndoRequest};

use super::Steps;
use crate::broker::{effect_id, own_writes, settled_in_database};
use crate::executor::RunContext;

/// Rows that others changed since.
const CONFLICT: Code = Code(6020);

impl Steps {
    pub(super) async fn undo(
        &self,
        context: Arc<RunContext>,
        step: String,
        generation: u32,
        fence: Fence,
    ) -> (Value, Option<Failure>) {
        let rows = match self.services.store.effects(fence.run, step.clone(), generation).await {
            Ok(rows) => rows,
            Err(e) => return (Value::Null, Some(e.to_failure())),
        };
        let names: BTreeSet<String> = rows
            .iter()
            .filter(|row| row.attributes["write"] == true)
            .filter_map(|row| row.attributes["database"].as_str().map(str::to_owned))
            .collect();
        let mut reports = serde_json::Map::new();
        let mut error = None;
        for name in names {
            match self.undo_in(&context, &step, generation, &rows, &name).await {
                Ok((report, conflict)) => {
                    reports.insert(name, report);
                    error = error.or(conflict);
                }
                Err(failure) => error = error.or(Some(failure)),
            }
        }
        (Value::Object(reports), error)
    }

    async fn undo_in(
        &self,
        context: &RunContext,
        step: &str,
        generation: u32,
        rows: &[EffectRecord],
        database: &str,
    ) -> Result<(Value, Option<Failure>), Failure> {
        let run = context.record.id;
        let key = EffectKey { step: step.to_owned(), generation, path: format!("@undo/{database}"), seq: 0 };
        let request = UndoRequest {
            effect_id: effect_id(run, &key),
            fingerprint: Digest::of_bytes(key.to_string().as_bytes()).to_string(),
            scope: own_writes(run, rows, database, None),
            on_conflict: OnConflict::Abort,
        };
        let databases = Arc::clone(&self.services.databases);
        let undo = move |db: &wflo_data::Database| db.undo(&request, false);
        let report = settled_in_database(databases, Some(database.to_owned()), undo)
            .await
            .map_err(|e| e.to_failure())?;
        crate::failpoint::pass("undo.after");
        let conflict = report.conflicts.first().map(|first| {
            Failure::new(CONFLICT, format!("the changes of step `{step}` were not undone: {first}"))
                .with_hint("somebody else changed these rows since; look at them and correct them by hand")
        });
        let lasting = report.not_undone.first().map(|first| {
            Failure::new(CONFLICT, format!("a change of step `{step}` cannot be undone: {}", first.reason))
        });
        let report = serde_json::to_value(&report).unwrap_or_else(|e| json!({ "unreadable": e.to_string() }));
        Ok((report, conflict.or(lasting)))
    }
}
