//! What can be wrong with settings.

use std::path::PathBuf;

use wflo_core::error::{Code, Coded, Failure};

use crate::document::{Kind, Problem};

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A mistake in `wflo.toml` or in the environment.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The file is there and cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// `--project` names something that is not a folder.
    #[error("there is no folder {}", path.display())]
    NoFolder { path: PathBuf },
    /// The project's own data folder is not as wflo makes it.
    #[error("{} cannot be used as the data folder: {reason}", path.display())]
    DataFolder { path: PathBuf, reason: String },
    /// A key that was configured and cannot be had.
    #[error("the key of provider `{provider}` cannot be had: {reason}")]
    Key { provider: String, reason: String, hint: String },
}

impl Coded for SettingsError {
    fn code(&self) -> Code {
        Code(match self {
            SettingsError::Problem(problem) => match problem.kind {
                Kind::Syntax => 8005,
                Kind::UnknownKey => 8003,
                Kind::Missing | Kind::WrongValue => 8004,
                Kind::Later => 8006,
            },
            SettingsError::Unreadable { .. } => 8005,
            SettingsError::NoFolder { .. } => 8007,
            SettingsError::DataFolder { .. } => 8015,
            SettingsError::Key { .. } => 8010,
        })
    }

    fn hint(&self) -> Option<String> {
        match self {
            SettingsError::Problem(problem) => problem.hint.clone(),
            SettingsError::Unreadable { path, .. } => {
                Some(format!("check that {} is a text file you may read", path.display()))
            }
            SettingsError::NoFolder { .. } => {
                Some("give the folder that holds wflo.toml, or make one with `wflo init my-agent`".to_owned())
            }
            SettingsError::DataFolder { path, .. } => Some(format!(
                "look at what {} is and remove it if it is not yours, or name another folder with --data-dir",
                path.display()
            )),
            SettingsError::Key { hint, .. } => Some(hint.clone()),
        }
    }

    fn to_failure(&self) -> Failure {
        let failure = Failure::new(self.code(), self.to_string());
        let failure = match self {
            SettingsError::Problem(problem) => failure.at(problem.origin.to_string()),
            _ => failure,
        };
        match self.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}
