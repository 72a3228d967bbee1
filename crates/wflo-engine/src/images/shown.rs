//! What of an interpreter is shown to a sandbox that builds, or asks it: as steps see it, without what is hidden.

use std::path::{Path, PathBuf};

use wflo_sandbox::Bind;
use wflo_sandbox::workspace::{Hidden, HideRules, Mask, Store, WorkspaceError};

/// Folders, and what masks the hidden files in them: needed for as long as the sandbox is there.
pub(super) struct Shown(Vec<(PathBuf, Option<Mask>)>);

impl Shown {
    /// Looks for what is hidden in `folders`; blocks.
    pub(super) fn of(folders: &[PathBuf], rules: &HideRules, store: &Store) -> Result<Shown, WorkspaceError> {
        let shown = |folder: &PathBuf| Ok((folder.clone(), mask(folder, rules, store)?));
        folders.iter().map(shown).collect::<Result<_, _>>().map(Shown)
    }

    pub(super) fn binds(&self) -> Vec<Bind> {
        let bind = |(folder, mask): &(PathBuf, Option<Mask>)| Bind {
            mask: mask.as_ref().map(|mask| mask.path().to_owned()),
            ..Bind::same(folder)
        };
        self.0.iter().map(bind).collect()
    }
}

fn mask(folder: &Path, rules: &HideRules, store: &Store) -> Result<Option<Mask>, WorkspaceError> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    // A glob of the project means nothing there.
    let rules = rules.clone().with_globs([]);
    Mask::of(&folder, &Hidden::new(&folder, &rules)?, store)
}
