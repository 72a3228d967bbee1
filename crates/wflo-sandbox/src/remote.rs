//! Programs that run elsewhere, under a keeper: wflo's own binary, which speaks frames over two streams.
//!
//! What is around the keeper (a container, a sandbox of a cloud) is a backend's affair ([`Around`]), and so is
//! how its bytes travel ([`bridge::Connection`]). All else is the same for them: the frames ([`frame`]), both
//! their ends ([`bridge`], [`keeper`]), files in and out ([`files`]), a private loopback for the program's
//! connections ([`loopback`]), what is not told ([`hushed`]), who lives and whose remains may be removed ([`life`]), and a sandbox of the
//! seam made of it ([`kept`]).
//!
//! **Architecture Invariant:** nothing of the host enters but what is sent, and what comes back is taken for
//! hostile: bounded, and resolved beneath one folder.

pub(crate) mod bridge;
pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod hushed;
pub(crate) mod keeper;
pub(crate) mod kept;
pub(crate) mod life;
pub(crate) mod linked;
pub(crate) mod loopback;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// The second argument that makes the launcher a keeper.
pub(crate) const KEEPER: &str = "keeper";

/// What is around a keeper. Dropping it removes it, a moment later.
pub(crate) trait Around: Debug + Send + Sync {
    /// What whoever looks for it finds it by: `container 1a2b3c4d5e6f`.
    fn name(&self) -> String;

    /// Ends it with all that is in it, whatever its keeper does. Blocks, for so long at most.
    ///
    /// # Errors
    /// That it could not be reached in time.
    fn end(&self, limit: Duration) -> io::Result<()>;
}
