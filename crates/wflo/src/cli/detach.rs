//! `--detach`: leaving a run to a background process.

use std::path::{Path, PathBuf};

use clap::Args;

/// Whether the command leaves, or is the process that stays.
#[derive(Debug, Args)]
pub(crate) struct Detach {
    /// Leave the run to a background process and print its id
    #[arg(long)]
    detach: bool,
    /// This is that process; its log
    #[arg(long, hide = true, value_name = "LOG")]
    background: Option<PathBuf>,
}

impl Detach {
    /// Whether a background process is to be started.
    pub(crate) fn is_wanted(&self) -> bool {
        self.detach && self.background.is_none()
    }

    /// The log of the background process that this is, if it is one.
    pub(crate) fn background(&self) -> Option<&Path> {
        self.background.as_deref()
    }
}
