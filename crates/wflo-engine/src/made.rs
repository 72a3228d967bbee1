//! Which writes were made: what databases have recorded of those whose end a journal does not know.
//!
//! A write and its record are committed in the user's database before the journal hears of it, so a crash
//! in between leaves a row without an end for a change that is there. Whoever meets such a row asks the
//! database first: what is recorded was made, and is finished from its record; what is not was not made;
//! and where nobody can look, nobody knows (`docs/adr/0019`).
//!
//! **Architecture Invariant:** no row of a write is rewound, asked about once more or made again, in its
//! own run or in a retry of it, before its database was asked for its record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::event::Event;
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{EffectEnd, Op, Store, StoreError};
use wflo_data::{DataError, Databases, Effect, Known};

use crate::broker::{AMBIGUOUS, consumed, effect_id, in_database};
use crate::chain::MOST_TRIES;
use crate::journal::{confirmations, finished};

/// Whether a row is a write of which the journal does not know whether it was made.
pub(crate) fn is_open(row: &EffectRecord) -> bool {
    let open = matches!(row.state, EffectState::Intent | EffectState::Previewed { outcome: Ok(_), .. });
    open && row.kind == EffectKind::Db && row.attributes["write"] == true
}

/// Whether a row is a write whose step was told that nobody knows whether it was made.
pub(crate) fn is_ambiguous(row: &EffectRecord) -> bool {
    let said = matches!(&row.state, EffectState::Failed { error, .. } if error.code == AMBIGUOUS.to_string());
    said && row.kind == EffectKind::Db && row.attributes["write"] == true
}

/// What a database says of some effects, each as id and fingerprint.
pub(crate) async fn look(
    databases: &Arc<Databases>,
    database: &str,
    effects: Vec<(String, String)>,
) -> Result<Vec<Known>, DataError> {
    let effects = Arc::new(effects);
    let mut tries = 1;
    loop {
        let asked = Arc::clone(&effects);
        let known = in_database(Arc::clone(databases), Some(database.to_owned()), move |db| {
            asked.iter().map(|(id, fingerprint)| db.known(Effect { id, fingerprint })).collect()
        });
        match known.await {
            Err(DataError::Busy { .. } | DataError::Io { .. }) if tries < MOST_TRIES => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            known => return known,
        }
        tries += 1;
    }
}

/// What came out about the open writes of a generation that is over.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Finish in the journal what was made.
    pub(crate) ops: Vec<Op>,
    /// Writes of which nobody knows whether they were made, and why.
    pub(crate) unknown: BTreeMap<EffectKey, String>,
}

/// Asks the databases about the open writes among the rows of one generation.
///
/// An answer that was previewed on top of changes stands if all of those were made.
pub(crate) async fn find(
    store: &dyn Store,
    databases: &Arc<Databases>,
    run: RunId,
    rows: &[EffectRecord],
    at: Timestamp,
) -> Result<Found, StoreError> {
    let mut open: Vec<&EffectRecord> = rows.iter().filter(|row| is_open(row)).collect();
    open.sort_by_key(|row| row.order());
    let mut found = Found::default();
    if open.is_empty() {
        return Ok(found);
    }
    let made = ask(databases, run, &open, &mut found.unknown).await;
    let questions = released(store, run, &open).await?;
    let chain = questions.iter().find(|(row, _)| row.is_previewed()).map(|(_, question)| question);
    // What nobody has approved was not begun.
    found.unknown.retain(|key, _| {
        let row = open.iter().find(|row| row.key == *key);
        row.is_some_and(|row| match (row.is_previewed(), row.attributes["alone"] == true) {
            (true, _) => chain.is_some(),
            (false, true) => questions.iter().any(|(asked, _)| asked.key == *key),
            (false, false) => true,
        })
    });
    let (mut used, mut facts) = (Vec::new(), Vec::new());
    for row in open.iter().filter(|row| !row.is_previewed()) {
        let Some(answer) = made.get(&row.key) else { continue };
        let end = EffectEnd {
            outcome: Ok(answer.clone()),
            cost: NanoUsd::ZERO,
            uncertain: false,
            attributes: Value::Null,
            at,
        };
        found.ops.push(Op::FinishEffect { run, key: row.key.clone(), end });
        facts.push(finished(row, None));
        let own = questions.iter().find(|(asked, _)| asked.key == row.key);
        used.extend(own.map(|(_, question)| (question.id, row.key.to_string())));
    }
    let stand = standing(rows, &|row| made.contains_key(&row.key));
    let writes: Vec<&EffectRecord> = stand.iter().filter(|row| is_open(row)).collect();
    if let Some(first) = writes.first() {
        used.extend(chain.map(|question| (question.id, some_of(&first.key, writes.len()))));
        let (ops, finished, _) = confirmations(run, stand, at);
        found.ops.extend(ops);
        facts.extend(finished);
    }
    for (id, what) in used {
        found.ops.insert(0, Op::ConsumeApproval { id, at });
        facts.insert(0, consumed(id, what));
    }
    if !facts.is_empty() {
        let events = facts.into_iter().map(|body| Event { at, body }).collect();
        found.ops.push(Op::AppendEvents { run, events });
    }
    Ok(found)
}

/// The previewed answers that stand when these writes were made and no other: the writes themselves, and
/// what was answered before the first that was not made. In the order of the answers.
pub(crate) fn standing(rows: &[EffectRecord], made: &dyn Fn(&EffectRecord) -> bool) -> Vec<EffectRecord> {
    let mut previewed: Vec<EffectRecord> = rows.iter().filter(|row| row.is_previewed()).cloned().collect();
    previewed.sort_by_key(EffectRecord::order);
    let left = previewed.iter().find(|row| is_open(row) && !made(row)).and_then(EffectRecord::order);
    previewed.retain(|row| match is_open(row) {
        true => made(row),
        false => left.is_none_or(|left| row.order() < Some(left)),
    });
    previewed
}

/// What an approval released of a chain, in words.
pub(crate) fn some_of(first: &EffectKey, writes: usize) -> String {
    match writes {
        1 => first.to_string(),
        _ => format!("{writes} writes from {first} on"),
    }
}

async fn ask(
    databases: &Arc<Databases>,
    run: RunId,
    open: &[&EffectRecord],
    unknown: &mut BTreeMap<EffectKey, String>,
) -> BTreeMap<EffectKey, Value> {
    let mut by_database: BTreeMap<&str, Vec<&EffectRecord>> = BTreeMap::new();
    for row in open {
        by_database.entry(row.attributes["database"].as_str().unwrap_or_default()).or_default().push(row);
    }
    let mut made = BTreeMap::new();
    for (database, rows) in by_database {
        let effects = rows.iter().map(|row| (effect_id(run, &row.key), row.fingerprint.to_string()));
        match look(databases, database, effects.collect()).await {
            Ok(known) => {
                for (row, known) in rows.into_iter().zip(known) {
                    match known {
                        Known::Made(answer) => drop(made.insert(row.key.clone(), answer)),
                        Known::NotMade => {}
                        Known::Unrecorded { reason } => drop(unknown.insert(row.key.clone(), reason)),
                    }
                }
            }
            Err(e) => unknown.extend(rows.into_iter().map(|row| (row.key.clone(), e.to_string()))),
        }
    }
    made
}

/// Approved questions about these writes, each with the write that it is known by.
async fn released<'a>(
    store: &dyn Store,
    run: RunId,
    open: &[&'a EffectRecord],
) -> Result<Vec<(&'a EffectRecord, Approval)>, StoreError> {
    let mut released = Vec::new();
    for row in open.iter().filter(|row| row.is_previewed() || row.attributes["alone"] == true) {
        let about = Purpose::Write { effect: row.key.clone() };
        let asked = store.approvals_about(run, about).await?;
        let approved = asked.into_iter().find(|question| question.status == ApprovalStatus::Approved);
        released.extend(approved.map(|question| (*row, question)));
    }
    Ok(released)
}
