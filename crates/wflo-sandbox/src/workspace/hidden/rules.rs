//! What the settings say of what is hidden.

use std::path::{Path, PathBuf};

/// The rules that a project's settings give. Those of a project are made by [`HideRules::new`] alone, so that none can
/// forget a part of what is wflo's own.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HideRules {
    /// wflo's data directory, inside the project or not.
    pub data_dir: Option<PathBuf>,
    /// The file of wflo's store, which `[storage]` may have put elsewhere; with all that lies beside it.
    pub storage: Option<PathBuf>,
    /// The files of `[databases]`, absolute; with their `-wal`, `-shm` and `-journal`.
    pub databases: Vec<PathBuf>,
    /// `[sandbox] hide`, in the syntax of `.gitignore`.
    pub globs: Vec<String>,
}

impl HideRules {
    /// The rules of a project whose data directory and whose store these are; nothing else is hidden by its place.
    #[must_use]
    pub fn new(data_dir: &Path, storage: &Path) -> HideRules {
        let (data_dir, storage) = (Some(data_dir.to_owned()), Some(storage.to_owned()));
        HideRules { data_dir, storage, ..HideRules::default() }
    }

    /// The same, and these files of databases.
    #[must_use]
    pub fn with_databases(self, databases: impl IntoIterator<Item = PathBuf>) -> HideRules {
        HideRules { databases: databases.into_iter().collect(), ..self }
    }

    /// The same with these globs, and no other ones.
    #[must_use]
    pub fn with_globs(self, globs: impl IntoIterator<Item = String>) -> HideRules {
        HideRules { globs: globs.into_iter().collect(), ..self }
    }
}
