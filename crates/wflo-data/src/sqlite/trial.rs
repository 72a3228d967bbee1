//! Runs a write that no changeset can hold, and finds out all that it does.
//!
//! Owns what is looked at: the captured changes of every table that a session can record (those in which
//! virtual tables keep their content among them), the rows of tables that it cannot, read before and after,
//! every definition, and what the statement returns. The same write run in another state comes to another
//! [`Seal`]; run in one that is the same where it matters, to the same.
//!
//! **Architecture Invariant:** what is in no part of a seal is named as unseen.

use std::collections::BTreeMap;

use super::authorizer::{is_reserved, is_system};
use super::capture;
use super::connection::Call;
use super::definitions::Definitions;
use super::evidence::{self, Budget, Detail, GUARD, Shown};
use super::leash::Surplus;
use super::rows::{self, Difference, RowSet};
use super::schema::{self, Kind};
use super::session::{Changes, Gauge, Group, Session, Still};
use super::update;
use crate::change::{ChangeKind, DefinitionChange, TableCounts};
use crate::changeset::Changeset;
use crate::class::NotHeld;
use crate::error::DataError;
use crate::seal::{Part, Reading, Seal};
use crate::statement::{Rows, Write};

/// What a write did in the open transaction.
pub(super) struct Trial {
    pub result: Rows,
    pub seal: Seal,
    pub shown: Shown,
    /// Rows in which virtual tables keep what they hold.
    pub internal: BTreeMap<String, TableCounts>,
    pub definitions: Vec<DefinitionChange>,
    /// Why some of it is in no part of the seal.
    pub unseen: Option<NotHeld>,
    /// Tables that must be read before the write, and were not.
    pub unread: BTreeMap<String, Reading>,
}

/// Does a write that no changeset holds for this reason, at this time, having read these tables before it.
pub(super) fn run(
    call: &Call<'_>,
    write: &Write,
    reason: &NotHeld,
    time: i64,
    read: &BTreeMap<String, Reading>,
) -> Result<Trial, DataError> {
    let _still = Still::at(time);
    let plan = update::plan(call, write)?;
    let inspected = capture::inspected(call, &plan)?;
    let definitions = Definitions::read(call)?;
    let before = row_sets(call, read)?;
    let gauge = Gauge::default();
    let session = call.ok(Session::start(call.connection, &gauge))?;
    let (mut result, gave_up) = capture::execute(call, &plan, gauge, Surplus::StopCapture)?;
    if !capture::inserts_lasting_rowid(call, &inspected)? {
        result.last_insert_id = None;
    }
    capture::flush_virtual_tables(call)?;
    let touched: Vec<String> =
        session.touched().into_iter().filter(|name| !is_reserved(name) && !is_system(name)).collect();
    let limit = call.limits.changeset_bytes;
    let mut unseen = gave_up.then_some(NotHeld::TooLarge { limit });
    let after_definitions = Definitions::read(call)?;
    let altered = definitions.altered_tables(&after_definitions);
    // A session cannot tell what became of tables whose definitions change under it.
    let captured = if altered.is_empty() && !gave_up { call.ok(session.changeset())? } else { Vec::new() };
    drop(session);
    if captured.len() > limit {
        unseen = unseen.or(Some(NotHeld::TooLarge { limit }));
    }

    let mut needed: BTreeMap<String, Reading> = BTreeMap::new();
    for name in &touched {
        if let Some(reading) = reading_of(call, name, !altered.is_empty())? {
            needed.insert(name.clone(), reading);
        }
    }
    needed.extend(altered.into_iter().filter(|name| !is_system(name)).map(|name| (name, Reading::Whole)));
    let unread: BTreeMap<String, Reading> =
        needed.into_iter().filter(|(name, reading)| read.get(name) != Some(reading)).collect();

    let mut seal = Seal { reason: reason.clone(), time, read: read.clone(), parts: BTreeMap::new() };
    seal.parts.insert(Part::Schema, definitions.digest(&after_definitions).to_hex().to_string());
    seal.parts.insert(Part::Result, digest_of_result(&result));
    let mut shown = Shown::default();
    let mut internal = BTreeMap::new();
    if unseen.is_none() {
        (shown, internal) = parts_of_changes(call, captured, &mut seal)?;
    }
    let (changed, cut) = definitions.changes(&after_definitions);
    shown.truncated |= cut;
    let after = row_sets(call, read)?;
    let mut budget = Budget::new(call);
    for (name, before) in &before {
        let Some(after) = after.get(name) else { continue };
        match rows::difference(name, before, after) {
            Difference::Unknown => {
                unseen = unseen.or_else(|| Some(NotHeld::TooManyRows { table: name.clone() }));
            }
            Difference::Known { digest, changes, all } => {
                seal.parts.insert(Part::Rows(name.clone()), digest.to_hex().to_string());
                add(&mut shown, &mut budget, name, changes, all);
            }
        }
    }
    Ok(Trial { result, seal, shown, internal, definitions: changed, unseen, unread })
}

/// How a table must be read whose rows were changed, if a session does not tell all.
fn reading_of(call: &Call<'_>, name: &str, by_hand: bool) -> Result<Option<Reading>, DataError> {
    let Some(table) = schema::table(call, name)? else { return Ok(None) };
    Ok(match table.kind {
        Kind::View | Kind::Virtual => None,
        Kind::Ordinary | Kind::Shadow if by_hand || table.loose_key || table.misleads_sessions() => {
            Some(Reading::Rows)
        }
        Kind::Ordinary | Kind::Shadow => table.nullable_key.then_some(Reading::NullKeys),
    })
}

fn row_sets(
    call: &Call<'_>,
    read: &BTreeMap<String, Reading>,
) -> Result<BTreeMap<String, RowSet>, DataError> {
    read.iter().map(|(name, reading)| Ok((name.clone(), rows::read(call, name, *reading)?))).collect()
}

/// Makes a part for each table of what was captured, and what is shown of it.
fn parts_of_changes(
    call: &Call<'_>,
    captured: Vec<u8>,
    seal: &mut Seal,
) -> Result<(Shown, BTreeMap<String, TableCounts>), DataError> {
    let mut group = call.ok(Group::new())?;
    let (mut kinds, mut internal) = (BTreeMap::new(), BTreeMap::new());
    let mut changes = call.ok(Changes::of(&captured))?;
    while call.ok(changes.advance())? {
        let (table, kind) = call.ok(changes.head())?;
        if !kinds.contains_key(&table) {
            let of_virtual = schema::table(call, &table)?.is_some_and(|t| t.kind == Kind::Shadow);
            kinds.insert(table.clone(), (of_virtual, seal.read.get(&table) == Some(&Reading::Rows)));
        }
        match kinds.get(&table) {
            // Its rows are read themselves; what a session says of them may mislead.
            Some((_, true)) => {}
            Some((true, _)) => internal.entry(table).or_insert_with(TableCounts::default).add(kind),
            _ => call.ok(group.add(&changes))?,
        }
    }
    drop(changes);
    let bytes = call.ok(group.changeset())?;
    let held = Changeset { tables: capture::shapes(call, &bytes)?, bytes };
    let shown = evidence::show(call, &held, Detail::Whole)?;

    // Of whole rows where they are shown whole. In no order: that of a session depends on other rows.
    let mut digests: BTreeMap<String, Vec<blake3::Hash>> = BTreeMap::new();
    let mut add = |bytes: &[u8], mut guards: std::slice::ChunksExact<'_, u8>, internal: bool| {
        let mut changes = call.ok(Changes::of(bytes))?;
        while call.ok(changes.advance())? {
            let (table, kind) = call.ok(changes.head())?;
            let (of_virtual, by_hand) = kinds.get(&table).copied().unwrap_or_default();
            if by_hand || of_virtual != internal {
                continue;
            }
            let change = call.ok(changes.decode())?;
            let mut encoded = vec![kind as u8];
            for value in change.old.iter().chain(&change.new) {
                encoded.push(u8::from(value.is_some()));
                value.iter().for_each(|value| value.encode(&mut encoded));
            }
            if kind == ChangeKind::Update
                && let Some(guard) = guards.next()
            {
                encoded.extend_from_slice(guard);
            }
            digests.entry(table).or_default().push(blake3::hash(&encoded));
        }
        Ok::<(), DataError>(())
    };
    add(&held.bytes, shown.guards.chunks_exact(GUARD), false)?;
    add(&captured, [].chunks_exact(GUARD), true)?;
    for (table, mut all) in digests {
        all.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut hasher = blake3::Hasher::new();
        all.iter().for_each(|one| {
            hasher.update(one.as_bytes());
        });
        seal.parts.insert(Part::Table(table), hasher.finalize().to_hex().to_string());
    }
    Ok((shown, internal))
}

/// Adds the changes of a table that was read.
fn add(
    shown: &mut Shown,
    budget: &mut Budget,
    table: &str,
    changes: Vec<crate::change::RowChange>,
    all: u64,
) {
    let Some(kind) = changes.first().map(|change| change.kind) else { return };
    let left = all.saturating_sub(changes.len() as u64);
    shown.truncated |= left > 0;
    let counts = shown.tables.entry(table.to_owned()).or_default();
    changes.iter().for_each(|change| counts.add(change.kind));
    counts.add_many(kind, left);
    for mut change in changes {
        let shortened = evidence::shorten(&mut change);
        if budget.is_spent() || !budget.pay(&change) {
            shown.truncated = true;
            return;
        }
        shown.truncated |= shortened;
        shown.changes.push(change);
    }
}

fn digest_of_result(result: &Rows) -> String {
    let mut hasher = blake3::Hasher::new();
    // Into a hasher, of values: cannot fail.
    let _ = serde_json::to_writer(&mut hasher, result);
    hasher.finalize().to_hex().to_string()
}
