//! Processes, namespaces, credentials and descriptors.

use super::check;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What a fork gives: which side this is.
pub(crate) enum Forked {
    /// In the parent: the child's process id and descriptor.
    Parent(i32, OwnedFd),
    /// In the child.
    Child,
}

/// Forks, with new namespaces (`CLONE_NEW*`) for the child.
///
/// Must only be called by a single-threaded process: the child goes on running ordinary code.
pub(crate) fn fork(namespaces: libc::c_int) -> io::Result<Forked> {
    let mut descriptor: RawFd = -1;
    // SAFETY: all zero is a valid request; the fields set below are the ones that matter.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.flags = (namespaces | libc::CLONE_PIDFD) as u64;
    request.pidfd = (&raw mut descriptor) as u64;
    request.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has its own copy of memory; the caller is
    // single-threaded, so no lock is held by a thread that does not exist in the child.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut request, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(Forked::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

/// Forks without new namespaces, by the call that every filter of a container engine allows. `None` is the
/// child.
///
/// Must only be called by a single-threaded process, as [`fork`].
pub(crate) fn fork_plainly() -> io::Result<Option<i32>> {
    // SAFETY: without CLONE_VM the child has its own copy of memory; the caller is single-threaded.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize, 0_usize, 0_usize, 0_usize) })?;
    Ok((pid != 0).then_some(pid as i32))
}

/// Ends this process at once, running nothing.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns; no destructor is meant to run in a forked child.
    unsafe { libc::_exit(code) }
}

/// Moves this process into new namespaces.
pub(crate) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: takes flags only.
    check(i64::from(unsafe { libc::unshare(namespaces) })).map(drop)
}

/// Moves this process into an existing namespace of a kind (`CLONE_NEW*`); of mounts, at its root.
pub(crate) fn enter_namespace(namespace: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(i64::from(unsafe { libc::setns(namespace.as_raw_fd(), kind) })).map(drop)
}

/// Acts as this user, in no other group, and stays who it was: nobody who is that user may signal it.
pub(crate) fn act_as(user: u32) -> io::Result<()> {
    // SAFETY: an empty list needs no memory; the others take integers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        check(libc::syscall(libc::SYS_setresgid, user, user, user))?;
        check(libc::syscall(libc::SYS_setresuid, 0, user, 0))?;
    }
    Ok(())
}

/// Is this user for good, after [`act_as`].
pub(crate) fn be_user(user: u32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) }).map(drop)
}

/// Becomes another user for good, with no supplementary groups.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // The raw calls: the C library's ones try to tell other threads, of which there are none.
    // SAFETY: an empty list needs no memory; the others take integers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: only options that take integers are passed here.
    check(i64::from(unsafe { libc::prctl(option, argument, 0, 0, 0) })).map(|value| value as libc::c_int)
}

/// Whether others of the same user may look into this process.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable)).map(drop)
}

/// Dies when the thread that forked this process dies. Cleared by a change of user.
pub(crate) fn die_with_parent() -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong).map(drop)
}

/// Whoever below this process loses its parent becomes its child.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// Nothing that this process executes gains a privilege, for good.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Removes every capability from the bounding set, as far as this process may.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            // Above the last capability that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        };
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// Clears the effective, permitted and inheritable sets (and with them the ambient one).
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let header = CapabilityHeader { version: 0x2008_0522, pid: 0 };
    let empty = [0_u32; 6];
    // SAFETY: version 3 reads a header and two triples of 32-bit sets.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, empty.as_ptr()) }).map(drop)
}

/// Whether this process holds a capability in its effective set.
pub(crate) fn has_capability(capability: u32) -> bool {
    let header = CapabilityHeader { version: 0x2008_0522, pid: 0 };
    let mut sets = [0_u32; 6];
    // SAFETY: version 3 fills two triples of 32-bit sets.
    let read = check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) });
    let word = sets.get(if capability < 32 { 0 } else { 3 }).copied().unwrap_or(0);
    read.is_ok() && word & (1 << (capability % 32)) != 0
}

/// Closes every descriptor from `first` to `last`, both included.
pub(crate) fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: the caller owns the process and names descriptors that it gives up.
        unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, last as libc::c_uint, 0) };
    }
}

/// Lets a program inherit nothing but its three streams.
pub fn inherit_nothing(command: &mut std::process::Command) {
    let close = || {
        // SAFETY: one system call between fork and exec, which marks descriptors of the child alone.
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        Ok(())
    };
    // SAFETY: it makes that call and allocates nothing.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, close) };
}

/// Closes every descriptor that is not in `keep`.
pub(crate) fn close_all_but(keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut next = 0;
    for fd in keep {
        close_range(next, *fd - 1);
        next = *fd + 1;
    }
    close_range(next, RawFd::MAX);
}

/// A copy of a descriptor at the lowest free number from `floor` on.
pub(crate) fn copy_above(fd: RawFd, floor: RawFd) -> io::Result<RawFd> {
    // SAFETY: duplicates a descriptor; the result is owned by the caller by number.
    check(i64::from(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, floor) })).map(|fd| fd as RawFd)
}

/// Puts a descriptor at an exact number, where it survives an exec.
pub(crate) fn place(fd: RawFd, at: RawFd) -> io::Result<()> {
    // SAFETY: whatever stood at that number is given up by the caller.
    check(i64::from(unsafe { libc::dup2(fd, at) })).map(drop)
}

/// Replaces this process by a program; returns only on failure.
pub(crate) fn execute(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// The most that a limit may be set to.
pub(crate) fn most(resource: u32) -> io::Result<u64> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills a live structure.
    check(i64::from(unsafe { libc::getrlimit(resource as _, &raw mut now) }))?;
    Ok(now.rlim_max)
}

/// Sets a resource limit, soft and hard, no higher than the hard limit already in force.
pub(crate) fn limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let hard = hard.min(most(resource)?);
    let wanted = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: reads a live structure.
    check(i64::from(unsafe { libc::setrlimit(resource as _, &raw const wanted) })).map(drop)
}

/// Ignores a signal, as do programs that are executed from here on.
pub(crate) fn ignore_signal(signal: libc::c_int) {
    // SAFETY: sets an action that runs no code.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Blocks the given signals and gives a descriptor that reads them.
pub(crate) fn signal_descriptor(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(i64::from(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())))?;
        let fd =
            check(i64::from(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Gives every signal its default action, whatever this process was started with.
pub(crate) fn default_actions() {
    for signal in 1..=64 {
        // SAFETY: sets default actions only; SIGKILL and SIGSTOP refuse and that is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Unblocks every signal. The actions are the default ones since the launcher's start.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// How a reaped child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Signalled(i32),
}

/// Reaps one ended child, whichever; `None` when none has ended.
pub(crate) fn reap() -> Option<(i32, Status)> {
    let mut status = 0;
    // SAFETY: fills a live integer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    if pid <= 0 {
        return None;
    }
    Some((
        pid,
        if libc::WIFEXITED(status) {
            Status::Exited(libc::WEXITSTATUS(status))
        } else {
            Status::Signalled(libc::WTERMSIG(status))
        },
    ))
}

/// Reaps this child if it has ended.
pub(crate) fn reap_child(pid: i32) {
    // SAFETY: a null status is allowed, and takes integers besides.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
}

/// Sends a signal to a process, named by a descriptor so that it cannot be another.
pub(crate) fn signal_process(process: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no signal information is passed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) })
        .map(drop)
}

/// Sends a signal to a process id; -1 is everybody that this process sees, but for itself; another
/// negative number is a process group.
pub(crate) fn signal_pid(pid: i32, signal: libc::c_int) {
    // SAFETY: takes integers only.
    unsafe { libc::kill(pid, signal) };
}

/// A descriptor for a process.
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Installs a seccomp program for this process and all that it will execute.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program outlives the call; the kernel copies and checks it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, 1_u32, 0_u32, &raw const header) }).map(drop)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an all-zero request is valid; the name below leaves it NUL-terminated.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is live and names an interface and its flags.
    check(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }))
        .map(drop)
}

/// The Landlock ABI of this kernel; 0 when it has none.
pub(crate) fn landlock_abi() -> i32 {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: asks for the version only; no attribute is read.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, 1_u32) }).unwrap_or(0) as i32
}

/// Restricts this process to the Landlock rules that a descriptor holds, for good.
pub(crate) fn restrict(rules: RawFd) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) }).map(drop)
}

/// Milliseconds since boot, time asleep included: what deadlines are counted in.
pub(crate) fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// Bytes in a page.
pub(crate) fn page_size() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096)
}

/// Clock ticks in a second, the unit of times in `/proc`.
pub(crate) fn ticks_per_second() -> i64 {
    // SAFETY: reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_inherits_nothing_has_no_descriptor_of_its_starter() {
        let file = std::fs::File::open("/dev/null").unwrap();
        // High above what the program opens for itself.
        let handed = rustix::io::fcntl_dupfd_cloexec(&file, 500).unwrap();
        rustix::io::fcntl_setfd(&handed, rustix::io::FdFlags::empty()).unwrap();
        let has = |closing: bool| {
            let mut command = std::process::Command::new("test");
            command.args(["-e", &format!("/proc/self/fd/{}", handed.as_raw_fd())]);
            if closing {
                inherit_nothing(&mut command);
            }
            command.status().unwrap().success()
        };
        assert!(has(false) && !has(true));
    }
}
