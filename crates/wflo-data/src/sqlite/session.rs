//! The calls into SQLite that no safe wrapper offers: sessions, changesets, the clock, and two small
//! ones.
//!
//! Owns every `unsafe` block of this crate, here and in the modules below: [`raw`] declares the
//! functions, this file captures, [`changes`] reads, [`apply`] puts back, [`clock`] tells the time.
//! Nothing here decides anything: what to capture, how to answer a conflict and what to show is the
//! callers'.

#![allow(unsafe_code)]

mod apply;
mod changes;
mod clock;
mod raw;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use libsqlite3_sys as ffi;
use rusqlite::Connection;

pub(super) use apply::{Answer, Clash, apply};
pub(super) use changes::{Change, Changes, Group};
pub(super) use clock::{LAYER, Still, register as register_clock, system_time};
use raw::*;

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
