//! Pid 1 of a sandbox: takes its order, builds it, starts its program, watches over it, ends with it.
//!
//! It is the launcher's forked child, often older than its order: `blank` is what it does before. When it exits, for whatever reason, the kernel kills every
//! process of the sandbox. It ends when the program ends, when the time is up, when the engine or
//! the launcher is gone, or when a supervised limit is broken.
//! **Architecture Invariant:** pid 1 is not dumpable, holds no environment and no descriptor of
//! the program's, and reads nothing that the program wrote but numbers under `/proc`.

use super::blank::{self, Made};
use super::halt::Halt;
use super::mold::Mold;
use super::net;
use super::plan::Plan;
use super::root;
use super::server::{Common, Given};
use super::sockets::{self, Sockets};
use super::spec::{EGRESS_PORT, HOME, Level, MODEL_PORT, WORKSPACE};
use super::supervise::{Members, Supervisor, Watched};
use super::sys::process::{self, Forked};
use super::sys::{At, Fault, socket};
use super::task::Task;
use super::watch::{self, Sources};
use super::wire::{Notice, Order, Ports};
use super::worker::{self, Program, Walls};
use rustix::net::Shutdown;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Never returns: whatever the end, it is an exit of this process. `at_once` says that an order for this
/// process is under way, and where it is to halt.
pub(crate) fn main(mold: &Mold, common: &Common, orders: &OwnedFd, at_once: Option<&Halt<'_>>) -> ! {
    let made = blank::make(mold, common, orders.as_fd(), at_once.unwrap_or(&Halt::default()));
    if made.is_err() && at_once.is_none() {
        // From here on its orders go to another one; who was faster is answered.
        let _ = rustix::net::shutdown(orders, Shutdown::Read);
    }
    let Ok(task) = Task::receive(orders.as_fd(), made.is_ok() || at_once.is_some()) else {
        process::exit_now(1)
    };
    let Task { order, control, held, fds, plan } = task;
    let given = Given {
        control: control.as_fd(),
        lifeline: common.lifeline(),
        held: held.as_ref().map(AsFd::as_fd),
        fds: &fds,
    };
    let fault = match made.and_then(|made| sandbox(mold, &plan, common, order, &given, made)) {
        Err(fault) => fault,
        Ok(never) => match never {},
    };
    let _ = socket::send(given.control, &Notice::Failed(fault).encode(), &[]);
    process::exit_now(1)
}

enum Never {}

/// Returns only when it could not be made.
fn sandbox(
    mold: &Mold,
    plan: &Plan,
    common: &Common,
    order: Order,
    &Given { control, lifeline, held, fds }: &Given<'_>,
    Made { signals, root, mut rules }: Made,
) -> Result<Never, Fault> {
    let halt = Halt::of(&order, fds);
    if let Some(groups) = &common.groups {
        groups.join(&order.name, &order.limits, &order.disks, false)?;
    }
    halt.at("grouped");
    process::unshare(libc::CLONE_NEWCGROUP).step("making a cgroup namespace")?;
    let root = root::build(root, &mold.template, &order, plan)?;
    halt.at("built");
    rustix::system::sethostname(order.hostname.as_bytes()).step("naming the host")?;
    let listener = if order.model_listener { Some(net::listen()?) } else { None };
    let egress = if order.egress_listener { Some(net::listen()?) } else { None };
    rules.allow(&writable(&order))?;
    let rules = rules.complete();
    if plan.privileged {
        process::become_user(plan.uid, plan.gid).step("becoming the sandbox's user")?;
    }
    process::drop_capabilities().step("dropping capabilities")?;
    process::no_new_privileges().step("forbidding new privileges")?;
    process::set_dumpable(false).step("hiding pid 1")?;
    // Becoming another user has cleared it.
    process::die_with_parent().step("tying the sandbox to the launcher")?;
    halt.at("walled");
    let port = |listener: &Option<(OwnedFd, u16)>| listener.as_ref().map(|(_, port)| *port);
    let ports = Ports { model: port(&listener), egress: port(&egress) };
    let kernel = |level: Level| level == Level::Kernel;
    let filter = mold.filter(common.screen(&order));
    let (report, report_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
    let started = process::boot_ms();
    let limits = order.limits;
    let worker = match process::fork(0).step("forking the program")? {
        Forked::Child => {
            let walls = Walls {
                ids: Some(((mold.inside.0, plan.uid), (mold.inside.1, plan.gid))),
                pids: limits.pids,
                rules: rules.as_ref().map(AsRawFd::as_raw_fd),
                filter: &filter,
                clocks: common.capabilities.clocks,
                halt: Some(&halt),
            };
            worker::main(&program(order, fds, ports, Some(walls)), report_end.as_raw_fd())
        }
        Forked::Parent(pid, _) => pid,
    };
    halt.at("watching");
    let scratch = root.scratch.as_fd();
    let counts_sockets = limits.memory.is_some() && common.capabilities.sockets != Level::Kernel;
    let diagnosis = if counts_sockets { sockets::diagnosis().ok() } else { None };
    let diagnosis = diagnosis.as_ref().map(AsFd::as_fd);
    let handed: Vec<BorrowedFd<'_>> = listener
        .iter()
        .chain(&egress)
        .map(|(fd, _)| fd.as_fd())
        .chain(root.layers.iter().flat_map(|(upper, merged)| [upper.as_fd(), merged.as_fd()]))
        .collect();
    let mut keep: Vec<RawFd> = [control, lifeline, signals.as_fd(), report.as_fd(), scratch]
        .iter()
        .chain(&handed)
        .chain(&held)
        .chain(&diagnosis)
        .map(AsRawFd::as_raw_fd)
        .collect();
    // From here on every owner of another descriptor is a name without one; none of them is ever
    // dropped, because this function does not return.
    process::close_all_but(&mut keep);
    if process::install_filter(&mold.init_filter).is_err() || !watch::started(report.as_fd(), control) {
        process::exit_now(1);
    }
    let owner = [mold.inside.0, mold.inside.1, plan.uid, plan.gid, plan.host_uid, plan.host_gid];
    let notice = Notice::Running { owner, ports, layers: root.layers.is_some() };
    let _ = socket::send(control, &notice.encode(), &handed);
    // Those are the engine's from now on, and the program's pid 1 keeps nothing of its own.
    handed.iter().for_each(|fd| process::close_range(fd.as_raw_fd(), fd.as_raw_fd()));
    let deadline = limits.timeout.map(|limit| started.saturating_add_unsigned(limit.0));
    let watched = Watched {
        memory: limits.memory.filter(|_| !kernel(common.capabilities.memory)),
        sockets: limits.memory.filter(|_| kernel(common.capabilities.memory) && counts_sockets),
        cpus: limits.cpus.filter(|_| !kernel(common.capabilities.cpus)),
        tasks: None,
    };
    let sockets = Sockets { diagnosis, bounded: root.bounded && common.sockets_fit };
    let supervisor = Supervisor::new(Members::Namespace, watched, Some((scratch, sockets)));
    watch::watch(worker, Sources { control, lifeline, signals: signals.as_fd() }, deadline, supervisor);
    // The kernel kills whoever is left.
    process::exit_now(0)
}

/// Where the program may write.
fn writable(order: &Order) -> Vec<PathBuf> {
    let workspace = order.workspace.as_ref().map_or(Path::new(WORKSPACE), |view| &view.target);
    let fixed = ["/tmp", HOME, "/dev/shm"].map(PathBuf::from);
    let binds = order.rw.iter().map(|bind| bind.target.clone());
    fixed.into_iter().chain([workspace.to_owned()]).chain(binds).collect()
}

/// The program to be, its placeholders filled in. `fds` are its descriptors, standard ones first.
pub(crate) fn program<'a>(
    order: Order,
    fds: &[OwnedFd],
    ports: Ports,
    walls: Option<Walls<'a>>,
) -> Program<'a> {
    let marks = [(MODEL_PORT, ports.model), (EGRESS_PORT, ports.egress)];
    let marks = marks.map(|(mark, port)| (mark, port.map(|port| port.to_string()).unwrap_or_default()));
    let told = |text: OsString| {
        let known = marks.iter().filter(|(_, port)| !port.is_empty());
        known.fold(text.into_vec(), |text, (mark, port)| filled(&text, mark.as_bytes(), port.as_bytes()))
    };
    let mut given = fds.iter().map(AsRawFd::as_raw_fd);
    let stdio = order.stdio.map(|given_one| if given_one { given.next() } else { None });
    let environment = order.env.into_iter().map(|(name, value)| {
        let mut line = name.into_vec();
        line.push(b'=');
        line.extend(told(value));
        line
    });
    let terminal = order.terminal;
    Program {
        terminal,
        environment: environment.collect(),
        home: order.home.into_iter().map(|(path, text)| (path, told(text))).collect(),
        command: order.command.into_iter().map(OsStringExt::into_vec).collect(),
        cwd: order.cwd,
        stdio,
        fds: given.zip(order.fds).collect(),
        walls,
    }
}

/// The text with every `mark` replaced by the port.
fn filled(text: &[u8], mark: &[u8], port: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(mark) {
            Some(tail) => {
                out.extend_from_slice(port);
                rest = tail;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn every_placeholder_becomes_the_port() {
        let text = b"http://127.0.0.1:{model_port}/v1 {model_port} {other}";
        assert_eq!(filled(text, b"{model_port}", b"4242"), b"http://127.0.0.1:4242/v1 4242 {other}");
        assert_eq!(filled(text, b"{egress_port}", b"1"), text);
    }
}
