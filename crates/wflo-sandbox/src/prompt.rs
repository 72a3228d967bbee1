//! A thread that wants little of a processor, and wants it at once.
//!
//! Owns how the kernel is told so. Programs in sandboxes may use every core there is; what serves them, a
//! gateway above all, must not wait behind them for milliseconds to do its microseconds of work.

use std::io;

/// How long a turn the thread asks for. The kernel takes no less than 100 µs.
const TURN_NS: u64 = 100_000;

/// What a thread of the usual policy asks for is in force only for itself, not for what it starts.
const NOT_INHERITED: u64 = libc::SCHED_FLAG_RESET_ON_FORK as u64;

/// Asks for short turns for the calling thread. It gets as much of the processor as before; but where it
/// would have waited until somebody else's turn is over, its own comes first, since it ends sooner
/// (EEVDF's request size: Linux 6.12 and later; an earlier kernel takes no notice).
///
/// A thread with a policy that somebody chose (`chrt`) keeps it.
///
/// # Errors
/// What the kernel says, when it refuses. Nothing depends on it but how long the thread waits.
pub fn ask_for_short_turns() -> io::Result<()> {
    let mut wish = attributes()?;
    if wish.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    (wish.sched_runtime, wish.sched_flags) = (TURN_NS, NOT_INHERITED);
    // SAFETY: the structure is live, and says its own size; 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn attributes() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: an all-zero structure is valid and is filled by the call, which is told its size; 0 is the
    // calling thread.
    unsafe {
        let mut found: libc::sched_attr = std::mem::zeroed();
        match libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0) {
            0 => Ok(found),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_is_the_threads_own() {
        let before = attributes().unwrap();
        let nice = |found: &libc::sched_attr| (found.sched_policy, found.sched_nice);
        ask_for_short_turns().unwrap();
        let asked = attributes().unwrap();
        assert_eq!(nice(&asked), nice(&before), "no more of the processor than before");
        // A kernel that knows the wish tells it.
        assert!(asked.sched_runtime == TURN_NS || asked.sched_runtime == before.sched_runtime);
        let started = std::thread::spawn(|| attributes().unwrap()).join().unwrap();
        // Where this one was given more than others (a negative niceness), what it starts has what is usual.
        let usual = if before.sched_policy == libc::SCHED_OTHER as u32 { 0 } else { i32::MIN };
        assert_eq!(nice(&started), (before.sched_policy, before.sched_nice.max(usual)));
        assert_ne!(started.sched_runtime, TURN_NS, "what it starts has turns as usual");
    }
}
