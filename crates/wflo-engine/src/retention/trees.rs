//! Trees of workspaces that no run needs any more.
//!
//! A workspace store may be shared by several data directories of one project, so every database that
//! claimed it is asked. One that is not at its place may come back with runs that wait: then nothing is
//! removed, and the words say what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wflo_core::error::Coded as _;
use wflo_core::ports::store::{Store, StoreError};
use wflo_sandbox::workspace::{self, Collected, Digest, Freed, WorkspaceError};
use wflo_store::{SqliteStore, StoreOptions};

use crate::error::EngineError;
use crate::failpoint;

/// How long others that are storing trees are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a project's trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trees {
    /// Those that no run needs are gone.
    Collected(Freed),
    /// None was removed, and why. A later pass will.
    Left(String),
}

/// Why no tree may be removed.
enum Stop {
    Left(String),
    Failed(EngineError),
}

impl From<WorkspaceError> for Stop {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::Damaged { .. } => Stop::Left(error.to_string()),
            error => Stop::Failed(EngineError::Failure(error.to_failure())),
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Failed(error.into())
    }
}

/// Removes the trees of `workspaces` that no run needs. `storage` is the file of `store`.
///
/// # Errors
/// Store errors; when the trees cannot be read or removed.
pub async fn collect_trees(
    store: Arc<dyn Store>,
    workspaces: workspace::Store,
    storage: PathBuf,
) -> Result<Trees, EngineError> {
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let wanted = || {
            let mut wanted = digests(runtime.block_on(store.trees())?)?;
            for other in workspaces.owners()?.iter().filter(|owner| **owner != storage) {
                wanted.extend(digests(runtime.block_on(trees_of(&workspaces, other))?)?);
            }
            failpoint::pass("prune.trees.asked");
            Ok::<_, Stop>(wanted)
        };
        workspaces.claim_for(&storage)?;
        let collected = workspaces.collect(PATIENCE, wanted)?;
        failpoint::pass("prune.trees.after");
        Ok(match collected {
            Collected::Done(freed) => Trees::Collected(freed),
            Collected::Busy => Trees::Left("other processes are adding files".to_owned()),
        })
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Err(Stop::Left(why))) => Ok(Trees::Left(why)),
        Ok(Err(Stop::Failed(e))) => Err(e),
        Ok(Ok(trees)) => Ok(trees),
        Err(e) => Err(EngineError::Unreadable(e.to_string())),
    }
}

/// What the runs of other databases need, as far as they can be asked; the others keep it all the same.
///
/// # Errors
/// When the list of databases cannot be read.
pub(super) async fn needed_by_others(
    workspaces: &workspace::Store,
    storage: &Path,
) -> Result<Vec<Digest>, EngineError> {
    let owners = workspaces.owners().map_err(|e| EngineError::Failure(e.to_failure()))?;
    let mut needed = Vec::new();
    for other in owners.iter().filter(|owner| *owner != storage) {
        match trees_of(workspaces, other).await.and_then(digests) {
            Ok(trees) => needed.extend(trees),
            Err(Stop::Left(_)) => {}
            Err(Stop::Failed(e)) => return Err(e),
        }
    }
    Ok(needed)
}

/// What the runs of another database need.
async fn trees_of(workspaces: &workspace::Store, database: &Path) -> Result<Vec<String>, Stop> {
    let path = database.display();
    if !database.exists() {
        let entry = workspaces.owner(database);
        return Err(Stop::Left(format!(
            "runs of {path} have files there, and it is not at its place; bring it back, or remove {} if it is gone for good",
            entry.display()
        )));
    }
    let unreadable = |e: StoreError| Stop::Left(format!("runs of {path} have files there: {e}"));
    let other = SqliteStore::open(database, StoreOptions::default()).map_err(unreadable)?;
    other.trees().await.map_err(unreadable)
}

fn digests(trees: Vec<String>) -> Result<Vec<Digest>, Stop> {
    let parsed = trees.iter().map(|tree| tree.parse());
    parsed.collect::<Result<_, _>>().map_err(|_| {
        let why = "a run of an earlier version does not say which files it needs; they are freed once it is removed";
        Stop::Left(why.to_owned())
    })
}
