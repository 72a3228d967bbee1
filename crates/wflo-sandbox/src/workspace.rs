//! Workspaces: what of a project a run sees, what it changed, and bringing that back.
//!
//! A project is *sealed* at submission; every step sees a *view* of it (layers of earlier steps over
//! the sealed tree over the ignored rest), writes into an overlay, and what it wrote is *captured*
//! as the next layer. `diff` is the net change, `apply` brings it into the project. [`Hidden`]
//! decides in both directions what has no place in a workspace.
//!
//! This module never mounts anything and starts no process: it prepares lower directories for a
//! sandbox and reads upper directories after it.
//!
//! **Architecture Invariant:** every name inside a project, an upper directory or a stored tree is
//! resolved beneath a descriptor without following links; and nothing in the project is written
//! except by [`apply()`] and [`resume_apply`], and by [`restore()`] where that is asked for by name.

mod apply;
mod attributes;
pub(crate) mod beneath;
mod brought;
mod copy;
mod diff;
mod error;
mod folding;
mod follow;
mod hidden;
mod layer;
mod live;
mod manifest;
mod mask;
mod path;
mod repository;
mod restore;
mod seal;
mod state_root;
mod store;
mod survey;
mod view;

pub use apply::{
    ApplyOptions, Confirmed, Conflict, ConflictReason, Deciding, Direction, Pending, Report, Resumed,
    Sensitive, apply, deciding, discard, pending_apply, resume_apply,
};
pub use attributes::{Attributes, MOST_ATTRIBUTE_BYTES, MOST_ATTRIBUTES};
pub use beneath::open_in_tree;
pub use copy::Copy;
pub use diff::{Change, ChangeKind, Text, TextLimits, between, diff};
pub(crate) use error::IoAt;
pub use error::WorkspaceError;
pub use hidden::{Hidden, HideRules, Reason};
pub use layer::{
    Bounds, Captured, Dropped, Layer, MAX_LAYERS, MOST_ATTRIBUTES_OF_A_LAYER, capture, capture_over, squash,
};
pub use live::LiveView;
pub use manifest::{Digest, Entry, Kind, Manifest, Target};
pub use mask::Mask;
pub use path::RelPath;
pub use restore::{RESTORE_EVENTS, RestoreError, RestoreOptions, Restored, restore};
pub use seal::{Rest, Sealed, seal};
pub use state_root::state_root;
pub use store::{Collected, Freed, Pin, Store, Usage};
pub(crate) use store::{lock_file, remove_tree};
pub use view::{LiveMount, Mounts, Outdated, Standing, TakenOver, View, outdated};
