//! The native Linux sandbox.
//!
//! Three processes stand between the engine and a program that may be hostile: the engine asks,
//! over a socket, a [`Launcher`] of its own, which forks a pid 1 for each sandbox, which builds
//! the sandbox around itself and starts the program in it. `backend`, `spec` and `process_tree`
//! are what an engine sees; `server` is the launcher; `mold`, `blank`, `plan`, `template`, `root`,
//! `net`, `cgroup`, `idmap` are what pid 1 (`init`) builds with; `worker`, `seccomp`, `clocks` and `landlock` are
//! what the program is shut into; `watch`, `supervise` and `sockets` do what the kernel does not.
//!
//! **Architecture Invariant:** whatever dies, and however, no process, mount or cgroup of a
//! sandbox outlives its engine; a cgroup at most until the next [`sweep`].

mod apparmor;
mod backend;
mod blank;
mod capabilities;
pub(crate) mod cgroup;
mod clocks;
mod doctor;
mod error;
mod evasion;
pub(crate) mod exit;
mod fix;
mod halt;
mod idmap;
pub(crate) mod init;
pub(crate) mod io;
pub(crate) mod landlock;
pub(crate) mod launcher;
mod mold;
pub(crate) mod net;
mod plan;
mod preset;
mod process_tree;
mod root;
pub(crate) mod seccomp;
pub(crate) mod server;
mod siblings;
pub(crate) mod sockets;
pub(crate) mod spec;
mod stillness;
pub(crate) mod supervise;
pub(crate) mod sys;
mod task;
pub(crate) mod template;
pub(crate) mod watch;
pub(crate) mod wire;
pub(crate) mod worker;

pub use backend::Native;
pub use capabilities::Capabilities;
pub use cgroup::{Swept, Version, sweep};
pub use doctor::{Finding, State, doctor};
pub use error::Error;
pub use exit::{Disk, Exit, Outcome, Usage};
pub use io::{IoLimits, IoRefusal};
pub use launcher::{LAUNCHER_ARGUMENT, Launcher};
pub use preset::Preset;
pub use process_tree::ProcessTree;
pub use server::launcher_main;
pub use spec::{
    Bind, DEFAULT_DISK, DEFAULT_PIDS, EGRESS_PORT, Enforcement, HOME, Level, Limits, MODEL_PORT, Owner, PATH,
    Spec, Stdio, View, WORKSPACE,
};
pub use sys::process::inherit_nothing;

/// The system call filter of a preset, as Docker, Podman and Kubernetes read it.
pub fn seccomp_profile(preset: Preset) -> serde_json::Value {
    seccomp::json(seccomp::Screen::of_containers(preset))
}

/// An AppArmor profile of the same shape.
pub fn apparmor_profile(preset: Preset) -> String {
    apparmor::text(preset)
}
