//! Pid 1 of a sandbox: builds it, starts its program, watches over it, ends with it.
//!
//! It is the launcher's forked child. When it exits, for whatever reason, the kernel kills every
//! process of the sandbox. It ends when the program ends, when the time is up, when the engine or
//! the launcher is gone, or when a supervised limit is broken.
//! **Architecture Invariant:** pid 1 is not dumpable, holds no environment and no descriptor of
//! the program's, and reads nothing that the program wrote but numbers under `/proc`.

use super::exit::{Outcome, Usage};
use super::plan::Plan;
use super::root;
use super::server::{Server, numbers};
use super::spec::{HOME, Level, MODEL_PORT, WORKSPACE};
use super::supervise::{Supervisor, Verdict};
use super::sys::process::{self, Forked, Status};
use super::sys::{At, Fault, socket};
use super::wire::{Notice, Order};
use super::worker::{self, Program};
use super::{landlock, net};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Never returns: whatever the end, it is an exit of this process.
pub(crate) fn main(
    server: &Server,
    plan: &Plan,
    order: Order,
    control: BorrowedFd<'_>,
    fds: &[OwnedFd],
    lifeline: BorrowedFd<'_>,
) -> ! {
    let fault = match sandbox(server, plan, order, control, fds, lifeline) {
        Err(fault) => fault,
        Ok(never) => match never {},
    };
    let _ = socket::send(control, &Notice::Failed(fault).encode(), &[]);
    process::exit_now(1)
}

enum Never {}

fn sandbox(
    server: &Server,
    plan: &Plan,
    order: Order,
    control: BorrowedFd<'_>,
    fds: &[OwnedFd],
    lifeline: BorrowedFd<'_>,
) -> Result<Never, Fault> {
    process::die_with_parent().step("tying the sandbox to the launcher")?;
    let signals = process::signal_descriptor(&[libc::SIGCHLD]).step("preparing signals")?;
    let _ = rustix::process::setsid();
    if let Some(groups) = &server.groups {
        groups.join(&order.name, &order.limits)?;
    }
    process::enter_mount_namespace(server.mounts.as_fd()).step("entering the template's mounts")?;
    process::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP).step("making mount and cgroup namespaces")?;
    let root = root::build(&server.template, plan)?;
    rustix::system::sethostname(order.hostname.as_bytes()).step("naming the host")?;
    let listener = net::prepare(order.model_listener)?;
    let rules = landlock::prepare(&writable(&order))?;
    if plan.privileged {
        process::become_user(plan.uid, plan.gid).step("becoming the sandbox's user")?;
    }
    process::drop_capabilities().step("dropping capabilities")?;
    process::no_new_privileges().step("forbidding new privileges")?;
    process::set_dumpable(false).step("hiding pid 1")?;
    // Becoming another user has cleared it.
    process::die_with_parent().step("tying the sandbox to the launcher")?;
    let port = listener.as_ref().map(|(_, port)| *port);
    let accounted = server.capabilities.memory == Level::Kernel || order.limits.memory.is_none();
    let filter = if accounted { &server.filters[0] } else { &server.filters[1] };
    let (report, report_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
    let started = process::boot_ms();
    let limits = order.limits;
    let worker = match process::fork(0).step("forking the program")? {
        Forked::Child => {
            let program = program(server, plan, order, fds, port);
            worker::main(&program, rules.as_ref().map(AsRawFd::as_raw_fd), filter, report_end.as_raw_fd())
        }
        Forked::Parent(pid, _) => pid,
    };
    let scratch = root.scratch.as_fd();
    let handed: Vec<BorrowedFd<'_>> = listener
        .iter()
        .map(|(fd, _)| fd.as_fd())
        .chain(root.layers.iter().flat_map(|(upper, merged)| [upper.as_fd(), merged.as_fd()]))
        .collect();
    let mut keep: Vec<RawFd> = [control, lifeline, signals.as_fd(), report.as_fd(), scratch]
        .iter()
        .chain(&handed)
        .map(AsRawFd::as_raw_fd)
        .collect();
    // From here on every owner of another descriptor is a name without one; none of them is ever
    // dropped, because this function does not return.
    process::close_all_but(&mut keep);
    if process::install_filter(&server.init_filter).is_err() {
        process::exit_now(1);
    }
    started_or_exit(report.as_fd(), control);
    let owner = [server.inside.0, server.inside.1, plan.uid, plan.gid, plan.host_uid, plan.host_gid];
    let notice = Notice::Running { owner, port, layers: root.layers.is_some() };
    let _ = socket::send(control, &notice.encode(), &handed);
    // Those are the engine's from now on, and the program's pid 1 keeps nothing of its own.
    handed.iter().for_each(|fd| process::close_range(fd.as_raw_fd(), fd.as_raw_fd()));
    let deadline = limits.timeout.map(|limit| started.saturating_add_unsigned(limit.0));
    let supervisor = Supervisor::new(
        limits.memory.filter(|_| server.capabilities.memory != Level::Kernel),
        limits.cpus.filter(|_| server.capabilities.cpus != Level::Kernel),
        scratch,
    );
    watch(worker, [control, lifeline, signals.as_fd()], deadline, supervisor)
}

/// Where the program may write.
fn writable(order: &Order) -> Vec<PathBuf> {
    let workspace = order.workspace.as_ref().map_or(Path::new(WORKSPACE), |view| &view.target);
    let fixed = ["/tmp", HOME, "/dev/shm"].map(PathBuf::from);
    let binds = order.rw.iter().map(|bind| bind.target.clone());
    fixed.into_iter().chain([workspace.to_owned()]).chain(binds).collect()
}

fn program(server: &Server, plan: &Plan, order: Order, fds: &[OwnedFd], port: Option<u16>) -> Program {
    let port = port.map(|port| port.to_string()).unwrap_or_default();
    let mut given = numbers(fds).into_iter();
    let stdio = order.stdio.map(|given_one| if given_one { given.next() } else { None });
    let environment = order.env.into_iter().map(|(name, value)| {
        let mut line = name.into_vec();
        line.push(b'=');
        line.extend(filled(value.as_bytes(), port.as_bytes()));
        line
    });
    Program {
        environment: environment.collect(),
        command: order.command.into_iter().map(OsStringExt::into_vec).collect(),
        cwd: order.cwd,
        stdio,
        fds: given.zip(order.fds).collect(),
        ids: ((server.inside.0, plan.uid), (server.inside.1, plan.gid)),
        pids: order.limits.pids,
    }
}

/// The text with every placeholder replaced by the port.
fn filled(text: &[u8], port: &[u8]) -> Vec<u8> {
    let mark = MODEL_PORT.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(mark) {
            Some(tail) if !port.is_empty() => {
                out.extend_from_slice(port);
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Reads what the worker says up to its exec; when it failed, passes that on and exits.
fn started_or_exit(report: BorrowedFd<'_>, control: BorrowedFd<'_>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match rustix::io::read(report, &mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    if bytes.is_empty() {
        return;
    }
    // Already a notice: a failed step, or an end before the beginning.
    let _ = socket::send(control, &bytes, &[]);
    process::exit_now(1)
}

/// Waits for whatever ends the sandbox first.
fn watch(
    worker: i32,
    [control, lifeline, signals]: [BorrowedFd<'_>; 3],
    deadline: Option<i64>,
    mut supervisor: Supervisor<'_>,
) -> ! {
    loop {
        let now = process::boot_ms();
        if deadline.is_some_and(|deadline| now >= deadline) {
            end(control, Outcome::TimedOut, &supervisor);
        }
        let wake = match supervisor.look(now) {
            Verdict::OutOfMemory => end(control, Outcome::OutOfMemory, &supervisor),
            Verdict::Again(at) => at,
        };
        let until = [deadline, wake].into_iter().flatten().min();
        let ready = socket::poll(
            &[(control, libc::POLLIN), (lifeline, 0), (signals, libc::POLLIN)],
            until.map(|at| at - now),
        );
        let Ok(ready) = ready else { process::exit_now(1) };
        let events = |index: usize| ready.get(index).copied().unwrap_or(0);
        if events(2) != 0 {
            let mut taken = [0; 1_024];
            let _ = rustix::io::read(signals, &mut taken);
            while let Some((pid, status)) = process::reap() {
                if pid == worker {
                    let outcome = match status {
                        Status::Exited(code) => Outcome::Exited(code),
                        Status::Signalled(signal) => Outcome::Signalled(signal),
                    };
                    end(control, outcome, &supervisor);
                }
            }
        }
        // The engine is gone, or has let go of this sandbox; or the launcher is gone.
        if events(0) & libc::POLLHUP != 0 || events(1) != 0 {
            process::exit_now(0);
        }
        if events(0) & libc::POLLIN != 0 {
            answer(control, &mut supervisor);
        }
    }
}

/// Does what the engine asks of a running sandbox.
fn answer(control: BorrowedFd<'_>, supervisor: &mut Supervisor<'_>) {
    let mut buffer = [0; 16];
    match socket::receive(control, &mut buffer, false) {
        Ok(Some((1, _))) => match buffer.first() {
            Some(b'U') => {
                let notice = Notice::Measured(supervisor.usage());
                let _ = socket::send(control, &notice.encode(), &[]);
            }
            Some(b'S') => supervisor.freeze(true),
            Some(b'C') => supervisor.freeze(false),
            _ => {}
        },
        Ok(None) => process::exit_now(0),
        _ => {}
    }
}

fn end(control: BorrowedFd<'_>, outcome: Outcome, supervisor: &Supervisor<'_>) -> ! {
    let usage = Usage { memory_peak: supervisor.peak(), cpu: Some(supervisor.cpu_of_the_dead()) };
    let _ = socket::send(control, &Notice::Ended(outcome, usage).encode(), &[]);
    process::exit_now(0)
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn every_placeholder_becomes_the_port() {
        let text = b"http://127.0.0.1:{model_port}/v1 {model_port} {other}";
        assert_eq!(filled(text, b"4242"), b"http://127.0.0.1:4242/v1 4242 {other}");
        assert_eq!(filled(text, b""), text);
    }
}
