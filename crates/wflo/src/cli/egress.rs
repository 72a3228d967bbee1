//! `wflo egress …`.

use clap::{Args, Subcommand};
use wflo_egress::rules::Rule;

use super::RunRef;

const LIST_HELP: &str = "\
Examples:
  wflo egress list latest             What a run may reach, and who said so
  wflo egress list                    What was answered for always in this project";

const ALLOW_HELP: &str = "\
Holds for connections that begin from now on, and for those that wait for an answer. A step that began when
the run might reach nothing has no way out; the run's next step has one.

Examples:
  wflo egress allow latest api.example.org
  wflo egress allow run_0190f2e4 '*.pypi.org' https://a.example";

const DENY_HELP: &str = "\
Whatever rules say, and on every port unless one is named. Open connections to the host are ended.

Examples:
  wflo egress deny latest api.example.org
  wflo egress deny latest '*.example.org'";

const FORGET_HELP: &str = "\
Examples:
  wflo egress forget https://api.example.org";

/// What is said of which run.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The run's id, or latest
    #[arg(value_name = "RUN")]
    pub(crate) run: RunRef,
    /// Hosts, such as api.example.org or *.example.org
    #[arg(value_name = "HOST", required = true)]
    pub(crate) hosts: Vec<Rule>,
}

/// The verbs of what runs reach.
#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    /// List the hosts that a run may reach
    #[command(after_help = LIST_HELP)]
    List {
        /// The run's id, or latest; without it, what was answered for always
        #[arg(value_name = "RUN")]
        run: Option<RunRef>,
    },
    /// Let a run reach a host, from now on
    #[command(after_help = ALLOW_HELP)]
    Allow(ChangeArgs),
    /// Keep a run from a host, from now on
    #[command(after_help = DENY_HELP)]
    Deny(ChangeArgs),
    /// Forget what was answered for always
    #[command(after_help = FORGET_HELP)]
    Forget {
        /// The host, as `wflo egress list` has it
        #[arg(value_name = "HOST")]
        host: String,
    },
}
