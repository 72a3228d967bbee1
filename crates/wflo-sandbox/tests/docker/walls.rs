//! What a program in a container is, and is not.

use super::everywhere;
use wflo_sandbox::{Outcome, Spec};

#[test]
fn a_program_runs_and_its_code_is_told() {
    everywhere(|world, _| {
        let (text, exit) = world.shell("echo out; echo err >&2; exit 7");
        assert_eq!(exit.outcome, Outcome::Exited(7), "{text}");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "out"]);
        let (_, exit) = world.run(Spec::new(["no-such-program"]));
        assert_eq!(exit.outcome, Outcome::NotExecuted(libc::ENOENT));
        let (_, exit) = world.shell("kill -TERM $$");
        assert_eq!(exit.outcome, Outcome::Signalled(libc::SIGTERM));
    });
}

#[test]
fn it_is_nobody_and_may_nothing() {
    everywhere(|world, _| {
        let (text, exit) = world.shell(
            "id -u; grep -E '^(CapEff|CapPrm|NoNewPrivs):' /proc/self/status; \
             touch /etc/x /usr/x 2>/dev/null && echo WRITABLE; ls /sys/class/net 2>/dev/null; \
             cat /proc/net/dev | tail -n +3 | cut -d: -f1; pwd; echo $HOME; touch $HOME/a /tmp/a ./a /dev/shm/a && echo fine",
        );
        assert!(exit.success(), "{text}");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[0].parse::<u32>().unwrap() >= 20_000, "{text}");
        assert!(
            text.contains("CapEff:\t0000000000000000") && text.contains("CapPrm:\t0000000000000000"),
            "{text}"
        );
        assert!(text.contains("NoNewPrivs:\t1"), "{text}");
        assert!(!text.contains("WRITABLE"), "{text}");
        assert_eq!(lines[lines.len() - 4..], ["lo", "/workspace", "/home/wflo", "fine"], "{text}");
    });
}

#[test]
fn pid_1_is_out_of_reach() {
    everywhere(|world, _| {
        let script = "for s in STOP TERM INT SEGV KILL; do kill -$s 1 2>/dev/null; done; \
                      cat /proc/1/environ >/dev/null 2>&1 && echo READ; ls /proc/1/fd >/dev/null 2>&1 && echo LISTED; \
                      sleep 0.2; echo still";
        let (text, exit) = world.shell(script);
        assert_eq!((text.as_str(), exit.outcome), ("still\n", Outcome::Exited(0)));
    });
}
