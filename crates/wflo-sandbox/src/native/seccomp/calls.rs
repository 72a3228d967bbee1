//! The tables: which calls are made, which are refused, and which depend on their arguments.
//!
//! Numbers come from the C library's headers for the architecture that is built; calls that exist
//! on x86-64 alone stand apart.

use super::Answer::{Allow, Errno};
use super::{Answer, Check, Number, Rule, Test};

/// Calls that are made whatever their arguments.
#[rustfmt::skip]
const MADE: &[Number] = &[
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, libc::SYS_getxattr, libc::SYS_lgetxattr,
    libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr, libc::SYS_getcwd,
    libc::SYS_eventfd2, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch, libc::SYS_ioprio_set, libc::SYS_ioprio_get,
    libc::SYS_flock, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_symlinkat, libc::SYS_linkat,
    libc::SYS_renameat2, libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_truncate, libc::SYS_ftruncate,
    libc::SYS_fallocate, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_chdir, libc::SYS_fchdir,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchownat, libc::SYS_fchown, libc::SYS_openat,
    libc::SYS_openat2, libc::SYS_close, libc::SYS_close_range, libc::SYS_pipe2, libc::SYS_getdents64,
    libc::SYS_lseek, libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2,
    libc::SYS_sendfile, libc::SYS_pselect6, libc::SYS_ppoll, libc::SYS_signalfd4, libc::SYS_splice,
    libc::SYS_tee, libc::SYS_readlinkat, libc::SYS_newfstatat, libc::SYS_fstat,
    libc::SYS_statx, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime, libc::SYS_utimensat, libc::SYS_capget,
    libc::SYS_capset, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_waitid, libc::SYS_wait4,
    libc::SYS_set_tid_address, libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_set_robust_list,
    libc::SYS_get_robust_list, libc::SYS_nanosleep, libc::SYS_getitimer, libc::SYS_setitimer,
    libc::SYS_timer_create, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_settime,
    libc::SYS_timer_delete, libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep,
    libc::SYS_sched_setparam, libc::SYS_sched_setscheduler, libc::SYS_sched_getscheduler,
    libc::SYS_sched_getparam, libc::SYS_sched_setaffinity, libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval, libc::SYS_sched_setattr, libc::SYS_sched_getattr,
    libc::SYS_restart_syscall, libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_sigaltstack,
    libc::SYS_rt_sigsuspend, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_rt_sigreturn, libc::SYS_setpriority, libc::SYS_getpriority, libc::SYS_setregid,
    libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setuid, libc::SYS_setresuid, libc::SYS_getresuid,
    libc::SYS_setresgid, libc::SYS_getresgid, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_times,
    libc::SYS_setpgid, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_getgroups,
    libc::SYS_setgroups, libc::SYS_uname, libc::SYS_getrusage, libc::SYS_umask, libc::SYS_prctl,
    libc::SYS_getcpu, libc::SYS_gettimeofday, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_getuid,
    libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_gettid, libc::SYS_sysinfo,
    libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify, libc::SYS_mq_getsetattr, libc::SYS_msgctl, libc::SYS_msgrcv,
    libc::SYS_msgsnd, libc::SYS_semctl, libc::SYS_semtimedop, libc::SYS_semop,
    libc::SYS_shmctl, libc::SYS_shmat, libc::SYS_shmdt, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept,
    libc::SYS_accept4, libc::SYS_connect, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_getsockopt, libc::SYS_shutdown, libc::SYS_sendmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_readahead, libc::SYS_brk,
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_msync,
    libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock, libc::SYS_mlockall, libc::SYS_munlockall,
    libc::SYS_mincore, libc::SYS_madvise, libc::SYS_execve, libc::SYS_execveat, libc::SYS_fadvise64,
    libc::SYS_seccomp, libc::SYS_getrandom, libc::SYS_membarrier, libc::SYS_copy_file_range,
    libc::SYS_pkey_mprotect, libc::SYS_pkey_alloc, libc::SYS_pkey_free, libc::SYS_rseq,
    libc::SYS_pidfd_send_signal, libc::SYS_pidfd_open, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self, libc::SYS_mseal,
];

/// The same, where only this architecture has them.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const MADE_HERE: &[Number] = &[
    libc::SYS_open, libc::SYS_renameat, libc::SYS_sync_file_range, libc::SYS_getrlimit, libc::SYS_stat,
    libc::SYS_lstat, libc::SYS_poll, libc::SYS_access, libc::SYS_pipe, libc::SYS_select, libc::SYS_dup2,
    libc::SYS_pause, libc::SYS_alarm, libc::SYS_fork, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_rename,
    libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_creat, libc::SYS_link, libc::SYS_unlink, libc::SYS_symlink,
    libc::SYS_readlink, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime,
    libc::SYS_arch_prctl, libc::SYS_time, libc::SYS_futimesat, libc::SYS_utimes, libc::SYS_getdents,
    libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_inotify_init, libc::SYS_signalfd,
    libc::SYS_eventfd,
];
/// renameat, sync_file_range and getrlimit, which the kernel has here and the library does not name.
#[cfg(target_arch = "aarch64")]
const MADE_HERE: &[Number] = &[38, 84, 163];

/// The same, by number where the C library's headers are older than the call: cachestat,
/// fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue. New calls have one number everywhere.
const MADE_BY_NUMBER: &[Number] = &[451, 452, 453, 454, 455, 456];

/// Calls that reach into the kernel, other processes or the host: refused by name.
#[rustfmt::skip]
const REFUSED: &[Number] = &[
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_fsopen,
    libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_move_mount, libc::SYS_open_tree,
    libc::SYS_mount_setattr, libc::SYS_unshare, libc::SYS_setns, libc::SYS_ptrace,
    libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_process_mrelease, libc::SYS_pidfd_getfd, libc::SYS_kcmp, libc::SYS_bpf,
    libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_keyctl, libc::SYS_add_key,
    libc::SYS_request_key, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_acct,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
    libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_syslog, libc::SYS_sethostname,
    libc::SYS_setdomainname, libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init, libc::SYS_fanotify_mark, libc::SYS_vhangup, libc::SYS_mbind,
    libc::SYS_set_mempolicy, libc::SYS_get_mempolicy, libc::SYS_migrate_pages, libc::SYS_move_pages,
    libc::SYS_set_mempolicy_home_node,
];

/// The same, where only this architecture has them.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REFUSED_HERE: &[Number] = &[
    libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS__sysctl,
    libc::SYS_ustat, libc::SYS_sysfs,
];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[Number] = &[];

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
pub(super) fn rules(accounted: bool) -> Vec<(Number, Rule)> {
    let mut rules = Vec::with_capacity(480);
    rules.extend(MADE.iter().chain(MADE_HERE).chain(MADE_BY_NUMBER).map(|call| (*call, Rule::Always(Allow))));
    let refused = REFUSED.iter().chain(REFUSED_HERE);
    rules.extend(refused.map(|call| (*call, Rule::Always(Errno(libc::EPERM)))));
    // Flushing every file system of the host is no business of a sandbox: what it writes ends with
    // it, and what it writes to a bind it can flush by file.
    rules.extend([libc::SYS_sync, libc::SYS_syncfs].map(|call| (call, Rule::Always(Errno(0)))));
    // Memory that outlives its mappings and that only a cgroup counts.
    let uncounted = Rule::Always(if accounted { Allow } else { Errno(libc::ENOSYS) });
    let calls = [
        libc::SYS_memfd_create,
        libc::SYS_shmget,
        libc::SYS_msgget,
        libc::SYS_semget,
        // One byte of a large page, put into a pipe, keeps the whole page.
        libc::SYS_vmsplice,
    ];
    rules.extend(calls.map(|call| (call, uncounted.clone())));
    rules.extend(checked());
    rules
}

fn checked() -> Vec<(Number, Rule)> {
    let refused = Errno(libc::EPERM);
    let device = |argument| {
        let kind = |value| low(argument, Test::Masked(libc::S_IFMT, value), refused);
        Rule::Checked(vec![kind(libc::S_IFCHR), kind(libc::S_IFBLK)], Allow)
    };
    let core = |argument| low(argument, Test::Differs(libc::RLIMIT_CORE), Allow);
    let mut rules = vec![
        (libc::SYS_clone, Rule::Checked(vec![low(0, Test::HasAny(NEW_NAMESPACES), refused)], Allow)),
        // Its flags are in memory, where a filter cannot look: programs fall back to clone.
        (libc::SYS_clone3, Rule::Always(Errno(libc::ENOSYS))),
        (
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
        (
            libc::SYS_socket,
            Rule::Checked(
                vec![
                    low(0, Test::Equal(libc::AF_UNIX as u32), Allow),
                    low(0, Test::Equal(libc::AF_INET as u32), Allow),
                    low(0, Test::Equal(libc::AF_INET6 as u32), Allow),
                    low(0, Test::Differs(libc::AF_NETLINK as u32), Errno(libc::EAFNOSUPPORT)),
                    low(2, Test::Equal(libc::NETLINK_ROUTE as u32), Allow),
                ],
                Errno(libc::EPROTONOSUPPORT),
            ),
        ),
        (
            libc::SYS_socketpair,
            Rule::Checked(vec![low(0, Test::Equal(libc::AF_UNIX as u32), Allow)], Errno(libc::EAFNOSUPPORT)),
        ),
        // Who counts sockets relies on the bound of each (`sockets`): a wish for more is ignored.
        (
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
        (
            libc::SYS_personality,
            Rule::Checked(vec![low(0, Test::Equal(0), Allow), low(0, Test::Equal(u32::MAX), Allow)], refused),
        ),
        (libc::SYS_mknodat, device(2)),
        // Core dumps are off by a limit of 1 byte, which also stops dumps into a pipe; a program
        // that sets 0 means the same and would undo that.
        (SETRLIMIT, Rule::Checked(vec![core(0)], Errno(0))),
        (
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
    #[cfg(target_arch = "x86_64")]
    rules.push((libc::SYS_mknod, device(1)));
    rules.shrink_to_fit();
    rules
}
