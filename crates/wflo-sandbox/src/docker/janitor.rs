//! Containers of dead engines.
//!
//! Each container is labelled with the folder of the store that its engine works in and the engine's own
//! name there. One whose engine does not live ([`life`]) has ended by then (its pid 1 ends with its engine) or
//! was never started; whatever the daemon still knows of it is removed.

use super::api;
use super::error::Error;
use crate::remote::life::{self, Life, lives};
use crate::workspace::Store;
use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use std::collections::HashMap;

/// The label that holds the store's folder.
pub(super) const STORE: &str = "dev.wflo.store";
/// The label that holds the engine's name.
pub(super) const ENGINE: &str = "dev.wflo.engine";

pub(super) fn labels(life: &Life, store: &Store) -> HashMap<String, String> {
    let root = store.root().display().to_string();
    HashMap::from([(STORE.to_owned(), root), (ENGINE.to_owned(), life.name.clone())])
}

/// Removes what dead engines of this store have left; gives how many containers that were.
pub(super) async fn sweep(docker: &Docker, store: &Store) -> Result<usize, Error> {
    let folder = life::folder(store);
    let filters = HashMap::from([("label".to_owned(), vec![format!("{STORE}={}", store.root().display())])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let known = docker.list_containers(Some(options)).await.map_err(|e| api::failed("list", &e))?;
    let mut removed = 0;
    for container in known {
        let engine = container.labels.unwrap_or_default().remove(ENGINE).unwrap_or_default();
        if !lives(&folder, &engine)
            && let Some(id) = container.id
        {
            remove(docker, &id).await;
            removed += 1;
        }
    }
    life::sweep(&folder);
    Ok(removed)
}

/// Removes a container with whatever runs in it. One that is gone is gone.
pub(super) async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    if let Err(error) = docker.remove_container(id, Some(options)).await
        && !matches!(api::status(&error), Some(404 | 409))
    {
        tracing::warn!(error = api::words(&error), "a container could not be removed");
    }
}
