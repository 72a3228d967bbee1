//! Whether a project's own `wflo.toml` may have what reaches past its sandbox.
//!
//! A cloned repository brings its `wflo.toml` along. Most of it only makes things stricter; what
//! does not (a command for a key, mounts, variables, no isolation) is somebody else's word until a
//! person of this machine has accepted it once. So is a run that `.wflo` brought along, with what it was
//! started with. What was accepted is kept in the user's state
//! folder, never in the project.
//! **Architecture Invariant:** nothing that a file asks for by such a setting is run, read or shown
//! before it was accepted; settings from the environment and the command line are the operator's own.

mod asked;
mod record;

pub(crate) use asked::{Asked, asked, by_hand, host_by_hand, of_program, of_run, reach_of_run};

use wflo_core::error::{Code, Failure};

use crate::commands::{Context, Terminal};
use crate::failure::CommandError;
use crate::plain;
use crate::settings::Settings;

/// The settings are not trusted.
const NOT_TRUSTED: Code = Code(8016);
/// Accepts whatever is asked for, for one command.
const VARIABLE: &str = "WFLO_TRUST";
/// The most settings that an error names.
const NAMED: usize = 3;

/// What is asked for, by the settings and beside them, and has not been accepted.
pub(crate) fn missing(context: &Context<'_>, settings: &Settings, beside: &[Asked]) -> Vec<Asked> {
    let nothing = settings.asked.is_empty() && beside.is_empty();
    if nothing || context.environment.get(VARIABLE) == Some("1") {
        return Vec::new();
    }
    let accepted = record::read(&settings.project.root);
    let all = settings.asked.iter().chain(beside);
    all.filter(|asked| !accepted.contains(&asked.recorded())).cloned().collect()
}

/// Accepts these for the project, beside what was accepted before.
///
/// # Errors
/// When that cannot be kept.
pub(crate) fn accept(settings: &Settings, asked: &[Asked]) -> Result<(), CommandError> {
    let root = &settings.project.root;
    let mut accepted = record::read(root);
    accepted.extend(asked.iter().map(Asked::recorded));
    record::write(root, accepted).map_err(CommandError::from)
}

/// Accepts nothing any more. Whether something was accepted.
///
/// # Errors
/// When the record cannot be removed.
pub(crate) fn forget(settings: &Settings) -> Result<bool, CommandError> {
    record::remove(&settings.project.root).map_err(CommandError::from)
}

/// Refuses a project that asks for more than was accepted.
///
/// # Errors
/// `WFLO-8016`, with the settings.
pub(crate) fn require(context: &Context<'_>, settings: &Settings) -> Result<(), CommandError> {
    let missing = missing(context, settings, &[]);
    if missing.is_empty() { Ok(()) } else { Err(refusal(settings, &missing)) }
}

/// The same, after asking whoever sits at the terminal, and of what is asked for `beside` the settings.
///
/// # Errors
/// `WFLO-8016` when nobody is there or the answer is not yes.
pub(crate) fn settle(
    context: &Context<'_>,
    settings: &Settings,
    beside: &[Asked],
    stdin_taken: bool,
) -> Result<(), CommandError> {
    let missing = missing(context, settings, beside);
    if missing.is_empty() {
        return Ok(());
    }
    let terminal = if context.printer.json_wanted() { None } else { Terminal::find(stdin_taken) };
    let Some(mut terminal) = terminal else { return Err(refusal(settings, &missing)) };
    let printer = context.printer;
    printer.aside(format_args!("{} asks for more than its own sandbox:\n", file_of(settings)));
    for line in lines(&missing) {
        printer.aside(format_args!("  {line}"));
    }
    printer.aside("\nYou are asked once, and again when these settings change.");
    let question = printer.beside().strong("Do you trust this project with them? [y/N]");
    terminal.forget();
    printer.prompt(format_args!("{question} "));
    if !terminal.says_yes() {
        return Err(declined(settings));
    }
    printer.aside("");
    accept(settings, &missing)
}

/// What is asked for, a line each: the setting, and what it does.
pub(crate) fn lines(asked: &[Asked]) -> Vec<String> {
    let settings: Vec<String> = asked.iter().map(|asked| plain::short(&asked.setting(), 60)).collect();
    let width = settings.iter().map(|setting| setting.chars().count()).max().unwrap_or(0);
    let line = |(setting, asked): (&String, &Asked)| format!("{setting:<width$}   {}", asked.does);
    settings.iter().zip(asked).map(line).collect()
}

fn file_of(settings: &Settings) -> String {
    let file = settings.project.file.as_ref().unwrap_or(&settings.project.root);
    plain::line(&file.display().to_string())
}

fn declined(settings: &Settings) -> CommandError {
    let message = format!("nothing was run: {} is not trusted", file_of(settings));
    let failure = Failure::new(NOT_TRUSTED, message)
        .with_hint("take these settings out of it, or run it again once you trust them");
    CommandError::usage(vec![failure])
}

fn refusal(settings: &Settings, missing: &[Asked]) -> CommandError {
    let mut named: Vec<String> =
        missing.iter().take(NAMED).map(|asked| plain::short(&asked.setting(), 60)).collect();
    if missing.len() > NAMED {
        named.push(format!("{} more", missing.len() - NAMED));
    }
    let message = format!("{} is not trusted with {}", file_of(settings), named.join(", "));
    let failure = Failure::new(NOT_TRUSTED, message).with_hint(
        "look at what they do, and accept them with `wflo trust`; WFLO_TRUST=1 accepts them for one command",
    );
    CommandError::usage(vec![failure])
}
