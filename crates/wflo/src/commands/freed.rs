//! Giving back what removed runs and discarded changes held: where it is, by the settings.

use std::path::Path;

use wflo_engine::retention::{self, Trees};
use wflo_sandbox::workspace::{self, WorkspaceError, state_root};

use crate::failure::CommandError;
use crate::session::Session;
use crate::settings::Settings;

/// Where the sealed trees and layers of a project's runs are.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn workspaces(settings: &Settings, project: &Path) -> Result<workspace::Store, WorkspaceError> {
    workspace::Store::open(state_root(project, &settings.data_dir))
}

/// Removes the trees of a project that no run needs any more.
///
/// # Errors
/// Store errors; when they cannot be read or removed.
pub(crate) async fn trees(session: &Session<'_>, project: &Path) -> Result<Trees, CommandError> {
    let workspaces = workspaces(&session.settings, project)?;
    let collected = retention::collect_trees(session.port(), workspaces, session.storage()).await;
    collected.map_err(CommandError::engine)
}
