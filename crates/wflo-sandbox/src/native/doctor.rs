//! What is missing for sandboxes here, found by really starting one, with the fix for each.

use super::capabilities::Capabilities;
use super::cgroup::Version;
use super::exit::Outcome;
use super::spec::{Level, Spec};
use crate::{Error, Launcher};
use std::path::Path;
use wflo_core::error::Coded;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It works; it was tried.
    Ok,
    /// Sandboxes work, with less.
    Degraded,
    /// Sandboxes do not work without it.
    Missing,
    /// It is built and could not be tried here.
    Untested,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Missing => "missing",
            State::Untested => "untested",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in a word or two.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it, when it is not as it should be.
    pub fix: Option<String>,
}

fn finding(name: &'static str, state: State, detail: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding { name, state, detail: detail.into(), fix: fix.map(str::to_owned) }
}

/// Starts a launcher and a sandbox and reports what it found. `program` as for
/// [`Launcher::start`].
pub fn doctor(program: &Path) -> Vec<Finding> {
    let launcher = match Launcher::start(program) {
        Ok(launcher) => launcher,
        Err(error) => {
            let fix = error.hint();
            return vec![finding("sandbox", State::Missing, error.to_string(), fix.as_deref())];
        }
    };
    let mut found = vec![probe(&launcher)];
    let can = launcher.capabilities();
    found.push(if can.privileged {
        finding("user", State::Ok, "an unused user for each sandbox, owners mapped back", None)
    } else {
        let detail = "your own user, in a user namespace; what the kernel counts for each user (watches, pipes, \
                      descriptors on their way between processes) it counts with yours";
        finding("user", State::Ok, detail, None)
    });
    let fix = "run as root, or in a session whose cgroups are delegated: \
               `systemd-run --user --scope -p Delegate=yes -- wflo …`";
    for (name, level) in [("memory limit", can.memory), ("cpu limit", can.cpus)] {
        found.push(match level {
            Level::Kernel => finding(name, State::Ok, "enforced by the kernel", None),
            _ => finding(name, State::Degraded, format!("supervised: {}", can.cgroup_note), Some(fix)),
        });
    }
    found.push(sockets(can));
    found.push(finding("pids limit", State::Ok, "enforced by the kernel", None));
    found.push(finding("disk limit", State::Ok, "enforced by the kernel", None));
    found.push(match can.cgroup {
        Some(Version::V2) => finding("cgroup v2", State::Ok, "limits are set in the unified hierarchy", None),
        _ => {
            finding("cgroup v2", State::Untested, "this host hands its controllers to v1, or to nobody", None)
        }
    });
    found.push(if can.clocks {
        finding("clocks", State::Ok, "a sandbox has been up for a day, whatever the host", None)
    } else {
        let fix = "only a kernel with CONFIG_TIME_NS (Linux 5.6) hides it";
        finding("clocks", State::Degraded, "how long this host has been up can be seen inside", Some(fix))
    });
    found.push(if can.landlock_abi > 0 {
        finding("landlock", State::Ok, format!("ABI {}", can.landlock_abi), None)
    } else {
        let fix = "boot with `lsm=landlock,…` on a kernel with CONFIG_SECURITY_LANDLOCK";
        finding("landlock", State::Degraded, "this kernel has none: one wall less", Some(fix))
    });
    found.push(apparmor(Path::new("/sys/module/apparmor/parameters/enabled")));
    found
}

/// Whether the kernel would enforce the profiles that `wflo sandbox profile` prints. Sandboxes do not need them.
fn apparmor(enabled: &Path) -> Finding {
    let detail = match std::fs::read(enabled) {
        Ok(word) if word.starts_with(b"Y") => {
            "this kernel has it; whether it enforces the profiles that `wflo sandbox profile` prints was not tried"
        }
        _ => "this kernel enforces none: the profiles that `wflo sandbox profile` prints are untested here",
    };
    finding("apparmor", State::Untested, detail, None)
}

/// Who keeps socket buffers to the memory limit.
fn sockets(can: &Capabilities) -> Finding {
    let name = "socket buffers";
    let told =
        if can.sockets_told { "" } else { ", each taken for full, because this kernel has no sock_diag" };
    let by = if can.memory == Level::Kernel {
        format!("supervised: up to the memory limit once more, counted every 100 ms{told}")
    } else {
        format!("supervised: counted with memory{told}")
    };
    match can.sockets {
        Level::Kernel => finding(name, State::Ok, "counted with memory by the kernel", None),
        _ => finding(name, State::Degraded, by, Some("only cgroup v2 counts them as memory")),
    }
}

fn probe(launcher: &Launcher) -> Finding {
    let spec = Spec::new(["/bin/true"]);
    let ran: Result<Outcome, Error> = launcher.launch(spec).and_then(|sandbox| Ok(sandbox.wait()?.outcome));
    match ran {
        Ok(Outcome::Exited(0)) => {
            finding("sandbox", State::Ok, "one was started and ended as it should", None)
        }
        Ok(outcome) => {
            let fix = "run `wflo sandbox exec -- /bin/true` and see what it says";
            finding(
                "sandbox",
                State::Missing,
                format!("one was started and /bin/true ended: {outcome:?}"),
                Some(fix),
            )
        }
        Err(error) => {
            let fix = error.hint();
            finding("sandbox", State::Missing, error.to_string(), fix.as_deref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_apparmor_is_said_to_enforce_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let said = |word: Option<&str>| {
            let file = folder.path().join("enabled");
            if let Some(word) = word {
                std::fs::write(&file, word).unwrap();
            }
            let Finding { state, detail, .. } = apparmor(&file);
            assert_eq!(state, State::Untested);
            detail
        };
        assert!(said(None).contains("enforces none"));
        assert!(said(Some("N\n")).contains("enforces none"));
        assert!(said(Some("Y\n")).contains("was not tried"));
    }
}
