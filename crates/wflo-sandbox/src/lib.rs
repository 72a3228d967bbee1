//! Isolated environments for programs that are not trusted, and the workspaces they see.
//!
//! A [`Backend`] makes sandboxes: `native` with the Linux kernel alone, `docker` with a container engine,
//! `e2b` in a cloud that speaks E2B's API, `bare` (`none` in settings) without any isolation, for who has none or wants none. What a sandbox may see and use is the
//! caller's [`Spec`]. Nothing here knows about runs, steps or money.

#[cfg(target_os = "linux")]
mod backend;
#[cfg(target_os = "linux")]
pub mod bare;
#[cfg(target_os = "linux")]
pub mod docker;
#[cfg(target_os = "linux")]
pub mod e2b;
#[cfg(target_os = "linux")]
pub mod native;
#[cfg(target_os = "linux")]
mod prompt;
#[cfg(target_os = "linux")]
mod remote;
#[cfg(target_os = "linux")]
pub mod workspace;

#[cfg(target_os = "linux")]
pub use backend::{Backend, Files, Sandbox};
#[cfg(target_os = "linux")]
pub use bare::Bare;
#[cfg(target_os = "linux")]
pub use docker::Docker;
#[cfg(target_os = "linux")]
pub use e2b::E2b;
#[cfg(target_os = "linux")]
pub use native::*;
#[cfg(target_os = "linux")]
pub use prompt::ask_for_short_turns;
#[cfg(target_os = "linux")]
pub use remote::kept::Kept;
