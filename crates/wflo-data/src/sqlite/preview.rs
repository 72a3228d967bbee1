//! Writes that are looked at first, and committed as they were seen.
//!
//! Owns the chain: each preview re-applies the changes so far, runs its statement, captures, and
//! rolls everything back. Nothing of it is ever visible to anybody else.

use super::Sqlite;
use super::apply::{recorded, replayed, writable};
use super::capture::{self, Need};
use super::connection::Call;
use super::effects::{self, RecordKind};
use super::evidence::{self, Detail};
use super::replay::{Conflicts, Direction, Others, check_shapes, replay, row_conflict};
use super::session;
use crate::change::Evidence;
use crate::changeset::Changeset;
use crate::class::NotHeld;
use crate::database::{Applied, Effect};
use crate::error::DataError;
use crate::preview::{Committed, Preview};
use crate::statement::{Rows, Write};
use crate::undo::ConflictKind;

impl Sqlite {
    /// See [`Database::preview`](crate::Database::preview).
    pub(crate) fn preview(&self, prior: &[Changeset], write: &Write) -> Result<Preview, DataError> {
        self.pool.call(|call| {
            writable(call)?;
            call.rolled_back(|| {
                replay_prior(call, prior)?;
                let captured = capture::run(call, write, Need::Preview)?;
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

    /// See [`Database::commit_preview`](crate::Database::commit_preview).
    pub(crate) fn commit_preview(
        &self,
        effect: Effect<'_>,
        preview: &Preview,
    ) -> Result<Committed, DataError> {
        self.pool.call(|call| {
            if let Some(applied) = recorded(call, effect)? {
                return Ok(Committed::Applied(applied));
            }
            if let Some(reason) = &preview.evidence.not_held {
                return Err(DataError::PreviewIncomplete(reason.clone()));
            }
            writable(call)?;
            let mut conflicts = Conflicts::new(call);
            let committed = call.committed(|| commit(call, effect, preview, &mut conflicts));
            match committed {
                Ok(Some(applied)) => Ok(Committed::Applied(applied)),
                Ok(None) => Ok(Committed::Conflict(conflicts.rows)),
                // What `commit` rolls back by.
                Err(DataError::PreviewStale { conflicts_found }) => Ok(Committed::Conflict(conflicts_found)),
                Err(error) => Err(error),
            }
        })
    }
}

fn commit(
    call: &Call<'_>,
    effect: Effect<'_>,
    preview: &Preview,
    conflicts: &mut Conflicts,
) -> Result<Option<Applied>, DataError> {
    let records = effects::ensure(call)?;
    if records && let Some(row) = effects::find(call, effect)? {
        return replayed(row).map(Some);
    }
    let changeset = &preview.changeset;
    replay_checked(call, changeset, Some(&preview.guards), conflicts)?;
    let keyless = changeset.tables.iter().find(|table| table.by_rowid);
    let change = match keyless {
        None => Ok(changeset.clone()),
        Some(table) => Err(NotHeld::NoPrimaryKey { table: table.name.clone() }),
    };
    if records {
        effects::insert(call, effect, RecordKind::Write, &preview.result, &change)?;
    }
    Ok(Some(Applied {
        result: preview.result.clone(),
        digest: Some(changeset.digest()),
        not_held: change.err().or((!records).then_some(NotHeld::NoRecord)),
        replayed: false,
        recorded: records,
    }))
}

/// Re-applies the changes of a chain so far, in the open transaction.
pub(super) fn replay_prior(call: &Call<'_>, prior: &[Changeset]) -> Result<(), DataError> {
    for changeset in prior {
        replay_checked(call, changeset, None, &mut Conflicts::new(call))?;
    }
    Ok(())
}

fn replay_checked(
    call: &Call<'_>,
    changeset: &Changeset,
    guards: Option<&[u8]>,
    conflicts: &mut Conflicts,
) -> Result<(), DataError> {
    // Before anything is read by its name: SQLite takes an unknown "name" for a text.
    check_shapes(call, changeset)?;
    let differing = match guards {
        Some(guards) => evidence::check_guards(call, changeset, guards)?,
        None => Vec::new(),
    };
    for (change, now) in differing {
        let kind = if now.is_some() { ConflictKind::Changed } else { ConflictKind::Missing };
        let now = now.map(|row| row.into_iter().map(Some).collect::<Vec<_>>());
        conflicts.add(row_conflict(changeset, &change, kind, now.as_deref()));
    }
    if conflicts.total == 0 {
        replay(call, changeset, Direction::Forward, Others::Keep, conflicts)?;
    }
    match conflicts.total {
        0 => Ok(()),
        _ => Err(DataError::PreviewStale { conflicts_found: std::mem::take(&mut conflicts.rows) }),
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
