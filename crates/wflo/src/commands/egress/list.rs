//! `wflo egress list`: the hosts that a run may reach, and who said so.

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::approval::{Lasts, Purpose};
use wflo_core::event::EventBody;
use wflo_core::ports::store::Store as _;
use wflo_engine::changes::launch_of;

use crate::cli::RunRef;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::trust;

/// One thing that is said of a host.
#[derive(Serialize)]
struct Line {
    #[serde(rename = "type")]
    kind: &'static str,
    host: String,
    allowed: bool,
    /// `start`, `always`, `question` or `change`; `retried` is a change of the run that this one retries.
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

impl Line {
    fn new(host: &str, allowed: bool, from: &'static str) -> Line {
        Line { kind: "egress.rule", host: host.to_owned(), allowed, from, by: None, at: None }
    }
}

/// What a run may reach: as it was started, and what was said since, the latest last.
pub(super) async fn of_run(which: &RunRef, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    let launch = launch_of(&record).map_err(CommandError::engine)?;
    let mut lines: Vec<Line> = launch.allow_hosts.iter().map(|host| Line::new(host, true, "start")).collect();
    lines.extend(launch.told_hosts.iter().map(|host| Line::new(host, true, "always")));
    // Also what was said after it was started: it holds for every run of the project.
    let mut never = trust::hosts::read(&session.settings.project.root)?.deny;
    never.extend(launch.deny_hosts);
    lines.extend(never.iter().map(|host| Line::new(host, false, "always")));
    lines.extend(launch.said_hosts.iter().map(|said| Line::new(&said.rule, said.allowed, "retried")));
    let mut asked = std::collections::BTreeMap::new();
    for recorded in session.store.machine_events(record.id).await? {
        let at = Some(recorded.event.at);
        match recorded.event.body {
            EventBody::ApprovalRequested { approval_id, request } => {
                if let Purpose::Host { rule } = request.purpose {
                    asked.insert(approval_id, rule);
                }
            }
            EventBody::ApprovalDecided { approval_id, decision } => {
                let lasts = decision.lasts.unwrap_or_default() != Lasts::Once && decision.by != "timeout";
                if let Some(rule) = asked.remove(&approval_id).filter(|_| lasts) {
                    let line = Line::new(&rule, decision.approved, "question");
                    lines.push(Line { by: Some(decision.by), at, ..line });
                }
            }
            EventBody::EgressChanged { rule, allowed, by } => {
                lines.push(Line { by: Some(by), at, ..Line::new(&rule, allowed, "change") });
            }
            _ => {}
        }
    }
    if lines.is_empty() {
        context.printer.note("It may reach no host.");
    }
    for rule in &launch.ask_rules {
        context.printer.note(format_args!("People are asked about {rule}, although a rule allows it."));
    }
    if let Some(patience) = launch.ask_hosts {
        let seconds = patience.duration().as_secs();
        context
            .printer
            .note(format_args!("People are asked about others; a connection waits {seconds} s for them."));
    }
    say(context, &lines);
    Ok(Exit::Success)
}

/// What was answered for always in this project.
pub(super) fn remembered(context: &Context<'_>) -> Result<Exit, CommandError> {
    let settings = context.settings(None)?;
    let known = trust::hosts::read(&settings.project.root)?;
    let allow = known.allow.iter().map(|host| Line::new(host, true, "always"));
    let deny = known.deny.iter().map(|host| Line::new(host, false, "always"));
    let lines: Vec<Line> = allow.chain(deny).collect();
    if lines.is_empty() {
        context.printer.note("Nothing was answered for always in this project.");
    }
    say(context, &lines);
    Ok(Exit::Success)
}

fn say(context: &Context<'_>, lines: &[Line]) {
    for line in lines {
        context.printer.object(line);
        let what = if line.allowed { "allow" } else { "deny " };
        let by = line.by.as_ref().map(|by| format!("  {}", plain::line(by))).unwrap_or_default();
        let at = line.at.map(|at| format!("  {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))).unwrap_or_default();
        context.printer.line(format_args!("{what}  {}  ({}){by}{at}", plain::line(&line.host), line.from));
    }
}
