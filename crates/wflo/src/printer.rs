//! The one owner of standard output and standard error.
//!
//! Results go to standard output, everything said beside them to standard error. Whether colours
//! are used is decided once, for each of the two.
//! **Architecture Invariant:** no other module writes to either stream, but for the live tree of
//! `wflo run`, which stands still while this one writes. With `--json`, standard
//! output holds JSON lines and nothing else.

pub(crate) mod account;
mod amount;
mod table;

pub(crate) use amount::{amount, duration, limit, moment, money, resources, room, size};
pub(crate) use table::Table;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use console::Style;
use serde::Serialize;
use wflo_core::error::Failure;

use crate::cli::{ColorChoice, GlobalArgs};
use crate::error_page::Page;
use crate::plain;
use crate::settings::Environment;
use crate::wrap::wrap;

/// Wrong use of the command line.
const USAGE: &str = "WFLO-8001";

/// Prints.
#[derive(Debug)]
pub(crate) struct Printer {
    out: Paint,
    err: Paint,
    json: bool,
    quiet: bool,
    verbose: u8,
    /// Nobody reads: a background process, which has a log.
    mute: bool,
    /// Standard output's reader has gone away.
    closed: Cell<bool>,
    /// What a command that is proposed needs to be about the same project and data.
    place: String,
    /// The codes of the errors that were said, for the one line that leads to their pages.
    said: RefCell<Vec<String>>,
    /// A program's line stands unended where this writes beside results.
    broken: Arc<AtomicBool>,
}

/// Colours of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    #[cfg(test)]
    pub(crate) fn of(on: bool) -> Self {
        Paint { on }
    }

    /// Whether there are colours at all.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    fn with(self, style: Style, text: impl std::fmt::Display) -> String {
        style.force_styling(self.on).apply_to(text).to_string()
    }

    pub(crate) fn good(self, text: impl std::fmt::Display) -> String {
        self.with(Style::new().green(), text)
    }

    pub(crate) fn bad(self, text: impl std::fmt::Display) -> String {
        self.with(Style::new().red().bold(), text)
    }

    pub(crate) fn careful(self, text: impl std::fmt::Display) -> String {
        self.with(Style::new().yellow(), text)
    }

    pub(crate) fn strong(self, text: impl std::fmt::Display) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn faint(self, text: impl std::fmt::Display) -> String {
        self.with(Style::new().dim(), text)
    }

    pub(crate) fn link(self, text: impl std::fmt::Display) -> String {
        self.with(Style::new().cyan(), text)
    }
}

impl Printer {
    /// A printer by the flags and the environment (`NO_COLOR`, `CLICOLOR_FORCE`).
    pub(crate) fn new(global: &GlobalArgs, environment: &Environment) -> Self {
        let paint = |terminal: bool| Paint {
            on: match global.color {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => coloured(environment, terminal),
            },
        };
        Printer {
            out: paint(std::io::stdout().is_terminal()),
            err: paint(std::io::stderr().is_terminal()),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            mute: false,
            closed: Cell::new(false),
            place: global.place(environment),
            said: RefCell::default(),
            broken: Arc::default(),
        }
    }

    /// A printer for errors that come before the flags are known.
    pub(crate) fn bare(environment: &Environment) -> Self {
        let paint = |terminal: bool| Paint { on: coloured(environment, terminal) };
        Printer {
            out: paint(std::io::stdout().is_terminal()),
            err: paint(std::io::stderr().is_terminal()),
            json: false,
            quiet: false,
            verbose: 0,
            mute: false,
            closed: Cell::new(false),
            place: String::new(),
            said: RefCell::default(),
            broken: Arc::default(),
        }
    }

    /// The printer of a background process: says nothing, and errors go to its log.
    pub(crate) fn mute() -> Self {
        let paint = Paint { on: false };
        Printer {
            out: paint,
            err: paint,
            json: false,
            quiet: true,
            verbose: 0,
            mute: true,
            closed: Cell::new(false),
            place: String::new(),
            said: RefCell::default(),
            broken: Arc::default(),
        }
    }

    /// Whether results are JSON lines.
    pub(crate) fn json_wanted(&self) -> bool {
        self.json
    }

    /// How many `-v` were given.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Standard output's colours.
    pub(crate) fn paint(&self) -> Paint {
        self.out
    }

    /// Standard error's colours.
    pub(crate) fn beside(&self) -> Paint {
        self.err
    }

    /// Whether a picture that moves may be drawn on standard error.
    pub(crate) fn is_live(&self) -> bool {
        std::io::stderr().is_terminal() && !self.json && !self.quiet && self.verbose == 0
    }

    /// Whether there is a person who can be asked.
    pub(crate) fn may_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !self.json
    }

    /// Whether a person reads standard output.
    pub(crate) fn is_read_by_person(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Columns of standard output, when it is a terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        columns(&console::Term::stdout())
    }

    /// Columns of standard error, when it is a terminal.
    pub(crate) fn width_beside(&self) -> Option<usize> {
        columns(&console::Term::stderr())
    }

    /// Whether nobody reads standard output any more (`wflo … | head`).
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// A result, for people; nothing with `--json`.
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            self.raw(format_args!("{text}\n"));
        }
    }

    /// A result that is read as prose: broken at words on a terminal, whole in a file or a pipe.
    pub(crate) fn paragraph(&self, text: impl std::fmt::Display) {
        let text = text.to_string();
        match self.width() {
            Some(width) => self.line(wrap(&text, width, 2)),
            None => self.line(text),
        }
    }

    /// A result that is the same for people and for scripts (a script, a page).
    pub(crate) fn raw(&self, text: impl std::fmt::Display) {
        if self.mute {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if write!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
            self.closed.set(true);
        }
    }

    /// A result, for scripts: one JSON line with `--json`, nothing without.
    pub(crate) fn object(&self, value: &impl Serialize) {
        if self.json
            && let Ok(line) = serde_json::to_string(value)
        {
            self.raw(format_args!("{line}\n"));
        }
    }

    /// Something said beside the result; not with `-q`.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            self.say(format_args!("{text}"));
        }
    }

    /// Part of a question: also with `-q`, because somebody is to answer it.
    pub(crate) fn aside(&self, text: impl std::fmt::Display) {
        self.say(text);
    }

    /// A prompt, without a line end.
    pub(crate) fn prompt(&self, text: impl std::fmt::Display) {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
    }

    /// Something said only with `-v`.
    pub(crate) fn detail(&self, text: impl std::fmt::Display) {
        if self.verbose > 0 {
            self.say(self.err.faint(text));
        }
    }

    /// A warning; not with `-q`.
    pub(crate) fn warning(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            self.say(format_args!("{} {text}", self.err.careful("warning:")));
        }
    }

    /// A warning with its code and what to do about it; not with `-q`, and a background process logs it.
    pub(crate) fn caution(&self, failure: &Failure) {
        if self.mute {
            tracing::warn!(code = failure.code, "{}", failure.message);
            return;
        }
        self.warning(account::of(failure, self.err));
        if let Some(hint) = failure.hint.as_ref().filter(|_| !self.quiet) {
            self.hint(plain::hanging(hint));
        }
    }

    /// An error and what to do about it; with `--json` also as the last object.
    pub(crate) fn failure(&self, failure: &Failure) {
        #[derive(Serialize)]
        struct Last<'a> {
            error: &'a Failure,
        }
        self.object(&Last { error: failure });
        self.complain(failure);
    }

    /// An error and what to do about it, on standard error only.
    pub(crate) fn complain(&self, failure: &Failure) {
        if self.mute {
            let traceback = failure.traceback.as_deref().unwrap_or_default();
            tracing::error!(code = failure.code, traceback, "{}", failure.message);
            return;
        }
        self.say(format_args!("{} {}", self.err.bad("error:"), account::of(failure, self.err)));
        if let Some(hint) = &failure.hint {
            self.hint(plain::hanging(hint));
        }
        self.said.borrow_mut().push(failure.code.clone());
    }

    /// Where there is more about the errors that were said: once, and only to a person, who can type it.
    pub(crate) fn see_also(&self) {
        if self.json || self.quiet || self.mute || !std::io::stderr().is_terminal() {
            return;
        }
        let mut said = self.said.take();
        let mut seen = BTreeSet::new();
        // Wrong use of the command line has named the way out itself.
        said.retain(|code| *code != USAGE && Page::exists(code) && seen.insert(code.clone()));
        if !said.is_empty() {
            self.say(format_args!("{} wflo explain {}", self.err.faint("see:"), said.join(" ")));
        }
    }

    /// How a command that is proposed begins, so that it is about the same project and data as this one.
    pub(crate) fn command(&self) -> String {
        format!("wflo{}", self.place)
    }

    /// What to do next.
    pub(crate) fn hint(&self, text: impl std::fmt::Display) {
        self.say(format_args!("{} {text}", self.err.link("hint:")));
    }

    /// Whoever shows what a program writes notes here whether its last line is unended: the next word beside results
    /// begins a line of its own.
    pub(crate) fn broken_line(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.broken)
    }

    fn say(&self, text: impl std::fmt::Display) {
        if self.mute {
            return;
        }
        let text = text.to_string().replace("`wflo ", &format!("`{} ", self.command()));
        let text = self.width_beside().map_or_else(|| text.clone(), |width| wrap(&text, width, 2));
        let begin = if self.broken.swap(false, Ordering::Relaxed) { "\n" } else { "" };
        // Nothing can be reported when standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{begin}{text}");
    }
}

/// Columns of the terminal that help is read on, or what COLUMNS says of one that is not known.
pub(crate) fn columns_of_help(environment: &Environment) -> Option<usize> {
    let told = || environment.get("COLUMNS")?.parse::<usize>().ok().filter(|columns| *columns > 0);
    columns(&console::Term::stdout()).or_else(|| columns(&console::Term::stderr())).or_else(told)
}

fn columns(terminal: &console::Term) -> Option<usize> {
    let (_, columns) = terminal.size_checked().filter(|_| terminal.is_term())?;
    Some(usize::from(columns).max(20))
}

/// <https://no-color.org> and <https://bixense.com/clicolors>.
fn coloured(environment: &Environment, terminal: bool) -> bool {
    let forced = environment.get("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let dumb = environment.get("TERM") == Some("dumb");
    environment.get("NO_COLOR").is_none() && (forced || (terminal && !dumb))
}
