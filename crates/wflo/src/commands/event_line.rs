//! An event as a line for people. Scripts get the event itself.

use wflo_core::approval::TIMEOUT;
use wflo_core::event::{AfterFailure, Ending, EventBody, Recorded, Wait};

use crate::plain;
use crate::printer::{Paint, money, resources};

/// How long a title or a log line may be.
const WIDTH: usize = 160;
/// What wflo itself has to say has its point at its end.
const NOTICE: usize = 400;

/// The line: UTC time of day, what it is about, what happened.
pub(crate) fn line(paint: Paint, recorded: &Recorded) -> String {
    let time = recorded.event.at.strftime("%H:%M:%S%.3f").to_string();
    let (about, text) = describe(paint, &recorded.event.body);
    format!("{} {} {text}", paint.faint(time), paint.strong(plain::padded(&about, 12)))
}

fn describe(paint: Paint, body: &EventBody) -> (String, String) {
    let run = |text: String| ("run".to_owned(), text);
    let of = |step: &str, text: String| (plain::short(step, 40), text);
    match body {
        EventBody::RunStarted { workflow, version } => {
            run(format!("started: {} {}", plain::short(workflow, 60), version.short()))
        }
        EventBody::RunWaiting { on } => {
            let on: Vec<String> = on.iter().map(wait).collect();
            run(paint.careful(format_args!("waits for {}", on.join(", "))))
        }
        EventBody::RunRunning {} => run("goes on".to_owned()),
        EventBody::RunPaused { by, error } => {
            let error =
                error.as_ref().map(|error| format!(": {} [{}]", plain::line(&error.message), error.code));
            let by = plain::line(by);
            run(paint.careful(format_args!("paused by {by}{}", error.unwrap_or_default())))
        }
        EventBody::RunResumed { by } => run(format!("resumed by {}", plain::line(by))),
        EventBody::RunStopping { ending } => run(format!("is ending: {}", because(ending))),
        EventBody::RunCompleted {} => run(paint.good("completed")),
        EventBody::RunFailed { error } => run(paint.bad(format_args!("failed: {}", short(&error.message)))),
        EventBody::RunCancelled { error } => run(paint.bad(short(&error.message))),
        EventBody::RunRejected { error } => {
            run(paint.bad(format_args!("rejected: {}", short(&error.message))))
        }
        EventBody::RunHalted { error } => run(paint.bad(format_args!("halted: {}", short(&error.message)))),
        EventBody::RunTimedOut { error } => {
            run(paint.bad(format_args!("timed out: {}", short(&error.message))))
        }
        EventBody::RunRolledBack { of, step } => {
            run(format!("holds the files of {of} as they stood before {}", plain::line(step)))
        }
        EventBody::StepStarted { step, generation, attempt, .. } => {
            let what = if *attempt > 1 { "goes on" } else { "started" };
            let again = if *generation > 1 { format!(" (try {generation})") } else { String::new() };
            of(step, format!("{what}{again}"))
        }
        EventBody::StepLost { step, reason, .. } => {
            of(step, paint.bad(format_args!("lost: {}", short(reason))))
        }
        EventBody::StepSuspended { step, on, .. } => {
            let on: Vec<String> = on.iter().map(wait).collect();
            of(step, format!("sleeps until {}", on.join(", ")))
        }
        EventBody::StepStopped { step, .. } => of(step, "stopped".to_owned()),
        EventBody::SandboxUsed { step, resources: took, .. } => {
            of(step, paint.faint(format_args!("took {}", resources(took))))
        }
        EventBody::StepSucceeded { step, cost_usd, layer, .. } => {
            let files = if layer.is_some() { ", changed files" } else { "" };
            of(step, paint.good(format_args!("completed, {}{files}", money(*cost_usd))))
        }
        EventBody::StepFailed { step, error, then, .. } => {
            let then = match then {
                AfterFailure::Fail => "",
                AfterFailure::Retry => "; it will be tried again",
                AfterFailure::UndoThenRetry => "; its changes are undone, then it is tried again",
                AfterFailure::UndoThenFail => "; its changes are undone",
            };
            of(step, paint.bad(format_args!("failed: {}{then}", short(&error.message))))
        }
        EventBody::StepUndone { step, report, error, .. } => of(
            step,
            match error {
                None if has_undone(report) => "its data changes were undone".to_owned(),
                None => "had no data changes to undo".to_owned(),
                Some(error) => paint.bad(format_args!("could not be undone: {}", short(&error.message))),
            },
        ),
        EventBody::StepRetrying { step, generation, due } => {
            of(step, format!("is tried again (try {generation}) at {}", due.strftime("%H:%M:%S%.3f")))
        }
        EventBody::StepWoken { step, .. } => of(step, "woken".to_owned()),
        EventBody::StepSkipped { step, because } => of(step, format!("skipped because of {because}")),
        EventBody::StepCancelled { step, .. } => of(step, "cancelled".to_owned()),
        EventBody::ApprovalRequested { approval_id, request } => (
            "approval".to_owned(),
            paint.careful(format_args!("{approval_id} asks: {}", short(&request.title))),
        ),
        EventBody::ApprovalDecided { approval_id, decision } if decision.by == TIMEOUT => (
            "approval".to_owned(),
            paint.careful(format_args!("{approval_id} expired: nobody decided in time")),
        ),
        EventBody::ApprovalDecided { approval_id, decision } => {
            let word = if decision.approved { "approved" } else { "rejected" };
            let comment = decision.comment.as_ref().map(|text| format!(": {}", short(text)));
            let by = plain::line(&decision.by);
            ("approval".to_owned(), format!("{approval_id} {word} by {by}{}", comment.unwrap_or_default()))
        }
        EventBody::ApprovalConsumed { approval_id, released } => {
            ("approval".to_owned(), format!("{approval_id} released {}", short(released)))
        }
        EventBody::ApprovalSuperseded { approval_id, reason } => {
            ("approval".to_owned(), format!("{approval_id} is void: {}", short(reason)))
        }
        EventBody::ApprovalEscalated { approval_id } => (
            "approval".to_owned(),
            paint.careful(format_args!("{approval_id} escalated: nobody decided in time")),
        ),
        EventBody::TimerFired { step, .. } => of(step, "woken by its timer".to_owned()),
        EventBody::SignalReceived { name, .. } => run(format!("received the signal {}", short(name))),
        EventBody::BudgetExhausted { step, shortfall } => of(step, paint.bad(short(&shortfall.explain()))),
        EventBody::EffectStarted { key, kind, name } => {
            of(&key.step, paint.faint(format_args!("{} {} …", kind.as_str(), short(name))))
        }
        EventBody::EffectFinished { key, kind, name, cost_usd, uncertain, error } => {
            let cost = match cost_usd.nanos() {
                0 => String::new(),
                _ => format!(", {}{}", money(*cost_usd), if *uncertain { " (uncertain)" } else { "" }),
            };
            let kind = kind.as_str();
            match error {
                None => of(&key.step, format!("{kind} {} done{cost}", short(name))),
                Some(error) => of(
                    &key.step,
                    paint.bad(format_args!("{kind} {} failed{cost}: {}", short(name), short(&error.message))),
                ),
            }
        }
        EventBody::ReplayMiss { key } => {
            of(&key.step, paint.careful("asked for a call that it had not made before: it is new and paid"))
        }
        EventBody::BudgetQueued { key, shortfall, until, .. } => of(
            &key.step,
            paint.careful(format_args!(
                "queued until {}: {}",
                until.strftime("%Y-%m-%d %H:%M:%S UTC"),
                short(&shortfall.explain())
            )),
        ),
        EventBody::BudgetAlert { budget, threshold, figures, .. } => (
            "budget".to_owned(),
            paint.careful(format_args!(
                "{} has passed {} %: {} of {}",
                plain::line(budget),
                threshold / 10,
                figures.show().0,
                figures.show().1
            )),
        ),
        EventBody::BudgetToppedUp { amount, by, .. } => {
            ("budget".to_owned(), format!("raised by {} by {}", amount.show(), plain::line(by)))
        }
        EventBody::NotificationUndelivered { channel, .. } => {
            run(paint.careful(format_args!("the channel {} is not configured", short(channel))))
        }
        EventBody::Log { step, level, message, .. } => {
            let text = plain::short(message, WIDTH * 4);
            of(step, if level == "stdout" { text } else { format!("{}: {text}", plain::line(level)) })
        }
        EventBody::Emitted { step, name, data } => {
            of(step, format!("emitted {}: {}", short(name), plain::short(&data.to_string(), WIDTH)))
        }
        EventBody::EgressOpened { step, host, port, request, secrets, .. } => {
            let what = request.as_ref().map(|request| format!(" {}", short(request))).unwrap_or_default();
            let with = if secrets.is_empty() {
                String::new()
            } else {
                format!(" with {}", short(&secrets.join(", ")))
            };
            of(step, paint.faint(format_args!("connects to {}:{port}{what}{with} …", plain::line(host))))
        }
        EventBody::EgressClosed { step, host, port, sent_bytes, received_bytes, error, .. } => {
            let host = plain::line(host);
            match error {
                None => of(
                    step,
                    format!(
                        "was connected to {host}:{port}: {sent_bytes} bytes sent, {received_bytes} received"
                    ),
                ),
                Some(error) => of(step, paint.bad(format_args!("{host}:{port}: {}", short(&error.message)))),
            }
        }
        EventBody::EgressRefused { step, error, .. } => {
            let hint = error.hint.as_ref().map(|hint| format!("; {}", short(hint))).unwrap_or_default();
            of(step, paint.careful(format_args!("{}{hint}", short(&error.message))))
        }
        EventBody::EgressMore { step, connections: 0, refused: 0, sent_bytes, received_bytes } => of(
            step,
            format!("further connections went on: {sent_bytes} bytes sent, {received_bytes} received"),
        ),
        EventBody::EgressMore { step, connections, refused, sent_bytes, received_bytes } => of(
            step,
            format!(
                "{connections} further connections ({sent_bytes} bytes sent, {received_bytes} received), {refused} further refusals"
            ),
        ),
        EventBody::EgressChanged { rule, allowed, by } => {
            let what = if *allowed { "may be reached" } else { "is kept out" };
            run(format!("{} {what} from now on: {}", short(rule), plain::line(by)))
        }
        EventBody::Notice { message, .. } => {
            run(paint.careful(plain::short(&plain::hashes(message), NOTICE)))
        }
        EventBody::WorkspaceApplied { files, discarded: false, .. } => {
            run(format!("applied to the project: {files} {}", if *files == 1 { "file" } else { "files" }))
        }
        EventBody::WorkspaceApplied { files, .. } => {
            run(format!("discarded: {files} {}", if *files == 1 { "changed file" } else { "changed files" }))
        }
    }
}

/// Whether an undo changed any row back: its report has one for each database, with the rows by table.
pub(crate) fn has_undone(report: &serde_json::Value) -> bool {
    let rows =
        |of_one: &serde_json::Value| of_one["tables"].as_object().is_some_and(|tables| !tables.is_empty());
    report.as_object().is_some_and(|databases| databases.values().any(rows))
}

fn short(text: &str) -> String {
    plain::short(text, WIDTH)
}

/// What is waited for.
pub(crate) fn wait(on: &Wait) -> String {
    match on {
        Wait::Approval { approval_id } => format!("approval {approval_id}"),
        Wait::Timer { due, .. } => due.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Wait::Signal { name } => format!("the signal {}", plain::short(name, 60)),
    }
}

fn because(ending: &Ending) -> String {
    match ending {
        Ending::Cancelled { by, reason } => match reason {
            Some(reason) => format!("cancelled by {}: {}", plain::line(by), short(reason)),
            None => format!("cancelled by {}", plain::line(by)),
        },
        Ending::Rejected { error }
        | Ending::Halted { error }
        | Ending::TimedOut { error }
        | Ending::Failed { error } => short(&error.message),
    }
}
