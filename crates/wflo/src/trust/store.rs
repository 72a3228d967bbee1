//! Whose a store is that lies in the project: this user's, made on this machine, or one that the project brought along.
//!
//! Runs, budgets, approvals and answers in a store that somebody else filled are somebody else's word. A store that is
//! made here gets a mark beside it, a random id, and a record in the user's state folder: the store's path, the id, and
//! which file it is, all of it before anything is in the file. What has not all three is asked about before it is opened. So is a copy, and one that was
//! moved: a file that a `git pull` puts into the place of this machine's own must not pass for it. Nor must a log that it
//! puts beside it, which SQLite would take for the store's.
//!
//! Only what lies in the project is judged: a store elsewhere is one that the operator named, or that `wflo.toml` was
//! trusted with.

mod place;

use wflo_core::error::Failure;

use self::place::{Place, Standing};
use super::{Asked, NOT_TRUSTED, VARIABLE};
use crate::commands::{Context, Terminal};
use crate::failure::CommandError;
use crate::plain;
use crate::settings::Settings;

/// What a store that is not this machine's does.
const DOES: &str = "its runs, budgets and approvals count, and it was not made here";

/// A store that is about to be opened, if it was accepted just now.
#[must_use = "it is to be said when it cannot be opened"]
pub(crate) struct Opening(Option<Place>);

/// Asks whoever sits at the terminal about a store that was not made here, before it is opened.
///
/// # Errors
/// `WFLO-8016` when nobody is there or the answer is not yes; when what is said of it cannot be kept.
pub(crate) fn settle(
    context: &Context<'_>,
    settings: &Settings,
    stdin_taken: bool,
) -> Result<Opening, CommandError> {
    let Some(place) = Place::of(settings) else { return Ok(Opening(None)) };
    match place.standing() {
        Standing::Own => {}
        Standing::New => place.begin()?,
        Standing::Earlier => place.claim()?,
        // For this command, and no later one.
        Standing::Brought if context.environment.get(VARIABLE) == Some("1") => place.disown(),
        Standing::Brought => {
            ask(context, &place, stdin_taken)?;
            place.accept()?;
            return Ok(Opening(Some(place)));
        }
    }
    Ok(Opening(None))
}

/// Asks now about a store that another process of this command will open, where nobody can be asked.
///
/// # Errors
/// As for [`settle`].
pub(crate) fn settle_ahead(
    context: &Context<'_>,
    settings: &Settings,
    stdin_taken: bool,
) -> Result<(), CommandError> {
    let Some(place) = Place::of(settings) else { return Ok(()) };
    if place.standing() != Standing::Brought || context.environment.get(VARIABLE) == Some("1") {
        return Ok(());
    }
    ask(context, &place, stdin_taken)?;
    place.accept()
}

/// The store as something to be trusted, where it is not this machine's.
pub(crate) fn brought(settings: &Settings) -> Option<Asked> {
    let place = Place::of(settings).filter(|place| place.standing() == Standing::Brought)?;
    Some(Asked::new("storage", place.store.display().to_string(), DOES))
}

/// Takes a store that was brought along for this machine's own.
///
/// # Errors
/// When that cannot be kept.
pub(crate) fn take(settings: &Settings) -> Result<(), CommandError> {
    match Place::of(settings) {
        Some(place) if place.standing() == Standing::Brought => place.accept(),
        _ => Ok(()),
    }
}

impl Opening {
    /// It could not be opened: whoever said yes to it is asked again.
    pub(crate) fn failed(self) {
        if let Some(place) = self.0 {
            place.disown();
        }
    }
}

fn ask(context: &Context<'_>, place: &Place, stdin_taken: bool) -> Result<(), CommandError> {
    let mut shown = plain::line(&place.store.display().to_string());
    let mut move_it = "move it away to start afresh";
    if wflo_store::has_brought_log(&place.store) {
        // It may lie beside a store of their own.
        shown.push_str("-wal");
        move_it = "move it away to go on without what is in it";
    }
    let terminal = if context.printer.json_wanted() { None } else { Terminal::find(stdin_taken) };
    let Some(mut terminal) = terminal else {
        let message = format!("{shown} is not trusted: it was not made by you on this machine");
        let hint = format!(
            "accept its runs, budgets and approvals with `wflo trust`, or {move_it}; WFLO_TRUST=1 accepts them for \
             one command"
        );
        return Err(CommandError::usage(vec![Failure::new(NOT_TRUSTED, message).with_hint(hint)]));
    };
    let printer = context.printer;
    printer.aside(format_args!("{shown} was not made by you on this machine, or was moved or copied here."));
    printer.aside(
        "Its runs go on as they stand there, what they have spent counts, and so do answers to approvals.",
    );
    let question = printer.beside().strong("Do you trust this store? [y/N]");
    terminal.forget();
    printer.prompt(format_args!("{question} "));
    if terminal.says_yes() {
        printer.aside("");
        return Ok(());
    }
    let failure =
        Failure::new(NOT_TRUSTED, format!("nothing was done: {shown} is not trusted")).with_hint(move_it);
    Err(CommandError::usage(vec![failure]))
}
