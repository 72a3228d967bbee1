//! The end of a run: what is said of it, and `--apply`.

use wflo_core::approval::Decision;
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::Store;
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::Runtime;

use super::desk::Desk;
use super::drive::{finished_line, vanished};
use super::files::{Files, record_answer};
use super::signals::Signals;
use super::summary;
use super::tree::Tree;
use super::watch::exit_of;
use crate::commands::{Context, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

/// What the end of a run needs.
pub(super) struct End<'s, 'a, 'd> {
    pub(super) session: &'s Session<'a>,
    pub(super) context: &'s Context<'a>,
    pub(super) runtime: &'s Runtime,
    /// The file of a written definition.
    pub(super) definition: Option<String>,
    pub(super) desk: &'s mut Desk<'d>,
    pub(super) signals: &'s mut Signals,
}

impl End<'_, '_, '_> {
    /// Says how the run ended, and brings its files in when that was asked for.
    pub(super) async fn finish(&mut self, run: RunId, tree: &Tree) -> Result<Exit, CommandError> {
        let (session, runtime, printer) = (self.session, self.runtime, self.context.printer);
        let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
        let now = session.clock.now();
        if !printer.json_wanted() {
            summary::verdict(printer, &record, tree, now);
            summary::outputs(printer, &record);
        }
        let files = match record.status.is_terminal() {
            true => Some(Files::open(session, runtime, &record).await?),
            false => None,
        };
        let wanted = record.options.apply && record.status == RunStatus::Completed;
        let changed = files.as_ref().is_some_and(|files| !files.changes.is_empty());
        if !printer.json_wanted() {
            let budgets = session.store.budgets(vec![record.budget_key.clone()]).await?;
            let budget = budgets.iter().find(|b| b.scope == wflo_core::budget::Scope::Run);
            summary::account(session, printer, &record, budget, tree.spent()).await?;
            if let Some(files) = &files {
                summary::files(printer, &record, &files.changes, !wanted);
            }
        }
        summary::error(printer, &record);
        let mut exit = exit_of(&record);
        let mut failed = None;
        if let Some(files) = files.filter(|_| wanted && changed) {
            match self.bring_in(&record, files).await {
                Ok(Some(other)) => exit = other,
                Ok(None) => {}
                Err(e) => failed = Some(e),
            }
        }
        finished_line(session, self.context, run).await?;
        if let Some(error) = failed {
            // `run.finished` stays the last line for scripts.
            error.failures.iter().for_each(|failure| printer.complain(failure));
            exit = error.exit;
        }
        Ok(exit)
    }

    /// `--apply`. Under `--require-approval` a person is asked first; without a terminal the files wait for
    /// `wflo apply`.
    async fn bring_in(&mut self, record: &RunRecord, files: Files) -> Result<Option<Exit>, CommandError> {
        let (session, runtime) = (self.session, self.runtime);
        let (printer, id) = (self.context.printer, record.id);
        let (desk, signals) = (&mut *self.desk, &mut *self.signals);
        if record.options.require_approval {
            if !desk.is_attended() {
                printer.note(format_args!(
                "The files are not in the project: --require-approval asks first. `wflo apply {id}` brings them in."
            ));
                return Ok(Some(Exit::Waiting));
            }
            let (asked_at, approval) = (session.clock.now(), ApprovalId::from_uuid(session.clock.uuid()));
            let request = files.question(runtime, record)?;
            desk.add(approval, Box::new(request.clone()));
            desk.put();
            let answer = loop {
                tokio::select! {
                    answer = desk.answer() => match answer {
                        Some(answer) => break Some(answer),
                        None if desk.is_attended() => {}
                        None => break None,
                    },
                    () = signals.next() => break None,
                }
            };
            let Some(answer) = answer else {
                printer.note(format_args!(
                    "\nThe files are not in the project. `wflo apply {id}` brings them in."
                ));
                return Ok(Some(Exit::Waiting));
            };
            let decision = Decision {
                approved: answer.approved,
                by: who::local(),
                comment: answer.comment,
                amount: None,
                at: session.clock.now(),
            };
            record_answer(session, record, (approval, request), decision, asked_at).await?;
            if !answer.approved {
                printer.note(format_args!(
                    "The files stay out of the project. `wflo discard {id}` forgets them."
                ));
                return Ok(Some(Exit::Rejected));
            }
        }
        let report = files.apply(session, runtime, record, self.definition.as_deref()).await?;
        printer.note(match report.applied.len() {
            1 => "1 changed file is in the project now.".to_owned(),
            count => format!("{count} changed files are in the project now."),
        });
        for (change, why) in &report.unconfirmed {
            let why = serde_json::to_value(why).unwrap_or_default();
            let why = why.as_str().unwrap_or_default().replace('_', " ");
            printer.warning(format_args!(
            "{} is left out because it acts on this machine by itself ({why}); `wflo apply {id}` asks about it",
            change.path
        ));
        }
        for (path, _) in &report.hidden {
            printer.warning(format_args!("{path} is hidden from runs and was not written"));
        }
        Ok(None)
    }
}
