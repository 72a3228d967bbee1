//! `--detach` and `--no-wait`: leaving a run to a background process, or to whoever decides.

use std::path::{Path, PathBuf};

use clap::Args;

/// Whether the command leaves, or is the process that stays.
#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// Leave the run to a background process and print its id
    #[arg(long)]
    detach: bool,
    /// Leave the run (75) once it waits only for people, or for a sleep of over 15 minutes
    #[arg(long, conflicts_with = "detach")]
    no_wait: bool,
    /// This is that process; its log
    #[arg(long, hide = true, value_name = "LOG")]
    background: Option<PathBuf>,
}

impl Detach {
    /// Whether a background process is to be started.
    pub(crate) fn is_wanted(&self) -> bool {
        self.detach && self.background.is_none()
    }

    /// Whether the command stays for what keeps it busy, and not for people.
    pub(crate) fn is_no_wait(&self) -> bool {
        self.no_wait
    }

    /// The log of the background process that this is, if it is one.
    pub(crate) fn background(&self) -> Option<&Path> {
        self.background.as_deref()
    }
}
