//! Runs a write and captures what it changed, inside the caller's transaction.
//!
//! Owns the proof that the captured changeset is the whole change. SQLite's sessions leave things
//! out without a word (virtual tables, rows with a NULL key), so what a statement may write is
//! checked before, and what it did write after.
//!
//! **Architecture Invariant:** a changeset taken here is taken before COMMIT; afterwards it would
//! also hold other writers' edits, and undoing it would destroy them.

use std::collections::BTreeMap;

use super::authorizer::{Watch, is_reserved, is_system};
use super::connection::Call;
use super::leash::{Leash, Surplus};
use super::run::{self, Inspected};
use super::schema;
use super::session::{Changes, Gauge, Session};
use super::update::{self, Plan};
use crate::changeset::{Changeset, TableShape};
use crate::class::NotHeld;
use crate::error::DataError;
use crate::statement::{Rows, Write};

/// What the captured change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Undo: a write that cannot be held is refused.
    Undo,
    /// Undo if possible: a write that cannot be held is done, and the reason kept.
    UndoIfPossible,
    /// A preview: a missing primary key does no harm for the time of an approval.
    Preview,
}

/// A write that was done in the open transaction.
pub(super) struct Captured {
    pub result: Rows,
    /// Empty when `not_held` says that it cannot be held (in a preview a missing key can).
    pub changeset: Changeset,
    pub not_held: Option<NotHeld>,
}

/// Does a write and captures it.
pub(super) fn run(call: &Call<'_>, write: &Write, need: Need) -> Result<Captured, DataError> {
    let (inspected, mut captured) = inspected_and_run(call, write, need)?;
    if !inserts_lasting_rowid(call, &inspected)? {
        captured.result.last_insert_id = None;
    }
    Ok(captured)
}

/// Whether the row id of an inserted row stays: where it is no part of the data, putting a row back
/// (a preview that is committed, an undo) gives it another one.
pub(super) fn inserts_lasting_rowid(call: &Call<'_>, inspected: &Inspected) -> Result<bool, DataError> {
    let Some(table) = &inspected.inserted else { return Ok(true) };
    Ok(schema::table(call, table)?.is_some_and(|table| table.rowid_is_key || !table.has_key()))
}

/// What the statements of a plan would do.
pub(super) fn inspected(call: &Call<'_>, plan: &Plan) -> Result<Inspected, DataError> {
    let mut inspected = Inspected::default();
    for sql in plan.texts() {
        let one = run::inspect(call, sql)?;
        inspected.schema |= one.schema;
        inspected.written.extend(one.written);
        inspected.inserted = one.inserted.or(inspected.inserted);
    }
    Ok(inspected)
}

/// Makes virtual tables write what they keep in memory until a commit: they do it at a savepoint too.
pub(super) fn flush_virtual_tables(call: &Call<'_>) -> Result<(), DataError> {
    call.ok(call.connection.execute_batch("SAVEPOINT wflo_flush; RELEASE wflo_flush"))
}

fn inspected_and_run(call: &Call<'_>, write: &Write, need: Need) -> Result<(Inspected, Captured), DataError> {
    let plan = update::plan(call, write)?;
    let inspected = inspected(call, &plan)?;
    let not_held = schema::not_held(call, &inspected)?;
    if let (Need::Undo, Some(reason)) = (need, &not_held) {
        return Err(DataError::NotUndoable(reason.clone()));
    }
    if not_held.as_ref().is_some_and(|reason| decides(need, reason)) {
        let result = execute(call, &plan, Gauge::default(), Surplus::StopCapture)?.0;
        return Ok((inspected, Captured { result, changeset: Changeset::default(), not_held }));
    }
    let mut captured = captured(call, &plan, &inspected, need)?;
    // Its own name says more than those of the tables in which it keeps what it holds.
    if let (Some(NotHeld::VirtualTable { .. }), Some(NotHeld::VirtualTable { .. })) =
        (&captured.not_held, &not_held)
    {
        captured.not_held = not_held;
    }
    Ok((inspected, captured))
}

/// Whether this reason against undo is none against what the capture is for.
fn is_tolerable(need: Need, reason: &NotHeld) -> bool {
    need == Need::Preview && matches!(reason, NotHeld::NoPrimaryKey { .. })
}

/// Whether what a statement may do, by its text, is reason enough not to look at what it does. A virtual
/// table that it may write and does not (a trigger that no row sets off) is none for a preview.
fn decides(need: Need, reason: &NotHeld) -> bool {
    match reason {
        NotHeld::NoPrimaryKey { .. } | NotHeld::VirtualTable { .. } => need != Need::Preview,
        _ => true,
    }
}

fn captured(call: &Call<'_>, plan: &Plan, inspected: &Inspected, need: Need) -> Result<Captured, DataError> {
    let null_keys = null_keys(call, inspected.written.iter())?;
    let gauge = Gauge::default();
    let surplus = if need == Need::Undo { Surplus::Interrupt } else { Surplus::StopCapture };
    let session = call.ok(Session::start(call.connection, &gauge))?;
    let (result, gave_up) = execute(call, plan, gauge, surplus)?;
    if need == Need::Preview {
        flush_virtual_tables(call)?;
    }
    let touched: Vec<String> =
        session.touched().into_iter().filter(|name| !is_reserved(name) && !is_system(name)).collect();

    let limit = call.limits.changeset_bytes;
    let mut not_held =
        schema::not_held_in(call, touched.iter())?.filter(|reason| !is_tolerable(need, reason));
    let mut bytes = Vec::new();
    if gave_up {
        not_held = Some(NotHeld::TooLarge { limit });
    } else if not_held.is_none() {
        bytes = call.ok(session.changeset())?;
        if bytes.len() > limit {
            not_held = Some(NotHeld::TooLarge { limit });
        }
    }
    drop(session);
    if not_held.is_none() {
        not_held = lost_rows(call, &null_keys, &touched)?;
    }
    match (need, not_held) {
        (Need::Undo, Some(NotHeld::TooLarge { limit })) => {
            Err(DataError::WriteTooLarge { detail: format!("its changes take more than {limit} bytes") })
        }
        (Need::Undo, Some(reason)) => Err(DataError::NotUndoable(reason)),
        (_, Some(reason)) => Ok(Captured { result, changeset: Changeset::default(), not_held: Some(reason) }),
        (_, None) => {
            let tables = shapes(call, &bytes)?;
            Ok(Captured { result, changeset: Changeset { bytes, tables }, not_held: None })
        }
    }
}

/// Runs the plan on a leash; also says whether the capture was given up.
pub(super) fn execute(
    call: &Call<'_>,
    plan: &Plan,
    gauge: Gauge,
    surplus: Surplus,
) -> Result<(Rows, bool), DataError> {
    let growth = Growth::limit(call)?;
    let leash = Leash::start(call, gauge, surplus);
    let watch = Watch::start(call.sentry);
    let result = plan.execute(call, &watch);
    let result = result.map_err(|error| growth.explain(leash.explain(&watch, error)))?;
    Ok((result, leash.gave_up_capture()))
}

/// The digests of rows with a NULL key, by lower-case table: sessions do not record such rows.
fn null_keys<'a>(
    call: &Call<'_>,
    names: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, Option<blake3::Hash>>, DataError> {
    let mut digests = BTreeMap::new();
    for name in names {
        if let Some(table) = schema::table(call, name)?.filter(|table| table.nullable_key) {
            digests.insert(name.to_ascii_lowercase(), schema::null_keys(call, &table)?);
        }
    }
    Ok(digests)
}

/// Whether rows with a NULL key changed, or may have.
fn lost_rows(
    call: &Call<'_>,
    before: &BTreeMap<String, Option<blake3::Hash>>,
    touched: &[String],
) -> Result<Option<NotHeld>, DataError> {
    let nothing = blake3::Hasher::new().finalize();
    for (name, now) in null_keys(call, touched.iter())? {
        // A table that only showed itself while running: it must have no such rows at all.
        let then = before.get(&name).copied().unwrap_or(Some(nothing));
        if now.is_none() || now != then {
            return Ok(Some(NotHeld::NullKey { table: name }));
        }
    }
    Ok(None)
}

/// The shapes of the tables of a changeset, in its order.
pub(super) fn shapes(call: &Call<'_>, bytes: &[u8]) -> Result<Vec<TableShape>, DataError> {
    let mut shapes: Vec<TableShape> = Vec::new();
    let mut changes = call.ok(Changes::of(bytes))?;
    while call.ok(changes.advance())? {
        let (name, _) = call.ok(changes.head())?;
        if shapes.last().is_none_or(|last| last.name != name)
            && let Some(table) = schema::table(call, &name)?
        {
            shapes.push(TableShape { name, ..table.shape() });
        }
    }
    Ok(shapes)
}

/// Bounds how much the file may grow, for as long as this lives. The setting is the connection's.
struct Growth<'call>(&'call Call<'call>);

impl<'call> Growth<'call> {
    fn limit(call: &'call Call<'_>) -> Result<Self, DataError> {
        let number = |pragma| call.ok(call.connection.pragma_query_value(None, pragma, |row| row.get(0)));
        let (pages, page_size): (u32, u32) = (number("page_count")?, number("page_size")?);
        let most = u64::from(pages) + call.limits.growth_bytes / u64::from(page_size.max(1)) + 1;
        let growth = Growth(call);
        growth.set(most)?;
        Ok(growth)
    }

    fn set(&self, pages: u64) -> Result<(), DataError> {
        let sql = format!("PRAGMA max_page_count = {}", pages.min(MOST_PAGES));
        self.0.ok(self.0.connection.query_row(&sql, [], |_| Ok(())))
    }

    fn explain(&self, error: DataError) -> DataError {
        match error {
            DataError::Io { detail, .. } if detail.contains("full") => DataError::WriteTooLarge {
                detail: format!(
                    "the disk is full, or the database would grow by more than {} bytes",
                    self.0.limits.growth_bytes
                ),
            },
            other => other,
        }
    }
}

/// SQLite's own maximum.
const MOST_PAGES: u64 = 4_294_967_294;

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(MOST_PAGES) {
            tracing::debug!(%error, "the growth limit stays until the next write");
        }
    }
}
