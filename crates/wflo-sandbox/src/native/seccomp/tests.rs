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

fn of(preset: Preset, accounted: bool) -> Screen {
    Screen { preset, accounted, lasting: false }
}

fn call(number: c_long, arguments: [u64; 6]) -> u32 {
    run(&compile(of(Preset::Default, true)), ARCHITECTURE, number as u32, arguments)
}

const EPERM: u32 = ERRNO | libc::EPERM as u32;

#[test]
fn the_tree_answers_every_number_as_its_rule_says() {
    let program = compile(of(Preset::Default, true));
    let rules = calls::rules(of(Preset::Default, true));
    for number in 0..2_000_u32 {
        let wanted = match rules
            .iter()
            .find(|ruling| ruling.number == c_long::from(number))
            .map(|ruling| &ruling.rule)
        {
            None => ERRNO | libc::ENOSYS as u32,
            Some(Rule::Always(Answer::Allow)) => ALLOW,
            Some(Rule::Always(Answer::Errno(errno))) => ERRNO | *errno as u32,
            Some(Rule::Checked(..)) => continue,
        };
        assert_eq!(run(&program, ARCHITECTURE, number, [0; 6]), wanted, "system call {number}");
    }
}

#[test]
fn the_filter_is_short() {
    // Each hundred instructions cost every start about 20 µs.
    assert!(compile(of(Preset::Default, true)).len() < 400, "{}", compile(of(Preset::Default, true)).len());
}

#[test]
fn no_call_has_two_rules() {
    for preset in Preset::ALL {
        let mut numbers: Vec<c_long> =
            calls::rules(of(preset, false)).iter().map(|ruling| ruling.number).collect();
        numbers.sort_unstable();
        let all = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }
}

#[test]
fn foreign_numbers_and_architectures_are_refused() {
    let read = libc::SYS_read as u32;
    assert_eq!(run(&compile(of(Preset::Default, true)), 0x4000_0003, read, [0; 6]), KILL_PROCESS);
    assert_eq!(
        run(&compile(of(Preset::Default, true)), ARCHITECTURE, read | FOREIGN, [0; 6]),
        ERRNO | libc::ENOSYS as u32
    );
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
    let supervised = compile(of(Preset::Default, false));
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

#[test]
fn a_strict_sandbox_has_unix_sockets_and_tcp_and_nothing_that_can_be_executed_unseen() {
    let strict = compile(of(Preset::Strict, true));
    let socket = |family: i32, kind: i32, protocol: i32| {
        run(
            &strict,
            ARCHITECTURE,
            libc::SYS_socket as u32,
            [family as u64, kind as u64, protocol as u64, 0, 0, 0],
        )
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK] {
            assert_eq!(socket(family, kind, 0), ALLOW);
            assert_eq!(socket(family, kind, libc::IPPROTO_TCP), ALLOW);
            for other in [libc::IPPROTO_MPTCP, libc::IPPROTO_SCTP, libc::IPPROTO_UDP] {
                assert_ne!(socket(family, kind, other), ALLOW);
            }
        }
        assert_ne!(socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0), ALLOW);
    }
    assert_eq!(socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0), ALLOW);
    assert_ne!(socket(libc::AF_NETLINK, libc::SOCK_RAW, 0), ALLOW);
    for gone in [libc::SYS_memfd_create, libc::SYS_shmget, libc::SYS_splice, libc::SYS_ptrace] {
        assert_ne!(run(&strict, ARCHITECTURE, gone as u32, [0; 6]), ALLOW);
    }
}

#[test]
fn only_a_sandbox_to_build_in_traces() {
    for preset in Preset::ALL {
        let program = compile(of(preset, true));
        let answers = |number: c_long, first: u64| {
            run(&program, ARCHITECTURE, number as u32, [first, 0, 0, 0, 0, 0]) == ALLOW
        };
        let build = preset == Preset::Build;
        assert_eq!(answers(libc::SYS_ptrace, 0), build);
        assert_eq!(answers(libc::SYS_process_vm_readv, 0), build);
        assert_eq!(answers(libc::SYS_personality, 0x0004_0000), build);
        assert!(!answers(libc::SYS_personality, 0x0044_0000) && !answers(libc::SYS_bpf, 0));
    }
}

/// What a profile says of a call, as libseccomp would: one rule at most holds.
fn told(profile: &serde_json::Value, name: &str, arguments: [u64; 6]) -> Option<i64> {
    let holds = |rule: &&serde_json::Value| {
        let named = rule["names"].as_array().unwrap().iter().any(|known| known == name);
        named
            && rule["args"].as_array().unwrap().iter().all(|argument| {
                let at = |key: &str| argument[key].as_u64().unwrap();
                assert_eq!(argument["op"], "SCMP_CMP_MASKED_EQ");
                arguments[at("index") as usize] & at("value") == at("valueTwo")
            })
    };
    let rules: Vec<_> = profile["syscalls"].as_array().unwrap().iter().filter(holds).collect();
    assert!(rules.len() < 2, "{name} {arguments:?}: {rules:?}");
    match rules.first() {
        None => Some(libc::ENOSYS.into()),
        Some(rule) if rule["action"] == "SCMP_ACT_ALLOW" => None,
        Some(rule) => rule["errnoRet"].as_i64(),
    }
}

#[test]
fn the_profile_for_containers_allows_exactly_what_the_filter_allows() {
    for screen in Preset::ALL.iter().flat_map(|preset| [of(*preset, true), Screen::of_containers(*preset)]) {
        let (profile, program) = (json(screen), compile(screen));
        for Ruling { name, number, rule } in calls::rules(screen) {
            // Around every constant of every check, on every argument, whatever the upper half says.
            let mut values = vec![0, 1, 17, u64::MAX];
            if let Rule::Checked(checks, _) = &rule {
                for check in checks {
                    let (Test::Equal(v)
                    | Test::Differs(v)
                    | Test::HasAny(v)
                    | Test::Masked(_, v)
                    | Test::Unmasked(_, v)) = check.test;
                    let v = u64::from(v);
                    values.extend([
                        v,
                        v ^ 1,
                        v ^ 0x800,
                        v.wrapping_add(1),
                        v | 1 << 32,
                        v | u64::from(u32::MAX) << 32,
                    ]);
                }
            }
            values.sort_unstable();
            values.dedup();
            for first in &values {
                for second in &values {
                    for arguments in [
                        [*first, *second, 0, 0, 0, 0],
                        [0, *first, *second, 0, 0, 0],
                        [*first, 1, *second, 0, 0, 0],
                        [2, *first, *second, 6, 0, 0],
                    ] {
                        let answer = run(&program, ARCHITECTURE, number as u32, arguments);
                        let filter = (answer != ALLOW).then_some(i64::from(answer & 0xffff));
                        let container = told(&profile, name, arguments);
                        assert_eq!(filter.is_none(), container.is_none(), "{screen:?} {name} {arguments:x?}");
                        assert_eq!(
                            filter == Some(0),
                            container == Some(0),
                            "{screen:?} {name} {arguments:x?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_profile_fits_into_a_filter_of_the_kernel() {
    // 4,096 instructions at most, about eight for each comparison.
    for preset in Preset::ALL {
        let rules = json(Screen::of_containers(preset))["syscalls"].as_array().unwrap().len();
        assert!(rules < 450, "{preset}: {rules}");
    }
}

/// Every way to give a file a mode: the call, and its arguments with the mode.
fn modes(mode: u64) -> Vec<(c_long, [u64; 6])> {
    let makes = (libc::O_CREAT | libc::O_WRONLY) as u64;
    let nameless = libc::O_TMPFILE as u64;
    let file = u64::from(libc::S_IFREG);
    let mut calls = vec![
        (libc::SYS_fchmod, [3, mode, 0, 0, 0, 0]),
        (libc::SYS_fchmodat, [3, 1, mode, 0, 0, 0]),
        (452, [3, 1, mode, 0, 0, 0]),
        (libc::SYS_openat, [3, 1, makes, mode, 0, 0]),
        (libc::SYS_openat, [3, 1, nameless, mode, 0, 0]),
        (libc::SYS_mknodat, [3, 1, file | mode, 0, 0, 0]),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        (libc::SYS_chmod, [1, mode, 0, 0, 0, 0]),
        (libc::SYS_open, [1, makes, mode, 0, 0, 0]),
        (libc::SYS_open, [1, nameless, mode, 0, 0, 0]),
        (libc::SYS_creat, [1, mode, 0, 0, 0, 0]),
        (libc::SYS_mknod, [1, file | mode, 0, 0, 0, 0]),
    ]);
    calls
}

#[test]
fn nothing_that_lasts_runs_as_its_owner() {
    for preset in Preset::ALL {
        for accounted in [true, false] {
            let lasting = compile(Screen { preset, accounted, lasting: true });
            let gone = compile(of(preset, accounted));
            let answer =
                |program, number: c_long, arguments| run(program, ARCHITECTURE, number as u32, arguments);
            for mode in [0o4755, 0o2755, 0o6777, 0o4000, 0o2000, 0xffff_0000_0000 | 0o4755] {
                for (number, arguments) in modes(mode) {
                    assert_eq!(answer(&lasting, number, arguments), EPERM, "{number} {mode:o}");
                    assert_eq!(answer(&gone, number, arguments), ALLOW, "{number} {mode:o}");
                }
            }
            for mode in [0, 0o644, 0o777, 0o1777] {
                for (number, arguments) in modes(mode) {
                    assert_eq!(answer(&lasting, number, arguments), ALLOW, "{number} {mode:o}");
                }
            }
            // A file that is there is opened whatever stands where a mode would.
            let read = [3, 1, libc::O_RDWR as u64 | libc::O_DIRECTORY as u64, u64::MAX, 0, 0];
            assert_eq!(answer(&lasting, libc::SYS_openat, read), ALLOW);
            // What it would make cannot be seen.
            assert_eq!(answer(&lasting, libc::SYS_openat2, [0; 6]), ERRNO | libc::ENOSYS as u32);
            assert_eq!(answer(&gone, libc::SYS_openat2, [0; 6]), ALLOW);
        }
    }
}

#[test]
fn a_profile_is_of_what_lasts() {
    let profile = json(Screen::of_containers(Preset::Default));
    assert_eq!(told(&profile, "fchmodat", [3, 1, 0o4755, 0, 0, 0]), Some(libc::EPERM.into()));
    assert_eq!(told(&profile, "fchmodat", [3, 1, 0o755, 0, 0, 0]), None);
}
