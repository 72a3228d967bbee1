//! Puts captured changes, or their inverse, into the database.
//!
//! Owns the check that each table is still what it was, and the list of rows that are not. Triggers
//! are off and foreign-key actions too: what they did is in the changeset.

use super::connection::Call;
use super::evidence::{self, Budget, shorten_value};
use super::schema;
use super::session::{self, Answer, Change, Clash};
use crate::change::{ChangeKind, Record};
use crate::changeset::Changeset;
use crate::error::DataError;
use crate::undo::{ConflictKind, RowConflict};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    /// The inverse.
    Back,
}

/// What to do with rows that somebody else changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    Keep,
    Overwrite,
}

/// Rows that were not as expected.
pub(super) struct Conflicts {
    /// The first ones.
    pub rows: Vec<RowConflict>,
    pub total: u64,
    /// Those that keep what somebody else wrote.
    pub kept: u64,
    /// Whether foreign keys would be left dangling: then the transaction cannot be committed.
    pub foreign_keys: bool,
    pub truncated: bool,
    budget: Budget,
}

impl Conflicts {
    /// None yet.
    pub(super) fn new(call: &Call<'_>) -> Self {
        Conflicts {
            rows: Vec::new(),
            total: 0,
            kept: 0,
            foreign_keys: false,
            truncated: false,
            budget: Budget::new(call),
        }
    }

    /// Counts one, and lists it while there is room.
    pub(super) fn add(&mut self, mut conflict: RowConflict) {
        self.total += 1;
        let sides = [Some(&mut conflict.key), conflict.expected.as_mut(), conflict.found.as_mut()];
        for (_, value) in sides.into_iter().flatten().flat_map(|record| &mut record.0) {
            self.truncated |= shorten_value(value);
        }
        if self.budget.pay(&conflict) {
            self.rows.push(conflict);
        } else {
            self.truncated = true;
        }
    }
}

/// Replays a changeset in the open transaction.
pub(super) fn replay(
    call: &Call<'_>,
    changeset: &Changeset,
    direction: Direction,
    others: Others,
    conflicts: &mut Conflicts,
) -> Result<(), DataError> {
    check_shapes(call, changeset)?;
    let mut decide = |clash: Clash| {
        let (change, conflict, now) = match clash {
            Clash::Changed(change, now) => (change, ConflictKind::Changed, Some(now)),
            Clash::Exists(change, now) => (change, ConflictKind::Exists, Some(now)),
            Clash::Missing(change) => (change, ConflictKind::Missing, None),
            Clash::Constraint(change) => (change, ConflictKind::Constraint, None),
            Clash::ForeignKeys => {
                conflicts.foreign_keys = true;
                conflicts.add(foreign_keys());
                return Answer::Leave;
            }
        };
        let overwrites = others == Others::Overwrite && now.is_some();
        conflicts.kept += u64::from(!overwrites);
        conflicts.add(row_conflict(changeset, &change, conflict, now.as_deref()));
        if overwrites { Answer::Overwrite } else { Answer::Leave }
    };
    call.without_triggers(|| {
        let inverse = direction == Direction::Back;
        call.ok(session::apply(call.connection, &changeset.bytes, inverse, &mut decide))
    })
}

/// A conflict for a report.
pub(super) fn row_conflict(
    changeset: &Changeset,
    change: &Change,
    conflict: ConflictKind,
    now: Option<&[Option<crate::value::Value>]>,
) -> RowConflict {
    let (key, expected, found) = match evidence::shape_of(changeset, change) {
        Ok(shape) => {
            let side = |values: &[Option<_>]| evidence::record(shape, values.iter().map(Option::as_ref));
            let expected = (change.kind != ChangeKind::Insert).then(|| side(&change.old));
            (evidence::key(shape, change), expected, now.map(side))
        }
        // `check_shapes` came first; a report must not fail over a missing name.
        Err(_) => (Record::default(), None, None),
    };
    RowConflict { table: change.table.clone(), conflict, kind: change.kind, key, expected, found }
}

fn foreign_keys() -> RowConflict {
    RowConflict {
        table: String::new(),
        conflict: ConflictKind::ForeignKey,
        kind: ChangeKind::Delete,
        key: Record::default(),
        expected: None,
        found: None,
    }
}

/// Whether each table still has the columns and the key that it had. Columns added at its end do no
/// harm. SQLite itself compares only numbers of columns, and silently skips a table that differs.
pub(super) fn check_shapes(call: &Call<'_>, changeset: &Changeset) -> Result<(), DataError> {
    for then in &changeset.tables {
        let altered = |detail: &str| {
            Err(DataError::SchemaChanged { table: then.name.clone(), detail: detail.to_owned() })
        };
        let Some(table) = schema::table(call, &then.name)? else {
            return altered("it is gone");
        };
        let now = table.shape();
        let same_columns = now.columns.len() >= then.columns.len()
            && then.columns.iter().zip(&now.columns).all(|(then, now)| then.eq_ignore_ascii_case(now));
        if !same_columns {
            return altered("its columns differ");
        }
        let key_place = |index: usize| then.key.get(index).copied().unwrap_or(0);
        if now.by_rowid != then.by_rowid
            || now.key.iter().enumerate().any(|(index, place)| *place != key_place(index))
        {
            return altered("its primary key differs");
        }
    }
    Ok(())
}
