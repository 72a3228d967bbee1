use super::*;

/// Runs a filter as the kernel would.
fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let step = program[at];
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            LOAD => {
                accumulator = match step.k {
                    0 => number,
                    4 => architecture,
                    offset => {
                        let (index, rest) = ((offset - 16) / 8, (offset - 16) % 8);
                        (arguments[index as usize] >> (8 * rest)) as u32
                    }
                }
            }
            AND => accumulator &= step.k,
            JUMP => at += step.k as usize,
            IF_EQUAL => branch(accumulator == step.k),
            IF_AT_LEAST => branch(accumulator >= step.k),
            IF_ANY => branch(accumulator & step.k != 0),
            RETURN => return step.k,
            other => panic!("unknown instruction {other}"),
        }
    }
}

fn call(number: c_long, arguments: [u64; 6]) -> u32 {
    run(&compile(true), ARCHITECTURE, number as u32, arguments)
}

const EPERM: u32 = ERRNO | libc::EPERM as u32;

#[test]
fn the_tree_answers_every_number_as_its_rule_says() {
    let program = compile(true);
    let rules = calls::rules(true);
    for number in 0..2_000_u32 {
        let wanted = match rules.iter().find(|(known, _)| *known == c_long::from(number)) {
            None => ERRNO | libc::ENOSYS as u32,
            Some((_, Rule::Always(Answer::Allow))) => ALLOW,
            Some((_, Rule::Always(Answer::Errno(errno)))) => ERRNO | *errno as u32,
            Some((_, Rule::Checked(..))) => continue,
        };
        assert_eq!(run(&program, ARCHITECTURE, number, [0; 6]), wanted, "system call {number}");
    }
}

#[test]
fn the_filter_is_short() {
    // Each hundred instructions cost every start about 20 µs.
    assert!(compile(true).len() < 400, "{}", compile(true).len());
}

#[test]
fn no_call_has_two_rules() {
    let mut numbers: Vec<c_long> = calls::rules(false).iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    let all = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
}

#[test]
fn foreign_numbers_and_architectures_are_refused() {
    let read = libc::SYS_read as u32;
    assert_eq!(run(&compile(true), 0x4000_0003, read, [0; 6]), KILL_PROCESS);
    assert_eq!(run(&compile(true), ARCHITECTURE, read | FOREIGN, [0; 6]), ERRNO | libc::ENOSYS as u32);
}

#[test]
fn namespaces_cannot_be_made() {
    for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET, libc::CLONE_NEWPID] {
        assert_eq!(call(libc::SYS_clone, [flag as u64 | 17, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(call(libc::SYS_unshare, [flag as u64, 0, 0, 0, 0, 0]), EPERM);
    }
    assert_eq!(call(libc::SYS_clone, [17, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(call(libc::SYS_clone3, [0; 6]), ERRNO | libc::ENOSYS as u32);
}

#[test]
fn keystrokes_cannot_be_forged_whatever_the_upper_half_says() {
    for upper in [0, 1_u64 << 32, u64::MAX << 32] {
        assert_eq!(call(libc::SYS_ioctl, [0, upper | libc::TIOCSTI, 0, 0, 0, 0]), EPERM);
        assert_eq!(call(libc::SYS_ioctl, [0, upper | libc::TIOCLINUX, 0, 0, 0, 0]), EPERM);
    }
    assert_eq!(call(libc::SYS_ioctl, [0, libc::TCGETS, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn only_ordinary_sockets_are_made() {
    let refused = ERRNO | libc::EAFNOSUPPORT as u32;
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        assert_eq!(call(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0]), ALLOW);
    }
    for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET, libc::AF_BLUETOOTH, libc::AF_XDP] {
        assert_eq!(call(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0]), refused);
    }
    assert_eq!(call(libc::SYS_socket, [16, 3, 0, 0, 0, 0]), ALLOW);
    assert_ne!(call(libc::SYS_socket, [16, 3, 12, 0, 0, 0]), ALLOW);
}

#[test]
fn core_limits_are_pretended_and_other_processes_limits_refused() {
    let core = u64::from(libc::RLIMIT_CORE);
    assert_eq!(call(calls::SETRLIMIT, [core, 1, 0, 0, 0, 0]), ERRNO);
    assert_eq!(call(libc::SYS_prlimit64, [0, core, 0x10, 0, 0, 0]), ERRNO);
    assert_eq!(call(libc::SYS_prlimit64, [0, core, 1 << 32, 0, 0, 0]), ERRNO);
    assert_eq!(call(libc::SYS_prlimit64, [0, core, 0, 0x10, 0, 0]), ALLOW);
    assert_eq!(call(libc::SYS_prlimit64, [1, 7, 0x10, 0, 0, 0]), EPERM);
    assert_eq!(call(libc::SYS_prlimit64, [0, 7, 0x10, 0, 0, 0]), ALLOW);
}

#[test]
fn memory_nobody_counts_is_refused_where_only_processes_are_counted() {
    let supervised = compile(false);
    let calls =
        [libc::SYS_memfd_create, libc::SYS_shmget, libc::SYS_msgget, libc::SYS_semget, libc::SYS_vmsplice];
    for number in calls {
        assert_eq!(call(number, [0; 6]), ALLOW);
        assert_eq!(run(&supervised, ARCHITECTURE, number as u32, [0; 6]), ERRNO | libc::ENOSYS as u32);
    }
}

#[test]
fn a_larger_socket_buffer_is_pretended() {
    for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        assert_eq!(call(libc::SYS_setsockopt, [3, libc::SOL_SOCKET as u64, option as u64, 0, 0, 0]), ERRNO);
    }
    assert_eq!(
        call(libc::SYS_setsockopt, [3, libc::SOL_SOCKET as u64, libc::SO_REUSEADDR as u64, 0, 0, 0]),
        ALLOW
    );
    assert_eq!(call(libc::SYS_setsockopt, [3, libc::IPPROTO_IP as u64, 7, 0, 0, 0]), ALLOW);
}

#[test]
fn devices_are_not_made() {
    let mode = |kind: u32| u64::from(kind | 0o600);
    assert_eq!(call(libc::SYS_mknodat, [0, 0, mode(libc::S_IFCHR), 0, 0, 0]), EPERM);
    assert_eq!(call(libc::SYS_mknodat, [0, 0, mode(libc::S_IFBLK), 0, 0, 0]), EPERM);
    assert_eq!(call(libc::SYS_mknodat, [0, 0, mode(libc::S_IFIFO), 0, 0, 0]), ALLOW);
}
