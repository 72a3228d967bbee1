//! The end of a run, or of this process's part in it: what is said of it.

use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::Store;

use super::desk::Desk;
use super::signals::Signals;
use super::tree::Tree;
use super::{closing, finished_line, summary, vanished};
use crate::commands::Context;
use crate::commands::run::record;
use crate::commands::runs::{changed_files, exit_of_run};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

/// What the end of a run needs.
pub(super) struct End<'s, 'a, 'd> {
    pub(super) session: &'s Session<'a>,
    pub(super) context: &'s Context<'a>,
    pub(super) desk: &'s mut Desk<'d>,
    pub(super) signals: &'s mut Signals,
    /// Whether standard output says what a run that rests waits for.
    pub(super) says_waits: bool,
}

impl End<'_, '_, '_> {
    /// Says how the run ended, and brings its files in when that was asked for.
    pub(super) async fn finish(&mut self, run: RunId, tree: &Tree) -> Result<Exit, CommandError> {
        let (session, printer) = (self.session, self.context.printer);
        let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
        let program = summary::program(&record)?;
        let exit = exit_of_run(session.store.as_ref(), &record).await?;
        if !printer.json_wanted() {
            match &program {
                Some(name) => summary::ended(printer, (&record, name), exit, tree, session.clock.now()),
                None => {
                    summary::verdict(printer, &record, tree, session.clock.now());
                    summary::outputs(printer, &record);
                }
            }
            let budgets = session.store.budgets(vec![record.budget_key.clone()]).await?;
            let budget = budgets.iter().find(|budget| budget.is_money_of_a_run());
            let name = summary::name_of(session, run).await?;
            summary::account(session, printer, (&record, &name), budget, tree).await?;
            match program {
                None => summary::logged(printer, &name, tree.logged()),
                Some(_) => summary::refused(session, printer, &record).await?,
            }
            if record.status.is_terminal() {
                let (files, _) = changed_files(session, &record).await?;
                summary::files(printer, (&record, &name), &files);
            } else {
                summary::rests(session, printer, &record).await?;
                if self.says_waits {
                    summary::waits(session, printer, &record).await?;
                }
            }
        }
        record::remark(session, self.context, &record).await;
        match program.is_some() && summary::is_own_failure(&record) {
            true => summary::hint(printer, &record),
            false => summary::error(printer, &record),
        }
        if let Some(error) = summary::paused_for(session, &record).await? {
            printer.complain(&error);
        }
        let brought = closing::bring_in(session, self.context, &record, (self.desk, self.signals)).await;
        finished_line(session, self.context, &record).await?;
        Ok(match brought {
            Ok(other) => other.unwrap_or(exit),
            Err(error) => {
                // `run.finished` stays the last line for scripts.
                error.failures.iter().for_each(|failure| printer.complain(failure));
                error.exit
            }
        })
    }
}
