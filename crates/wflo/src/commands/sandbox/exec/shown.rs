//! `--ro SRC:DST`: folders to read, without the hidden files in them.

use std::path::Path;

use wflo_sandbox::Bind;
use wflo_sandbox::workspace::{HideRules, Mask, Store, state_root};

use crate::failure::CommandError;

use super::no_workspace;

/// The binds, and what they need while the sandbox lives.
pub(in super::super) struct Shown {
    pub(in super::super) binds: Vec<Bind>,
    // Dropping them shows what they hide.
    pub(in super::super) masks: Vec<Mask>,
}

impl Shown {
    /// Looks for what is hidden in each folder, by its names and by the `rules` of the project here. A file was named itself, and is shown.
    pub(in super::super) fn new(
        mut binds: Vec<Bind>,
        current: &Path,
        rules: &HideRules,
    ) -> Result<Self, CommandError> {
        let mut masks = Vec::new();
        for bind in binds.iter_mut().filter(|bind| bind.source.is_dir()) {
            // As for `--workspace`: in the user's own state folder, never below what is shown.
            let root = state_root(&bind.source, &bind.source.join(".wflo")).join("exec");
            let store = Store::open(root).map_err(no_workspace)?;
            store.tidy().map_err(no_workspace)?;
            let mask = Mask::of_named(&bind.source, Some(current), rules, &store);
            if let Some(mask) = mask.map_err(no_workspace)? {
                bind.mask = Some(mask.path().to_owned());
                masks.push(mask);
            }
        }
        Ok(Shown { binds, masks })
    }
}
