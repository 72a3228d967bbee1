//! Discovery: what workflow a user's file defines, asked in a sandbox without network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use wflo_core::error::{Code, Failure};
use wflo_core::size::Millis;
use wflo_sandbox::Outcome as Ended;

use crate::error::EngineError;
use crate::interpreter::RUNNER_FD;
use crate::launch::Launch;
use crate::protocol::{self, FrameError, FromRunner, ToRunner};
use crate::sandboxed::{Ask, Sandboxes, Shape, pipe, socket, tail};

/// The user's file could not be read as a workflow.
pub(crate) const NOT_DESCRIBED: Code = Code(1030);
/// It took too long.
const TOO_SLOW: Code = Code(1031);
/// How long importing a user's file may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The most of what it printed that is shown when it fails, in bytes.
const LAST_WORDS: usize = 64 << 10;

/// What a file defines.
#[derive(Debug, Clone)]
pub struct Described {
    /// The definition, not validated.
    pub definition: Value,
    /// Files of the project that it imported, relative.
    pub files: Vec<String>,
    /// The interpreter's own name of itself.
    pub interpreter: String,
}

/// Imports the user's file and reads the workflow that it defines.
///
/// # Errors
/// What the file raised, with its place and traceback; that it takes too long; sandbox errors.
pub async fn describe(sandboxes: &Arc<Sandboxes>, launch: &Launch) -> Result<Described, EngineError> {
    let (Some(interpreter), Some(workflow)) = (&launch.interpreter, &launch.workflow) else {
        return Err(EngineError::Unreadable("a workflow without code is not described".to_owned()));
    };
    let io = |e: std::io::Error| EngineError::Unreadable(format!("discovery: {e}"));
    let (socket, theirs) = socket().map_err(io)?;
    let (printed, printed_in) = pipe().map_err(io)?;
    let shape = Shape {
        env: interpreter.runner_env(0),
        timeout: Some(Millis(u64::try_from(LIMIT.as_millis()).unwrap_or(60_000) + 5_000)),
        ..Shape::new(sandboxes.runner_command(launch, interpreter)?)
    };
    let ask = Ask {
        fds: vec![(theirs, RUNNER_FD)],
        ..Ask::new(shape, printed_in.try_clone().map_err(io)?, printed_in)
    };
    let running = sandboxes.open(launch, ask).await?;
    // A call at import finds nobody, and is told so at once.
    running.serve_nobody();
    let reading = tokio::spawn(tail(printed, LAST_WORDS));
    let (mut reader, mut writer) = socket.into_split();
    let told = async {
        let describe = ToRunner::Describe { project: running.workspace(), workflow: workflow.clone() };
        let (_, isolated) = running.enforcement();
        let hello = ToRunner::Hello { protocol: protocol::VERSION, features: &[], isolated };
        for frame in [hello, describe] {
            match protocol::write(&mut writer, &frame).await {
                Ok(()) => {}
                Err(FrameError::Broken(failure)) => return Err(EngineError::Failure(failure)),
                Err(FrameError::Closed) => return Err(EngineError::ShuttingDown),
            }
        }
        loop {
            match protocol::read(&mut reader).await {
                Ok(FromRunner::Definition { definition, files, interpreter }) => {
                    return Ok(Described { definition, files, interpreter });
                }
                Ok(FromRunner::Failed { error }) => {
                    return Err(EngineError::Failure(error.failure(&BTreeSet::new())));
                }
                Ok(_) => {}
                Err(FrameError::Broken(failure)) => return Err(EngineError::Failure(failure)),
                Err(FrameError::Closed) => return Err(EngineError::ShuttingDown),
            }
        }
    };
    let described = match tokio::time::timeout(LIMIT, told).await {
        Ok(told) => told,
        Err(_) => {
            let message = format!("importing {workflow} took longer than {} s", LIMIT.as_secs());
            let hint = "move slow work from the top of the file into a step";
            Err(EngineError::Failure(Failure::new(TOO_SLOW, message).with_hint(hint)))
        }
    };
    let exit = match &described {
        Err(EngineError::ShuttingDown) => running.ended().await.ok(),
        _ => None,
    };
    running.kill().await;
    let printed = String::from_utf8_lossy(&reading.await.unwrap_or_default()).into_owned();
    match (described, exit) {
        (Err(EngineError::ShuttingDown), exit) => {
            let how = match exit.map(|e| e.outcome) {
                Some(Ended::Exited(code)) => format!("ended with exit code {code}"),
                Some(Ended::OutOfMemory) => "used more memory than its sandbox may".to_owned(),
                Some(Ended::NotExecuted(_)) => "could not be started".to_owned(),
                other => format!("ended ({other:?})"),
            };
            let message = format!("the interpreter {how} while it imported {workflow}");
            let mut failure = Failure::new(NOT_DESCRIBED, message).with_hint("run `wflo doctor`");
            failure.traceback = (!printed.is_empty()).then_some(printed);
            Err(EngineError::Failure(failure))
        }
        (described, _) => described,
    }
}
