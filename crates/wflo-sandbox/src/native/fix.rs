//! What to do about what the kernel refused: read on the host, outside of any sandbox.
//!
//! Each text was tried: what it says to do makes a sandbox where it is said.

use super::sys::Fault;
use std::path::Path;

/// What makes sandboxes in a container for an ordinary user, and for root.
const USERS: &str = "`--user 1000 --security-opt seccomp=unconfined --security-opt systempaths=unconfined`";
const ROOTS: &str = "`--cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined`";

fn in_a_container() -> bool {
    Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists()
}

fn containers() -> String {
    format!("start the container with {USERS}, or as root with {ROOTS}")
}

/// For a launcher that could not prepare itself.
pub(crate) fn of_launcher(fault: &Fault) -> String {
    let setting = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    if fault.step.contains("CAP_SYS_ADMIN") {
        return match in_a_container() {
            true => containers(),
            false => "run wflo as an ordinary user, or give it CAP_SYS_ADMIN and CAP_NET_ADMIN".into(),
        };
    }
    // AppArmor lets the namespace be made and refuses whatever is done in it.
    let refused = matches!(fault.errno, libc::EPERM | libc::EACCES);
    if refused && setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return "AppArmor keeps user namespaces from this program: add a profile that allows `userns` \
                    for the wflo binary, or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
            .into();
    }
    if fault.step.contains("user namespace") || fault.step.contains("mapping the user") {
        if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
            return "user namespaces are switched off: `sysctl -w user.max_user_namespaces=15000`".into();
        }
        if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
            return "user namespaces are kept from users: `sysctl -w kernel.unprivileged_userns_clone=1`"
                .into();
        }
        return match fault.errno {
            libc::ENOSPC => "a limit on user namespaces is used up: raise `user.max_user_namespaces`".into(),
            _ if in_a_container() => {
                format!("the container's seccomp profile refuses user namespaces: {}", containers())
            }
            _ => "this system keeps user namespaces from you: ask its administrator".into(),
        };
    }
    if fault.errno == libc::ENOSYS {
        return "this kernel is too old: Linux 5.12 or later is needed, 6.6 for an ordinary user".into();
    }
    if refused && in_a_container() {
        return containers();
    }
    "`wflo sandbox doctor` says what works here and what does not".into()
}

/// For one sandbox that could not be made, where the host is the reason.
pub(crate) fn of_sandbox(step: &str, errno: i32) -> Option<String> {
    if errno != libc::EPERM {
        return None;
    }
    match step {
        "mounting /proc" => Some(
            "something covers parts of /proc, and then the kernel lets no user mount another: in Docker \
             `--security-opt systempaths=unconfined`, in Kubernetes `procMount: Unmasked`"
                .into(),
        ),
        "preparing the sandbox's network" => Some(
            "root needs CAP_NET_ADMIN: in a container `--cap-add NET_ADMIN`; or run wflo as an ordinary user"
                .into(),
        ),
        "making the sandbox's user" if is_root_of_a_namespace() => Some(
            "root of a user namespace may not be mapped once more: make the namespace for your own user \
             (`unshare --user --map-current-user`, `podman run --userns=keep-id`), or start wflo outside of it"
                .into(),
        ),
        _ => None,
    }
}

/// Whether this is root where not every user is mapped, and so nobody outside.
fn is_root_of_a_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let all = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
    rustix::process::geteuid().is_root() && !all
}
