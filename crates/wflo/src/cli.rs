//! The command line as types: what can be typed, and the help for it.
//!
//! Owns names, value types and help texts. It loads nothing and decides nothing; `settings` and
//! `commands` take it from here.

mod approvals;
mod budgets;
mod changes;
mod costs;
mod detach;
mod egress;
mod explain;
mod gateway;
mod help;
mod init;
mod input;
mod keys;
mod run;
mod runs;
mod sandbox;
mod snapshots;
mod trust;
mod usage;
mod value;

pub(crate) use approvals::{ApprovalRef, ApprovalsCommand, Decision};
pub(crate) use budgets::{BudgetRef, BudgetsCommand, SetArgs};
pub(crate) use changes::{ApplyArgs, DiffArgs, DiscardArgs};
pub(crate) use costs::{
    CostsBy, CostsCommand, Days, EstimateArgs, ModelsArgs, PriceArgs, ReconcileArgs, ReportArgs, UpdateArgs,
};
pub(crate) use detach::Detach;
pub(crate) use egress::{ChangeArgs, EgressCommand};
pub(crate) use explain::ExplainArgs;
pub(crate) use gateway::GatewayArgs;
pub(crate) use help::{WIDEST, command};
pub(crate) use init::InitArgs;
pub(crate) use input::{Input, InputFile, Label};
pub(crate) use keys::{CreateKeyArgs, KeyPeriod, KeysCommand, UpdateKeyArgs};
pub(crate) use run::RunArgs;
pub(crate) use runs::{PruneArgs, RunRef, RunsCommand};
pub(crate) use sandbox::{
    ExecArgs, ImagesCommand, ProfileArgs, ProfileFormat, PruneImagesArgs, SandboxCommand, ServeArgs,
    WorkspaceArg,
};
pub(crate) use snapshots::{At, PruneFilesArgs, RestoreArgs, SnapshotRef, SnapshotsCommand};
pub(crate) use trust::TrustArgs;
pub(crate) use usage::render as render_usage_error;
pub(crate) use value::{Expiry, ports};

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plain;
use crate::settings::Environment;

const AFTER_HELP: &str = "\
First steps:
  wflo init my-agent        Make a project that runs as it is
  cd my-agent
  wflo run                  Run its workflow
  wflo runs list            See what ran

Something does not work? `wflo doctor` looks at this machine and names each fix,
`wflo explain CODE` says more about an error.";

/// The secure runtime for AI agents.
///
/// wflo runs an agent so that it cannot spend more than allowed, touch more than allowed, act
/// without the approvals asked for, or lose its progress; files reach the project only when you apply them.
#[derive(Debug, Parser)]
#[command(name = "wflo", version, after_help = AFTER_HELP, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Keep runs and approvals in this folder [default: WFLO_DATA_DIR, else .wflo in the project]
    #[arg(long, global = true, value_name = "DIR", env = "WFLO_DATA_DIR", hide_env = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Use this project [default: the nearest folder upwards that holds wflo.toml]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Print JSON for scripts, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more about what happens; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colours; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

impl GlobalArgs {
    /// The options by which another command finds the same project and data, as they are typed; a blank before each.
    pub(crate) fn place(&self, environment: &Environment) -> String {
        let of_variable = environment.get("WFLO_DATA_DIR").map(Path::new);
        let data_dir = self.data_dir.as_deref().filter(|given| Some(*given) != of_variable);
        [("project", self.project.as_deref()), ("data-dir", data_dir)]
            .into_iter()
            .filter_map(|(option, path)| {
                Some(format!(" --{option} {}", plain::quoted(&path?.to_string_lossy())))
            })
            .collect()
    }
}

impl Cli {
    /// The log of the background process that this is, if it is one.
    pub(crate) fn background(&self) -> Option<&Path> {
        match &self.command {
            Command::Run(args) => args.detach.background(),
            Command::Runs(RunsCommand::Resume { detach, .. } | RunsCommand::Retry { detach, .. }) => {
                detach.background()
            }
            _ => None,
        }
    }
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new project that runs as it is
    Init(InitArgs),
    /// Run a workflow, or any program as it is
    Run(Box<RunArgs>),
    /// See, resume, cancel and retry runs
    #[command(subcommand, arg_required_else_help = true)]
    Runs(RunsCommand),
    /// Show what a run changed in the project's files
    Diff(DiffArgs),
    /// Bring a run's file changes into the project
    Apply(ApplyArgs),
    /// Throw a run's file changes away
    Discard(DiscardArgs),
    /// See, compare and restore a run's files as they stood after each step
    #[command(subcommand, arg_required_else_help = true)]
    Snapshots(SnapshotsCommand),
    /// See and decide what waits for a person
    #[command(subcommand, arg_required_else_help = true)]
    Approvals(ApprovalsCommand),
    /// See and change which hosts a run may reach
    #[command(subcommand, arg_required_else_help = true)]
    Egress(EgressCommand),
    /// See, set and top up budgets
    #[command(subcommand, arg_required_else_help = true)]
    Budgets(BudgetsCommand),
    /// See what was spent
    #[command(subcommand, arg_required_else_help = true)]
    Costs(CostsCommand),
    /// Serve models to clients outside of runs, within budgets
    #[command(after_help = gateway::HELP)]
    Gateway(GatewayArgs),
    /// Make, list, change and revoke keys of the gateway
    #[command(subcommand, arg_required_else_help = true)]
    Keys(KeysCommand),
    /// Run one command in a sandbox, or check that sandboxes work here
    #[command(subcommand, arg_required_else_help = true)]
    Sandbox(SandboxCommand),
    /// Accept what a project's wflo.toml asks for beyond its own sandbox
    Trust(TrustArgs),
    /// Check this machine and this project, with a fix for each problem
    #[command(after_help = DOCTOR_HELP)]
    Doctor,
    /// Explain an error code: what it means, why it comes, what to do
    #[command(after_help = explain::HELP)]
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print reference pages (for this project's own documentation)
    #[command(name = "__docs", hide = true)]
    Docs {
        /// Which page
        page: DocsPage,
    },
}

const DOCTOR_HELP: &str = "\
Examples:
  wflo doctor               Look at everything
  wflo doctor --json        The same for a script
  wflo sandbox doctor       Only the sandbox, in more detail

Exits with 0 when nothing is missing, with 1 when something is.";

const COMPLETIONS_HELP: &str = "\
Examples:
  wflo completions bash > ~/.local/share/bash-completion/completions/wflo
  wflo completions zsh > ~/.zfunc/_wflo
  wflo completions fish > ~/.config/fish/completions/wflo.fish";

/// A generated page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocsPage {
    // docs/reference/cli.md
    Cli,
}
