//! Removes the groups of launchers that died without doing so, with whatever still runs in them.

use super::found;
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
/// not touched: their name holds its process id and start time.
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
fn is_dead(name: &str) -> bool {
    let Some(own) = found::name_of(std::process::id()) else { return false };
    let parts = |name: &str| -> Option<(u64, u32, u64)> {
        let mut parts = name.strip_prefix("wflo-")?.split('-');
        let found = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(found)
    };
    match (parts(&own), parts(name)) {
        (Some((here, ..)), Some((namespace, pid, start))) => {
            namespace == here && found::start_time(pid) != Some(start)
        }
        _ => false,
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

    #[test]
    fn only_groups_of_dead_launchers_are_dead() {
        let own = found::name_of(std::process::id()).unwrap();
        assert!(!is_dead(&own));
        assert!(is_dead(&format!("{own}1")), "another start time");
        assert!(!is_dead(&own.replacen('4', "5", 1)), "another pid namespace");
        assert!(!is_dead("wflo-workers"));
        assert!(!is_dead("user.slice"));
    }
}
