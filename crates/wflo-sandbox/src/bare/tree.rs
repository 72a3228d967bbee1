//! The tree of processes below this one: finding it, signalling it, ending it.
//!
//! Without a pid namespace the kernel does not end a tree by itself. A process that adopts orphans
//! (`PR_SET_CHILD_SUBREAPER`) has every descendant below it for as long as it lives, whatever those
//! do with sessions and double forks; so a tree is dead when its adopter has nobody below it.

use crate::native::sys::process;
use std::collections::{BTreeSet, HashMap};

/// One process below this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    parent: i32,
    group: i32,
    /// Its threads.
    pub(crate) tasks: u32,
}

/// Every process below this one, but for the children that `spared` holds and what is below them.
///
/// One look is no snapshot: a process whose parent dies meanwhile may be missed. It is this
/// process's child then, and the next look finds it.
pub(crate) fn members(spared: &dyn Fn(i32) -> bool) -> Vec<Member> {
    let own = std::process::id() as i32;
    let mut below: HashMap<i32, Vec<Member>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(member) = parse(pid, &stat) {
            below.entry(member.parent).or_default().push(member);
        }
    }
    let mut found = below.remove(&own).unwrap_or_default();
    found.retain(|child| !spared(child.pid));
    let mut at = 0;
    while let Some(member) = found.get(at) {
        let children = below.remove(&member.pid).unwrap_or_default();
        found.extend(children);
        at += 1;
    }
    found
}

fn parse(pid: i32, stat: &str) -> Option<Member> {
    // The name, in parentheses, may hold anything: what follows the last one is fields 3 and on.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let tasks = fields.nth(14)?.parse().ok()?;
    Some(Member { pid, parent, group, tasks })
}

/// Sends a signal to these processes.
///
/// To whole process groups where that is possible: the kernel does that in one step, so that a fork
/// under way is either signalled too or has not happened. A group of the tree holds nobody else,
/// because its session was begun inside; only the session of this process itself is shared.
pub(crate) fn signal(members: &[Member], signal: libc::c_int) {
    let own = rustix::process::getpgrp().as_raw_nonzero().get();
    let groups: BTreeSet<i32> = members.iter().map(|member| member.group).collect();
    for group in groups.into_iter().filter(|group| *group > 1 && *group != own) {
        process::signal_pid(-group, signal);
    }
    for member in members.iter().filter(|member| member.group == own) {
        process::signal_pid(member.pid, signal);
    }
}

/// Kills everything below this process, but for `spared`, and returns when nothing is left.
///
/// Who forks faster than one look sees is caught by the next: a killed process's children become
/// this one's.
pub(crate) fn end(spared: &dyn Fn(i32) -> bool) {
    // What one look may miss, the next one finds: only two empty ones in a row say that all is over.
    let mut empty = 0;
    while empty < 2 {
        let found = members(spared);
        if found.is_empty() {
            empty += 1;
            continue;
        }
        empty = 0;
        signal(&found, libc::SIGKILL);
        let own = std::process::id() as i32;
        found.iter().filter(|member| member.parent == own).for_each(|child| process::reap_child(child.pid));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let stat = "7 (a) b (c)) S 3 5 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 100 1 1";
        assert_eq!(parse(7, stat), Some(Member { pid: 7, parent: 3, group: 5, tasks: 9 }));
        assert_eq!(parse(7, "7 (x"), None);
    }

    #[test]
    fn a_child_is_found_and_a_spared_one_is_not() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(members(&|_| false).iter().any(|member| member.pid == pid));
        assert!(members(&|child| child == pid).iter().all(|member| member.pid != pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
