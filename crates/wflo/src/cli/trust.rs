//! `wflo trust`.

use std::path::PathBuf;

use clap::Args;

const AFTER_HELP: &str = "\
Examples:
  wflo trust                Show what this project's wflo.toml asks for, and accept it
  wflo trust ../cloned      The same for another folder
  wflo trust --revoke       Take it back
  WFLO_TRUST=1 wflo run     Accept it for one command, as in CI

Settings that reach past the sandbox need this once: api_key_command, an address that is not this
machine's, variables (env), mounts (ro out of the project, rw), databases outside of the project, no
isolation. A project without them is never asked about; one whose settings change is asked about again.";

/// Which project.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TrustArgs {
    /// The project's folder [default: as for every command]
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Trust it no longer
    #[arg(long)]
    pub(crate) revoke: bool,
}
