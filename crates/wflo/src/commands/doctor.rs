//! `wflo doctor`: does this machine have what runs need? Each answer is tried, not looked up.

mod cache;
mod data;
mod node;
mod python;
mod upstream;

use serde::Serialize;
use wflo_core::error::Failure;
use wflo_engine::interpreter::Language;

use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Paint;

/// How one check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It works.
    Ok,
    /// It works, and something about it is worth knowing.
    Note,
    /// Runs need it and it does not work.
    Missing,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Check {
    pub(crate) fn new(name: impl Into<String>, outcome: Outcome, detail: impl Into<String>) -> Self {
        Check { name: name.into(), outcome, detail: detail.into(), fix: None }
    }

    #[must_use]
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// The check as lines for people.
    fn shown(&self, paint: Paint, width: usize) -> String {
        let mark = match self.outcome {
            Outcome::Ok => paint.good("ok     "),
            Outcome::Note => paint.careful("note   "),
            Outcome::Missing => paint.bad("missing"),
        };
        let indent = width + 11;
        let fix = self
            .fix
            .as_ref()
            .map_or(String::new(), |fix| format!("\n{:indent$}{} {fix}", "", paint.link("fix:")));
        format!("{mark}  {}  {}{fix}", paint.strong(format!("{:<width$}", self.name)), self.detail)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Check],
}

/// Makes every check and prints them.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, CommandError> {
    let mut checks = vec![system()];
    let settings = match context.settings(None) {
        Ok(settings) => {
            let detail = match &settings.project.file {
                Some(file) => file.display().to_string(),
                None => {
                    format!("no wflo.toml at or above {}; the defaults hold", settings.project.root.display())
                }
            };
            checks.push(Check::new("settings", Outcome::Ok, detail));
            Some(settings)
        }
        Err(error) => {
            checks.extend(error.failures.iter().map(unreadable));
            None
        }
    };
    checks.extend(super::sandbox::summary());
    if let Some(settings) = &settings {
        checks.extend(data::check(settings));
        let workflow = settings.project.workflow.as_deref().unwrap_or_default();
        checks.extend(match Language::of(workflow) {
            Language::Python => python::check(settings, context.environment),
            Language::Node => node::check(settings, context.environment),
        });
        // A key may come from a command of the project's.
        match crate::trust::missing(context, settings, &[]).len() {
            0 => {
                checks.extend(upstream::check(settings, context.environment));
                checks.extend(cache::check(settings));
            }
            count => checks.push(untrusted(count)),
        }
    } else if let Ok(settings) = context.without_file() {
        checks.extend(data::check(&settings));
        let found = python::check(&settings, context.environment);
        // Which folders steps see is said in the file.
        checks.extend(found.into_iter().filter(|check| check.name != "packages"));
        let detail = "models and the cache are not looked at: that needs the settings";
        checks.push(Check::new("models", Outcome::Note, detail));
    }
    let ok = checks.iter().all(|check| check.outcome != Outcome::Missing);
    context.printer.object(&Report { ok, checks: &checks });
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &checks {
        context.printer.line(check.shown(context.printer.paint(), width));
    }
    context.printer.line(if ok {
        "\nEverything that a run needs is here."
    } else {
        "\nSomething is missing; see the fixes above."
    });
    Ok(if ok { Exit::Success } else { Exit::Failed })
}

/// A mistake in the settings, with where it is and what to do about it.
fn unreadable(failure: &Failure) -> Check {
    let place = failure.place.as_deref();
    let detail = place.map_or(String::new(), |place| format!("{place}: "));
    let fix = match (&failure.hint, place) {
        (Some(hint), _) => hint.clone(),
        (None, Some(place)) => {
            format!("correct {place}; `wflo explain {}` says more about the mistake", failure.code)
        }
        (None, None) => format!("see `wflo explain {}`", failure.code),
    };
    Check::new("settings", Outcome::Missing, format!("{detail}{}", failure.message)).fix(fix)
}

fn untrusted(count: usize) -> Check {
    let detail =
        format!("not accepted yet: {count} settings that reach past the sandbox; models are not looked at");
    let detail =
        if count == 1 { detail.replace("1 settings that reach", "a setting that reaches") } else { detail };
    Check::new("trust", Outcome::Note, detail)
        .fix("`wflo trust` shows and accepts them; read wflo.toml first")
}

fn system() -> Check {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let machine = name.machine().to_string_lossy().into_owned();
    Check::new("system", Outcome::Ok, format!("Linux {release} ({machine})"))
}
