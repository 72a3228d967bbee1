//! What a sandbox shows of this host as it is, looked at before it is made and again before it is given.
//!
//! A folder that was made anew meanwhile (`uv sync`, `npm ci`) is not the one that is shown: the sandbox has the old
//! one. What changes in a folder is seen by all who have it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::EngineError;
use crate::launch::Launch;
use crate::sandboxed::{Sandboxes, Shape};

/// Device and inode; `None` where there is nothing.
type Identity = Option<(u64, u64)>;

/// Places, and what stood there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen(Vec<(PathBuf, Identity)>);

impl Seen {
    /// Looks at all that such a sandbox shows.
    pub(super) async fn of(
        sandboxes: &Arc<Sandboxes>,
        launch: &Launch,
        shape: &Shape,
    ) -> Result<Seen, EngineError> {
        let (sandboxes, launch, binds) = (Arc::clone(sandboxes), launch.clone(), shape.ro.clone());
        let look = move || {
            let beside = launch.ro.iter().chain(&launch.rw).map(|(source, _)| source);
            let shown = launch.shown().into_iter().chain(beside).chain(binds.iter().map(|bind| &bind.source));
            let places = shown.cloned().chain(sandboxes.live_places(&launch)?);
            Ok(Seen::at(places.collect()))
        };
        tokio::task::spawn_blocking(look).await.map_err(|e| EngineError::Unreadable(e.to_string()))?
    }

    fn at(places: Vec<PathBuf>) -> Seen {
        Seen(
            places
                .into_iter()
                .map(|place| (identity(&place), place))
                .map(|(found, at)| (at, found))
                .collect(),
        )
    }

    /// Whether the same still stands there.
    pub(super) async fn still_stands(self) -> bool {
        let look = move || self.0.iter().all(|(place, found)| identity(place) == *found);
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }
}

fn identity(place: &Path) -> Identity {
    std::fs::metadata(place).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_made_anew_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let (shown, absent) = (folder.path().join("shown"), folder.path().join("absent"));
        std::fs::create_dir(&shown).unwrap();
        let places = vec![shown.clone(), absent.clone()];
        let seen = Seen::at(places.clone());
        std::fs::write(shown.join("more"), "").unwrap();
        assert_eq!(Seen::at(places.clone()), seen, "what is in it is shown as it is");
        // The old one stays, so that its number is not given again.
        std::fs::rename(&shown, folder.path().join("old")).unwrap();
        std::fs::create_dir(&shown).unwrap();
        assert_ne!(Seen::at(places.clone()), seen);
        let seen = Seen::at(places.clone());
        std::fs::create_dir(&absent).unwrap();
        assert_ne!(Seen::at(places), seen);
    }
}
