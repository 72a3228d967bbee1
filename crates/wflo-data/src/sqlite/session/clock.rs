//! The time that statements see: the system's, or one that stands still.
//!
//! A write that is run again after it was shown must see the time that it was shown with. SQLite asks its
//! file system layer for the time, so connections are opened on a copy of the default one with a clock of
//! our own; everything else of it is SQLite's.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::OnceLock;

use libsqlite3_sys as ffi;

use super::raw::check;

/// The layer's name, for opening connections.
pub(in crate::sqlite) const LAYER: &CStr = c"wflo";

type Clock = unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut ffi::sqlite3_int64) -> c_int;

/// The default layer's clock.
static SYSTEM: OnceLock<Option<Clock>> = OnceLock::new();
/// What registering came to.
static REGISTERED: OnceLock<c_int> = OnceLock::new();

thread_local! {
    /// The time that stands still on this thread, in milliseconds of the Julian day.
    static STILL: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Makes the layer known to SQLite; once a process.
pub(in crate::sqlite) fn register() -> rusqlite::Result<()> {
    let code = REGISTERED.get_or_init(|| {
        // SAFETY: initialises SQLite; a null name asks for the default layer.
        let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        if system.is_null() {
            return ffi::SQLITE_ERROR;
        }
        // SAFETY: the default layer lives as long as the process and is not changed; a copy with another
        // name is a layer of its own, as its methods use nothing of it but `pAppData`, which is shared.
        let mut own = unsafe { *system };
        SYSTEM.get_or_init(|| own.xCurrentTimeInt64);
        own.zName = LAYER.as_ptr();
        own.pNext = ptr::null_mut();
        own.xCurrentTimeInt64 = Some(now);
        // SAFETY: the copy is never freed, as SQLite keeps its address; 0 leaves the default as it is.
        unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(own)), 0) }
    });
    check(*code)
}

/// The system's time, in milliseconds of the Julian day; 0 if it cannot be told.
pub(in crate::sqlite) fn system_time() -> i64 {
    let mut time = 0;
    if let Some(Some(clock)) = SYSTEM.get() {
        // SAFETY: the default layer's clock, with that layer and a valid place for the result.
        unsafe { clock(ffi::sqlite3_vfs_find(ptr::null()), &raw mut time) };
    }
    time
}

/// The time stands still on this thread for as long as this lives.
pub(in crate::sqlite) struct Still(Option<i64>);

impl Still {
    /// Stops the clock at `time`.
    pub(in crate::sqlite) fn at(time: i64) -> Self {
        Still(STILL.replace(Some(time)))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        STILL.set(self.0);
    }
}

unsafe extern "C" fn now(layer: *mut ffi::sqlite3_vfs, time: *mut ffi::sqlite3_int64) -> c_int {
    match (STILL.get(), SYSTEM.get()) {
        (Some(still), _) => {
            // SAFETY: SQLite passes a valid place for the result.
            unsafe { *time = still };
            ffi::SQLITE_OK
        }
        // SAFETY: the default layer's clock, with what SQLite passed for it.
        (None, Some(Some(clock))) => unsafe { clock(layer, time) },
        (None, _) => ffi::SQLITE_ERROR,
    }
}
