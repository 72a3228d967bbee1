//! Which folder is the project: the nearest `wflo.toml` upwards, else the workflow file's folder.

use std::path::{Path, PathBuf};

use crate::document::{Field, Problem};

use super::{Location, SettingsError};

/// The settings file's name.
pub(crate) const FILE_NAME: &str = "wflo.toml";

/// The project itself.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Its folder, absolute.
    pub(crate) root: PathBuf,
    /// Its `wflo.toml`, when there is one.
    pub(crate) file: Option<PathBuf>,
    /// What it calls itself.
    pub(crate) name: Option<String>,
    /// `workflow.py`, `flow.yaml` or `package.module:attribute`, as written.
    pub(crate) workflow: Option<String>,
    /// The organisation that budgets per org count for.
    pub(crate) org: Option<String>,
}

/// Where the project was found.
pub(super) struct Found {
    pub(super) root: PathBuf,
    pub(super) file: Option<PathBuf>,
}

impl Project {
    pub(super) fn read(field: Option<Field<'_>>, found: &Found) -> Result<Self, Problem> {
        let mut project = Project {
            root: found.root.clone(),
            file: found.file.clone(),
            name: None,
            workflow: None,
            org: None,
        };
        if let Some(field) = field {
            let mut reader = field.table()?;
            project.name = reader.optional("name").map(|name| name.name().map(str::to_owned)).transpose()?;
            project.workflow =
                reader.optional("workflow").map(|name| name.name().map(str::to_owned)).transpose()?;
            project.org = reader.optional("org").map(|name| name.name().map(str::to_owned)).transpose()?;
            reader.finish()?;
        }
        Ok(project)
    }
}

/// Finds the project's folder.
pub(super) fn find(location: &Location) -> Result<Found, SettingsError> {
    if let Some(given) = &location.project {
        let root = location.current.join(given);
        if !root.is_dir() {
            return Err(SettingsError::NoFolder { path: given.clone() });
        }
        return Ok(at(normal(&root)));
    }
    let workflow_folder = location.workflow.as_ref().and_then(|file| {
        let file = location.current.join(file);
        file.is_file().then(|| file.parent().map(Path::to_path_buf)).flatten()
    });
    let start = normal(workflow_folder.as_ref().unwrap_or(&location.current));
    let holds = |marker: &'static str| start.ancestors().find(move |folder| folder.join(marker).exists());
    // A folder whose runs are kept without a wflo.toml is found again by its data folder.
    let root = holds(FILE_NAME).or_else(|| holds(".wflo").filter(|_| workflow_folder.is_none()));
    Ok(at(root.map_or_else(|| start.clone(), Path::to_path_buf)))
}

fn at(root: PathBuf) -> Found {
    let file = Some(root.join(FILE_NAME)).filter(|file| file.is_file());
    Found { root, file }
}

/// The folder without `..` and links, as far as it exists.
fn normal(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A file as the user would name it from the current folder.
pub(super) fn shown(file: &Path, current: &Path) -> String {
    let current = normal(current);
    file.strip_prefix(&current).unwrap_or(file).display().to_string()
}
