//! The bare floor: what the kernel takes for the same namespaces, a root and a filter, and no
//! more. `floor [COUNT]` prints the median and the 99th percentile of create-to-exit of
//! `/bin/true` in microseconds.
#![allow(clippy::print_stdout, clippy::panic)]

use std::ffi::CStr;
use std::time::Instant;

fn check(returned: libc::c_long, what: &str) -> libc::c_long {
    assert!(returned >= 0, "{what}: {}", std::io::Error::last_os_error());
    returned
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) {
    let none = std::ptr::null();
    // SAFETY: every pointer is a NUL-terminated string or null.
    check(
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, none) }.into(),
        "mount",
    );
}

fn child() -> ! {
    for (file, text) in [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")] {
        if let Err(error) = std::fs::write(format!("/proc/self/{file}"), text) {
            panic!("{file}: {error}");
        }
    }
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE);
    mount(c"root", c"/mnt", c"tmpfs", libc::MS_NOSUID);
    // SAFETY: plain system calls on NUL-terminated paths, in a single-threaded child.
    unsafe {
        for folder in [c"/mnt/usr", c"/mnt/proc"] {
            libc::mkdir(folder.as_ptr(), 0o755);
        }
        for (target, link) in
            [(c"usr/bin", c"/mnt/bin"), (c"usr/lib", c"/mnt/lib"), (c"usr/lib64", c"/mnt/lib64")]
        {
            libc::symlink(target.as_ptr(), link.as_ptr());
        }
    }
    mount(c"/usr", c"/mnt/usr", c"", libc::MS_BIND | libc::MS_REC);
    mount(c"proc", c"/mnt/proc", c"proc", 0);
    let allow = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }];
    let filter = libc::sock_fprog { len: 1, filter: allow.as_ptr().cast_mut() };
    let arguments = [c"/bin/true".as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: as above; the filter and the arrays outlive the calls.
    unsafe {
        libc::chdir(c"/mnt".as_ptr());
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()), "pivot_root");
        libc::umount2(c".".as_ptr(), libc::MNT_DETACH);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        check(libc::syscall(libc::SYS_seccomp, 1, 0, &raw const filter), "seccomp");
        libc::execve(c"/bin/true".as_ptr(), arguments.as_ptr(), environment.as_ptr());
        libc::_exit(127)
    }
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(500);
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let mut times: Vec<u128> = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        let none = std::ptr::null_mut::<libc::c_int>();
        // SAFETY: a fork without shared memory; this process has one thread.
        let pid = check(
            unsafe { libc::syscall(libc::SYS_clone, namespaces | libc::SIGCHLD, 0, none, none, 0) },
            "clone",
        );
        if pid == 0 {
            child();
        }
        let mut status = 0;
        // SAFETY: fills a live integer.
        unsafe { libc::waitpid(pid as i32, &raw mut status, 0) };
        assert_eq!(status, 0, "the floor's child failed");
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("floor p50 {} µs, p99 {} µs", times[times.len() / 2], times[times.len() * 99 / 100]);
}
