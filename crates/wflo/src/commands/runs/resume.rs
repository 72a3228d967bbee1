//! `wflo runs resume`: take a run over that nobody drives, and go on with it.

use std::io::IsTerminal as _;
use std::time::Duration;

use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::changes::launch_of;
use wflo_engine::engine::{load, send};
use wflo_engine::inbox::Message;
use wflo_engine::{EngineError, Runtime};

use crate::cli::{Detach, RunRef};
use crate::commands::detach::{self, Child};
use crate::commands::drive::{self, How, Taken};
use crate::commands::drivers::{self, LiveDriver};
use crate::commands::{Context, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;
use crate::trust;

use super::stop::wait_for;

/// How long a live process has to take up a message before this command returns all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// Goes on with a run.
pub(super) async fn run(
    which: &RunRef,
    detach: &Detach,
    context: &Context<'_>,
    background: Option<Child>,
) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    if record.status.is_terminal() {
        let how = How::whole(detach, background, false);
        let late = drive::bring_in_late(&session, context, &record, how.terminal).await?;
        let ended = EngineError::Ended { run: record.id, status: record.status };
        return late.ok_or_else(|| CommandError::engine(ended));
    }
    let (_, state) = load(session.store.as_ref(), &record).await.map_err(CommandError::engine)?;
    if let Some(driver) = drivers::of(&session, &record)? {
        if !state.paused || driver.stopped {
            return Err(driver.refusal(&record));
        }
        return go_on_there(&session, context, &record, driver).await;
    }
    if background.is_none() {
        let launch = launch_of(&record).map_err(CommandError::engine)?;
        let beside = trust::of_run(&launch, &session.settings);
        trust::settle(context, &session.settings, &beside, false)?;
    }
    if detach.is_wanted() {
        return detach::start(context, &session.settings.data_dir, false);
    }
    let is_program = launch_of(&record).map_err(CommandError::engine)?.program.is_some();
    let piped = is_program && !std::io::stdin().is_terminal();
    let mut how = How::whole(detach, background, piped).of(record.id);
    if is_program {
        how = how.of_program(context);
    }
    drive::drive(&session, context, how, async |runtime| {
        if state.paused {
            tell(&session, &record).await?;
        }
        take(&session, context, runtime, &record).await
    })
    .await
}

async fn tell(session: &Session<'_>, record: &RunRecord) -> Result<(), CommandError> {
    let message = Message::Resume { by: who::local() };
    let sent = send(session.store.as_ref(), session.clock.as_ref(), record.id, &message).await;
    sent.map_err(CommandError::engine)
}

/// A paused run whose process lives goes on in that process.
async fn go_on_there(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    driver: LiveDriver,
) -> Result<Exit, CommandError> {
    tell(session, record).await?;
    let on = wait_for(session, record.id, PATIENCE, |run| run.status != RunStatus::Paused).await?;
    let pid = driver.pid;
    if on.is_some() {
        context.printer.line(format_args!("Process {pid} goes on with {}.", record.id));
        return Ok(Exit::Success);
    }
    context.printer.note(format_args!("The message is kept; process {pid} has not taken it up yet."));
    Ok(Exit::Waiting)
}

async fn take(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    record: &RunRecord,
) -> Result<Taken, CommandError> {
    let seen = drive::last_event(session, record.id).await?;
    // Before the claim, under the lease as it was read: whoever was faster makes this fail.
    match runtime.note_changed_code(record, record.lease_epoch).await {
        Ok(_) => {}
        Err(error @ EngineError::Store(_)) => return Err(CommandError::engine(error)),
        // The run has its own sealed copy: a project that cannot be read does not keep it from going on.
        Err(error) => context.printer.warning(format_args!("the project cannot be compared: {error}")),
    }
    runtime.engine.drive(record.id).await.map_err(CommandError::engine)?;
    Ok(Taken::Run { run: record.id, seen })
}
