//! The calls into SQLite that no safe wrapper offers: sessions, changesets, and two small ones.
//!
//! Owns every `unsafe` block of this crate. The session functions are declared by hand, because
//! the bindings' feature for them needs libclang at build time; the signatures are those of
//! `sqlite3.h` 3.54 ("Session Extension"). Nothing here decides anything: what to capture, how to
//! answer a conflict and what to show is the callers'.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use libsqlite3_sys as ffi;
use rusqlite::Connection;

use crate::change::ChangeKind;
use crate::value::Value;

#[repr(C)]
struct RawSession {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawIter {
    _opaque: [u8; 0],
}
#[repr(C)]
struct RawGroup {
    _opaque: [u8; 0],
}

type TableFilter = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
type ConflictHandler = unsafe extern "C" fn(*mut c_void, c_int, *mut RawIter) -> c_int;

unsafe extern "C" {
    fn sqlite3session_create(db: *mut ffi::sqlite3, name: *const c_char, out: *mut *mut RawSession) -> c_int;
    fn sqlite3session_delete(session: *mut RawSession);
    fn sqlite3session_object_config(session: *mut RawSession, op: c_int, arg: *mut c_void) -> c_int;
    fn sqlite3session_enable(session: *mut RawSession, enable: c_int) -> c_int;
    fn sqlite3session_attach(session: *mut RawSession, table: *const c_char) -> c_int;
    fn sqlite3session_table_filter(session: *mut RawSession, filter: Option<TableFilter>, ctx: *mut c_void);
    fn sqlite3session_changeset(session: *mut RawSession, size: *mut c_int, out: *mut *mut c_void) -> c_int;
    fn sqlite3session_memory_used(session: *mut RawSession) -> ffi::sqlite3_int64;
    fn sqlite3changeset_start(out: *mut *mut RawIter, size: c_int, changeset: *mut c_void) -> c_int;
    fn sqlite3changeset_next(iter: *mut RawIter) -> c_int;
    fn sqlite3changeset_op(
        iter: *mut RawIter,
        table: *mut *const c_char,
        columns: *mut c_int,
        op: *mut c_int,
        indirect: *mut c_int,
    ) -> c_int;
    fn sqlite3changeset_pk(iter: *mut RawIter, key: *mut *mut u8, columns: *mut c_int) -> c_int;
    fn sqlite3changeset_old(iter: *mut RawIter, column: c_int, out: *mut *mut ffi::sqlite3_value) -> c_int;
    fn sqlite3changeset_new(iter: *mut RawIter, column: c_int, out: *mut *mut ffi::sqlite3_value) -> c_int;
    fn sqlite3changeset_conflict(
        iter: *mut RawIter,
        column: c_int,
        out: *mut *mut ffi::sqlite3_value,
    ) -> c_int;
    fn sqlite3changeset_finalize(iter: *mut RawIter) -> c_int;
    fn sqlite3changegroup_new(out: *mut *mut RawGroup) -> c_int;
    fn sqlite3changegroup_add_change(group: *mut RawGroup, iter: *mut RawIter) -> c_int;
    fn sqlite3changegroup_output(group: *mut RawGroup, size: *mut c_int, out: *mut *mut c_void) -> c_int;
    fn sqlite3changegroup_delete(group: *mut RawGroup);
    fn sqlite3changeset_apply_v2(
        db: *mut ffi::sqlite3,
        size: c_int,
        changeset: *mut c_void,
        filter: Option<TableFilter>,
        conflict: Option<ConflictHandler>,
        ctx: *mut c_void,
        rebase: *mut *mut c_void,
        rebase_size: *mut c_int,
        flags: c_int,
    ) -> c_int;
}

const SESSION_OBJCONFIG_ROWID: c_int = 2;
const APPLY_NOSAVEPOINT: c_int = 0x1;
const APPLY_INVERT: c_int = 0x2;
const APPLY_FKNOACTION: c_int = 0x8;
const CONFLICT_DATA: c_int = 1;
const CONFLICT_NOTFOUND: c_int = 2;
const CONFLICT_CONFLICT: c_int = 3;
const CONFLICT_CONSTRAINT: c_int = 4;
const ANSWER_OMIT: c_int = 0;
const ANSWER_REPLACE: c_int = 1;
const ANSWER_ABORT: c_int = 2;
const SQLITE_INSERT: c_int = 18;
const SQLITE_DELETE: c_int = 9;

/// A result code of SQLite as an error of its wrapper.
fn failed(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

fn check(code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(failed(code)) }
}

/// Captures every change that its connection makes to its main database, from its creation on.
pub(super) struct Session<'conn> {
    raw: *mut RawSession,
    touched: *mut Touched,
    gauge: Gauge,
    _connection: PhantomData<&'conn Connection>,
}

/// Tables that were changed, in order of their first change. On the heap, because SQLite keeps its
/// address; owned by its session.
#[derive(Default)]
struct Touched(Vec<String>);

/// Watches a session from a progress handler of the same connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge(Arc<AtomicPtr<RawSession>>);

impl Gauge {
    /// Bytes that the session holds; 0 when there is none.
    pub(super) fn bytes(&self) -> i64 {
        let raw = self.0.load(Ordering::Acquire);
        if raw.is_null() {
            return 0;
        }
        // SAFETY: `Session::drop` stores null before it deletes the session, and a progress handler
        // runs on the thread that uses the connection, inside one of its calls, so the session
        // cannot be dropped at the same time.
        unsafe { sqlite3session_memory_used(raw) }
    }

    /// Stops the capture; what was captured is not whole from then on.
    pub(super) fn stop(&self) {
        let raw = self.0.load(Ordering::Acquire);
        if !raw.is_null() {
            // SAFETY: as in `bytes`; the call only sets a flag, under the connection's own
            // recursive mutex.
            unsafe { sqlite3session_enable(raw, 0) };
        }
    }
}

impl<'conn> Session<'conn> {
    /// Starts capturing. Statements must be prepared after this: SQLite decides at that moment
    /// whether deleting a whole table may be done without looking at its rows.
    pub(super) fn start(connection: &'conn Connection, gauge: &Gauge) -> rusqlite::Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the handle is open as long as `connection` is borrowed, "main" is a C string, and
        // `raw` is a valid place for the result.
        check(unsafe { sqlite3session_create(connection.handle(), c"main".as_ptr(), &raw mut raw) })?;
        let touched = Box::into_raw(Box::<Touched>::default());
        let session = Session { raw, touched, gauge: gauge.clone(), _connection: PhantomData };
        let mut by_rowid: c_int = 1;
        // SAFETY: the session is valid and has no table attached yet, as the option demands; it
        // reads and writes one int.
        check(unsafe {
            sqlite3session_object_config(raw, SESSION_OBJCONFIG_ROWID, (&raw mut by_rowid).cast())
        })?;
        // SAFETY: `touched` is freed after the session is deleted; the filter is only called from
        // within calls on this connection, which cannot overlap with a borrow from `touched()`.
        unsafe { sqlite3session_table_filter(raw, Some(note_table), touched.cast()) };
        // SAFETY: a null table name attaches all tables, present and future.
        check(unsafe { sqlite3session_attach(raw, ptr::null()) })?;
        session.gauge.0.store(raw, Ordering::Release);
        Ok(session)
    }

    /// The tables whose rows changed so far, whether the session could record them or not.
    pub(super) fn touched(&self) -> Vec<String> {
        // SAFETY: allocated in `start`, freed in `drop`; no call on the connection runs now.
        unsafe { &*self.touched }.0.clone()
    }

    /// What changed so far, net.
    pub(super) fn changeset(&self) -> rusqlite::Result<Vec<u8>> {
        let (mut size, mut data) = (0, ptr::null_mut());
        // SAFETY: the session is valid and both places are; the buffer is copied and freed below.
        check(unsafe { sqlite3session_changeset(self.raw, &raw mut size, &raw mut data) })?;
        Ok(take_buffer(size, data))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.gauge.0.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: created by `start`, deleted once, and before the connection, which is borrowed.
        unsafe { sqlite3session_delete(self.raw) };
        // SAFETY: from `Box::into_raw` in `start`, freed once; nothing points to it any more.
        drop(unsafe { Box::from_raw(self.touched) });
    }
}

unsafe extern "C" fn note_table(ctx: *mut c_void, name: *const c_char) -> c_int {
    // SAFETY: `ctx` is the `Touched` given in `start`; SQLite passes a C string for the call.
    let (touched, name) = unsafe { (&mut *ctx.cast::<Touched>(), CStr::from_ptr(name)) };
    touched.0.push(name.to_string_lossy().into_owned());
    1
}

/// Copies a buffer that SQLite allocated, and frees it.
fn take_buffer(size: c_int, data: *mut c_void) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    let length = usize::try_from(size).unwrap_or(0);
    // SAFETY: SQLite reported `size` initialised bytes at `data`, allocated by its own allocator.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }.to_vec();
    // SAFETY: as above; freed once, after the copy.
    unsafe { ffi::sqlite3_free(data) };
    bytes
}

/// One change as it stands in a changeset. Columns are numbered as in the table's shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
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
pub(super) struct Changes<'data> {
    raw: *mut RawIter,
    _data: PhantomData<&'data [u8]>,
}

impl<'data> Changes<'data> {
    /// Starts reading.
    pub(super) fn of(changeset: &'data [u8]) -> rusqlite::Result<Self> {
        let mut raw = ptr::null_mut();
        let size = size_of_changeset(changeset)?;
        // SAFETY: the bytes outlive the iterator (`'data`) and SQLite only reads them, whatever the
        // pointer's type says.
        check(unsafe { sqlite3changeset_start(&raw mut raw, size, changeset.as_ptr().cast_mut().cast()) })?;
        Ok(Changes { raw, _data: PhantomData })
    }

    /// Moves to the next change.
    pub(super) fn advance(&mut self) -> rusqlite::Result<bool> {
        // SAFETY: the iterator is valid until it is dropped.
        match unsafe { sqlite3changeset_next(self.raw) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(failed(code)),
        }
    }

    /// The table and kind of the current change.
    pub(super) fn head(&self) -> rusqlite::Result<(String, ChangeKind)> {
        head(self.raw).map(|(table, kind, _)| (table, kind))
    }

    /// The current change.
    pub(super) fn decode(&self) -> rusqlite::Result<Change> {
        decode(self.raw)
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        // SAFETY: started by `of`, finalized once. The code repeats an earlier error of `advance`.
        unsafe { sqlite3changeset_finalize(self.raw) };
    }
}

fn size_of_changeset(changeset: &[u8]) -> rusqlite::Result<c_int> {
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

fn decode(iter: *mut RawIter) -> rusqlite::Result<Change> {
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

fn values(iter: *mut RawIter, columns: c_int, get: Getter) -> rusqlite::Result<Vec<Option<Value>>> {
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
pub(super) struct Group(*mut RawGroup);

impl Group {
    /// An empty one.
    pub(super) fn new() -> rusqlite::Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a valid place for the result.
        check(unsafe { sqlite3changegroup_new(&raw mut raw) })?;
        Ok(Group(raw))
    }

    /// Adds the change that `changes` stands at, as happening after all those added before.
    pub(super) fn add(&mut self, changes: &Changes<'_>) -> rusqlite::Result<()> {
        // SAFETY: both are valid; the iterator stands at a change or SQLite reports an error.
        check(unsafe { sqlite3changegroup_add_change(self.0, changes.raw) })
    }

    /// The net change.
    pub(super) fn changeset(&self) -> rusqlite::Result<Vec<u8>> {
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

/// How the database differs from what a change expects.
pub(super) enum Clash {
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
pub(super) enum Answer {
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
pub(super) fn apply(
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

/// Whether deferred foreign keys are violated, so that a COMMIT would fail now.
pub(super) fn owes_foreign_keys(connection: &Connection) -> rusqlite::Result<bool> {
    let (mut now, mut highest) = (0, 0);
    // SAFETY: the handle is open while `connection` is borrowed; both places are valid.
    check(unsafe {
        ffi::sqlite3_db_status(
            connection.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut now,
            &raw mut highest,
            0,
        )
    })?;
    Ok(now != 0)
}

/// Forgets the row id of the connection's last insert, so that a later 0 means "none since".
pub(super) fn forget_last_insert(connection: &Connection) {
    // SAFETY: the handle is open while `connection` is borrowed.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), 0) };
}
