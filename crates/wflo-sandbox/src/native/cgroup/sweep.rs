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

/// Whether a name is that of a launcher's group whose launcher is no more.
fn is_dead(name: &str) -> bool {
    let Some((pid, start)) = name.strip_prefix("wflo-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    match (pid.parse::<u32>(), start.parse::<u64>()) {
        (Ok(pid), Ok(start)) => found::start_time(pid) != Some(start),
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
        let pid = std::process::id();
        let start = found::start_time(pid).unwrap();
        assert!(!is_dead(&format!("wflo-{pid}-{start}")));
        assert!(is_dead(&format!("wflo-{pid}-{}", start + 1)));
        assert!(!is_dead("wflo-workers"));
        assert!(!is_dead("user.slice"));
    }
}
