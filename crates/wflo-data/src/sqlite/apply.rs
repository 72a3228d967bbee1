//! Writes that happen once.
//!
//! Owns the transaction in which a change and its record are made together.

use super::Sqlite;
use super::capture::{self, Need};
use super::connection::Call;
use super::effects::{self, Presence, RecordKind, Row};
use crate::class::NotHeld;
use crate::database::{Applied, Effect, Forgotten, Known, Recording, Requirements};
use crate::error::DataError;
use crate::statement::{Rows, Write};

/// Why a database keeps no record.
const FOREIGN: &str = "the name `_wflo_effects` is taken by something else";

impl Sqlite {
    /// See [`Database::recording`](crate::Database::recording).
    pub(crate) fn recording(&self) -> Result<Recording, DataError> {
        self.pool.call(|call| {
            if call.is_read_only()? {
                return Ok(Recording::ReadOnly);
            }
            Ok(match effects::presence(call)? {
                Presence::Absent | Presence::Ours => Recording::ExactlyOnce,
                Presence::Foreign => Recording::Guarded { reason: FOREIGN.to_owned() },
            })
        })
    }

    /// See [`Database::recorded`](crate::Database::recorded).
    pub(crate) fn recorded(&self, effect: Effect<'_>) -> Result<Option<Applied>, DataError> {
        self.pool.call(|call| recorded(call, effect))
    }

    /// See [`Database::known`](crate::Database::known).
    pub(crate) fn known(&self, effect: Effect<'_>) -> Result<Known, DataError> {
        self.pool.call(|call| match effects::presence(call)? {
            Presence::Absent => Ok(Known::NotMade),
            Presence::Foreign => Ok(Known::Unrecorded { reason: FOREIGN.to_owned() }),
            Presence::Ours => match effects::find(call, effect)? {
                None => Ok(Known::NotMade),
                Some(row) => serde_json::from_str(&row.result).map(Known::Made).map_err(|error| {
                    DataError::RecordDamaged { effect_id: row.effect_id, detail: error.to_string() }
                }),
            },
        })
    }

    /// See [`Database::apply`](crate::Database::apply).
    pub(crate) fn apply(
        &self,
        effect: Effect<'_>,
        write: &Write,
        requirements: Requirements,
    ) -> Result<Applied, DataError> {
        self.pool.call(|call| {
            // Without the write lock first: a replay disturbs nobody.
            if let Some(applied) = recorded(call, effect)? {
                return Ok(applied);
            }
            writable(call)?;
            call.committed(|| {
                let records = effects::ensure(call)?;
                if records && let Some(row) = effects::find(call, effect)? {
                    return replayed(row);
                }
                if requirements.undoable && !records {
                    return Err(DataError::NotUndoable(NotHeld::NoRecord));
                }
                let need = if requirements.undoable { Need::Undo } else { Need::UndoIfPossible };
                let captured = capture::run(call, write, need)?;
                let change = match captured.not_held {
                    None => Ok(captured.changeset),
                    Some(reason) => Err(reason),
                };
                if records {
                    effects::insert(call, effect, RecordKind::Write, &captured.result, &change)?;
                }
                Ok(Applied {
                    result: captured.result,
                    digest: change.as_ref().ok().map(|changeset| changeset.digest()),
                    not_held: change.err().or((!records).then_some(NotHeld::NoRecord)),
                    replayed: false,
                    recorded: records,
                })
            })
        })
    }

    /// See [`Database::forget`](crate::Database::forget).
    pub(crate) fn forget(&self, owner: &str) -> Result<Forgotten, DataError> {
        self.pool.call(|call| {
            // Most runs left nothing: that is seen without the write lock.
            if effects::presence(call)? != Presence::Ours || effects::count(call, owner)? == 0 {
                return Ok(Forgotten::default());
            }
            writable(call)?;
            call.committed(|| {
                let removed = effects::remove(call, owner)?;
                Ok(Forgotten { removed, left: effects::count(call, owner)? })
            })
        })
    }
}

/// Refuses a file that cannot be written.
pub(super) fn writable(call: &Call<'_>) -> Result<(), DataError> {
    match call.is_read_only()? {
        true => Err(DataError::ReadOnly { name: call.name() }),
        false => Ok(()),
    }
}

/// The recorded outcome of an effect.
pub(super) fn recorded(call: &Call<'_>, effect: Effect<'_>) -> Result<Option<Applied>, DataError> {
    if effects::presence(call)? != Presence::Ours {
        return Ok(None);
    }
    effects::find(call, effect)?.map(replayed).transpose()
}

/// A recorded write as an outcome.
pub(super) fn replayed(row: Row) -> Result<Applied, DataError> {
    let result: Rows = serde_json::from_str(&row.result)
        .map_err(|error| DataError::RecordDamaged { effect_id: row.effect_id, detail: error.to_string() })?;
    Ok(Applied {
        result,
        digest: row.change.as_ref().ok().map(|changeset| changeset.digest()),
        not_held: row.change.err(),
        replayed: true,
        recorded: true,
    })
}
