//! Reading changesets, and joining them.

use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr;

use libsqlite3_sys as ffi;

use super::raw::*;
use crate::change::ChangeKind;
use crate::value::Value;

/// One change as it stands in a changeset. Columns are numbered as in the table's shape.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::sqlite) struct Change {
    /// The table.
    pub table: String,
    /// What happens to the row.
    pub kind: ChangeKind,
    /// For each column, its place in the primary key, or 0.
    pub key: Vec<u8>,
    /// Values before: all for a delete; key and changed columns for an update.
    pub old: Vec<Option<Value>>,
    /// Values after: all for an insert; the changed columns for an update.
    pub new: Vec<Option<Value>>,
}

/// Reads a changeset change by change. Only the current one is decoded.
pub(in crate::sqlite) struct Changes<'data> {
    raw: *mut RawIter,
    _data: PhantomData<&'data [u8]>,
}

impl<'data> Changes<'data> {
    /// Starts reading.
    pub(in crate::sqlite) fn of(changeset: &'data [u8]) -> rusqlite::Result<Self> {
        let mut raw = ptr::null_mut();
        let size = size_of_changeset(changeset)?;
        // SAFETY: the bytes outlive the iterator (`'data`) and SQLite only reads them, whatever the
        // pointer's type says.
        check(unsafe { sqlite3changeset_start(&raw mut raw, size, changeset.as_ptr().cast_mut().cast()) })?;
        Ok(Changes { raw, _data: PhantomData })
    }

    /// Moves to the next change.
    pub(in crate::sqlite) fn advance(&mut self) -> rusqlite::Result<bool> {
        // SAFETY: the iterator is valid until it is dropped.
        match unsafe { sqlite3changeset_next(self.raw) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(failed(code)),
        }
    }

    /// The table and kind of the current change.
    pub(in crate::sqlite) fn head(&self) -> rusqlite::Result<(String, ChangeKind)> {
        head(self.raw).map(|(table, kind, _)| (table, kind))
    }

    /// The current change.
    pub(in crate::sqlite) fn decode(&self) -> rusqlite::Result<Change> {
        decode(self.raw)
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        // SAFETY: started by `of`, finalized once. The code repeats an earlier error of `advance`.
        unsafe { sqlite3changeset_finalize(self.raw) };
    }
}

pub(super) fn size_of_changeset(changeset: &[u8]) -> rusqlite::Result<c_int> {
    c_int::try_from(changeset.len()).map_err(|_| failed(ffi::SQLITE_TOOBIG))
}

/// Table, kind and number of columns of an iterator's current change.
fn head(iter: *mut RawIter) -> rusqlite::Result<(String, ChangeKind, c_int)> {
    let (mut table, mut columns, mut op, mut indirect) = (ptr::null(), 0, 0, 0);
    // SAFETY: the callers' iterators are valid and point at a change; all places are valid.
    check(unsafe {
        sqlite3changeset_op(iter, &raw mut table, &raw mut columns, &raw mut op, &raw mut indirect)
    })?;
    // SAFETY: SQLite gives a C string that lives until the iterator moves; it is copied.
    let table = unsafe { CStr::from_ptr(table) }.to_string_lossy().into_owned();
    let kind = match op {
        SQLITE_INSERT => ChangeKind::Insert,
        SQLITE_DELETE => ChangeKind::Delete,
        _ => ChangeKind::Update,
    };
    Ok((table, kind, columns))
}

type Getter = unsafe extern "C" fn(*mut RawIter, c_int, *mut *mut ffi::sqlite3_value) -> c_int;

pub(super) fn decode(iter: *mut RawIter) -> rusqlite::Result<Change> {
    let (table, kind, columns) = head(iter)?;
    let (mut key, mut key_columns) = (ptr::null_mut(), 0);
    // SAFETY: as in `head`.
    check(unsafe { sqlite3changeset_pk(iter, &raw mut key, &raw mut key_columns) })?;
    let length = usize::try_from(key_columns).unwrap_or(0);
    // SAFETY: SQLite gives one byte a column, alive until the iterator moves; copied.
    let key = unsafe { std::slice::from_raw_parts(key, length) }.to_vec();
    let old = match kind {
        ChangeKind::Insert => vec![None; length],
        _ => values(iter, columns, sqlite3changeset_old)?,
    };
    let new = match kind {
        ChangeKind::Delete => vec![None; length],
        _ => values(iter, columns, sqlite3changeset_new)?,
    };
    Ok(Change { table, kind, key, old, new })
}

pub(super) fn values(
    iter: *mut RawIter,
    columns: c_int,
    get: Getter,
) -> rusqlite::Result<Vec<Option<Value>>> {
    (0..columns)
        .map(|column| {
            let mut value = ptr::null_mut();
            // SAFETY: the iterator points at a change of a kind that `get` is defined for, and
            // `column` is within its columns.
            check(unsafe { get(iter, column, &raw mut value) })?;
            Ok(if value.is_null() { None } else { Some(read_value(value)) })
        })
        .collect()
}

/// Copies a value that SQLite owns.
fn read_value(value: *mut ffi::sqlite3_value) -> Value {
    // SAFETY: the callers pass a non-null value that lives during this call and is used by this
    // thread only. For text and blobs the pointer is asked for before the size, as the manual says,
    // and covers that many bytes; null means no bytes.
    unsafe {
        let bytes = |data: *const u8| {
            let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
            if data.is_null() { Vec::new() } else { std::slice::from_raw_parts(data, length).to_vec() }
        };
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => match String::from_utf8(bytes(ffi::sqlite3_value_text(value))) {
                Ok(text) => Value::Text(text),
                Err(invalid) => Value::Blob(invalid.into_bytes()),
            },
            ffi::SQLITE_BLOB => Value::Blob(bytes(ffi::sqlite3_value_blob(value).cast())),
            _ => Value::Null,
        }
    }
}

/// Several changes joined into their net change.
pub(in crate::sqlite) struct Group(*mut RawGroup);

impl Group {
    /// An empty one.
    pub(in crate::sqlite) fn new() -> rusqlite::Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a valid place for the result.
        check(unsafe { sqlite3changegroup_new(&raw mut raw) })?;
        Ok(Group(raw))
    }

    /// Adds the change that `changes` stands at, as happening after all those added before.
    pub(in crate::sqlite) fn add(&mut self, changes: &Changes<'_>) -> rusqlite::Result<()> {
        // SAFETY: both are valid; the iterator stands at a change or SQLite reports an error.
        check(unsafe { sqlite3changegroup_add_change(self.0, changes.raw) })
    }

    /// The net change.
    pub(in crate::sqlite) fn changeset(&self) -> rusqlite::Result<Vec<u8>> {
        let (mut size, mut data) = (0, ptr::null_mut());
        // SAFETY: the group is valid and both places are; the buffer is copied and freed below.
        check(unsafe { sqlite3changegroup_output(self.0, &raw mut size, &raw mut data) })?;
        Ok(take_buffer(size, data))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted once.
        unsafe { sqlite3changegroup_delete(self.0) };
    }
}
