//! Removes the groups of launchers that died without doing so, with whatever still runs in them.

use super::found;
use crate::native::LAUNCHER_ARGUMENT;
use crate::native::sys::process;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Groups removed.
    pub groups: usize,
    /// Processes that were still in them, now killed.
    pub processes: usize,
    /// Groups that could not be removed.
    pub left: usize,
}

/// Removes what dead launchers left below this process's groups. A living launcher's groups are
/// not touched: their name holds its process id.
pub fn sweep() -> Swept {
    let mut swept = Swept::default();
    for own in found::own_groups().unwrap_or_default() {
        // A launcher makes its groups in its engine's group; under v2 perhaps in one above.
        for folder in own.folder.ancestors().take(3) {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                if entry.file_name().to_str().is_some_and(is_dead) {
                    remove(&entry.path(), &mut swept);
                }
            }
        }
    }
    swept
}

/// Whether a name is that of a launcher's group, made where process ids mean what they mean here,
/// whose launcher is no more.
///
/// The start time in the name keeps two launchers of the same id apart, and is not compared: what the kernel says
/// of it differs from one time namespace to the next, and by it a living launcher would be taken for a dead one.
/// What is left of a launcher whose id another one has got is removed once that is gone too.
fn is_dead(name: &str) -> bool {
    let parts = |name: &str| -> Option<(String, u32, u64)> {
        let mut parts = name.strip_prefix("wflo-")?.split('-');
        let namespace = parts.next()?.parse::<u64>().ok()?.to_string();
        let found = (namespace, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(found)
    };
    parts(name).is_some_and(|(namespace, pid, _)| {
        found::namespace().is_some_and(|here| here == namespace) && !is_launcher(pid)
    })
}

/// Whether this process lives and is, or may be, a launcher: this process's own groups are no others'.
fn is_launcher(pid: u32) -> bool {
    let Ok(raw) = i32::try_from(pid) else { return false };
    let Some(known) = rustix::process::Pid::from_raw(raw) else { return false };
    if pid == std::process::id() {
        return true;
    }
    if rustix::process::test_kill_process(known) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        // A dead process that nobody has taken note of has no arguments any more.
        Ok(line) if line.is_empty() => !matches!(found::state(pid), Some('Z' | 'X')),
        Ok(line) => line.split(|byte| *byte == 0).nth(1) == Some(LAUNCHER_ARGUMENT.as_bytes()),
        // Nothing is said of it here, as where processes are hidden.
        Err(_) => true,
    }
}

fn remove(group: &Path, swept: &mut Swept) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path(), swept);
        }
    }
    for _ in 0..200 {
        let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
            // Everything in the group is a dead launcher's sandbox.
            if let Ok(member) = process::open_process(pid) {
                let again = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                if again.lines().any(|line| line.parse() == Ok(pid))
                    && process::signal_process(member.as_fd(), libc::SIGKILL).is_ok()
                {
                    swept.processes += 1;
                }
            }
        }
        match std::fs::remove_dir(group) {
            Ok(()) => {
                swept.groups += 1;
                return;
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) => break,
        }
    }
    swept.left += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    #[test]
    fn only_groups_of_dead_launchers_are_dead() {
        let own = found::name_of(std::process::id()).unwrap();
        assert!(!is_dead(&own));
        assert!(!is_dead(&format!("{own}1")), "another time namespace tells another start time");
        let here = found::namespace().unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let name = format!("wflo-{here}-{}-7", other.id());
        // It is a process, and no launcher: which is told from its arguments, once it has them.
        let end = Instant::now() + Duration::from_secs(60);
        while !is_dead(&name) {
            assert!(Instant::now() < end, "{name} is dead");
            std::thread::yield_now();
        }
        assert!(!is_dead(&format!("wflo-{here}0-{}-7", other.id())), "another pid namespace");
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(is_dead(&name), "it is none");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LAUNCHER_ARGUMENT), "read line").unwrap();
        let mut launcher = Command::new("sh");
        launcher.arg(LAUNCHER_ARGUMENT).current_dir(folder.path()).stdin(Stdio::piped());
        let mut launcher = launcher.spawn().unwrap();
        let name = format!("wflo-{here}-{}-7", launcher.id());
        assert!(!is_dead(&name), "a launcher that lives, whenever it was started");
        drop(launcher.stdin.take());
        launcher.wait().unwrap();
        assert!(is_dead(&name));
        assert!(!is_dead("wflo-workers"));
        assert!(!is_dead("user.slice"));
    }
}
