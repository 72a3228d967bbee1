//! What a sandboxed program has no right to, whatever it tries.

use super::{is_root, python, run, sh};

/// Calls a system call by number and prints the name of its error.
const CALL: &str = r#"
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, function, *arguments):
    ctypes.set_errno(0)
    result = function(*arguments)
    print(name, "done" if result >= 0 else errno.errorcode[ctypes.get_errno()])
"#;

fn calls(script: &str) -> String {
    run(python(&format!("{CALL}{script}"))).text
}

#[test]
fn there_are_no_capabilities_and_no_way_to_new_ones() {
    let ran = run(sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -s '\\t' ' '; id -u"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(ran.text.contains(&format!("{set}: 0000000000000000")), "{}", ran.text);
    }
    assert!(ran.text.contains("NoNewPrivs: 1\nSeccomp: 2\n"), "{}", ran.text);
    assert!(!ran.text.ends_with("\n0\n"));
}

#[test]
fn namespaces_and_mounts_are_refused() {
    let text = calls(
        "for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000): call('unshare', libc.unshare, flag)\n\
         call('clone', libc.syscall, 56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0)\n\
         call('clone3', libc.syscall, 435, 0, 0)\n\
         call('mount', libc.mount, b'none', b'/tmp', b'tmpfs', 0, None)\n\
         call('bind', libc.mount, b'/usr', b'/tmp', None, 4096, None)\n\
         call('umount', libc.umount2, b'/proc', 2)\n\
         call('fsopen', libc.syscall, 430, b'tmpfs', 0)\n\
         call('open_tree', libc.syscall, 428, -100, b'/', 1)\n\
         call('chroot', libc.chroot, b'/tmp')\n\
         call('setns', libc.setns, os.open('/proc/self/ns/net', 0), 0)\n",
    );
    let refused = text.lines().filter(|line| line.ends_with("EPERM") || line.ends_with("ENOSYS")).count();
    assert_eq!(refused, text.lines().count(), "{text}");
    assert_eq!(refused, 13, "{text}");
}

#[test]
fn kernel_interfaces_are_refused() {
    let text = calls(
        "for name, number in (('bpf', 321), ('userfaultfd', 323), ('perf', 298), ('keyctl', 250), ('io_uring', 425), \
         ('kexec', 246), ('init_module', 175), ('reboot', 169), ('iopl', 172), ('syslog', 103), ('swapon', 167), \
         ('open_by_handle_at', 304), ('fanotify', 300), ('kcmp', 312)):\n\
         \x20 call(name, libc.syscall, number, 0, 0, 0, 0, 0)\n",
    );
    if cfg!(target_arch = "x86_64") {
        assert_eq!(text.matches("EPERM").count(), 14, "{text}");
    }
    let text = calls(
        "call('tiocsti', libc.ioctl, 0, 0x5412, b'x')\n\
         call('high bits', libc.syscall, 16 if os.uname().machine == 'x86_64' else 29, 0, 0x100005412, b'x')\n\
         call('console', libc.ioctl, 0, 0x541c, b'x')\n",
    );
    assert_eq!(text, "tiocsti EPERM\nhigh bits EPERM\nconsole EPERM\n");
}

#[test]
fn foreign_system_call_numbers_are_refused() {
    if cfg!(target_arch = "x86_64") {
        // x32's getpid.
        assert_eq!(calls("call('x32', libc.syscall, 0x40000000 | 39)\n"), "x32 ENOSYS\n");
        // The 32-bit entry kills the process.
        let ran = run(python(
            "import ctypes, mmap\n\
             m = mmap.mmap(-1, 4096, prot=7); m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n\
             ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()\nprint('lived')",
        ));
        assert_eq!((ran.code(), ran.text.as_str()), (128 + 31, ""));
    }
}

#[test]
fn devices_cannot_be_made_and_setuid_means_nothing() {
    let text = calls(
        "import stat\n\
         def device(kind):\n\
         \x20 try: os.mknod('/tmp/d%d' % kind, kind | 0o666, os.makedev(1, 1)); print('made')\n\
         \x20 except OSError as e: print(errno.errorcode[e.errno])\n\
         device(stat.S_IFBLK); device(stat.S_IFCHR); os.mkfifo('/tmp/fifo'); print('fifo')\n",
    );
    assert_eq!(text, "EPERM\nEPERM\nfifo\n");
    let ran = run(sh("cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id; /tmp/id -u; \
         for p in /usr/bin/su /usr/bin/passwd /usr/bin/mount; do test -u $p && echo $p is setuid; done; \
         echo | su -c id 2>&1 | grep -c uid=0; id -u"));
    let ids: Vec<&str> = ran.text.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    assert!(ids.len() == 3 && ids[0] == ids[2] && ids[1] == "0" && ids[0] != "0", "{}", ran.text);
}

#[test]
fn there_are_no_core_dumps_and_they_cannot_be_switched_on() {
    let ran = run(python(
        "import os, resource\n\
         print(resource.getrlimit(resource.RLIMIT_CORE))\n\
         resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n\
         print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)\n\
         os.chdir('/tmp'); pid = os.fork()\n\
         if pid == 0: os.abort()\n\
         print(os.WCOREDUMP(os.waitpid(pid, 0)[1]), os.listdir('/tmp'))",
    ));
    assert_eq!(ran.text, "(1, 1)\n(1, 1)\nFalse []\n");
}

#[test]
fn as_root_the_user_is_nobody_of_this_host() {
    if !is_root() {
        return;
    }
    let (sandbox, mut output) = super::start(sh("echo ready; sleep 1000"));
    super::read_until(&mut output, "ready\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.pid())).unwrap();
    let uid: u32 = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:\t"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(uid, sandbox.owner().upper_uid);
    assert!(uid >= 0x7000_0000);
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    assert!(!users.contains(&format!(":{uid}:")));
}
