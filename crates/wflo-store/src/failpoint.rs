//! Places where a test may kill this process.
//!
//! `WFLO_FAILPOINT=name` kills at the first pass of that place, `name:3` at the third. Only debug builds
//! listen; in a release build every call compiles to nothing. Which places there are, those know that pass them.

/// Dies here if a test asked for it.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ASKED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("WFLO_FAILPOINT").ok()?;
        let (place, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((place.to_owned(), AtomicU32::new(count.parse().unwrap_or(1))))
    });
    if let Some((place, left)) = asked
        && place == name
        && left.fetch_sub(1, Ordering::AcqRel) == 1
    {
        // As hard as a power cut for this process: no destructor, no flush.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Dies here if a test asked for it; never in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn pass(_name: &str) {}
