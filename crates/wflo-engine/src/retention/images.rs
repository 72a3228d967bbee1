//! Packages that no run needs any more.
//!
//! A run that has not ended goes on with the packages that it was started with; a retry of one that has takes
//! those that the settings name then. Every database that claimed the state folder is asked, as for trees.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wflo_core::error::{Code, Failure};
use wflo_core::ports::store::{RunFilter, Store};
use wflo_core::run::RunStatus;
use wflo_sandbox::workspace;
use wflo_store::{SqliteStore, StoreOptions};

use crate::changes::launch_of;
use crate::error::EngineError;
use crate::images::{Image, ImageError, Images, Removed};

/// A database whose runs may need them cannot be asked.
const NOT_ASKED: Code = Code(5337);

/// Removes the packages of `keys` that no run needs. `storage` is the file of `store`; without one there are no
/// runs yet.
///
/// # Errors
/// Store errors; a database of the project that cannot be asked: then nothing is removed.
pub async fn remove_images(
    own: Option<(Arc<dyn Store>, PathBuf)>,
    workspaces: workspace::Store,
    images: Arc<Images>,
    keys: Vec<String>,
) -> Result<Removed, EngineError> {
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let needed = || {
            let owners = workspaces.owners()?;
            let failed = |error: EngineError| ImageError::Failure(error.failure());
            let mut needed = Vec::new();
            if let Some((store, _)) = &own {
                needed.extend(runtime.block_on(of_runs(store.as_ref())).map_err(failed)?);
            }
            let is_own = |owner: &&PathBuf| own.as_ref().is_some_and(|(_, storage)| *owner == storage);
            for other in owners.iter().filter(|owner| !is_own(owner)) {
                needed.extend(runtime.block_on(of_runs_of(&workspaces, other)).map_err(failed)?);
            }
            Ok(needed)
        };
        Ok(images.remove(&keys, needed)?)
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| EngineError::Unreadable(e.to_string()))?
}

/// The images of the runs of a store that have not ended.
async fn of_runs(store: &dyn Store) -> Result<Vec<Image>, EngineError> {
    let statuses = vec![RunStatus::Pending, RunStatus::Running, RunStatus::Waiting, RunStatus::Paused];
    let runs = store.runs(RunFilter { statuses, ..RunFilter::default() }).await?;
    // What cannot be read says nothing of packages: there were none when such a run was recorded.
    let launches = runs.iter().filter_map(|run| launch_of(run).ok());
    let images = launches.flat_map(|launch| [launch.packages.map(|of| of.image()), launch.system]);
    Ok(images.flatten().collect())
}

async fn of_runs_of(workspaces: &workspace::Store, database: &Path) -> Result<Vec<Image>, EngineError> {
    let unasked = |why: String, hint: String| {
        let message = format!("runs of {} may need the packages: {why}", database.display());
        EngineError::Failure(Failure::new(NOT_ASKED, message).with_hint(hint))
    };
    if !database.exists() {
        let entry = workspaces.owner(database);
        let hint = format!("bring it back, or remove {} if it is gone for good", entry.display());
        return Err(unasked("it is not at its place".to_owned(), hint));
    }
    let opened = SqliteStore::open(database, StoreOptions::default());
    let other =
        opened.map_err(|e| unasked(e.to_string(), "close what uses it, then try again".to_owned()))?;
    of_runs(&other).await
}
