//! Records of removed runs in users' databases.

use std::collections::BTreeMap;
use std::path::Path;

use wflo_core::ports::store::{Batch, Leftover, Op, Store};
use wflo_data::{DataError, Database, DatabaseUrl, Limits};

use crate::error::EngineError;
use crate::failpoint;

/// What became of the records of removed runs.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// How many were removed.
    pub records: u64,
    /// What is left for another time.
    pub waiting: Vec<Waiting>,
}

/// A database in which records are left.
#[derive(Debug)]
pub struct Waiting {
    /// Its name.
    pub database: String,
    /// Of how many runs.
    pub runs: u64,
    /// Why; `None` when only its newest record is left, which stays until there is a newer one.
    pub reason: Option<String>,
}

/// Removes the records of removed runs from the databases; one that is away keeps them until later.
/// `urls` are the databases that the project names now, `root` is its folder.
///
/// # Errors
/// Store errors.
pub async fn forget_records(
    store: &dyn Store,
    urls: &BTreeMap<String, String>,
    root: &Path,
) -> Result<Forgotten, EngineError> {
    let mut by_database: BTreeMap<String, Vec<Leftover>> = BTreeMap::new();
    for leftover in store.leftovers().await? {
        by_database.entry(leftover.database.clone()).or_default().push(leftover);
    }
    let mut done = Forgotten::default();
    for (database, leftovers) in by_database {
        let mut left = 0;
        let mut reason = None;
        match open(&database, urls, root) {
            Ok(opened) => {
                for leftover in leftovers {
                    match forget(store, &opened, leftover, &mut done.records).await? {
                        Ok(true) => {}
                        Ok(false) => left += 1,
                        Err(e) => {
                            left += 1;
                            reason = Some(e.to_string());
                        }
                    }
                }
            }
            Err(e) => (left, reason) = (leftovers.len() as u64, Some(e.to_string())),
        }
        if left > 0 {
            done.waiting.push(Waiting { database, runs: left, reason });
        }
    }
    Ok(done)
}

fn open(name: &str, urls: &BTreeMap<String, String>, root: &Path) -> Result<Database, DataError> {
    let Some(url) = urls.get(name) else {
        return Err(DataError::Unknown {
            wanted: Some(name.to_owned()),
            known: urls.keys().cloned().collect(),
        });
    };
    Database::open(name, &DatabaseUrl::parse(name, url, root)?, Limits::default())
}

/// Removes one run's records; whether none is left.
async fn forget(
    store: &dyn Store,
    database: &Database,
    leftover: Leftover,
    records: &mut u64,
) -> Result<Result<bool, DataError>, EngineError> {
    let forgotten = match database.forget(&leftover.run.to_string()) {
        Ok(forgotten) => forgotten,
        Err(e) => return Ok(Err(e)),
    };
    failpoint::pass("prune.records.forgotten");
    *records += forgotten.removed;
    if forgotten.left > 0 {
        return Ok(Ok(false));
    }
    store.commit(Batch { fence: None, ops: vec![Op::DropLeftover(leftover)] }).await?;
    failpoint::pass("prune.records.after");
    Ok(Ok(true))
}
