//! Applying a changeset: SQLite does it, the caller answers each conflict.

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::Connection;

use super::changes::{Change, decode, size_of_changeset, values};
use super::raw::*;
use crate::value::Value;

/// How the database differs from what a change expects.
pub(in crate::sqlite) enum Clash {
    /// The row is there and differs; its values now.
    Changed(Change, Vec<Option<Value>>),
    /// The row is not there.
    Missing(Change),
    /// A row that is to be inserted is there already; its values.
    Exists(Change, Vec<Option<Value>>),
    /// A constraint would be broken.
    Constraint(Change),
    /// This many foreign keys are left dangling at the end.
    ForeignKeys,
}

/// What to do about a [`Clash`].
pub(in crate::sqlite) enum Answer {
    /// Leave the row alone.
    Leave,
    /// Overwrite it; only for `Changed` and `Exists`, otherwise the row is left alone.
    Overwrite,
}

struct Judge<'a> {
    decide: &'a mut dyn FnMut(Clash) -> Answer,
    error: Option<rusqlite::Error>,
}

/// Applies a changeset, or its inverse, inside the caller's transaction, with foreign keys deferred
/// and their actions off: what actions did is in the changeset. The caller turns triggers off.
///
/// Tables that do not fit are silently skipped by SQLite: check the shapes first.
pub(in crate::sqlite) fn apply(
    connection: &Connection,
    changeset: &[u8],
    inverse: bool,
    decide: &mut dyn FnMut(Clash) -> Answer,
) -> rusqlite::Result<()> {
    if changeset.is_empty() {
        return Ok(());
    }
    let size = size_of_changeset(changeset)?;
    let flags = APPLY_NOSAVEPOINT | APPLY_FKNOACTION | if inverse { APPLY_INVERT } else { 0 };
    let mut judge = Judge { decide, error: None };
    // SAFETY: the handle is open while `connection` is borrowed; the bytes are only read; `judge`
    // outlives the call and is reached through the context pointer alone while it lasts; no rebase
    // buffer is asked for.
    let code = unsafe {
        sqlite3changeset_apply_v2(
            connection.handle(),
            size,
            changeset.as_ptr().cast_mut().cast(),
            None,
            Some(answer),
            (&raw mut judge).cast(),
            ptr::null_mut(),
            ptr::null_mut(),
            flags,
        )
    };
    match judge.error {
        Some(error) => Err(error),
        None => check(code),
    }
}

unsafe extern "C" fn answer(ctx: *mut c_void, conflict: c_int, iter: *mut RawIter) -> c_int {
    // SAFETY: `ctx` is the `Judge` of the `apply` that is running on this thread.
    let judge = unsafe { &mut *ctx.cast::<Judge<'_>>() };
    match clash(conflict, iter) {
        Ok(clash) => {
            let replaceable = matches!(clash, Clash::Changed(..) | Clash::Exists(..));
            match (judge.decide)(clash) {
                Answer::Overwrite if replaceable => ANSWER_REPLACE,
                _ => ANSWER_OMIT,
            }
        }
        Err(error) => {
            judge.error = Some(error);
            ANSWER_ABORT
        }
    }
}

fn clash(conflict: c_int, iter: *mut RawIter) -> rusqlite::Result<Clash> {
    let current = |change: &Change| {
        let columns = c_int::try_from(change.key.len()).unwrap_or(0);
        values(iter, columns, sqlite3changeset_conflict)
    };
    Ok(match conflict {
        CONFLICT_DATA => {
            let change = decode(iter)?;
            let values = current(&change)?;
            Clash::Changed(change, values)
        }
        CONFLICT_CONFLICT => {
            let change = decode(iter)?;
            let values = current(&change)?;
            Clash::Exists(change, values)
        }
        CONFLICT_NOTFOUND => Clash::Missing(decode(iter)?),
        CONFLICT_CONSTRAINT => Clash::Constraint(decode(iter)?),
        _ => Clash::ForeignKeys,
    })
}
