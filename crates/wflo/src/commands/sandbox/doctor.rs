//! `wflo sandbox doctor`: one is started, and each thing that protects it is named.

use serde::Serialize;
use wflo_sandbox::{Finding, State};

use crate::commands::Context;
use crate::commands::doctor::{Check, Outcome};
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::settings::CloudSettings;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    state: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// Prints every finding; exits with 1 when sandboxes do not work.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, CommandError> {
    let program = this_program()?;
    let mut found = wflo_sandbox::doctor(&program);
    found.push(wflo_sandbox::docker::doctor(&program, &super::exec::docker_host(context)));
    // The environment's cloud alone: a project's settings may name a command, and are not trusted here.
    let cloud = CloudSettings::default();
    let named = cloud.key(context.environment).and_then(|key| Ok((cloud.cloud(context.environment)?, key)));
    found.push(wflo_sandbox::e2b::doctor(named));
    let ok = found.iter().all(|finding| finding.state != State::Missing);
    let printer = context.printer;
    let paint = printer.paint();
    for finding in &found {
        let state = format!("{:<8}", finding.state.to_string());
        let name = format!("{:<12}", finding.name);
        let state = match finding.state {
            State::Ok => paint.good(state),
            State::Degraded | State::Untested => paint.careful(state),
            State::Missing => paint.bad(state),
        };
        printer.line(format_args!("{state}  {}  {}", paint.strong(name), finding.detail));
        if let Some(fix) = &finding.fix {
            printer.line(format_args!("                        {} {fix}", paint.link("fix:")));
        }
    }
    printer.line(if ok {
        "\nSandboxes work here."
    } else {
        "\nSandboxes do not work here; see the fixes above."
    });
    printer.object(&Report { ok, checks: found.into_iter().map(entry).collect() });
    Ok(if ok { Exit::Success } else { Exit::Failed })
}

fn entry(finding: Finding) -> Entry {
    Entry { name: finding.name, state: finding.state.to_string(), detail: finding.detail, fix: finding.fix }
}

/// What `wflo doctor` says of sandboxes: that they work, and whatever is not as it should be.
pub(crate) fn summary() -> Vec<Check> {
    let found = match this_program() {
        Ok(program) => wflo_sandbox::doctor(&program),
        Err(error) => return vec![Check::new("sandbox", Outcome::Missing, error.to_string())],
    };
    let worth_saying = |finding: &&Finding| {
        finding.name == "sandbox" || matches!(finding.state, State::Degraded | State::Missing)
    };
    found
        .iter()
        .filter(worth_saying)
        .map(|finding| {
            let outcome = match finding.state {
                State::Ok => Outcome::Ok,
                State::Degraded | State::Untested => Outcome::Note,
                State::Missing => Outcome::Missing,
            };
            let check = Check::new(finding.name, outcome, finding.detail.clone());
            match &finding.fix {
                Some(fix) => check.fix(fix),
                None => check,
            }
        })
        .collect()
}

/// This binary, which is the sandbox's launcher too.
pub(crate) fn this_program() -> Result<std::path::PathBuf, CliError> {
    std::env::current_exe().map_err(|source| CliError::File { path: "this program".to_owned(), source })
}
