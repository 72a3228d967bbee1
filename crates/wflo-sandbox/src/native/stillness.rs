//! Whether a tree that has been stopped for good stands still.
//!
//! A stop is a signal, and what is stopped can have others sent to it: by a timer, or by the death of a parent
//! that had one set for that. Without a freezer nothing keeps it from going on, so whoever is above it looks.
//! Owns what a tree that stands still looks like; what follows is the caller's.

use std::collections::BTreeMap;

/// How often a tree that is to stand still is looked at, in milliseconds.
pub(super) const LOOK_MS: i64 = 100;
/// How long it may take for every thread to come to the stop: on a machine that is busy, the longer.
const COMES_TO_A_STOP_MS: i64 = 10_000;
/// How long what waits in the kernel for something, and sees no signal until then, is waited for.
const WAITS_MS: i64 = 2_000;
/// So many looks on end may find somebody awake who was still before: what waited in the kernel leaves it.
const AWAKE_LOOKS: u32 = 4;
/// So much processor time may be used meanwhile, in microseconds, by what was on its way out of the kernel.
const USED_US: i64 = 500_000;

/// A process by its number and the time of its start.
type Process = (i32, u64);

/// What one look says of the threads of a process, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Stopped, or dead.
    Still,
    /// Waiting in the kernel, where no signal is seen.
    Waiting,
    /// Running, or waiting for what may come.
    Awake,
}

impl State {
    /// Of a state as the kernel writes it.
    pub(super) fn of(letter: &str) -> State {
        match letter {
            "R" | "S" => State::Awake,
            "D" | "I" => State::Waiting,
            _ => State::Still,
        }
    }
}

/// Everybody in a tree: the state of the process's liveliest thread, and the processor time that it used, in
/// microseconds.
pub(super) type Look = BTreeMap<Process, (State, i64)>;

/// A tree that is to stand still, from the moment it was told to.
#[derive(Debug)]
pub(super) struct Stillness {
    since: i64,
    next: i64,
    /// Everybody's processor time once all stood still.
    still: Option<BTreeMap<Process, i64>>,
    awake: u32,
}

impl Stillness {
    pub(super) fn begins(now: i64) -> Self {
        Stillness { since: now, next: now, still: None, awake: 0 }
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Whether the tree goes on although it was stopped, from how it looks `now`.
    pub(super) fn is_broken(&mut self, now: i64, look: &Look) -> bool {
        self.next = now + LOOK_MS;
        let liveliest = look.values().map(|(state, _)| *state).max().unwrap_or(State::Still);
        let Some(still) = &self.still else {
            let stands = match liveliest {
                State::Still => true,
                State::Waiting => now - self.since >= WAITS_MS,
                State::Awake => false,
            };
            if stands {
                self.still = Some(look.iter().map(|(process, (_, cpu_us))| (*process, *cpu_us)).collect());
            }
            return !stands && now - self.since >= COMES_TO_A_STOP_MS;
        };
        // Only what runs can make another.
        let Some(used) = look.iter().try_fold(0, |sum: i64, (process, (_, cpu_us))| {
            still.get(process).map(|before| sum + (cpu_us - before).max(0))
        }) else {
            return true;
        };
        self.awake = if liveliest == State::Awake { self.awake + 1 } else { 0 };
        used > USED_US || self.awake > AWAKE_LOOKS
    }
}

/// How everybody of `pids` looks now. Who ends meanwhile is left out.
pub(super) fn look(pids: impl Iterator<Item = i32>, tick_us: i64) -> Look {
    let mut look = Look::new();
    for pid in pids {
        let Some((_, cpu_us, started)) = stat(&format!("/proc/{pid}/stat"), tick_us) else { continue };
        // The first thread may be over while others live.
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let states = tasks.filter_map(|task| {
            let path = task.path().join("stat");
            stat(path.to_str()?, tick_us).map(|(state, ..)| state)
        });
        look.insert((pid, started), (states.max().unwrap_or(State::Still), cpu_us));
    }
    look
}

/// State, processor time in microseconds and time of start.
fn stat(path: &str, tick_us: i64) -> Option<(State, i64, u64)> {
    let text = std::fs::read_to_string(path).ok()?;
    // The name, in parentheses, may hold anything: what follows the last one is fields 3 and on.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = State::of(fields.next()?);
    let user: i64 = fields.nth(10)?.parse().ok()?;
    let system: i64 = fields.next()?.parse().ok()?;
    let started = fields.nth(6)?.parse().ok()?;
    Some((state, (user + system) * tick_us, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(of: &[(i32, State, i64)]) -> Look {
        of.iter().map(|(pid, state, cpu_us)| ((*pid, 1), (*state, *cpu_us))).collect()
    }

    fn stopped() -> Stillness {
        let mut stillness = Stillness::begins(0);
        assert!(!stillness.is_broken(0, &tree(&[(2, State::Awake, 0), (3, State::Waiting, 0)])));
        assert!(!stillness.is_broken(100, &tree(&[(2, State::Still, 10_000), (3, State::Still, 0)])));
        stillness
    }

    #[test]
    fn who_stands_still_is_let_stand() {
        let mut stillness = stopped();
        for look in 2..10_000 {
            let now = look * LOOK_MS;
            // One of them dies, by a signal from outside.
            let dead = tree(&[(2, State::Still, 10_000)]);
            assert!(!stillness.is_broken(now, &dead), "{now}");
        }
    }

    #[test]
    fn who_goes_on_is_seen() {
        let awake = tree(&[(2, State::Still, 10_000), (3, State::Awake, 0)]);
        let mut stillness = stopped();
        let looks = (2..20).filter(|look| stillness.is_broken(look * LOOK_MS, &awake)).count();
        assert!(looks > 10, "sleeping is going on");
        assert!(
            stopped().is_broken(200, &tree(&[(2, State::Still, 10_000), (4, State::Still, 0)])),
            "a child"
        );
        let reused = Look::from([((2, 7), (State::Still, 0))]);
        assert!(stopped().is_broken(200, &reused), "another process of the same number");
        let worked = tree(&[(2, State::Still, 700_000), (3, State::Still, 0)]);
        assert!(stopped().is_broken(200, &worked), "who is stopped at every look, and works between them");
    }

    #[test]
    fn what_was_in_the_kernel_has_time_to_leave_it() {
        let mut stillness = Stillness::begins(0);
        let waiting = tree(&[(2, State::Waiting, 0)]);
        for look in 0..30 {
            assert!(!stillness.is_broken(look * LOOK_MS, &waiting));
        }
        assert!(!stillness.is_broken(3_000, &tree(&[(2, State::Awake, 90_000)])));
        assert!(!stillness.is_broken(3_100, &tree(&[(2, State::Still, 100_000)])));
    }

    #[test]
    fn who_never_comes_to_a_stop_goes_on() {
        let mut stillness = Stillness::begins(0);
        let awake = tree(&[(2, State::Awake, 0)]);
        assert!(!stillness.is_broken(COMES_TO_A_STOP_MS - 1, &awake));
        assert!(stillness.is_broken(COMES_TO_A_STOP_MS, &awake));
    }

    #[test]
    fn a_process_looks_as_it_is() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id() as i32;
        let state = || look([pid].into_iter(), 10_000).into_values().next().map(|(state, _)| state);
        let turns = |wanted| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while state() != Some(wanted) {
                assert!(std::time::Instant::now() < end, "{wanted:?}");
                std::thread::yield_now();
            }
        };
        turns(State::Awake);
        crate::native::sys::process::signal_pid(pid, libc::SIGSTOP);
        turns(State::Still);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(state(), None);
    }
}
