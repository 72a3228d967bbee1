//! The process above a program that is not isolated: starts it, watches over it, ends its tree.
//!
//! It is the launcher's forked child and stands where pid 1 of an isolated sandbox does. Nothing is
//! between it and the program but a session: a program of the same user can kill it. The launcher,
//! which is next above, then ends the tree; when both are killed at once, the program itself dies
//! (`PDEATHSIG`), and what it started is left to the next launcher's sweep where there are cgroups.
//! **Architecture Invariant:** it exits only once nobody is below it.

use super::tree;
use crate::native::init::program;
use crate::native::net;
use crate::native::server::{Common, Given};
use crate::native::spec::Level;
use crate::native::supervise::{Members, Supervisor, Watched};
use crate::native::sys::process::{self, Forked};
use crate::native::sys::{At, Fault, socket};
use crate::native::watch::{self, Sources};
use crate::native::wire::{Notice, Order, Ports};
use crate::native::worker;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Never returns: whatever the end, it is an exit of this process, after its tree's.
pub(crate) fn main(common: &Common, order: Order, given: &Given<'_>) -> ! {
    let fault = match supervise(common, order, given) {
        Err(fault) => fault,
        Ok(never) => match never {},
    };
    let _ = socket::send(given.control, &Notice::Failed(fault).encode(), &[]);
    end(1)
}

enum Never {}

fn end(code: i32) -> ! {
    tree::end(&|_| false);
    process::exit_now(code)
}

/// Returns only when the program could not be started.
fn supervise(
    common: &Common,
    order: Order,
    &Given { control, lifeline, held, fds, .. }: &Given<'_>,
) -> Result<Never, Fault> {
    // Not tied to the launcher by a signal: it has a tree to end when the launcher dies.
    process::adopt_orphans().step("adopting orphans")?;
    let signals = process::signal_descriptor(&[libc::SIGCHLD]).step("preparing signals")?;
    let _ = rustix::process::setsid();
    if let Some(groups) = &common.groups {
        groups.join(&order.name, &order.limits, &order.disks, true)?;
    }
    // A program that gains another user's rights could not be ended by this one.
    process::no_new_privileges().step("forbidding new privileges")?;
    let listener = if order.model_listener { Some(net::listen()?) } else { None };
    let ports = Ports { model: listener.as_ref().map(|(_, port)| *port), egress: None };
    let (report, report_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
    let started = process::boot_ms();
    let limits = order.limits;
    let worker = match process::fork(0).step("forking the program")? {
        Forked::Child => {
            // A process that is not dumpable may not write its own /proc.
            if process::die_with_parent().and_then(|()| process::set_dumpable(true)).is_err() {
                process::exit_now(1);
            }
            worker::main(&program(order, fds, ports, None), report_end.as_raw_fd())
        }
        Forked::Parent(pid, _) => pid,
    };
    let handed: Vec<BorrowedFd<'_>> = listener.iter().map(|(fd, _)| fd.as_fd()).collect();
    let mut keep: Vec<RawFd> = [control, lifeline, signals.as_fd(), report.as_fd()]
        .iter()
        .chain(&handed)
        .chain(&held)
        .map(AsRawFd::as_raw_fd)
        .collect();
    // From here on every owner of another descriptor is a name without one; none of them is ever
    // dropped, because this function does not return.
    process::close_all_but(&mut keep);
    if !watch::started(report.as_fd(), control) {
        end(1);
    }
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = [own.0, own.1, own.0, own.1, own.0, own.1];
    let notice = Notice::Running { owner, ports, layers: false };
    let _ = socket::send(control, &notice.encode(), &handed);
    handed.iter().for_each(|fd| process::close_range(fd.as_raw_fd(), fd.as_raw_fd()));
    let deadline = limits.timeout.map(|limit| started.saturating_add_unsigned(limit.0));
    let can = &common.capabilities;
    let supervised = |level: Level| level != Level::Kernel;
    let watched = Watched {
        memory: limits.memory.filter(|_| supervised(can.memory)),
        sockets: None,
        cpus: limits.cpus.filter(|_| supervised(can.cpus)),
        tasks: limits.pids.filter(|_| supervised(can.pids())),
    };
    let supervisor = Supervisor::new(Members::Below, watched, None);
    watch::watch(worker, Sources { control, lifeline, signals: signals.as_fd() }, deadline, supervisor);
    end(0)
}
