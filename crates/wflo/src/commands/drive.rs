//! Driving one run in this process while somebody may look on: what `run`, `runs resume`, `runs retry`,
//! `approvals approve` and `approvals reject` have in common.
//!
//! Owns the order of things, from taking the run to what is said at its end; what happens to the run is
//! the engine's. Ctrl-C and SIGTERM leave a run that can be resumed.

mod attend;
mod closing;
mod console;
mod desk;
mod end;
mod feed;
mod metrics;
mod signals;
mod summary;
mod terminal;
mod tree;
mod view;

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use wflo_core::error::{Code, Failure};
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{RunFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::Runtime;
use wflo_engine::console::Console;
use wflo_engine::engine::load;
use wflo_store::Announced;

use self::attend::{Attendance, Left};
use self::end::End;
use self::feed::Feed;
use self::view::View;
use crate::cli::Detach;
use crate::commands::runs::{exit_of_run, run_json};
use crate::commands::{Context, detach};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;
use crate::trust;

pub(crate) use self::attend::Until;
pub(crate) use self::closing::bring_in_late;
pub(crate) use self::console::Outer;
pub(crate) use self::desk::{Answer, Desk};
pub(crate) use self::signals::Signals;
pub(crate) use self::summary::lost_bills;
pub(crate) use self::terminal::Terminal;

/// What becomes of a sandbox elsewhere that this process has not ended.
pub(crate) const LEFT_BEHIND: &str =
    "it ends by itself without this process, and the next start of a sandbox there removes what is left";

/// How a run is driven.
pub(crate) struct How {
    /// The person at the terminal.
    pub(crate) terminal: Option<Terminal>,
    /// What programs talk to; `None` where nobody is.
    pub(crate) console: Option<Arc<Outer>>,
    /// In a background process: where it reports to its parent.
    pub(crate) background: Option<detach::Child>,
    /// How far the command stays.
    pub(crate) until: Until,
    /// The run's waits are the command's result: standard output says what they are.
    pub(crate) says_waits: bool,
    /// The run, when there was one before.
    pub(crate) run: Option<RunId>,
}

impl How {
    /// As `wflo run` does: to the end, through every wait; in a background process, or with `--no-wait`,
    /// to the next one. `piped` is whether standard input holds something else than answers.
    pub(crate) fn whole(detach: &Detach, background: Option<detach::Child>, piped: bool) -> Self {
        let leaves = background.is_some() || detach.is_no_wait();
        let terminal = if leaves { None } else { Terminal::find(piped) };
        let until = if leaves { Until::Rests } else { Until::Ended };
        How { terminal, console: None, background, until, says_waits: detach.is_no_wait(), run: None }
    }

    /// The same, of a run whose program is run as it is: it has the streams of this command, and a person is
    /// asked on the same terminal.
    #[must_use]
    pub(crate) fn of_program(mut self, context: &Context<'_>) -> Self {
        if self.background.is_none() {
            let console = Arc::new(Outer::new(context));
            if let Some(terminal) = &mut self.terminal {
                terminal.share(&console);
            }
            self.console = Some(console);
        }
        self
    }

    /// The same, of a run that was there before.
    #[must_use]
    pub(crate) fn of(self, run: RunId) -> Self {
        How { run: Some(run), ..self }
    }
}

/// What became of the attempt to take a run.
pub(crate) enum Taken {
    /// This process drives it; events up to `seen` are not news.
    Run { run: RunId, seen: u64 },
    /// There is nothing to drive, and everything has been said.
    Nothing(Exit),
}

/// Takes a run and drives it.
///
/// # Errors
/// Everything that keeps a run from being taken or driven.
pub(crate) async fn drive(
    session: &Session<'_>,
    context: &Context<'_>,
    how: How,
    take: impl AsyncFnOnce(&Runtime) -> Result<Taken, CommandError>,
) -> Result<Exit, CommandError> {
    let has_program = how.console.is_some();
    let mut signals = Signals::new(has_program)?;
    // Before anything is driven: a commit that begins when nobody listens is not announced, however late
    // it ends.
    let live = session.store.subscribe();
    // Whoever could be asked has been: nothing is driven that was not accepted.
    trust::require(context, &session.settings)?;
    let metrics = metrics::prepare(session)?;
    let console = how.console.clone();
    let runtime = session.runtime_with(console.map(|console| console as Arc<dyn Console>)).await?;
    let _metrics = metrics.map(|metrics| metrics.serve(context, &runtime)).transpose()?;
    let known = how.run;
    let mut ended = take_and_attend(session, context, &runtime, how, take, (live, &mut signals)).await;
    if let Ok(Ended { left: Left::Interrupted, run, calling, .. }) = &mut ended {
        if run.is_none() {
            // The signal may have come between the commit that accepted the run and the answer to it.
            *run = newest_of(session, &runtime).await?.or(known);
        }
        if let Some(run) = run {
            let first = match calling {
                0 => "",
                1 => ": the model call that is under way is finished first",
                _ => ": the model calls that are under way are finished first",
            };
            context.printer.note(format_args!("\nStopping run {run}{first}. Again to stop at once."));
        }
    }
    // Model calls settle first; a second signal does not wait for them.
    let at_once = tokio::select! {
        () = runtime.shutdown() => false,
        () = signals.next() => true,
    };
    let ended = ended?;
    let Some(run) = ended.run else {
        return Ok(ended.exit.unwrap_or_else(|| {
            context.printer.note("Stopped before the run was accepted.");
            Exit::Cancelled
        }));
    };
    if at_once {
        context.printer.note("");
        context.printer.complain(&resumable(run, has_program));
        for name in runtime.sandboxes.live.outliving() {
            context.printer.note(format_args!("{name} is left behind: {LEFT_BEHIND}"));
        }
        // Its end would wait for what does not answer; the kernel ends what is this machine's.
        std::mem::forget(runtime);
        return Ok(Exit::Waiting);
    }
    let exit = match ended.exit {
        Some(exit) => exit,
        None => stopped(session, context, run).await?,
    };
    if ended.left == Left::Done && is_woken(session, run).await? {
        context.printer.note(format_args!(
            "Run {run} was woken as this command left it: `wflo runs resume {run}` goes on with it."
        ));
    }
    crate::commands::otlp::export(session, context, &runtime, run, signals.next()).await?;
    crate::commands::snapshots::prune_by_itself(session);
    Ok(exit)
}

/// How attendance ended.
struct Ended {
    left: Left,
    /// The run, once taken.
    run: Option<RunId>,
    /// The exit code, when everything has been said.
    exit: Option<Exit>,
    /// Model calls that were under way.
    calling: u64,
}

async fn take_and_attend(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    how: How,
    take: impl AsyncFnOnce(&Runtime) -> Result<Taken, CommandError>,
    (live, signals): (Receiver<Announced>, &mut Signals),
) -> Result<Ended, CommandError> {
    let taken = tokio::select! {
        taken = take(runtime) => taken?,
        () = signals.next() => return Ok(Ended { left: Left::Interrupted, run: None, exit: None, calling: 0 }),
    };
    let (run, seen) = match taken {
        Taken::Run { run, seen } => (run, seen),
        Taken::Nothing(exit) => {
            return Ok(Ended { left: Left::Done, run: None, exit: Some(exit), calling: 0 });
        }
    };
    let (is_background, says_waits) = (how.background.is_some(), how.says_waits);
    if let Some(child) = how.background {
        child.accepted(run);
    }
    let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
    let (definition, _) = load(session.store.as_ref(), &record).await.map_err(CommandError::engine)?;
    let console = how.console;
    let mut view = View::new(context, &definition, run, console.clone());
    let mut desk = Desk::new(context.printer, how.terminal);
    let mut attendance = Attendance {
        session,
        runtime,
        run,
        seen,
        budget_key: record.budget_key.clone(),
        trace_id: record.trace_id.clone(),
        is_background,
        view: &mut view,
        desk: &mut desk,
        signals,
        answered: None,
        sent: std::collections::BTreeMap::new(),
    };
    let left = attendance.stay(Feed::new(&session.store, run, live), how.until).await;
    let budget = attendance.budget().await?;
    if let Some(console) = &console {
        // A program that is still there shows nothing between what is said now.
        console.pause().await;
    }
    view.finish(session.clock.now(), budget);
    let left = left?;
    if left == Left::Interrupted {
        return Ok(Ended { left, run: Some(run), exit: None, calling: view.tree.calling() });
    }
    let mut end = End { session, context, desk: &mut desk, signals, says_waits };
    let exit = end.finish(run, &view.tree).await?;
    Ok(Ended { left, run: Some(run), exit: Some(exit), calling: 0 })
}

/// The run that this process drives, if it does.
async fn newest_of(session: &Session<'_>, runtime: &Runtime) -> Result<Option<RunId>, CommandError> {
    let mine = RunFilter { engine: Some(runtime.engine.id()), limit: 1, ..RunFilter::default() };
    Ok(session.store.runs(mine).await?.first().map(|run| run.id))
}

/// Whether a run that rested when this process turned away from it can go on by now.
async fn is_woken(session: &Session<'_>, run: RunId) -> Result<bool, CommandError> {
    let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
    let open = !record.status.is_terminal() && record.engine.is_none();
    let goes_on = matches!(record.status, RunStatus::Pending | RunStatus::Running);
    Ok(open && (goes_on || !session.store.run_inbox(run).await?.is_empty()))
}

/// After an orderly stop.
async fn stopped(session: &Session<'_>, context: &Context<'_>, run: RunId) -> Result<Exit, CommandError> {
    let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
    if record.status.is_terminal() {
        summary::error(context.printer, &record);
    } else {
        let is_program = matches!(summary::program(&record), Ok(Some(_)));
        context.printer.complain(&resumable(run, is_program));
    }
    finished_line(session, context, &record).await?;
    exit_of_run(session.store.as_ref(), &record).await
}

/// The last line for scripts.
async fn finished_line(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
) -> Result<(), CommandError> {
    if context.printer.json_wanted() {
        let json = run_json(session.store.as_ref(), record.id).await?;
        context
            .printer
            .object(&serde_json::json!({ "type": "run.finished", "run_id": record.id, "run": json }));
    }
    Ok(())
}

/// The run was stopped from outside and can go on.
fn resumable(run: RunId, is_program: bool) -> Failure {
    let (kept, hint) = match is_program {
        true => (
            "what its program had changed is lost, and what it has paid for is not",
            "begins it anew, and asks no model a second time for what was answered",
        ),
        false => ("nothing that it finished is lost", "goes on with it"),
    };
    Failure::new(Code(8014), format!("run {run} was stopped before its end; {kept}"))
        .with_hint(format!("`wflo runs resume {run}` {hint}"))
}

fn vanished(run: RunId) -> CommandError {
    CommandError::engine(wflo_engine::EngineError::NoRun(run))
}

/// The number of a run's last event: what comes after it is news.
///
/// # Errors
/// Store errors.
pub(crate) async fn last_event(session: &Session<'_>, run: RunId) -> Result<u64, CommandError> {
    const PAGE: u32 = 1_000;
    let mut last = 0;
    loop {
        let page = session.store.events(run, last, PAGE).await?;
        match page.last() {
            Some(event) => last = event.seq,
            None => return Ok(last),
        }
    }
}
