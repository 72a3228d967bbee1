//! What each verb does. A verb is a file; it takes the parsed arguments and answers how to end.

mod completions;
mod docs;
mod doctor;
mod init;
mod run;
mod sandbox;

use std::path::PathBuf;

use crate::cli::{Cli, Command, GlobalArgs, SandboxCommand};
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
        let location = Location {
            project: self.global.project.clone(),
            data_dir: self.global.data_dir.clone(),
            workflow: workflow.map(PathBuf::from),
            current: self.current.clone(),
        };
        Ok(Settings::load(&location, self.environment)?)
    }
}

/// Carries out the command line.
pub(crate) fn run(cli: Cli, environment: &Environment, printer: &Printer) -> Result<Exit, CommandError> {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let context = Context { global: &cli.global, environment, printer, current };
    match cli.command {
        Command::Init(args) => init::run(&args, &context),
        Command::Completions { shell } => completions::run(shell, printer),
        Command::Docs { page } => docs::run(page, printer),
        Command::Doctor => doctor::run(&context),
        Command::Sandbox(SandboxCommand::Exec(args)) => sandbox::exec(&args, &context),
        Command::Sandbox(SandboxCommand::Doctor) => sandbox::doctor(&context),
        Command::Run(args) => run::run(&args, &context),
        _ => Err(without_engine()),
    }
}

/// The verbs that drive or read runs, until the engine is linked into this binary.
fn without_engine() -> CommandError {
    let failure = wflo_core::error::Failure::new(wflo_core::error::Code(9002), "this build has no engine");
    CommandError { failures: vec![failure], exit: Exit::Internal }
}
