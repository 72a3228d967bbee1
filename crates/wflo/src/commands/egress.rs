//! `wflo egress …`: which hosts a run may reach, and what people say of them while it goes on.

mod change;
mod list;

use wflo_core::error::{Code, Coded};
use wflo_egress::rules::Rule;

use crate::cli::EgressCommand;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Printer;
use crate::session::block_on;
use crate::trust;

/// Carries out one of the verbs.
pub(crate) fn run(command: &EgressCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    match command {
        EgressCommand::List { run: Some(run) } => block_on(list::of_run(run, context)),
        EgressCommand::List { run: None } => list::remembered(context),
        EgressCommand::Allow(args) => block_on(change::run(args, true, context)),
        EgressCommand::Deny(args) => block_on(change::run(args, false, context)),
        EgressCommand::Forget { host } => forget(host, context),
    }
}

/// Says of rules for this machine's loopback that stock clients never come to them.
pub(crate) fn remark_direct(printer: &Printer, rules: &[Rule]) {
    for rule in rules.iter().filter(|rule| rule.is_asked_directly()) {
        printer.note(format_args!(
            "note: clients take the host of `{rule}` for the sandbox's own (NO_PROXY): they reach this machine's only by the proxy \
             (`curl --noproxy '' …`), or where it has another address (127.0.0.2)"
        ));
    }
}

/// What cannot be done about hosts.
#[derive(Debug, thiserror::Error)]
enum EgressError {
    #[error("nothing was answered for always about `{host}` in this project")]
    NotRemembered { host: String },
    #[error("`{rule}` names a part of a host, and what is kept out is kept out whole")]
    Part { rule: String },
    #[error(
        "`{rule}` names a part of what is encrypted, and run {run} was started with nothing that looks into it"
    )]
    Unseen { rule: String, run: wflo_core::id::RunId },
    #[error("run {run} is not isolated, so nothing keeps it from any host")]
    NotIsolated { run: wflo_core::id::RunId },
}

impl Coded for EgressError {
    fn code(&self) -> Code {
        Code(5210)
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            EgressError::NotRemembered { .. } => "`wflo egress list` lists what was".to_owned(),
            EgressError::Part { .. } => {
                "write the host alone, or with a port: api.example.org, *.example.org, api.example.org:8443"
                    .to_owned()
            }
            EgressError::Unseen { .. } => {
                "let the whole host in, or name such a rule when the run is started".to_owned()
            }
            EgressError::NotIsolated { .. } => "only steps in a sandbox can be held to hosts".to_owned(),
        })
    }
}

fn forget(host: &str, context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    let forgotten = trust::hosts::forget(&settings.project.root, host)?;
    if forgotten.is_empty() {
        return Err(EgressError::NotRemembered { host: host.to_owned() }.into());
    }
    for rule in forgotten {
        context.printer.object(&serde_json::json!({ "type": "egress.forgotten", "host": rule }));
        context.printer.line(format_args!("{rule}: people are asked again."));
    }
    Ok(Exit::Success)
}
