//! The session functions of `sqlite3.h` 3.54, declared by hand, and their results.
//!
//! The bindings' feature for them needs libclang at build time, which a fresh machine lacks. They are
//! in the bundled SQLite because of `LIBSQLITE3_FLAGS` in `.cargo/config.toml`.

use std::ffi::{c_char, c_int, c_void};

use libsqlite3_sys as ffi;

#[repr(C)]
pub(super) struct RawSession {
    _opaque: [u8; 0],
}
#[repr(C)]
pub(super) struct RawIter {
    _opaque: [u8; 0],
}
#[repr(C)]
pub(super) struct RawGroup {
    _opaque: [u8; 0],
}

pub(super) type TableFilter = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
pub(super) type ConflictHandler = unsafe extern "C" fn(*mut c_void, c_int, *mut RawIter) -> c_int;

unsafe extern "C" {
    pub(super) fn sqlite3session_create(
        db: *mut ffi::sqlite3,
        name: *const c_char,
        out: *mut *mut RawSession,
    ) -> c_int;
    pub(super) fn sqlite3session_delete(session: *mut RawSession);
    pub(super) fn sqlite3session_object_config(
        session: *mut RawSession,
        op: c_int,
        arg: *mut c_void,
    ) -> c_int;
    pub(super) fn sqlite3session_enable(session: *mut RawSession, enable: c_int) -> c_int;
    pub(super) fn sqlite3session_attach(session: *mut RawSession, table: *const c_char) -> c_int;
    pub(super) fn sqlite3session_table_filter(
        session: *mut RawSession,
        filter: Option<TableFilter>,
        ctx: *mut c_void,
    );
    pub(super) fn sqlite3session_changeset(
        session: *mut RawSession,
        size: *mut c_int,
        out: *mut *mut c_void,
    ) -> c_int;
    pub(super) fn sqlite3session_memory_used(session: *mut RawSession) -> ffi::sqlite3_int64;
    pub(super) fn sqlite3changeset_start(
        out: *mut *mut RawIter,
        size: c_int,
        changeset: *mut c_void,
    ) -> c_int;
    pub(super) fn sqlite3changeset_next(iter: *mut RawIter) -> c_int;
    pub(super) fn sqlite3changeset_op(
        iter: *mut RawIter,
        table: *mut *const c_char,
        columns: *mut c_int,
        op: *mut c_int,
        indirect: *mut c_int,
    ) -> c_int;
    pub(super) fn sqlite3changeset_pk(iter: *mut RawIter, key: *mut *mut u8, columns: *mut c_int) -> c_int;
    pub(super) fn sqlite3changeset_old(
        iter: *mut RawIter,
        column: c_int,
        out: *mut *mut ffi::sqlite3_value,
    ) -> c_int;
    pub(super) fn sqlite3changeset_new(
        iter: *mut RawIter,
        column: c_int,
        out: *mut *mut ffi::sqlite3_value,
    ) -> c_int;
    pub(super) fn sqlite3changeset_conflict(
        iter: *mut RawIter,
        column: c_int,
        out: *mut *mut ffi::sqlite3_value,
    ) -> c_int;
    pub(super) fn sqlite3changeset_finalize(iter: *mut RawIter) -> c_int;
    pub(super) fn sqlite3changegroup_new(out: *mut *mut RawGroup) -> c_int;
    pub(super) fn sqlite3changegroup_add_change(group: *mut RawGroup, iter: *mut RawIter) -> c_int;
    pub(super) fn sqlite3changegroup_output(
        group: *mut RawGroup,
        size: *mut c_int,
        out: *mut *mut c_void,
    ) -> c_int;
    pub(super) fn sqlite3changegroup_delete(group: *mut RawGroup);
    pub(super) fn sqlite3changeset_apply_v2(
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

pub(super) const SESSION_OBJCONFIG_ROWID: c_int = 2;
pub(super) const APPLY_NOSAVEPOINT: c_int = 0x1;
pub(super) const APPLY_INVERT: c_int = 0x2;
pub(super) const APPLY_FKNOACTION: c_int = 0x8;
pub(super) const CONFLICT_DATA: c_int = 1;
pub(super) const CONFLICT_NOTFOUND: c_int = 2;
pub(super) const CONFLICT_CONFLICT: c_int = 3;
pub(super) const CONFLICT_CONSTRAINT: c_int = 4;
pub(super) const ANSWER_OMIT: c_int = 0;
pub(super) const ANSWER_REPLACE: c_int = 1;
pub(super) const ANSWER_ABORT: c_int = 2;
pub(super) const SQLITE_INSERT: c_int = 18;
pub(super) const SQLITE_DELETE: c_int = 9;

/// A result code of SQLite as an error of its wrapper.
pub(super) fn failed(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

pub(super) fn check(code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(failed(code)) }
}

/// Copies a buffer that SQLite allocated, and frees it.
pub(super) fn take_buffer(size: c_int, data: *mut c_void) -> Vec<u8> {
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
