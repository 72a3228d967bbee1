//! `wflo runs retry`: a new run from one that has ended, on the project's present code.

use std::io::IsTerminal as _;
use std::time::Duration;

use wflo_core::error::{Code, Failure};
use wflo_core::ports::store::Store;
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_engine::engine::{load, send};
use wflo_engine::images::Building;
use wflo_engine::inbox::Message;
use wflo_engine::launch::{Backend, Launch};
use wflo_engine::{Again, Retried, Runtime, Source, Submission, changes};

use crate::cli::{Detach, RunRef};
use crate::commands::detach::{self, Child};
use crate::commands::drive::{self, How, Taken};
use crate::commands::run::workflow;
use crate::commands::sandbox::images;
use crate::commands::{Context, drivers, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::session::{Flags, Session};
use crate::trust;

use super::stop::{carry_out, wait_for};

/// How long a live process has to end the run that is retried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a new run from an old one and drives it.
pub(super) async fn run(
    which: &RunRef,
    again: &Again,
    detach: &Detach,
    context: &Context<'_>,
    background: Option<Child>,
) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let old = pick::run(&session, which).await?;
    if again.top_up.is_some() {
        has_budget(&session, &old).await?;
    }
    if background.is_none() {
        let launch = taken_over(&session, &old).await?;
        // What it may reach is taken over; the rest is what the settings say now.
        let beside = trust::reach_of_run(&launch, &session.settings);
        trust::settle(context, &session.settings, &beside, false)?;
    }
    if detach.is_wanted() {
        return detach::start(context, &session.settings.data_dir, false);
    }
    let is_program = changes::launch_of(&old).map_err(CommandError::engine)?.program.is_some();
    let piped = is_program && !std::io::stdin().is_terminal();
    let mut how = How::whole(detach, background, piped);
    if is_program {
        how = how.of_program(context);
    }
    drive::drive(&session, context, how, async |runtime| fork(&session, context, runtime, &old, again).await)
        .await
}

async fn fork(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    old: &RunRecord,
    again: &Again,
) -> Result<Taken, CommandError> {
    let mut submission = submission(session, old).await?;
    let given = submission.options.backend.as_deref().and_then(Backend::named);
    let settings = &session.settings;
    submission.installed =
        images::for_workflow(context, settings, &submission.source, given, Building::WhereMissing).await?;
    if matches!(old.status, RunStatus::Waiting | RunStatus::Paused) {
        // A run that waits is only given up once it is known that the new one can begin.
        runtime.prepare(submission.clone()).await.map_err(CommandError::engine)?;
        give_up(session, context, runtime, old).await?;
    }
    let retried = runtime.retry(old.id, submission, again).await.map_err(CommandError::engine)?;
    let new = retried.run;
    context.printer.note(format_args!("{new} retries {}.", old.id));
    tell(context, &retried, old);
    Ok(Taken::Run { run: new, seen: 0 })
}

/// Says what is not run again, and what is although it had finished.
fn tell(context: &Context<'_>, retried: &Retried, old: &RunRecord) {
    let quoted = |step: &String| format!("`{step}`");
    if let Some(last) = retried.kept.last() {
        let kept = retried.kept.iter().map(quoted).collect::<Vec<_>>().join(", ");
        context.printer.note(format_args!("Kept, and not run again: {kept}."));
        if retried.code_changed {
            context.printer.note(format_args!(
                "The code has changed since; `wflo runs retry {} --from {last}` would run a kept step again.",
                old.id
            ));
        }
    }
    if !retried.again.is_empty() {
        let again = retried.again.iter().map(|done| done.said(&quoted(&done.step)));
        let again = again.collect::<Vec<_>>().join(", ");
        context.printer.note(format_args!("Had finished and is run again: {again}."));
    }
    for made in &retried.outdated {
        // Which they are is a notice of the new run.
        let step = plain::line(&made.step);
        context.printer.hint(format_args!(
            "`wflo runs retry {} --from {step}` would make its files from the project as it is now",
            old.id
        ));
    }
}

/// The run's workflow as the project now has it, with what the run was started with.
async fn submission(session: &Session<'_>, old: &RunRecord) -> Result<Submission, CommandError> {
    let launch = taken_over(session, old).await?;
    let source = match (launch.workflow, launch.program) {
        (Some(entry), _) => Source::Code(entry),
        (None, Some(program)) => {
            let argv = session.store.definition(old.id).await?["steps"][0]["argv"].take();
            let argv = serde_json::from_value(argv).unwrap_or_default();
            Source::Program { argv, program: Box::new(program) }
        }
        (None, None) => written(session, old, launch.definition).await?,
    };
    let mut submission = session.submission(source, old.inputs.clone(), Flags::default())?;
    // What was allowed by hand for it is still allowed, and what was asked about still is; whoever retries it has been
    // asked. A run of before cannot tell that from its settings: what those of today do not say counts as by hand.
    let (knows, by_hand) = (launch.by_hand.is_some(), &mut submission.by_hand);
    for (own, hand, more) in [
        (&mut submission.allow_hosts, &mut by_hand.allow_hosts, launch.allow_hosts),
        (&mut submission.allow_addresses, &mut by_hand.allow_addresses, launch.allow_addresses),
        (&mut submission.ask_rules, &mut by_hand.ask_rules, launch.ask_rules),
    ] {
        for text in more {
            let is_said = own.contains(&text);
            if knows || !is_said {
                hand.push(text.clone());
            }
            if !is_said {
                own.push(text);
            }
        }
    }
    by_hand.ask_hosts = launch.ask_hosts.is_some() && (knows || submission.ask_hosts.is_none());
    submission.ask_hosts = submission.ask_hosts.or(launch.ask_hosts);
    submission.said_hosts = launch.said_hosts;
    // What was answered for always counts as it is remembered now: it may have been forgotten since.
    session.tell(&mut submission)?;
    let mut ask_commands = old.options.ask_commands.clone();
    let named = std::mem::take(&mut submission.options.ask_commands);
    ask_commands.extend(named.into_iter().filter(|rule| !old.options.ask_commands.contains(rule)));
    submission.options = RunOptions {
        ask_commands,
        carried: Vec::new(),
        rolls_back: None,
        launch: serde_json::Value::Null,
        ..old.options.clone()
    };
    Ok(submission)
}

/// How the run was launched, and of that what its retry takes over of the network.
async fn taken_over(session: &Session<'_>, old: &RunRecord) -> Result<Launch, CommandError> {
    let launch = changes::launch_of(old).map_err(CommandError::engine)?;
    let (_, state) = load(session.store.as_ref(), old).await.map_err(CommandError::engine)?;
    Ok(launch.taken_over(&state.hosts))
}

/// A YAML workflow: the project's own when its file is still there, else as the run has it.
async fn written(
    session: &Session<'_>,
    old: &RunRecord,
    file: Option<String>,
) -> Result<Source, CommandError> {
    let root = &session.settings.project.root;
    match &file {
        Some(name) if root.join(name).is_file() => {
            workflow::resolve(Some(name), &session.settings, root)?.into_source()
        }
        _ => Ok(Source::Definition { definition: session.store.definition(old.id).await?, file }),
    }
}

/// Ends a run that waits, here or in the process that drives it.
async fn give_up(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    old: &RunRecord,
) -> Result<(), CommandError> {
    let driver = drivers::of(session, old)?;
    if let Some(driver) = driver.filter(|driver| driver.stopped) {
        return Err(driver.refusal(old));
    }
    let reason = Some("retried on the project's present code".to_owned());
    let message = Message::Cancel { by: who::local(), reason };
    let sent = send(session.store.as_ref(), session.clock.as_ref(), old.id, &message).await;
    sent.map_err(CommandError::engine)?;
    match driver {
        None => carry_out(session, context, runtime, old.id).await,
        Some(driver) => {
            let over = wait_for(session, old.id, PATIENCE, |run| run.status.is_terminal()).await?;
            if over.is_some() { Ok(()) } else { Err(driver.refusal(old)) }
        }
    }
}

async fn has_budget(session: &Session<'_>, old: &RunRecord) -> Result<(), CommandError> {
    let budgets = session.store.budgets(vec![old.budget_key.clone()]).await?;
    if budgets.iter().any(|budget| budget.is_money_of_a_run()) {
        return Ok(());
    }
    let message = format!("run {} has no budget that --budget could add to", old.id);
    let failure = Failure::new(Code(8021), message)
        .with_hint("leave --budget out; `wflo run --budget` sets a limit for a new run");
    Err(CommandError::usage(vec![failure]))
}
