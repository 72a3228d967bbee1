//! Writes that are looked at first, and committed as they were seen.
//!
//! Owns the chain: each preview re-applies the changes so far, runs its statement, captures, and
//! rolls everything back. Nothing of it is ever visible to anybody else, until all of it is committed
//! at once. A write that no changeset holds is shown by a [`trial`], and run again under its seal.

use std::collections::BTreeMap;

use super::Sqlite;
use super::apply::{recorded, replayed, writable};
use super::capture::{self, Captured, Need};
use super::connection::Call;
use super::effects::{self, Presence, RecordKind};
use super::evidence::{self, Detail};
use super::replay::{Conflicts, Direction, Others, check_shapes, replay, row_conflict};
use super::session;
use super::trial;
use crate::change::Evidence;
use crate::changeset::Changeset;
use crate::class::NotHeld;
use crate::database::{Applied, Effect, Requirements};
use crate::error::DataError;
use crate::preview::{Committed, Preview};
use crate::seal::{Resealed, Seal};
use crate::statement::{Rows, Write};
use crate::undo::{ConflictKind, UndoReport};

/// How often a write is run to learn which tables it changes.
const ROUNDS: usize = 3;

impl Sqlite {
    /// See [`Database::preview`](crate::Database::preview).
    pub(crate) fn preview(
        &self,
        prior: &[&Changeset],
        write: &Write,
        requirements: Requirements,
    ) -> Result<Preview, DataError> {
        self.pool.call(|call| {
            writable(call)?;
            call.rolled_back(|| {
                replay_prior(call, prior)?;
                call.ok(call.connection.execute_batch("SAVEPOINT wflo_preview"))?;
                let captured = capture::run(call, write, Need::Preview)?;
                if let (true, Some(reason)) = (requirements.undoable, not_undoable(&captured)) {
                    return Err(DataError::NotUndoable(reason));
                }
                // On top of others it is not shown: they are decided first.
                if let (true, Some(reason)) = (prior.is_empty(), captured.not_held.clone()) {
                    call.ok(call.connection.execute_batch("ROLLBACK TO wflo_preview"))?;
                    return self.sealed_preview(call, write, reason);
                }
                // A COMMIT would say so; here there is none.
                if call.ok(session::owes_foreign_keys(call.connection))? {
                    let detail = "FOREIGN KEY constraint failed".to_owned();
                    return Err(DataError::Constraint { detail });
                }
                self::captured(call, captured.changeset, captured.result, captured.not_held, None)
            })
        })
    }

    /// A preview of a write that no changeset holds, at the savepoint of the open transaction.
    fn sealed_preview(&self, call: &Call<'_>, write: &Write, reason: NotHeld) -> Result<Preview, DataError> {
        let (mut read, time) = (BTreeMap::new(), session::system_time());
        let mut trial = trial::run(call, write, &reason, time, &read)?;
        // Each round reads the tables beforehand that the one before it was seen to change.
        for _ in 0..ROUNDS {
            if trial.unread.is_empty() {
                break;
            }
            read.extend(std::mem::take(&mut trial.unread));
            call.ok(call.connection.execute_batch("ROLLBACK TO wflo_preview"))?;
            trial = trial::run(call, write, &reason, time, &read)?;
        }
        let unsteady = (!trial.unread.is_empty()).then_some(NotHeld::Unsteady);
        let unseen = trial.unseen.or(unsteady);
        if let (Some(unseen), false) = (&unseen, self.allow_unseen) {
            return Err(DataError::Unseen(unseen.clone()));
        }
        if call.ok(session::owes_foreign_keys(call.connection))? {
            let detail = "FOREIGN KEY constraint failed".to_owned();
            return Err(DataError::Constraint { detail });
        }
        Ok(Preview {
            result: trial.result,
            evidence: Evidence {
                changes: trial.shown.changes,
                tables: trial.shown.tables,
                truncated: trial.shown.truncated,
                definitions: trial.definitions,
                internal: trial.internal,
                digest: trial.seal.digest(),
                not_held: Some(reason),
                unseen: unseen.clone(),
            },
            changeset: Changeset::default(),
            guards: Vec::new(),
            seal: unseen.is_none().then_some(trial.seal),
            undo: None,
        })
    }

    /// See [`Database::apply_sealed`](crate::Database::apply_sealed).
    pub(crate) fn apply_sealed(
        &self,
        effect: Effect<'_>,
        write: &Write,
        seal: &Seal,
    ) -> Result<Resealed, DataError> {
        self.pool.call(|call| {
            // Without the write lock first: a replay disturbs nobody.
            if let Some(applied) = recorded(call, effect)? {
                return Ok(Resealed::Applied(applied));
            }
            writable(call)?;
            let committed = call.committed(|| {
                let records = effects::ensure(call)?;
                if records && let Some(row) = effects::find(call, effect)? {
                    return replayed(row);
                }
                let trial = trial::run(call, write, &seal.reason, seal.time, &seal.read)?;
                let mut parts = seal.differences(&trial.seal);
                parts.extend(trial.unread.into_keys().map(|table| format!("rows of `{table}`")));
                if !parts.is_empty() || trial.unseen.is_some() {
                    return Err(DataError::SealBroken { parts });
                }
                let change = Err(seal.reason.clone());
                if records {
                    effects::insert(call, effect, RecordKind::Write, &trial.result, &change)?;
                }
                Ok(Applied {
                    result: trial.result,
                    digest: None,
                    not_held: change.err(),
                    replayed: false,
                    recorded: records,
                })
            });
            match committed {
                Ok(applied) => Ok(Resealed::Applied(applied)),
                // What the transaction is rolled back by.
                Err(DataError::SealBroken { parts }) => Ok(Resealed::Differs { parts }),
                Err(error) => Err(error),
            }
        })
    }

    /// See [`Database::commit_previews`](crate::Database::commit_previews).
    pub(crate) fn commit_previews(
        &self,
        chain: &[(Effect<'_>, &Preview)],
        dry_run: bool,
    ) -> Result<Committed, DataError> {
        self.pool.call(|call| {
            // Without the write lock first: a replay disturbs nobody.
            let known = chain.iter().map(|(effect, preview)| known(call, *effect, preview));
            if let Some(all) = known.collect::<Result<Option<Vec<_>>, _>>()? {
                return Ok(Committed::Applied(all));
            }
            let incomplete = chain.iter().find_map(|(_, preview)| preview.evidence.not_held.clone());
            if let Some(reason) = incomplete {
                return Err(DataError::PreviewIncomplete(reason));
            }
            writable(call)?;
            let mut reached = 0;
            let work = || {
                let mut applied = Vec::with_capacity(chain.len());
                for (at, (effect, preview)) in chain.iter().enumerate() {
                    reached = at;
                    applied.push(commit(call, *effect, preview)?);
                }
                Ok(applied)
            };
            let committed = if dry_run { call.rolled_back(work) } else { call.committed(work) };
            match committed {
                Ok(applied) => Ok(Committed::Applied(applied)),
                // What `commit` rolls all of them back by.
                Err(DataError::PreviewStale { conflicts_found: rows }) => {
                    Ok(Committed::Conflict { at: reached, rows })
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// A change that was captured in the open transaction, in which it is made, as a preview.
pub(super) fn captured(
    call: &Call<'_>,
    changeset: Changeset,
    result: Rows,
    not_held: Option<NotHeld>,
    undo: Option<UndoReport>,
) -> Result<Preview, DataError> {
    let shown = evidence::show(call, &changeset, Detail::Whole)?;
    let digest = digest(&changeset, &shown.guards, &result, undo.as_ref());
    Ok(Preview {
        result,
        evidence: Evidence {
            changes: shown.changes,
            tables: shown.tables,
            truncated: shown.truncated,
            definitions: Vec::new(),
            internal: BTreeMap::new(),
            digest,
            unseen: not_held.clone(),
            not_held,
        },
        changeset,
        guards: shown.guards,
        seal: None,
        undo,
    })
}

/// Why what was captured could not be undone once it is committed.
fn not_undoable(captured: &Captured) -> Option<NotHeld> {
    captured.not_held.clone().or_else(|| keyless(&captured.changeset))
}

pub(super) fn keyless(changeset: &Changeset) -> Option<NotHeld> {
    let table = changeset.tables.iter().find(|table| table.by_rowid)?;
    Some(NotHeld::NoPrimaryKey { table: table.name.clone() })
}

/// What is on record of one change of a chain.
fn known(call: &Call<'_>, effect: Effect<'_>, preview: &Preview) -> Result<Option<Applied>, DataError> {
    if preview.undo.is_none() {
        return recorded(call, effect);
    }
    if effects::presence(call)? != Presence::Ours {
        return Ok(None);
    }
    let row = effects::find(call, effect)?;
    Ok(row.map(|row| Applied {
        result: Rows::default(),
        digest: row.change.as_ref().ok().map(|changeset| changeset.digest()),
        not_held: row.change.err(),
        replayed: true,
        recorded: true,
    }))
}

/// Makes one change of a chain, with its record, in the open transaction.
fn commit(call: &Call<'_>, effect: Effect<'_>, preview: &Preview) -> Result<Applied, DataError> {
    let records = effects::ensure(call)?;
    if records && let Some(applied) = known(call, effect, preview)? {
        return Ok(applied);
    }
    let changeset = &preview.changeset;
    replay_checked(call, changeset, Some(&preview.guards))?;
    let change = match keyless(changeset) {
        None => Ok(changeset.clone()),
        Some(reason) => Err(reason),
    };
    if records {
        match &preview.undo {
            Some(report) => effects::insert(call, effect, RecordKind::Undo, report, &change)?,
            None => effects::insert(call, effect, RecordKind::Write, &preview.result, &change)?,
        }
    }
    Ok(Applied {
        result: preview.result.clone(),
        digest: Some(changeset.digest()),
        not_held: change.err().or((!records).then_some(NotHeld::NoRecord)),
        replayed: false,
        recorded: records,
    })
}

/// Re-applies the changes of a chain so far, in the open transaction.
pub(super) fn replay_prior(call: &Call<'_>, prior: &[&Changeset]) -> Result<(), DataError> {
    for changeset in prior {
        replay_checked(call, changeset, None)?;
    }
    Ok(())
}

fn replay_checked(call: &Call<'_>, changeset: &Changeset, guards: Option<&[u8]>) -> Result<(), DataError> {
    // Before anything is read by its name: SQLite takes an unknown "name" for a text.
    check_shapes(call, changeset)?;
    let differing = match guards {
        Some(guards) => evidence::check_guards(call, changeset, guards)?,
        None => Vec::new(),
    };
    let mut conflicts = Conflicts::new(call);
    for (change, now) in differing {
        let kind = if now.is_some() { ConflictKind::Changed } else { ConflictKind::Missing };
        let now = now.map(|row| row.into_iter().map(Some).collect::<Vec<_>>());
        conflicts.add(row_conflict(changeset, &change, kind, now.as_deref()));
    }
    if conflicts.total == 0 {
        replay(call, changeset, Direction::Forward, Others::Keep, &mut conflicts)?;
    }
    match conflicts.total {
        0 => Ok(()),
        _ => Err(DataError::PreviewStale { conflicts_found: conflicts.rows }),
    }
}

/// What an approval binds to: the change, the whole rows that it was shown against, and the result
/// that the step will see.
fn digest(changeset: &Changeset, guards: &[u8], result: &Rows, undo: Option<&UndoReport>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"wflo preview 1\0");
    hasher.update(changeset.digest().as_bytes());
    hasher.update(&(guards.len() as u64).to_be_bytes());
    hasher.update(guards);
    // Into a hasher, of values: cannot fail.
    let _ = serde_json::to_writer(&mut hasher, result);
    if let Some(report) = undo {
        let _ = serde_json::to_writer(&mut hasher, report);
    }
    hasher.finalize().to_hex().to_string()
}
