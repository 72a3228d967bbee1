//! The real binary, as a user meets it: exit code, standard output, standard error.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "clippy knows #[test] functions, not what they call"
)]

mod cli {
    #[cfg(target_os = "linux")]
    mod budgets;
    #[cfg(target_os = "linux")]
    mod carry_on;
    mod costs_price;
    mod documents;
    mod errors;
    mod explain;
    #[cfg(target_os = "linux")]
    mod gateway;
    #[cfg(target_os = "linux")]
    mod gateway_kill;
    mod init;
    #[cfg(target_os = "linux")]
    mod prune;
    mod prune_files;
    #[cfg(target_os = "linux")]
    mod replay;
    #[cfg(target_os = "linux")]
    mod run;
    #[cfg(target_os = "linux")]
    mod runs;
    #[cfg(target_os = "linux")]
    mod sandbox;
    #[cfg(target_os = "linux")]
    mod snapshots;
    pub mod wflo;
}
