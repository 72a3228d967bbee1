//! Owner maps: user namespaces that show one owner's files as another's.
//!
//! As root, the files of a project belong to somebody (often root) and the sandbox runs as a
//! user that owns nothing. A mount of the project mapped through such a namespace shows that
//! somebody's files as the sandbox user's, and everybody else's as they are.

use super::sys::process::{self, Forked};
use super::sys::{At, Fault};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

type Ids = (u32, u32);

/// The maps made so far; each is a namespace kept alive by its descriptor.
#[derive(Debug, Default)]
pub(crate) struct OwnerMaps {
    made: HashMap<(Ids, Ids), Rc<OwnedFd>>,
}

impl OwnerMaps {
    /// The map that shows files of `owner` as files of `user`.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn get(&mut self, owner: Ids, user: Ids) -> Result<Rc<OwnedFd>, Fault> {
        if let Some(made) = self.made.get(&(owner, user)) {
            return Ok(Rc::clone(made));
        }
        let made = Rc::new(make(owner, user)?);
        self.made.insert((owner, user), Rc::clone(&made));
        Ok(made)
    }
}

fn make(owner: Ids, user: Ids) -> Result<OwnedFd, Fault> {
    let step = "making an owner map";
    match process::fork(libc::CLONE_NEWUSER).step(step)? {
        Forked::Child => loop {
            // Only holds the namespace until its parent has opened it, and is killed then.
            let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 3_600, tv_nsec: 0 });
        },
        Forked::Parent(pid, holder) => {
            let base = format!("/host/proc/{pid}");
            let made = std::fs::write(format!("{base}/uid_map"), lines(owner.0, user.0))
                .and_then(|()| std::fs::write(format!("{base}/gid_map"), lines(owner.1, user.1)))
                .and_then(|()| std::fs::File::open(format!("{base}/ns/user")))
                .map(OwnedFd::from)
                .step(step);
            let _ = process::signal_process(holder.as_fd(), libc::SIGKILL);
            made
        }
    }
}

/// `owner` is shown as `user`; every other id as itself, but for `user`'s own, which nobody has.
fn lines(owner: u32, user: u32) -> String {
    let mut text = format!("{owner} {user} 1\n");
    let mut from = 0;
    let (low, high) = (owner.min(user), owner.max(user));
    for stop in [low, high, u32::MAX] {
        if stop > from {
            text.push_str(&format!("{from} {from} {}\n", stop - from));
        }
        from = stop.saturating_add(1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_map_is_one_to_one_and_covers_everybody_else() {
        assert_eq!(lines(0, 5), "0 5 1\n1 1 4\n6 6 4294967289\n");
        assert_eq!(lines(3, 5), "3 5 1\n0 0 3\n4 4 1\n6 6 4294967289\n");
        assert_eq!(lines(9, 5), "9 5 1\n0 0 5\n6 6 3\n10 10 4294967285\n");
    }
}
