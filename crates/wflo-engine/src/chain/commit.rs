//! Making the approved changes: one transaction of each database.

use std::sync::Arc;
use std::time::Duration;

use wflo_core::error::Coded as _;
use wflo_data::{Committed, DataError, Effect, Preview};

use super::{Chain, Changed, Halt, Open, evidence};
use crate::broker::{Unanswered, effect_id, in_database};

/// How often a commit is tried on a database that somebody else has locked, or whose disk fails.
pub(crate) const MOST_TRIES: usize = 6;

/// What became of the changes of one database.
enum Tried {
    Made,
    /// Somebody else has changed its rows: nothing was made.
    Changed(Changed),
    /// It cannot be made: nothing was.
    Failed(DataError),
    /// Whether it was made is not known.
    Lost(DataError),
}

impl Chain {
    /// Commits everything that is open and not made yet, as it was shown: one transaction of each database.
    ///
    /// All databases are looked at before the first is written. If rows of one are changed all the same, what
    /// is made stays and is finished, and the rest is previewed anew.
    pub(super) async fn commit(&self, open: &mut Open) -> Result<(), Unanswered> {
        // Nothing is dispatched under a lost lease.
        self.journal.under_lease(Vec::new()).await?;
        let left = evidence::databases(open.writes.iter().filter(|write| !write.made));
        if left.len() > 1 {
            for database in &left {
                let tried = self.commit_in(open, database, true).await;
                self.go_on(open, database, tried, true).await?;
            }
        }
        for database in &left {
            crate::failpoint::pass("chain.commit.before");
            let tried = self.commit_in(open, database, false).await;
            crate::failpoint::pass("chain.commit.after");
            self.go_on(open, database, tried, false).await?;
        }
        self.finish(open, Vec::new()).await?;
        crate::failpoint::pass("chain.confirm.after");
        *open = Open { loaded: true, ..Open::default() };
        Ok(())
    }

    /// Whether the next database may follow; else why the attempt ends.
    async fn go_on(
        &self,
        open: &mut Open,
        database: &str,
        tried: Tried,
        dry_run: bool,
    ) -> Result<(), Unanswered> {
        match tried {
            Tried::Made if dry_run => Ok(()),
            Tried::Made => {
                let there = open.writes.iter_mut().filter(|write| write.database == database);
                there.for_each(|write| write.made = true);
                Ok(())
            }
            Tried::Changed(changed) => Err(self.rewind(open, changed).await),
            Tried::Lost(e) => Err(self.lost(&e)),
            Tried::Failed(e) => {
                // What is made in others has happened, whatever becomes of the step.
                if open.writes.iter().any(|write| write.made) {
                    self.finish(open, Vec::new()).await?;
                }
                Err(self.set_halt(Halt::Failed(e.to_failure())))
            }
        }
    }

    async fn commit_in(&self, open: &Open, database: &str, dry_run: bool) -> Tried {
        let run = self.attempt.run;
        let there = open.writes.iter().filter(|write| write.database == database);
        let effects: Vec<(String, String, Arc<Preview>)> = there
            .map(|write| (effect_id(run, &write.key), write.fingerprint.clone(), Arc::clone(&write.preview)))
            .collect();
        let effects = Arc::new(effects);
        let mut tries = 1;
        loop {
            let effects = Arc::clone(&effects);
            let databases = Arc::clone(&self.services.databases);
            let committed = in_database(databases, Some(database.to_owned()), move |db| {
                let chain: Vec<(Effect<'_>, &Preview)> = effects
                    .iter()
                    .map(|(id, fingerprint, preview)| (Effect { id, fingerprint }, &**preview))
                    .collect();
                db.commit_previews(&chain, dry_run)
            })
            .await;
            match committed {
                Ok(Committed::Applied(_)) => return Tried::Made,
                Ok(Committed::Conflict { rows, .. }) => {
                    return Tried::Changed(Changed::rows(database.to_owned(), rows));
                }
                Err(e @ DataError::SchemaChanged { .. }) => {
                    return Tried::Changed(Changed::detail(database.to_owned(), e.to_string()));
                }
                Err(
                    e @ (DataError::Busy { .. } | DataError::Io { .. } | DataError::CommitUnknown { .. }),
                ) if tries < MOST_TRIES => look_again(&e).await,
                Err(e @ (DataError::Io { .. } | DataError::CommitUnknown { .. })) => return Tried::Lost(e),
                Err(e) => return Tried::Failed(e),
            }
            tries += 1;
        }
    }

    /// Whether a write was made is not known: whoever comes next finds its record, or not.
    pub(crate) fn lost(&self, error: &DataError) -> Unanswered {
        self.set_halt(Halt::Lost(error.to_string()))
    }
}

/// Waits a moment before a commit is tried once more that failed, or of which nobody knows.
pub(crate) async fn look_again(error: &DataError) {
    if matches!(error, DataError::CommitUnknown { .. }) {
        crate::failpoint::pass("db.commit.unknown");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}
