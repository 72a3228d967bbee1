//! Isolated environments for programs that are not trusted, and the workspaces they see.
//!
//! `native` makes sandboxes with the Linux kernel alone; what a sandbox may see and use is the
//! caller's [`Spec`]. Nothing here knows about runs, steps or money.

#[cfg(target_os = "linux")]
pub mod native;
#[cfg(target_os = "linux")]
pub mod workspace;

#[cfg(target_os = "linux")]
pub use native::*;
