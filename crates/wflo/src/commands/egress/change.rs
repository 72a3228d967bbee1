//! `wflo egress allow` and `deny`: a durable message, and whoever drives the run acts on it.

use serde::Serialize;
use wflo_core::id::RunId;
use wflo_core::ports::store::Store as _;
use wflo_engine::EngineError;
use wflo_engine::changes::launch_of;
use wflo_engine::engine::send;
use wflo_engine::inbox::Message;
use wflo_engine::launch::Backend;

use super::EgressError;
use crate::cli::ChangeArgs;
use crate::commands::{Context, drivers, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;

/// What `--json` prints, one a host.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    run_id: RunId,
    host: &'a str,
    allowed: bool,
    driver: Option<drivers::LiveDriver>,
}

/// Says it of each host.
pub(super) async fn run(
    args: &ChangeArgs,
    allowed: bool,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    if let Some(rule) = args.hosts.iter().find(|rule| !allowed && !rule.is_only_a_host()) {
        return Err(EgressError::Part { rule: rule.to_string() }.into());
    }
    let session = pick::existing(context)?;
    let record = pick::run(&session, &args.run).await?;
    if record.status.is_terminal() {
        return Err(CommandError::engine(EngineError::Ended { run: record.id, status: record.status }));
    }
    let launch = launch_of(&record).map_err(CommandError::engine)?;
    if launch.backend == Backend::None {
        return Err(EgressError::NotIsolated { run: record.id }.into());
    }
    let unseen = args.hosts.iter().find(|rule| allowed && rule.needs_sight() && !launch.looks());
    if let Some(rule) = unseen {
        return Err(EgressError::Unseen { rule: rule.to_string(), run: record.id }.into());
    }
    if allowed {
        super::remark_direct(context.printer, &args.hosts);
    }
    for rule in &args.hosts {
        let message = Message::ChangeHost { rule: rule.to_string(), allowed, by: who::local() };
        let sent = send(session.store.as_ref(), session.clock.as_ref(), record.id, &message).await;
        sent.map_err(CommandError::engine)?;
    }
    let driver = drivers::of(&session, &record)?;
    let patience =
        if driver.is_some_and(|driver| !driver.stopped) { PATIENCE } else { std::time::Duration::ZERO };
    let taken = taken(&session, record.id, patience).await?;
    for rule in &args.hosts {
        let (host, what) = (rule.to_string(), if allowed { "may be reached" } else { "is kept out" });
        context.printer.object(&Done {
            kind: "egress.said",
            run_id: record.id,
            host: &host,
            allowed,
            driver,
        });
        context.printer.line(format_args!("{host} {what} by {}", record.id));
    }
    match (taken, driver) {
        // Nothing is bound for connections in a sandbox that could reach nothing when it was made.
        (true, Some(_))
            if allowed
                && launch.allow_hosts.is_empty()
                && launch.ask_hosts.is_none()
                && !launch.lets_in() =>
        {
            context.printer.note(format_args!(
                "A step that began while nothing could be reached has no way out: for it, this counts from its next attempt on."
            ));
            context.printer.hint("start a run with `--allow-host HOST`, or with `--ask-hosts`, to let hosts in while a step runs");
        }
        (true, _) => {}
        (false, Some(driver)) => {
            context.printer.note(format_args!("Process {} acts on it as soon as it can.", driver.pid));
            if let Some(hint) = driver.hint() {
                context.printer.hint(hint);
            }
        }
        (false, None) => context.printer.note("It is kept for whoever goes on with the run."),
    }
    Ok(Exit::Success)
}

/// How long the driving process has before this command returns with what is durable.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// How often the store is asked meanwhile.
const POLL: std::time::Duration = std::time::Duration::from_millis(5);

/// Whether the run has taken up everything that was left for it.
async fn taken(
    session: &crate::session::Session<'_>,
    run: RunId,
    patience: std::time::Duration,
) -> Result<bool, CommandError> {
    let until = tokio::time::Instant::now() + patience;
    loop {
        if session.store.run_inbox(run).await?.is_empty() {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}
