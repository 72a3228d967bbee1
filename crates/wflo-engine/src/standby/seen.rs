//! What a sandbox shows of this host as it is, looked at before it is made and again before it is given.
//!
//! A folder that was made anew meanwhile (`uv sync`, `npm ci`) is not the one that is shown, a hidden file that came
//! into one is shown, and of a package that was installed meanwhile the interpreter knows nothing: a sandbox that
//! is made now would have the folder and the package, and not the file.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wflo_core::error::Coded as _;
use wflo_sandbox::workspace::{Standing, View};

use crate::error::EngineError;
use crate::interpreter::Interpreter;
use crate::launch::Launch;
use crate::sandboxed::{Sandboxes, Shape};

/// Device and inode, of what stands there and of what it leads to; `None` where there is nothing.
type Identity = [Option<(u64, u64)>; 2];
/// When names were added or removed last.
type Changed = Option<(i64, i64)>;

/// What a look saw.
#[derive(PartialEq, Eq)]
struct Sight {
    places: Vec<Identity>,
    packages: Vec<(Identity, Changed)>,
    live: Vec<Standing>,
}

/// A look at all that such a sandbox shows.
pub(super) struct Seen {
    at: At,
    seen: Sight,
}

/// Where to look.
struct At {
    sandboxes: Arc<Sandboxes>,
    launch: Launch,
    view: View,
    /// Beside the project.
    places: Vec<PathBuf>,
    packages: Vec<PathBuf>,
}

impl At {
    fn look(&self) -> Result<Sight, EngineError> {
        let live = if self.view.shows_live() { self.live()? } else { Vec::new() };
        let places = self.places.iter().map(|place| identity(place)).collect();
        let packages = self.packages.iter().map(|folder| (identity(folder), changed(folder))).collect();
        Ok(Sight { places, packages, live })
    }

    fn live(&self) -> Result<Vec<Standing>, EngineError> {
        let project = &self.launch.project;
        let hidden = self.sandboxes.hidden(project, &self.launch.hide)?;
        self.view.standing(project, &hidden).map_err(|e| EngineError::Failure(e.to_failure()))
    }
}

impl Seen {
    /// Looks now.
    ///
    /// # Errors
    /// When the files of the run cannot be read.
    pub(super) async fn of(
        sandboxes: &Arc<Sandboxes>,
        launch: &Launch,
        shape: &Shape,
    ) -> Result<Seen, EngineError> {
        let (sandboxes, launch, shape) = (Arc::clone(sandboxes), launch.clone(), shape.clone());
        let look = move || {
            let beside = launch.ro.iter().chain(&launch.rw).map(|(source, _)| source);
            let bound = shape.ro.iter().map(|bind| &bind.source);
            let places = launch.shown().into_iter().chain(beside).chain(bound).cloned().collect();
            let view = sandboxes.view(&launch, &shape.layers)?;
            let packages = launch.interpreter.iter().flat_map(Interpreter::packages).collect();
            let at = At { sandboxes, launch, view, places, packages };
            Ok(Seen { seen: at.look()?, at })
        };
        tokio::task::spawn_blocking(look).await.map_err(|e| EngineError::Unreadable(e.to_string()))?
    }

    /// Looks again: whether nothing is another.
    pub(super) async fn still_stands(self) -> bool {
        let look = move || self.at.look().is_ok_and(|seen| seen == self.seen);
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }
}

fn identity(place: &Path) -> Identity {
    let of = |found: std::fs::Metadata| (found.dev(), found.ino());
    let own = std::fs::symlink_metadata(place).ok();
    let is_link = own.as_ref().is_some_and(std::fs::Metadata::is_symlink);
    let own = own.map(of);
    [own, if is_link { std::fs::metadata(place).ok().map(of) } else { own }]
}

fn changed(folder: &Path) -> Changed {
    std::fs::metadata(folder).ok().map(|found| (found.mtime(), found.mtime_nsec()))
}
