//! `wflo approvals approve` and `reject`: a durable decision, and the run going on with it.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde::Serialize;
use wflo_core::approval::{Approval, ApprovalStatus, Decision, Lasts, Purpose};
use wflo_core::error::{Code, Coded};
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Store, StoreError};
use wflo_core::run::RunRecord;
use wflo_engine::EngineError;
use wflo_engine::changes::launch_of;
use wflo_engine::engine::send;
use wflo_engine::inbox::Message;

use crate::cli::{ApprovalRef, Decision as Given};
use crate::commands::drive::{self, How, Taken, Terminal, Until};
use crate::commands::drivers::LiveDriver;
use crate::commands::evidence::{self, Room};
use crate::commands::pick::PickError;
use crate::commands::{Context, drivers, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;
use crate::trust;

use super::{Sent, standing_of, waiting_decision};

/// How long the driving process has to take the decision up before this command returns.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the store is asked meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes { amount: Option<NanoUsd> },
    No,
}

#[derive(Debug, thiserror::Error)]
enum DecideError {
    #[error("approval {id} is not a budget's question, so it takes no --amount")]
    NoBudget { id: ApprovalId },
    #[error("--amount must be more than 0")]
    NoAmount,
    #[error("approval {id} is not about a host, so it takes no --for")]
    Lasting { id: ApprovalId },
    #[error("approval {id} could be decided until {until}, and counts as rejected since")]
    TooLate { id: ApprovalId, run: RunId, until: String },
}

impl Coded for DecideError {
    fn code(&self) -> Code {
        Code(if matches!(self, DecideError::TooLate { .. }) { 7001 } else { 8022 })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            DecideError::NoBudget { id } => format!("`wflo approvals approve {id}` says yes to it"),
            DecideError::Lasting { id } => format!("`wflo approvals show {id}` shows what it is about"),
            DecideError::TooLate { run, .. } => format!("`wflo runs resume {run}` goes on with the run"),
            DecideError::NoAmount => "leave it out to give what the question suggests".to_owned(),
        })
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    approval_id: ApprovalId,
    run_id: RunId,
    decision: &'a Decision,
    /// Whether the run has it; else it is kept for whoever drives the run next.
    taken: bool,
    driver: Option<LiveDriver>,
}

/// Decides, and drives the run when nobody does.
pub(super) async fn run(given: &Given, answer: Answer, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let approval = pick::undecided(&session, &given.approval).await?;
    let id = approval.id;
    let amount = check(&session, &approval, answer, given).await?;
    if given.approval == ApprovalRef::Latest && !reads(&session, context, &approval, answer)? {
        context.printer.aside("Nothing was decided.");
        return Ok(Exit::Failed);
    }
    let missing = session.store.run(approval.run).await?;
    let record = missing.ok_or_else(|| CommandError::engine(EngineError::NoRun(approval.run)))?;
    if record.status.is_terminal() {
        return Err(CommandError::engine(EngineError::Ended { run: record.id, status: record.status }));
    }
    let decision = Decision {
        approved: matches!(answer, Answer::Yes { .. }),
        by: who::local(),
        comment: given.comment.clone(),
        amount,
        lasts: given.lasts.map(Lasts::from),
        at: session.clock.now(),
    };
    let message = Message::Decide { approval: id, decision: decision.clone() };
    let seen = drive::last_event(&session, record.id).await?;
    let sent = send(session.store.as_ref(), session.clock.as_ref(), record.id, &message).await;
    sent.map_err(CommandError::engine)?;
    let driver = drivers::of(&session, &record)?;
    let taken = match driver {
        Some(LiveDriver { stopped: false, .. }) => taken(&session, &record, id).await?,
        _ => false,
    };
    // Somebody else may have answered at the same moment.
    let sent = standing_of(&session, id, &decision).await?;
    // A process that was about to leave the run may have gone without it.
    let driver = if taken { driver } else { drivers::of(&session, &record)? };
    // What holds for always is kept once it is known to count: an answer that lost, or came too late, says nothing
    // about later runs. With a process that dies between the two that word is lost, and people are asked again.
    // Whoever takes a run up reads what was recorded before anything else, so the first counts where nobody drives it.
    let counts = sent == Sent::Counts || driver.is_none();
    if counts {
        trust::hosts::remember(&session.settings.project.root, &approval.request.purpose, &decision)?;
    } else if decision.lasts == Some(Lasts::Always) {
        context.printer.warning("it holds for this run, if it is taken up in time, and not for always yet");
    }
    let done = Done {
        kind: "approval.recorded",
        approval_id: id,
        run_id: record.id,
        decision: &decision,
        taken,
        driver,
    };
    context.printer.object(&done);
    let word = if decision.approved { "approved" } else { "rejected" };
    let given_by = evidence::given(&approval.request, &decision).map(|given| format!(" ({given})"));
    let title = evidence::title(&approval.request, 120);
    context.printer.line(format_args!("{id} {word}: {title}{}", given_by.unwrap_or_default()));
    match driver {
        Some(driver) => {
            live(context, driver, taken, &record);
            Ok(Exit::Success)
        }
        None if given.no_drive => {
            let run = record.id;
            context.printer.note(format_args!("Recorded; `wflo runs resume {run}` goes on with the run."));
            Ok(Exit::Success)
        }
        None => go_on(&session, context, &record, seen).await,
    }
}

/// Whether a word about `latest` is about what waits now: it was shown last, or is shown here, where somebody can
/// say so. A step may have withdrawn what was read and asked something else.
///
/// # Errors
/// [`pick::PickError::Unread`] where nobody can be asked.
fn reads(
    session: &Session<'_>,
    context: &Context<'_>,
    approval: &Approval,
    answer: Answer,
) -> Result<bool, CommandError> {
    let (printer, root) = (context.printer, &session.settings.project.root);
    if trust::shown::is_last(root, approval.id) {
        return Ok(true);
    }
    let terminal = Terminal::find(false).filter(|_| !printer.json_wanted());
    let Some(mut terminal) = terminal else {
        return Err(PickError::Unread { id: approval.id, title: approval.request.title.clone() }.into());
    };
    let room = Room::prompt(printer.width_beside()).about(approval.id);
    for line in evidence::question(printer.beside(), &approval.request, room) {
        printer.aside(line);
    }
    let verb = if answer == Answer::No { "Reject" } else { "Approve" };
    printer.prompt(format_args!("{verb} it? [y/N] "));
    terminal.forget();
    Ok(terminal.says_yes())
}

/// That it waits for this answer; the amount for a budget.
async fn check(
    session: &Session<'_>,
    approval: &Approval,
    answer: Answer,
    given: &Given,
) -> Result<Option<NanoUsd>, CommandError> {
    let id = approval.id;
    if approval.status != ApprovalStatus::Pending {
        return Err(StoreError::AlreadyDecided { id, status: approval.status }.into());
    }
    if let Some(earlier) = waiting_decision(session, approval).await? {
        let status = if earlier.approved { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
        return Err(StoreError::AlreadyDecided { id, status }.into());
    }
    if let Some(until) = approval.request.expires_at
        && approval.request.is_over(session.clock.now())
    {
        let until = until.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        return Err(DecideError::TooLate { id, run: approval.run, until }.into());
    }
    if given.lasts.is_some() && !matches!(approval.request.purpose, Purpose::Host { .. }) {
        return Err(DecideError::Lasting { id }.into());
    }
    match (answer, &approval.request.purpose) {
        (Answer::Yes { amount: Some(NanoUsd::ZERO) }, _) => Err(DecideError::NoAmount.into()),
        (Answer::Yes { amount }, Purpose::Budget { .. }) => Ok(amount),
        (Answer::Yes { amount: Some(_) }, _) => Err(DecideError::NoBudget { id }.into()),
        _ => Ok(None),
    }
}

/// Waits until the driving process has the decision, or is gone.
async fn taken(session: &Session<'_>, record: &RunRecord, id: ApprovalId) -> Result<bool, CommandError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        // Before the question whether it was taken up: who is gone takes up nothing any more.
        let gone = drivers::of(session, record)?.is_none();
        let approval = session.store.approval(id).await?;
        if approval.is_none_or(|approval| approval.status != ApprovalStatus::Pending) {
            return Ok(true);
        }
        if gone || tokio::time::Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn live(context: &Context<'_>, driver: LiveDriver, taken: bool, record: &RunRecord) {
    let pid = driver.pid;
    if taken {
        context.printer.note(format_args!("Process {pid} goes on with run {}.", record.id));
    } else {
        context.printer.note(format_args!("The decision is kept; process {pid} has not taken it up yet."));
        if let Some(hint) = driver.hint() {
            context.printer.hint(hint);
        }
    }
}

/// Drives the run in this process: on a terminal to its end, asking what it asks there, elsewhere to its
/// end or until it waits for somebody again.
async fn go_on(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    seen: u64,
) -> Result<Exit, CommandError> {
    let run = record.id;
    let launch = launch_of(record).map_err(CommandError::engine)?;
    trust::settle(context, &session.settings, &trust::of_run(&launch, &session.settings), false)?;
    let piped = launch.program.is_some() && !std::io::stdin().is_terminal();
    let terminal = Terminal::find(piped);
    let until = if terminal.is_some() { Until::Ended } else { Until::Rests };
    let mut how = How { terminal, console: None, background: None, until, says_waits: false, run: Some(run) };
    if launch.program.is_some() {
        how = how.of_program(context);
    }
    drive::drive(session, context, how, async |runtime| match runtime.engine.drive(run).await {
        Ok(()) => Ok(Taken::Run { run, seen }),
        // Another process was faster: it has the decision.
        Err(EngineError::DrivenElsewhere { pid, .. }) => {
            live(context, LiveDriver { pid, stopped: false }, true, record);
            Ok(Taken::Nothing(Exit::Success))
        }
        Err(error) => Err(CommandError::engine(error)),
    })
    .await
}
