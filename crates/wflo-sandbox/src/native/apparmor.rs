//! The same policy as an AppArmor profile, for hosts and container engines that load one.
//!
//! Owns the text alone; what it says comes from the tables that the launcher uses. This kernel's module
//! decides by names where the filter decides by numbers, so it is a second wall of the same shape.

use super::preset::Preset;
use super::seccomp;
use super::template::{PROC_FILES, PROC_FOLDERS};
use std::fmt::Write as _;

/// The profile of this preset, named `wflo-<preset>`.
pub(crate) fn text(preset: Preset) -> String {
    let name = format!("wflo-{preset}");
    let mut out = format!(
        "# Written by `wflo sandbox profile --format apparmor --preset {preset}`.\n\
         #include <tunables/global>\n\n\
         profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  \
         # No capability is allowed, because none is named.\n  \
         file,\n  \
         network unix,\n"
    );
    let kinds: &[&str] = if preset == Preset::Strict { &["stream"] } else { &["stream", "dgram"] };
    for family in ["inet", "inet6"] {
        for kind in kinds {
            let _ = writeln!(out, "  network {family} {kind},");
        }
    }
    if preset != Preset::Strict {
        out.push_str("  network netlink raw,\n");
    }
    let _ = writeln!(
        out,
        "  signal (send, receive) peer={name},\n  # What starts it may end it.\n  signal (receive) peer=unconfined,"
    );
    if seccomp::refuses(preset, "ptrace") {
        out.push_str("  deny ptrace,\n");
    } else {
        let _ = writeln!(out, "  ptrace (trace, read, tracedby, readby) peer={name},");
    }
    for (call, rule) in [("mount", "mount"), ("umount2", "umount"), ("pivot_root", "pivot_root")] {
        if seccomp::refuses(preset, call) {
            let _ = writeln!(out, "  deny {rule},");
        }
    }
    for file in PROC_FILES {
        let _ = writeln!(out, "  deny @{{PROC}}/{file} rwklx,");
    }
    for folder in PROC_FOLDERS {
        let _ = writeln!(out, "  deny @{{PROC}}/{folder}/** rwklx,");
    }
    out.push_str(
        "  deny @{PROC}/{kcore,kmem,kmsg,mem,sysrq-trigger,timer_list} rwklx,\n  \
         deny @{PROC}/sys/** wklx,\n  \
         deny /sys/** rwklx,\n",
    );
    if preset == Preset::Strict {
        out.push_str("  deny /{tmp,home,workspace,dev/shm}/** mx,\n");
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn each_preset_has_a_profile_that_the_parser_takes() {
        let parsed = |text: &str| -> Option<bool> {
            let mut parser = Command::new("apparmor_parser")
                .args(["-Q", "-K", "--stdout"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .ok()?;
            parser.stdin.take()?.write_all(text.as_bytes()).ok()?;
            Some(parser.wait().ok()?.success())
        };
        if parsed("").is_none() {
            println!(
                "apparmor_parser is not there: the profiles are not parsed (`apt-get install apparmor`)"
            );
            return;
        }
        for preset in Preset::ALL {
            assert_eq!(parsed(&text(preset)), Some(true), "{}", text(preset));
        }
        assert_eq!(parsed("profile x { nonsense }\n"), Some(false), "the parser parses");
    }

    #[test]
    fn a_profile_says_what_its_filter_says() {
        assert!(
            text(Preset::Default).contains("deny ptrace,") && !text(Preset::Build).contains("deny ptrace")
        );
        assert!(
            !text(Preset::Strict).contains("dgram") && text(Preset::Default).contains("deny @{PROC}/keys ")
        );
    }
}
