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
mod command;
pub(crate) mod hosts;
mod list;
mod own;
mod record;
pub(crate) mod shown;
pub(crate) mod store;

pub(crate) use asked::{Asked, asked, by_hand, host_by_hand, led_to, of_program, of_run, reach_of_run};
pub(crate) use command::guarded;
pub(crate) use list::lines;

use wflo_core::error::{Code, Failure};

use crate::commands::{Context, Terminal};
use crate::failure::CommandError;
use crate::plain;
use crate::settings::Settings;

/// The settings are not trusted.
const NOT_TRUSTED: Code = Code(8016);
/// What a command runs cannot be looked at.
const UNREADABLE: Code = Code(8018);
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
    let is_known = |asked: &&Asked| asked.unreadable().is_none() && accepted.contains(&asked.recorded());
    all.filter(|asked| !is_known(asked)).cloned().collect()
}

/// Accepts these for the project, beside what was accepted before.
///
/// # Errors
/// When that cannot be kept.
pub(crate) fn accept(settings: &Settings, asked: &[Asked]) -> Result<(), CommandError> {
    // Nobody can know what it does, nor see when it changes.
    if let Some((asked, why)) = asked.iter().find_map(|asked| Some((asked, asked.unreadable()?))) {
        let message = format!("{} cannot be trusted: it names {}", asked.key, plain::line(why));
        let hint = "write the path of a file that you can read, or take the command out of wflo.toml";
        return Err(CommandError::usage(vec![Failure::new(UNREADABLE, message).with_hint(hint)]));
    }
    record::add(&settings.project.root, asked.iter().map(Asked::recorded)).map_err(CommandError::from)
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
    let (lines, is_whole) = list::few(&missing, printer.width_beside());
    if !is_whole {
        printer.aside(format_args!(
            "  There is more than can be read here: all of it is in {}.\n",
            file_of(settings)
        ));
    }
    for line in lines {
        printer.aside(line);
    }
    printer.aside("\nYou are asked once, and again when these settings change.");
    let question = printer.beside().strong("Do you trust this project with them? [y/N]");
    terminal.forget();
    printer.prompt(format_args!("{question} "));
    if !terminal.says_yes() {
        return Err(declined(settings, &missing));
    }
    printer.aside("");
    accept(settings, &missing)
}

fn file_of(settings: &Settings) -> String {
    let file = settings.project.file.as_ref().unwrap_or(&settings.project.root);
    plain::line(&file.display().to_string())
}

fn declined(settings: &Settings, missing: &[Asked]) -> CommandError {
    let message = format!("nothing was run: {} is not trusted", file_of(settings));
    let hint = match is_beside(missing) {
        true => "run it again once you trust it",
        false => "take these settings out of it, or run it again once you trust them",
    };
    CommandError::usage(vec![Failure::new(NOT_TRUSTED, message).with_hint(hint)])
}

/// Whether all of it is what a run or a program of the project has beside the settings.
fn is_beside(missing: &[Asked]) -> bool {
    missing.iter().all(|asked| asked.key.starts_with("run."))
}

fn refusal(settings: &Settings, missing: &[Asked]) -> CommandError {
    let mut named: Vec<String> = missing.iter().take(NAMED).map(|asked| asked.brief(60)).collect();
    if missing.len() > NAMED {
        named.push(format!("{} more", missing.len() - NAMED));
    }
    let message = format!("{} is not trusted with {}", file_of(settings), named.join(", "));
    // That is answered where it is asked.
    let hint = match is_beside(missing) {
        true => "run it at a terminal to be asked; WFLO_TRUST=1 accepts this for one command",
        false => {
            "look at what they do, and accept them with `wflo trust`; WFLO_TRUST=1 accepts them for one command"
        }
    };
    CommandError::usage(vec![Failure::new(NOT_TRUSTED, message).with_hint(hint)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_is_told_to_take_out_only_what_is_a_setting() {
        let folder = tempfile::tempdir().unwrap();
        let location = crate::settings::Location {
            project: Some(folder.path().to_owned()),
            data_dir: None,
            workflow: None,
            current: folder.path().to_owned(),
        };
        let settings = Settings::load(&location, &crate::settings::Environment::of(&[])).unwrap();
        let hint = |key: &str| {
            let error = declined(&settings, &[Asked::new(key, "x", "does")]);
            error.failures[0].hint.clone().unwrap()
        };
        assert!(hint("sandbox.env").contains("take these settings out"));
        assert!(!hint("run.program").contains("settings"));
    }
}
