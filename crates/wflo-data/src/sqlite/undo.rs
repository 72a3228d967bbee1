//! Undo: the inverse of a step's net change, applied where nobody else wrote since.
//!
//! Owns the transaction of an undo, and its record: it is an effect as any other, done once.

use super::Sqlite;
use super::apply::writable;
use super::capture;
use super::connection::Call;
use super::effects::{self, Presence, RecordKind};
use super::evidence::{self, Detail};
use super::net::net;
use super::preview::{captured, keyless, replay_prior};
use super::replay::{Conflicts, Direction, Others, replay};
use super::schema;
use super::session::{Gauge, Session};
use super::snapshot::has_counter;
use crate::changeset::Changeset;
use crate::class::NotHeld;
use crate::database::Effect;
use crate::error::DataError;
use crate::preview::Preview;
use crate::snapshot::Snapshot;
use crate::statement::Rows;
use crate::undo::{NotUndone, OnConflict, UndoReport, UndoRequest};

impl Sqlite {
    /// See [`Database::undo`](crate::Database::undo) and
    /// [`Database::restore`](crate::Database::restore).
    pub(crate) fn undo(
        &self,
        snapshot: Option<&Snapshot>,
        request: &UndoRequest,
        dry_run: bool,
    ) -> Result<UndoReport, DataError> {
        let effect = Effect { id: &request.effect_id, fingerprint: &request.fingerprint };
        self.pool.call(|call| {
            if dry_run {
                return call
                    .rolled_back(|| undo(call, snapshot, request, &[], true).map(|(report, _)| report));
            }
            if let Some(report) = replayed(call, effect)? {
                return Ok(report);
            }
            writable(call)?;
            call.committed(|| {
                let records = effects::ensure(call)?;
                if records && let Some(report) = replayed(call, effect)? {
                    return Ok(report);
                }
                let (report, changeset) = undo(call, snapshot, request, &[], false)?;
                if records {
                    effects::insert(call, effect, RecordKind::Undo, &report, &Ok(changeset))?;
                }
                Ok(report)
            })
        })
    }

    /// See [`Database::preview_restore`](crate::Database::preview_restore).
    pub(crate) fn preview_restore(
        &self,
        prior: &[(&str, &Changeset)],
        snapshot: &Snapshot,
        request: &UndoRequest,
        dry_run: bool,
    ) -> Result<Preview, DataError> {
        self.pool.call(|call| {
            writable(call)?;
            call.rolled_back(|| {
                let changes: Vec<&Changeset> = prior.iter().map(|(_, changeset)| *changeset).collect();
                replay_prior(call, &changes)?;
                let (report, changeset) = undo(call, Some(snapshot), request, prior, dry_run)?;
                captured(call, changeset, Rows::default(), None, Some(report))
            })
        })
    }
}

/// The report of an undo that was done already.
fn replayed(call: &Call<'_>, effect: Effect<'_>) -> Result<Option<UndoReport>, DataError> {
    if effects::presence(call)? != Presence::Ours {
        return Ok(None);
    }
    let Some(row) = effects::find(call, effect)? else {
        return Ok(None);
    };
    let report: UndoReport = serde_json::from_str(&row.result)
        .map_err(|error| DataError::RecordDamaged { effect_id: row.effect_id, detail: error.to_string() })?;
    Ok(Some(UndoReport { replayed: true, ..report }))
}

/// Undoes in the open transaction, in which the changes of `prior` are made; also gives what that changed.
fn undo(
    call: &Call<'_>,
    snapshot: Option<&Snapshot>,
    request: &UndoRequest,
    prior: &[(&str, &Changeset)],
    dry_run: bool,
) -> Result<(UndoReport, Changeset), DataError> {
    let mut report = UndoReport { dry_run, ..UndoReport::default() };
    let effects = scope(call, snapshot, request, prior, &mut report)?;
    let abort = request.on_conflict == OnConflict::Abort && !dry_run;
    if let (true, Some(not_undone)) = (abort, report.not_undone.first()) {
        return Err(DataError::NotUndoable(not_undone.reason.clone()));
    }

    let mut conflicts = Conflicts::new(call);
    let force = request.on_conflict == OnConflict::Force;
    let tables = snapshot.and_then(|snapshot| snapshot.tables.as_deref());
    let net = net(call, &effects, tables, force, &mut conflicts)?;

    let session = call.ok(Session::start(call.connection, &Gauge::default()))?;
    let others = if force { Others::Overwrite } else { Others::Keep };
    replay(call, &net, Direction::Back, others, &mut conflicts)?;
    let bytes = call.ok(session.changeset())?;
    drop(session);

    // Dangling foreign keys cannot be committed, whatever was asked for.
    if (abort && conflicts.total > 0) || (!dry_run && conflicts.foreign_keys) {
        return Err(DataError::UndoConflict { conflicts_found: conflicts.rows, total: conflicts.total });
    }
    let done = Changeset { tables: capture::shapes(call, &bytes)?, bytes };
    let shown = evidence::show(call, &done, Detail::Changed)?;
    report.notes = notes(call, &done)?;
    report.diff = shown.changes;
    report.tables = shown.tables;
    report.truncated = shown.truncated || conflicts.truncated;
    report.conflicts = conflicts.rows;
    report.skipped = conflicts.kept;
    Ok((report, done))
}

/// The changesets of the scope, in the order of their commits; those of `prior` are committed last.
fn scope(
    call: &Call<'_>,
    snapshot: Option<&Snapshot>,
    request: &UndoRequest,
    prior: &[(&str, &Changeset)],
    report: &mut UndoReport,
) -> Result<Vec<Changeset>, DataError> {
    let records = effects::presence(call)? == Presence::Ours;
    let mut rows = Vec::new();
    let waiting = |id: &String| prior.iter().any(|(effect, _)| effect == id);
    for id in request.scope.iter().filter(|id| !waiting(id)) {
        let row = if records { effects::load(call, id)? } else { None };
        match row {
            Some(row) => rows.push(row),
            None => report.absent.push(id.clone()),
        }
    }
    rows.sort_by_key(|row| row.seq);
    rows.dedup_by_key(|row| row.seq);
    let mut changesets = Vec::new();
    for row in rows.into_iter().filter(|row| snapshot.is_none_or(|snapshot| row.seq > snapshot.watermark)) {
        match row.change {
            Ok(changeset) => changesets.push(changeset),
            Err(reason) => report.not_undone.push(NotUndone { effect_id: row.effect_id, reason }),
        }
    }
    for (id, changeset) in prior.iter().filter(|(id, _)| request.scope.iter().any(|named| named == id)) {
        match keyless(changeset) {
            None => changesets.push((*changeset).clone()),
            Some(reason) => report.not_undone.push(NotUndone { effect_id: (*id).to_owned(), reason }),
        }
    }
    Ok(changesets)
}

/// What stays different although the rows are back.
fn notes(call: &Call<'_>, done: &Changeset) -> Result<Vec<String>, DataError> {
    let mut notes = Vec::new();
    for shape in &done.tables {
        if has_counter(call, &shape.name)? {
            notes.push(format!("the AUTOINCREMENT counter of `{}` keeps its value", shape.name));
        }
        if schema::table(call, &shape.name)?.is_some_and(|table| table.nullable_key) {
            let reason = NotHeld::NullKey { table: shape.name.clone() };
            tracing::debug!(%reason, "such rows would have been refused when they were written");
        }
    }
    Ok(notes)
}
