//! A sandbox in which a runner was executed, and our ends of what it holds.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::{Ask, Running, Sandboxes, Shape, pipe, socket};
use crate::error::EngineError;
use crate::executor::Used;
use crate::interpreter::RUNNER_FD;
use crate::launch::Launch;
use crate::live::Whose;
use crate::protocol::{self, FrameError, ToRunner};

/// A runner that has not been told what to run.
pub(crate) struct Runner {
    pub(crate) running: Running,
    pub(crate) socket: UnixStream,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// It has been greeted.
    pub(crate) greeted: bool,
}

impl Runner {
    /// Makes the sandbox, called `name`, and executes the runner in it; `owner` is the attempt that it is for.
    ///
    /// # Errors
    /// What could not be made; nothing is left behind then.
    pub(crate) async fn start(
        sandboxes: &Arc<Sandboxes>,
        launch: &Launch,
        shape: Shape,
        name: String,
        owner: Option<(Whose, Used)>,
    ) -> Result<Runner, EngineError> {
        let io = |e: std::io::Error| EngineError::Unreadable(format!("a runner's socket: {e}"));
        let (socket, theirs) = socket().map_err(io)?;
        let (stdout, stdout_in) = pipe().map_err(io)?;
        let (stderr, stderr_in) = pipe().map_err(io)?;
        let (whose, used) = owner.unzip();
        let ask = Ask {
            name: Some(name),
            fds: vec![(theirs, RUNNER_FD)],
            used: used.unwrap_or_default(),
            whose,
            ..Ask::new(shape, stdout_in, stderr_in)
        };
        let running = sandboxes.open(launch, ask).await?;
        Ok(Runner { running, socket, stdout, stderr, greeted: false })
    }

    /// Greets it, and lets it do what needs no order.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) async fn prepare(&mut self, workflow: &str) -> Result<(), FrameError> {
        let project = self.running.workspace();
        let prepare = ToRunner::Prepare { project, workflow: workflow.to_owned() };
        for frame in [self.running.hello(), prepare] {
            protocol::write(&mut self.socket, &frame).await?;
        }
        self.greeted = true;
        Ok(())
    }
}
