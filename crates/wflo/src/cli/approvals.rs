//! `wflo approvals …`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use wflo_core::approval::Lasts;
use wflo_core::id::ApprovalId;
use wflo_core::money::NanoUsd;

use super::RunRef;
use super::value::usd;

/// Which approval is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApprovalRef {
    /// The newest one that waits.
    Latest,
    Id(ApprovalId),
    /// The only one whose id begins so.
    Prefix(String),
}

impl FromStr for ApprovalRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(ApprovalRef::Latest);
        }
        if super::value::is_beginning(text, ApprovalId::PREFIX) {
            return Ok(ApprovalRef::Prefix(text.to_owned()));
        }
        text.parse()
            .map(ApprovalRef::Id)
            .map_err(|_| super::value::not_an_id(ApprovalId::PREFIX, text, "approval"))
    }
}

const LIST_HELP: &str = "\
Examples:
  wflo approvals list                 What waits for a person
  wflo approvals list --all           What was decided, too";

const SHOW_HELP: &str = "\
Shows exactly what would happen: the rows, the statement, the files.

Examples:
  wflo approvals show latest";

const APPROVE_HELP: &str = "\
The decision holds for exactly what was shown. When no process drives the run, this one does, to its
end or its next wait, with the exit codes of `wflo run`; --no-drive only records the decision.
`latest` is the one that waits, if `wflo approvals show` showed it to you last; else a terminal shows
it and asks, and a script has to name its id.

Examples:
  wflo approvals approve latest
  wflo approvals approve apr_0190f2e4… --comment \"checked with finance\"
  wflo approvals approve latest --amount 5.00     A budget asked for more: give it 5 USD more
  wflo approvals approve latest --for always      Let later runs of the project reach the host";

const REJECT_HELP: &str = "\
Examples:
  wflo approvals reject latest --comment \"not on a Friday\"
  wflo approvals reject latest --for always       Keep the host out of later runs of the project";

/// One decision.
#[derive(Debug, Args)]
pub(crate) struct Decision {
    /// The approval's id, or latest
    #[arg(value_name = "APPROVAL")]
    pub(crate) approval: ApprovalRef,
    /// Why, for the record and for the workflow
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Of a host: for how long the answer holds [default: run]
    #[arg(long = "for", value_name = "HOW-LONG", value_enum)]
    pub(crate) lasts: Option<HowLong>,
    /// Only record the decision; `wflo runs resume` goes on
    #[arg(long)]
    pub(crate) no_drive: bool,
}

/// For how long an answer about a host holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HowLong {
    /// For the connections that wait for it
    Once,
    /// For this run
    Run,
    /// For this run, and later ones of the project
    Always,
}

impl From<HowLong> for Lasts {
    fn from(how_long: HowLong) -> Lasts {
        match how_long {
            HowLong::Once => Lasts::Once,
            HowLong::Run => Lasts::Run,
            HowLong::Always => Lasts::Always,
        }
    }
}

/// The verbs of approvals.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List what waits for a decision, newest first
    #[command(after_help = LIST_HELP)]
    List {
        /// Decided ones too
        #[arg(short, long)]
        all: bool,
        /// Only approvals of this run
        #[arg(long, value_name = "RUN")]
        run: Option<RunRef>,
    },
    /// Show one approval and what it would release
    #[command(after_help = SHOW_HELP)]
    Show {
        /// The approval's id, or latest
        #[arg(value_name = "APPROVAL")]
        approval: ApprovalRef,
    },
    /// Say yes
    #[command(after_help = APPROVE_HELP)]
    Approve {
        #[command(flatten)]
        decision: Decision,
        /// Add this many USD to the budget that asked [default: what the question suggests]
        #[arg(long, value_name = "USD", value_parser = usd)]
        amount: Option<NanoUsd>,
    },
    /// Say no
    #[command(after_help = REJECT_HELP)]
    Reject(Decision),
}
