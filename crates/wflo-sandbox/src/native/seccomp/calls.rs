//! The tables: which calls are made, which are refused, and which depend on their arguments.
//!
//! Numbers come from the C library's headers for the architecture that is built; calls that exist
//! on x86-64 alone stand apart.

use super::Answer::{Allow, Errno};
use super::{Answer, Check, Number, Rule, Ruling, Screen, Test};
use crate::native::preset::Preset;

/// The constant's name and its number.
type Call = (&'static str, Number);

macro_rules! calls {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), libc::$name)),*] };
}

/// Calls that are made whatever their arguments.
#[rustfmt::skip]
const MADE: &[Call] = calls![
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr,
    SYS_fgetxattr, SYS_listxattr, SYS_llistxattr, SYS_flistxattr,
    SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, SYS_getcwd,
    SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_epoll_pwait2, SYS_dup, SYS_dup3, SYS_fcntl, SYS_inotify_init1,
    SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_ioprio_set, SYS_ioprio_get,
    SYS_flock, SYS_mkdirat, SYS_unlinkat, SYS_symlinkat, SYS_linkat,
    SYS_renameat2, SYS_statfs, SYS_fstatfs, SYS_truncate, SYS_ftruncate,
    SYS_fallocate, SYS_faccessat, SYS_faccessat2, SYS_chdir, SYS_fchdir,
    SYS_fchownat, SYS_fchown, SYS_close, SYS_close_range, SYS_pipe2, SYS_getdents64,
    SYS_lseek, SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64,
    SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2,
    SYS_sendfile, SYS_pselect6, SYS_ppoll, SYS_signalfd4,
    SYS_readlinkat, SYS_newfstatat, SYS_fstat,
    SYS_statx, SYS_fsync, SYS_fdatasync, SYS_timerfd_create,
    SYS_timerfd_settime, SYS_timerfd_gettime, SYS_utimensat, SYS_capget,
    SYS_capset, SYS_exit, SYS_exit_group, SYS_waitid, SYS_wait4,
    SYS_set_tid_address, SYS_futex, SYS_futex_waitv, SYS_set_robust_list,
    SYS_get_robust_list, SYS_nanosleep, SYS_getitimer, SYS_setitimer,
    SYS_timer_create, SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_settime,
    SYS_timer_delete, SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep,
    SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_getscheduler,
    SYS_sched_getparam, SYS_sched_setaffinity, SYS_sched_getaffinity,
    SYS_sched_yield, SYS_sched_get_priority_max, SYS_sched_get_priority_min,
    SYS_sched_rr_get_interval, SYS_sched_setattr, SYS_sched_getattr,
    SYS_restart_syscall, SYS_kill, SYS_tkill, SYS_tgkill, SYS_sigaltstack,
    SYS_rt_sigsuspend, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending,
    SYS_rt_sigtimedwait, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo,
    SYS_rt_sigreturn, SYS_setpriority, SYS_getpriority, SYS_setregid,
    SYS_setgid, SYS_setreuid, SYS_setuid, SYS_setresuid, SYS_getresuid,
    SYS_setresgid, SYS_getresgid, SYS_setfsuid, SYS_setfsgid, SYS_times,
    SYS_setpgid, SYS_getpgid, SYS_getsid, SYS_setsid, SYS_getgroups,
    SYS_setgroups, SYS_uname, SYS_getrusage, SYS_umask, SYS_prctl,
    SYS_getcpu, SYS_gettimeofday, SYS_getpid, SYS_getppid, SYS_getuid,
    SYS_geteuid, SYS_getgid, SYS_getegid, SYS_gettid, SYS_sysinfo,
   
   
   
    SYS_bind, SYS_listen, SYS_accept,
    SYS_accept4, SYS_connect, SYS_getsockname, SYS_getpeername, SYS_sendto,
    SYS_recvfrom, SYS_getsockopt, SYS_shutdown, SYS_sendmsg,
    SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_readahead, SYS_brk,
    SYS_munmap, SYS_mremap, SYS_mmap, SYS_mprotect, SYS_msync,
    SYS_mlock, SYS_mlock2, SYS_munlock, SYS_mlockall, SYS_munlockall,
    SYS_mincore, SYS_madvise, SYS_execve, SYS_execveat, SYS_fadvise64,
    SYS_seccomp, SYS_getrandom, SYS_membarrier, SYS_copy_file_range,
    SYS_pkey_mprotect, SYS_pkey_alloc, SYS_pkey_free, SYS_rseq,
    SYS_pidfd_send_signal, SYS_pidfd_open, SYS_landlock_create_ruleset,
    SYS_landlock_add_rule, SYS_landlock_restrict_self, SYS_mseal,
];

/// The same, where only this architecture has them.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const MADE_HERE: &[Call] = calls![
    SYS_renameat, SYS_sync_file_range, SYS_getrlimit, SYS_stat,
    SYS_lstat, SYS_poll, SYS_access, SYS_pipe, SYS_select, SYS_dup2,
    SYS_pause, SYS_alarm, SYS_fork, SYS_vfork, SYS_getpgrp, SYS_rename,
    SYS_mkdir, SYS_rmdir, SYS_link, SYS_unlink, SYS_symlink,
    SYS_readlink, SYS_chown, SYS_lchown, SYS_utime,
    SYS_arch_prctl, SYS_time, SYS_futimesat, SYS_utimes, SYS_getdents,
    SYS_epoll_create, SYS_epoll_wait, SYS_inotify_init, SYS_signalfd,
    SYS_eventfd,
];
/// renameat, sync_file_range and getrlimit, which the kernel has here and the library does not name.
#[cfg(target_arch = "aarch64")]
const MADE_HERE: &[Call] = &[("SYS_renameat", 38), ("SYS_sync_file_range", 84), ("SYS_getrlimit", 163)];

/// The same, by number where the C library's headers are older than the call. New calls have one number
/// everywhere.
const MADE_BY_NUMBER: &[Call] = &[
    ("SYS_cachestat", 451),
    ("SYS_map_shadow_stack", 453),
    ("SYS_futex_wake", 454),
    ("SYS_futex_wait", 455),
    ("SYS_futex_requeue", 456),
];

/// Calls that reach into the kernel, other processes or the host: refused by name.
#[rustfmt::skip]
const REFUSED: &[Call] = calls![
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_fsopen,
    SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_move_mount, SYS_open_tree,
    SYS_mount_setattr, SYS_unshare, SYS_setns,
    SYS_process_madvise,
    SYS_process_mrelease, SYS_pidfd_getfd, SYS_kcmp, SYS_bpf,
    SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key,
    SYS_request_key, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_kexec_load, SYS_kexec_file_load, SYS_init_module, SYS_finit_module,
    SYS_delete_module, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct,
    SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex,
    SYS_quotactl, SYS_quotactl_fd, SYS_syslog, SYS_sethostname,
    SYS_setdomainname, SYS_open_by_handle_at, SYS_name_to_handle_at,
    SYS_fanotify_init, SYS_fanotify_mark, SYS_vhangup, SYS_mbind,
    SYS_set_mempolicy, SYS_get_mempolicy, SYS_migrate_pages, SYS_move_pages,
    SYS_set_mempolicy_home_node,
];

/// The same, where only this architecture has them.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REFUSED_HERE: &[Call] = calls![
    SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS__sysctl,
    SYS_ustat, SYS_sysfs,
];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[Call] = calls![];

/// What connects processes of one sandbox and is seldom used: not in a strict one.
#[rustfmt::skip]
const NOT_STRICT: &[Call] = calls![
    SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify, SYS_mq_getsetattr,
    SYS_msgctl, SYS_msgrcv, SYS_msgsnd, SYS_semctl, SYS_semtimedop, SYS_semop, SYS_shmctl, SYS_shmat,
    SYS_shmdt, SYS_splice, SYS_tee,
];

/// Memory that outlives its mappings and that only a cgroup counts. Of a large page, one byte that is put
/// into a pipe by the last keeps the whole.
const UNCOUNTED: &[Call] = calls![SYS_memfd_create, SYS_shmget, SYS_msgget, SYS_semget, SYS_vmsplice];

/// What a debugger does to processes of its own sandbox: in one to build in.
const TRACING: &[Call] = calls![SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev];

/// What pid 1 has no more use for once the program runs.
#[rustfmt::skip]
pub(super) const NEVER_IN_INIT: &[Number] = &[
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_mount, libc::SYS_move_mount, libc::SYS_unshare,
    libc::SYS_setns, libc::SYS_ptrace, libc::SYS_process_vm_writev, libc::SYS_socket, libc::SYS_connect,
    libc::SYS_clone3, libc::SYS_bpf, libc::SYS_io_uring_setup, libc::SYS_setresuid, libc::SYS_capset,
];

#[cfg(target_arch = "x86_64")]
pub(super) const SETRLIMIT: Number = libc::SYS_setrlimit;
#[cfg(target_arch = "aarch64")]
pub(super) const SETRLIMIT: Number = 164;

const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;

const fn low(argument: u32, test: Test, then: Answer) -> Check {
    Check { argument, upper: false, test, then }
}

const fn high(argument: u32, test: Test, then: Answer) -> Check {
    Check { argument, upper: true, test, then }
}

/// Every call that has a rule, in no order.
pub(super) fn rules(screen: Screen) -> Vec<Ruling> {
    let Screen { preset, accounted, lasting } = screen;
    let refused = Errno(libc::EPERM);
    let strict = preset == Preset::Strict;
    let given = |answer: Answer, tables: &[&'static [Call]]| -> Vec<Ruling> {
        let calls = tables.iter().copied().flatten();
        calls.map(|(name, number)| Ruling::new(name, *number, Rule::Always(answer))).collect()
    };
    let mut rules = given(Allow, &[MADE, MADE_HERE, MADE_BY_NUMBER]);
    rules.extend(given(refused, &[REFUSED, REFUSED_HERE]));
    rules.extend(given(if strict { Errno(libc::ENOSYS) } else { Allow }, &[NOT_STRICT]));
    let counted = accounted && !strict;
    rules.extend(given(if counted { Allow } else { Errno(libc::ENOSYS) }, &[UNCOUNTED]));
    rules.extend(given(if preset == Preset::Build { Allow } else { refused }, &[TRACING]));
    // Flushing every file system of the host is no business of a sandbox: what it writes ends with
    // it, and what it writes to a bind it can flush by file.
    rules.extend(given(Errno(0), &[calls![SYS_sync, SYS_syncfs]]));
    rules.extend(checked(preset));
    rules.extend(moded(lasting));
    rules
}

fn sockets(preset: Preset) -> Rule {
    let ordinary = |family: libc::c_int| low(0, Test::Equal(family as u32), Allow);
    if preset == Preset::Strict {
        let unknown = Errno(libc::EPROTONOSUPPORT);
        // TCP, by its number or as the default; other kinds of streams have larger numbers.
        let checks = vec![
            ordinary(libc::AF_UNIX),
            low(1, Test::Unmasked(0xf, libc::SOCK_STREAM as u32), unknown),
            low(2, Test::HasAny(!(libc::IPPROTO_TCP as u32)), unknown),
            ordinary(libc::AF_INET),
            ordinary(libc::AF_INET6),
        ];
        return Rule::Checked(checks, Errno(libc::EAFNOSUPPORT));
    }
    let checks = vec![
        ordinary(libc::AF_UNIX),
        ordinary(libc::AF_INET),
        ordinary(libc::AF_INET6),
        low(0, Test::Differs(libc::AF_NETLINK as u32), Errno(libc::EAFNOSUPPORT)),
        low(2, Test::Equal(libc::NETLINK_ROUTE as u32), Allow),
    ];
    Rule::Checked(checks, Errno(libc::EPROTONOSUPPORT))
}

fn personalities(preset: Preset) -> Rule {
    // What is asked for with all bits is only told. Without random addresses is how debuggers start a program.
    let mut checks = vec![low(0, Test::Equal(0), Allow), low(0, Test::Equal(u32::MAX), Allow)];
    if preset == Preset::Build {
        checks.push(low(0, Test::Equal(libc::ADDR_NO_RANDOMIZE as u32), Allow));
    }
    Rule::Checked(checks, Errno(libc::EPERM))
}

fn checked(preset: Preset) -> Vec<Ruling> {
    let refused = Errno(libc::EPERM);
    let core = |argument| low(argument, Test::Differs(libc::RLIMIT_CORE), Allow);
    let rules = vec![
        (
            "SYS_clone",
            libc::SYS_clone,
            Rule::Checked(vec![low(0, Test::HasAny(NEW_NAMESPACES), refused)], Allow),
        ),
        // Its flags are in memory, where a filter cannot look: programs fall back to clone.
        ("SYS_clone3", libc::SYS_clone3, Rule::Always(Errno(libc::ENOSYS))),
        (
            "SYS_ioctl",
            libc::SYS_ioctl,
            // Typing into a terminal, the console, line disciplines; the kernel reads 32 bits.
            Rule::Checked(
                vec![
                    low(1, Test::Equal(libc::TIOCSTI as u32), refused),
                    low(1, Test::Equal(libc::TIOCLINUX as u32), refused),
                    low(1, Test::Equal(libc::TIOCSETD as u32), refused),
                ],
                Allow,
            ),
        ),
        ("SYS_socket", libc::SYS_socket, sockets(preset)),
        (
            "SYS_socketpair",
            libc::SYS_socketpair,
            Rule::Checked(vec![low(0, Test::Equal(libc::AF_UNIX as u32), Allow)], Errno(libc::EAFNOSUPPORT)),
        ),
        // Who counts sockets relies on the bound of each (`sockets`): a wish for more is ignored.
        (
            "SYS_setsockopt",
            libc::SYS_setsockopt,
            Rule::Checked(
                vec![
                    low(1, Test::Differs(libc::SOL_SOCKET as u32), Allow),
                    low(2, Test::Equal(libc::SO_SNDBUF as u32), Errno(0)),
                    low(2, Test::Equal(libc::SO_RCVBUF as u32), Errno(0)),
                ],
                Allow,
            ),
        ),
        ("SYS_personality", libc::SYS_personality, personalities(preset)),
        // Core dumps are off by a limit of 1 byte, which also stops dumps into a pipe; a program
        // that sets 0 means the same and would undo that.
        ("SYS_setrlimit", SETRLIMIT, Rule::Checked(vec![core(0)], Errno(0))),
        (
            "SYS_prlimit64",
            libc::SYS_prlimit64,
            Rule::Checked(
                vec![
                    low(0, Test::Differs(0), refused),
                    core(1),
                    low(2, Test::Differs(0), Errno(0)),
                    high(2, Test::Differs(0), Errno(0)),
                ],
                Allow,
            ),
        ),
    ];
    rules.into_iter().map(|(name, number, rule)| Ruling::new(name, number, rule)).collect()
}

/// Calls that give a file its mode, or make one with it. Devices are never made. Where files are `lasting`, the bits
/// by which one runs as its owner or group are refused: who can write there could leave a program for whoever starts
/// it outside.
fn moded(lasting: bool) -> Vec<Ruling> {
    const RUNS_AS: u32 = libc::S_ISUID | libc::S_ISGID;
    // `O_TMPFILE` but for `O_DIRECTORY`, which is in it.
    const MAKES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;
    let refused = Errno(libc::EPERM);
    let runs_as = |argument| low(argument, Test::HasAny(RUNS_AS), refused);
    let rule = |checks: Vec<Check>| match checks.is_empty() {
        true => Rule::Always(Allow),
        false => Rule::Checked(checks, Allow),
    };
    let changes = |argument| rule(lasting.then(|| runs_as(argument)).into_iter().collect());
    // Without a file to make, the mode is whatever stood in the register.
    let opens = |flags, mode| {
        let checks = [low(flags, Test::Masked(MAKES, 0), Allow), runs_as(mode)];
        rule(checks.into_iter().filter(|_| lasting).collect())
    };
    let makes = |mode| {
        let kind = |value| low(mode, Test::Masked(libc::S_IFMT, value), refused);
        let devices = [kind(libc::S_IFCHR), kind(libc::S_IFBLK)];
        rule(devices.into_iter().chain(lasting.then(|| runs_as(mode))).collect())
    };
    // Its mode is in memory, where a filter cannot look: programs fall back to openat.
    let unseen = Rule::Always(if lasting { Errno(libc::ENOSYS) } else { Allow });
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut rules = vec![
        ("SYS_fchmod", libc::SYS_fchmod, changes(1)),
        ("SYS_fchmodat", libc::SYS_fchmodat, changes(2)),
        // By number: the C library's headers are older than the call.
        ("SYS_fchmodat2", 452, changes(2)),
        ("SYS_openat", libc::SYS_openat, opens(2, 3)),
        ("SYS_openat2", libc::SYS_openat2, unseen),
        ("SYS_mknodat", libc::SYS_mknodat, makes(2)),
    ];
    #[cfg(target_arch = "x86_64")]
    rules.extend([
        ("SYS_chmod", libc::SYS_chmod, changes(1)),
        ("SYS_open", libc::SYS_open, opens(1, 2)),
        ("SYS_creat", libc::SYS_creat, changes(1)),
        ("SYS_mknod", libc::SYS_mknod, makes(1)),
    ]);
    rules.into_iter().map(|(name, number, rule)| Ruling::new(name, number, rule)).collect()
}
