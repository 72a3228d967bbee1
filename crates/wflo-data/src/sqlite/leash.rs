//! Keeps a statement within its time, its memory and its sizes.
//!
//! Owns SQLite's progress handler, installed once a connection, and the size limits of a step's
//! statements; wflo's own statements are not bound by either.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rusqlite::Connection;
use rusqlite::limits::Limit;

use super::authorizer::{Observed, Watch};
use super::connection::Call;
use super::session::{self, Gauge};
use crate::error::DataError;

/// SQLite calls the progress handler about every so many instructions: some tens of microseconds.
const INSTRUCTIONS: i32 = 4_000;
/// The longest value, in bytes, that a statement may touch which calls a function whose time grows
/// with the product of its arguments' lengths: one call must end within seconds, because SQLite
/// cannot interrupt it.
const SHORT_VALUE: usize = 128 << 10;
/// Calls of functions in one statement up to which values may have their whole length. SQLite looks at
/// the progress handler at jumps only, so code without one (a long expression) runs to its end: what it
/// can touch in one go, calls times bytes, is what bounds its time.
const FEW_FUNCTIONS: usize = 64;
/// The most calls of functions in one statement, with values of [`SHORT_VALUE`].
pub(super) const MOST_FUNCTIONS: usize = 4_096;
/// Text of a statement up to which values may have their whole length: every further operator is some
/// bytes of text, and may copy or compare a value. Beyond it values shrink as the text grows.
const SHORT_TEXT: usize = 16 << 10;
/// SQLite's own limit on values, for statements of wflo.
const UNLIMITED: i32 = 1_000_000_000;

/// A connection's progress handler; idle while no statement is on a leash.
#[derive(Debug, Default)]
pub(super) struct Reins(Arc<Mutex<Option<Held>>>);

/// What the handler watches.
#[derive(Debug)]
struct Held {
    deadline: Instant,
    gauge: Gauge,
    most_bytes: i64,
    surplus: Surplus,
    state: Arc<AtomicU8>,
}

impl Reins {
    /// Installs the handler.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let reins = Reins::default();
        let held = Arc::clone(&reins.0);
        connection
            .progress_handler(INSTRUCTIONS, Some(move || lock(&held).as_ref().is_some_and(Held::ends)))?;
        Ok(reins)
    }
}

fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Whether the running statement must end.
    fn ends(&self) -> bool {
        if Instant::now() >= self.deadline {
            self.state.store(OUT_OF_TIME, Ordering::Relaxed);
            return true;
        }
        if self.gauge.bytes() > self.most_bytes {
            self.state.store(OUT_OF_MEMORY, Ordering::Relaxed);
            if self.surplus == Surplus::Interrupt {
                return true;
            }
            self.gauge.stop();
        }
        false
    }
}

/// The limits on text that a statement may hold and make, on for as long as this lives.
struct Bounds<'conn>(&'conn Connection);

impl<'conn> Bounds<'conn> {
    fn start(call: &Call<'conn>) -> Self {
        set_limits(call.connection, call.limits.value_bytes, call.limits.sql_bytes);
        Bounds(call.connection)
    }
}

impl Drop for Bounds<'_> {
    fn drop(&mut self) {
        let all = usize::try_from(UNLIMITED).unwrap_or(usize::MAX);
        set_limits(self.0, all, all);
    }
}

fn set_limits(connection: &Connection, value_bytes: usize, sql_bytes: usize) {
    let most = |bytes: usize| i32::try_from(bytes).unwrap_or(UNLIMITED).min(UNLIMITED);
    // These calls fail for negative limits only.
    let _ = connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, most(value_bytes));
    let _ = connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, most(sql_bytes));
}

/// Lowers the limit on values, until the running leash ends, to what a statement of this text can work
/// on within seconds.
pub(super) fn fit_values(call: &Call<'_>, text_bytes: usize, observed: &Observed) {
    let whole = call.limits.value_bytes;
    let by_text = whole / (text_bytes / SHORT_TEXT).max(1);
    let by_calls = if observed.slow || observed.functions > FEW_FUNCTIONS { SHORT_VALUE } else { whole };
    // A literal of the text itself is no longer than the text.
    let fitting = by_text.max(SHORT_VALUE).max(text_bytes).min(by_calls).min(whole);
    set_limits(call.connection, fitting, call.limits.sql_bytes);
}

/// What to do when the captured changes grow too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surplus {
    /// End the statement.
    Interrupt,
    /// Go on without a capture.
    StopCapture,
}

const RUNNING: u8 = 0;
const OUT_OF_TIME: u8 = 1;
const OUT_OF_MEMORY: u8 = 2;

/// Ends a statement that takes too long or changes too much; on for as long as this lives.
pub(super) struct Leash<'call> {
    reins: &'call Reins,
    most_bytes: usize,
    state: Arc<AtomicU8>,
    _bounds: Bounds<'call>,
}

impl<'call> Leash<'call> {
    /// Starts the clock.
    pub(super) fn start(call: &Call<'call>, gauge: Gauge, surplus: Surplus) -> Self {
        let state = Arc::new(AtomicU8::new(RUNNING));
        let most_bytes = call.limits.changeset_bytes;
        *lock(&call.reins.0) = Some(Held {
            deadline: Instant::now() + call.limits.statement_time,
            gauge,
            most_bytes: i64::try_from(most_bytes).unwrap_or(i64::MAX),
            surplus,
            state: Arc::clone(&state),
        });
        session::forget_last_insert(call.connection);
        Leash { reins: call.reins, most_bytes, state, _bounds: Bounds::start(call) }
    }

    /// Whether the capture was given up.
    pub(super) fn gave_up_capture(&self) -> bool {
        self.state.load(Ordering::Relaxed) == OUT_OF_MEMORY
    }

    /// The reason behind an error of the statement.
    pub(super) fn explain(&self, watch: &Watch<'_>, error: DataError) -> DataError {
        match error {
            DataError::TooSlow { .. } if self.gave_up_capture() => DataError::WriteTooLarge {
                detail: format!("its changes take more than {} bytes", self.most_bytes),
            },
            DataError::Refused(refusal) => DataError::Refused(watch.observed().refusal.unwrap_or(refusal)),
            other => other,
        }
    }
}

impl Drop for Leash<'_> {
    fn drop(&mut self) {
        *lock(&self.reins.0) = None;
    }
}
