//! Writes that are looked at first, and committed as they were seen.
//!
//! Owns the chain: each preview re-applies the changes so far, runs its statement, captures, and
//! rolls everything back. Nothing of it is ever visible to anybody else, until all of it is committed
//! at once.

use super::Sqlite;
use super::apply::{recorded, replayed, writable};
use super::capture::{self, Captured, Need};
use super::connection::Call;
use super::effects::{self, RecordKind};
use super::evidence::{self, Detail};
use super::replay::{Conflicts, Direction, Others, check_shapes, replay, row_conflict};
use super::session;
use crate::change::Evidence;
use crate::changeset::Changeset;
use crate::class::NotHeld;
use crate::database::{Applied, Effect, Requirements};
use crate::error::DataError;
use crate::preview::{Committed, Preview};
use crate::statement::{Rows, Write};
use crate::undo::ConflictKind;

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
                let captured = capture::run(call, write, Need::Preview)?;
                if let (true, Some(reason)) = (requirements.undoable, not_undoable(&captured)) {
                    return Err(DataError::NotUndoable(reason));
                }
                // A COMMIT would say so; here there is none.
                if call.ok(session::owes_foreign_keys(call.connection))? {
                    let detail = "FOREIGN KEY constraint failed".to_owned();
                    return Err(DataError::Constraint { detail });
                }
                let shown = evidence::show(call, &captured.changeset, Detail::Whole)?;
                let digest = digest(&captured.changeset, &shown.guards, &captured.result);
                Ok(Preview {
                    result: captured.result,
                    evidence: Evidence {
                        changes: shown.changes,
                        tables: shown.tables,
                        truncated: shown.truncated,
                        digest,
                        not_held: captured.not_held,
                    },
                    changeset: captured.changeset,
                    guards: shown.guards,
                })
            })
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
            let known = chain.iter().map(|(effect, _)| recorded(call, *effect));
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

/// Why what was captured could not be undone once it is committed.
fn not_undoable(captured: &Captured) -> Option<NotHeld> {
    captured.not_held.clone().or_else(|| keyless(&captured.changeset))
}

fn keyless(changeset: &Changeset) -> Option<NotHeld> {
    let table = changeset.tables.iter().find(|table| table.by_rowid)?;
    Some(NotHeld::NoPrimaryKey { table: table.name.clone() })
}

/// Makes one change of a chain, with its record, in the open transaction.
fn commit(call: &Call<'_>, effect: Effect<'_>, preview: &Preview) -> Result<Applied, DataError> {
    let records = effects::ensure(call)?;
    if records && let Some(row) = effects::find(call, effect)? {
        return replayed(row);
    }
    let changeset = &preview.changeset;
    replay_checked(call, changeset, Some(&preview.guards))?;
    let change = match keyless(changeset) {
        None => Ok(changeset.clone()),
        Some(reason) => Err(reason),
    };
    if records {
        effects::insert(call, effect, RecordKind::Write, &preview.result, &change)?;
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
fn digest(changeset: &Changeset, guards: &[u8], result: &Rows) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"wflo preview 1\0");
    hasher.update(changeset.digest().as_bytes());
    hasher.update(&(guards.len() as u64).to_be_bytes());
    hasher.update(guards);
    // Into a hasher, of values: cannot fail.
    let _ = serde_json::to_writer(&mut hasher, result);
    hasher.finalize().to_hex().to_string()
}
