//! What each verb does. A verb is a file; it takes the parsed arguments and answers how to end.

mod approvals;
mod budgets;
mod changes;
mod completions;
mod costs;
mod detach;
mod docs;
mod doctor;
mod drive;
mod drivers;
mod egress;
mod event_line;
mod evidence;
mod explain;
mod freed;
mod gateway;
mod init;
mod keys;
mod otlp;
mod pick;
mod refusals;
mod run;
mod runs;
mod sandbox;
mod snapshots;
mod trust;
mod who;

pub(crate) use drive::Terminal;

use std::path::PathBuf;

use crate::cli::{Cli, Command, CostsCommand, GlobalArgs, SandboxCommand};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Printer;
use crate::settings::{Environment, Location, Settings};

/// What every verb is given.
pub(crate) struct Context<'a> {
    pub(crate) global: &'a GlobalArgs,
    pub(crate) environment: &'a Environment,
    pub(crate) printer: &'a Printer,
    /// The current folder.
    pub(crate) current: PathBuf,
}

impl Context<'_> {
    /// The project's settings; `workflow` is the file that was named, if one was.
    pub(crate) fn settings(&self, workflow: Option<&str>) -> Result<Settings, CommandError> {
        Ok(Settings::load(&self.location(workflow), self.environment)?)
    }

    /// The settings of a project whose file cannot be read: what holds where a file says nothing.
    pub(crate) fn without_file(&self) -> Result<Settings, CommandError> {
        Ok(Settings::without_file(&self.location(None))?)
    }

    fn location(&self, workflow: Option<&str>) -> Location {
        Location {
            project: self.global.project.clone(),
            data_dir: self.global.data_dir.clone(),
            workflow: workflow.map(PathBuf::from),
            current: self.current.clone(),
        }
    }
}

/// Carries out the command line.
pub(crate) fn run(cli: Cli, environment: &Environment, printer: &Printer) -> Result<Exit, CommandError> {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let context = Context { global: &cli.global, environment, printer, current };
    match cli.background().map(detach::Child::begin) {
        None => carry_out(&cli.command, &context, None),
        Some(child) => {
            let printer = Printer::mute();
            let context = Context { printer: &printer, ..context };
            carry_out(&cli.command, &context, Some(child)).inspect_err(|error| {
                detach::refused(error);
                error.failures.iter().for_each(|failure| printer.complain(failure));
            })
        }
    }
}

/// `background`: this is the process that `--detach` leaves a run to.
fn carry_out(
    command: &Command,
    context: &Context<'_>,
    background: Option<detach::Child>,
) -> Result<Exit, CommandError> {
    match command {
        Command::Init(args) => init::run(args, context),
        Command::Completions { shell } => completions::run(*shell, context.printer),
        Command::Docs { page } => docs::run(*page, context.printer),
        Command::Doctor => doctor::run(context),
        Command::Explain(args) => explain::run(args, context),
        Command::Gateway(args) => gateway::run(args, context),
        Command::Keys(command) => keys::run(command, context),
        Command::Trust(args) => trust::run(args, context),
        Command::Sandbox(SandboxCommand::Exec(args)) => sandbox::exec(args, context),
        Command::Sandbox(SandboxCommand::Doctor) => sandbox::doctor(context),
        Command::Sandbox(SandboxCommand::Images(command)) => sandbox::images::run(command, context),
        Command::Sandbox(SandboxCommand::Profile(args)) => sandbox::profile(args, context),
        Command::Sandbox(SandboxCommand::Serve(args)) => sandbox::serve(args, context),
        Command::Run(args) => run::run(args, context, background),
        Command::Runs(command) => runs::run(command, context, background),
        Command::Approvals(command) => approvals::run(command, context),
        Command::Budgets(command) => budgets::run(command, context),
        Command::Costs(CostsCommand::Estimate(args)) => costs::estimate(args, context),
        Command::Costs(CostsCommand::Report(args)) => costs::report(args, context),
        Command::Costs(CostsCommand::Reconcile(args)) => costs::reconcile(args, context),
        Command::Costs(CostsCommand::Price(args)) => costs::price(args, context),
        Command::Costs(CostsCommand::Models(args)) => costs::models(args, context),
        Command::Costs(CostsCommand::Update(args)) => costs::update(args, context),
        Command::Diff(args) => changes::diff(args, context),
        Command::Apply(args) => changes::apply(args, context),
        Command::Discard(args) => changes::discard(args, context),
        Command::Egress(command) => egress::run(command, context),
        Command::Snapshots(command) => snapshots::run(command, context),
    }
}
