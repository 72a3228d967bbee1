//! `--workspace DIR[:TARGET]`: a copy-on-write view of a folder as it is now.

use std::path::PathBuf;
use std::sync::Arc;

use wflo_sandbox::workspace::{
    Bounds, Captured, Hidden, LiveView, Mounts, Store, WorkspaceError, capture, state_root,
};
use wflo_sandbox::{ProcessTree, View};

use crate::cli::WorkspaceArg;
use crate::commands::Context;
use crate::failure::CommandError;
use crate::settings::{Location, Settings};

use super::{missing, no_workspace};

/// The folder that is shown, what is hidden of it, and where what belongs to it is kept.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) hidden: Hidden,
    pub(super) store: Store,
}

impl Place {
    /// The folder's own settings say which databases and paths are hidden.
    pub(super) fn find(given: &WorkspaceArg, context: &Context<'_>) -> Result<Place, CommandError> {
        let named = context.current.join(&given.folder);
        // `/.` asks that it be a folder, in the words of the system.
        let folder = std::fs::metadata(named.join("."))
            .and_then(|_| std::fs::canonicalize(&named))
            .map_err(|source| missing(&given.folder, source))?;
        let location = Location {
            project: context.global.project.clone(),
            data_dir: context.global.data_dir.clone(),
            workflow: None,
            current: folder.clone(),
        };
        let settings = Settings::load(&location, context.environment)?;
        let hidden = Hidden::new(&folder, &settings.hide_rules()).map_err(no_workspace)?;
        // Beside the runs' store: their pruning must not take away what --keep kept.
        let root = state_root(&folder, &settings.data_dir).join("exec");
        let store = Store::open(root).map_err(no_workspace)?;
        store.tidy().map_err(no_workspace)?;
        Ok(Place { folder, hidden, store })
    }
}

/// The view and what it needs while the sandbox lives.
pub(super) struct Workspace {
    store: Store,
    mounts: Mounts,
    target: PathBuf,
    // Dropping it removes what hides secrets: it stays as long as the sandbox.
    _view: LiveView,
}

impl Workspace {
    /// Prepares the view.
    pub(super) fn open(given: &WorkspaceArg, context: &Context<'_>) -> Result<Self, CommandError> {
        let Place { folder, hidden, store } = Place::find(given, context)?;
        let view = LiveView::new(&folder, &hidden, &store).map_err(no_workspace)?;
        let mounts = view.mounts();
        let target = given.target.clone().unwrap_or(folder);
        Ok(Workspace { store, mounts, target, _view: view })
    }

    /// What the sandbox mounts.
    pub(super) fn view(&self) -> View {
        View { lowers: self.mounts.lowers.clone(), target: self.target.clone() }
    }

    /// Where its changes are kept.
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Stores what the command changed, once it is called.
    pub(super) fn changes(
        &self,
        sandbox: &Arc<ProcessTree>,
    ) -> impl FnOnce() -> Result<Option<Captured>, WorkspaceError> + Send + 'static {
        let (sandbox, store) = (Arc::clone(sandbox), self.store.clone());
        move || match sandbox.upper() {
            Some(upper) => capture(upper, &store, &Bounds::default()),
            None => Ok(None),
        }
    }
}

/// Says where the changes are.
pub(super) fn kept(captured: Option<Captured>, store: &Store, context: &Context<'_>) {
    let printer = context.printer;
    let Some(captured) = captured else {
        printer.note("Nothing was changed in the workspace.");
        return;
    };
    for dropped in &captured.dropped {
        printer.warning(format_args!("{} was not kept: {}", dropped.path, dropped.what));
    }
    let count = captured.layer.manifest.entries.len();
    let tree = store.tree(&captured.layer.id);
    let noun = if count == 1 { "change" } else { "changes" };
    printer.note(format_args!("Kept {count} {noun} in {}", tree.display()));
}
