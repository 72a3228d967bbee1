//! Places where a test may kill this process: one at each journal boundary.
//!
//! `WFLO_FAILPOINT=name` kills at the first pass of that place, `name:3` at the third. Only debug builds
//! listen; in a release build every call compiles to nothing.

/// Every place, in the order in which a run passes them first.
pub const ALL: [&str; 37] = [
    "run.commit.before",
    "run.commit.after",
    "run.commit.posted",
    "effect.intent.before",
    "effect.intent.after",
    "llm.intent.before",
    "llm.intent.after",
    "llm.close.before",
    "llm.close.after",
    "db.apply.before",
    "db.apply.after",
    "effect.finish.before",
    "effect.finish.after",
    "effect.preview.before",
    "effect.preview.after",
    "chain.commit.before",
    "chain.commit.after",
    "chain.confirm.after",
    "chain.rewind.after",
    "sealed.commit.before",
    "sealed.commit.after",
    "sealed.superseded",
    "db.commit.unknown",
    "wait.cancelled.before",
    "wait.cancelled.after",
    "call.given_up.before",
    "call.given_up.after",
    "tool.sealed",
    "layer.captured",
    "undo.after",
    "budget.queued.before",
    "budget.queued.after",
    "time.slice.before",
    "time.slice.after",
    "time.settle.before",
    "time.settle.after",
    "inbox.send.before",
];

/// Dies here if a test asked for it.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
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
pub(crate) const fn pass(_name: &str) {}
