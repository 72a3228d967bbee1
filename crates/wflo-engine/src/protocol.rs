//! Frames between the engine and a runner, version 1: see `docs/protocol.md`.
//!
//! **Architecture Invariant:** the runner is untrusted. A frame that does not parse, is too large or
//! comes out of turn ends the attempt with a named error; it never ends the engine.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wflo_core::effect::{EffectKind, memory_of};
use wflo_core::error::{Code, Failure};

use crate::journal::Marks;

mod claim;

/// The protocol's version.
pub const VERSION: u32 = 1;
/// What a runner may say beyond the first form of the protocol.
pub(crate) const FEATURES: &[&str] = &["effect_cancelled", "calls"];
/// The largest frame, in bytes.
pub const MAX_FRAME: usize = 8 << 20;

/// The longest path of a branch, in bytes: thousands of tasks inside each other.
const MAX_PATH: usize = 16 << 10;

const BROKEN: Code = Code(3030);
const TOO_LARGE: Code = Code(3031);
const TOO_LARGE_HINT: &str = "write large values into a file of the workspace and pass on its name";

/// What the engine says.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToRunner {
    Hello {
        protocol: u32,
        /// Optional frames of a runner's that this engine understands.
        features: &'static [&'static str],
        /// Whether the runner is kept from the rest of the host: what it may say about walls.
        isolated: bool,
    },
    Describe {
        project: String,
        workflow: String,
    },
    /// A step of this workflow may follow: what needs no order can be done by then, and nothing of the project's.
    Prepare {
        project: String,
        workflow: String,
    },
    RunStep(Box<RunStep>),
    EffectResult {
        path: String,
        seq: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        order: Option<u32>,
        /// Of a live answer: its place in the order of a resume.
        #[serde(skip_serializing_if = "Option::is_none")]
        place: Option<u32>,
        #[serde(flatten)]
        answer: Answer,
    },
    EffectChunk {
        path: String,
        seq: u32,
        index: u32,
        delta: Value,
    },
    /// Not in the journal and under way: a replay need not wait for it.
    EffectPending {
        path: String,
        seq: u32,
    },
    /// What is on its way between stock clients and the gateway, when the runner asked the `n`th time.
    Calls {
        n: u64,
        state: CallsState,
    },
    Cancel {
        reason: String,
    },
}

/// The model calls of stock clients, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallsState {
    /// None is on its way but those that the step gave up before the restart, and will again.
    Quiet,
    /// A request or a recorded answer is.
    Answering,
    /// A call runs now.
    Running,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunStep {
    pub(crate) project: String,
    pub(crate) workflow: String,
    pub(crate) run: String,
    pub(crate) step: String,
    pub(crate) generation: u32,
    pub(crate) attempt: u32,
    pub(crate) inputs: Value,
    pub(crate) outputs: Value,
    /// Steps before this one whose outputs would not fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) outputs_left_out: Vec<String>,
    pub(crate) state: Value,
    pub(crate) hash_seed: u32,
    pub(crate) replay_length: usize,
    #[serde(flatten)]
    pub(crate) marks: Marks,
}

/// An effect's answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Ok(Value),
    Error(EffectError),
    /// The step stopped waiting for it the first time, so none will come. Always true.
    Cancelled(bool),
}

/// An effect's error as user code sees it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct EffectError {
    /// `WFLO-1234`.
    pub code: String,
    /// Which exception it becomes.
    pub kind: String,
    /// One line.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What a runner says.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromRunner {
    Hello {
        protocol: u32,
    },
    Definition {
        definition: Value,
        #[serde(default)]
        files: Vec<String>,
        interpreter: String,
    },
    Effect(EffectCall),
    EffectDone {
        path: String,
        seq: u32,
        result: Value,
    },
    EffectCancelled {
        path: String,
        seq: u32,
        #[serde(default)]
        after: u32,
    },
    Log {
        #[serde(default)]
        level: String,
        message: String,
        #[serde(default)]
        fields: Value,
    },
    Succeeded {
        #[serde(default)]
        output: Value,
        #[serde(default)]
        state: Option<Value>,
    },
    Failed {
        error: StepError,
    },
    Suspended {
        on: Vec<On>,
    },
    /// Asks what its stock clients wait for, on so many connections.
    Calls {
        n: u64,
        open: usize,
    },
}

/// An effect that a step asks for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EffectCall {
    pub(crate) path: String,
    pub(crate) seq: u32,
    pub(crate) kind: EffectKind,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) request: Value,
    /// How many answers the step had been given when it asked.
    #[serde(default)]
    pub(crate) after: u32,
}

impl EffectCall {
    /// The same without what is asked: a refusal need not keep it.
    pub(crate) fn without_request(&self) -> EffectCall {
        let EffectCall { path, seq, kind, name, request: _, after } = self;
        let (path, name) = (path.clone(), name.clone());
        EffectCall { path, seq: *seq, kind: *kind, name, request: Value::Null, after: *after }
    }
}

/// What a suspended step waits for.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq, Hash)]
pub(crate) struct On {
    pub(crate) path: String,
    pub(crate) seq: u32,
}

impl FromRunner {
    /// About how much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            FromRunner::Effect(call) => memory_of(&call.request) + call.path.len() + call.name.len(),
            FromRunner::EffectDone { path, result, .. } => path.len() + memory_of(result),
            FromRunner::Log { level, message, fields } => level.len() + message.len() + memory_of(fields),
            FromRunner::Succeeded { output, state } => {
                memory_of(output) + state.as_ref().map_or(0, memory_of)
            }
            FromRunner::Definition { definition, files, .. } => {
                memory_of(definition) + files.iter().map(String::len).sum::<usize>()
            }
            FromRunner::Failed { error } => {
                error.message.len() + error.traceback.as_ref().map_or(0, String::len)
            }
            FromRunner::Suspended { on } => on.iter().map(|on| on.path.len() + size_of::<On>()).sum(),
            FromRunner::EffectCancelled { path, .. } => path.len(),
            FromRunner::Hello { .. } | FromRunner::Calls { .. } => 0,
        }
    }
}

/// What a step raised.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StepError {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) hint: Option<String>,
    #[serde(default)]
    pub(crate) traceback: Option<String>,
    #[serde(default)]
    pub(crate) place: Option<String>,
    #[serde(default)]
    pub(crate) effect: Option<On>,
}

/// Why the conversation ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the runner closed its connection")]
    Closed,
    #[error("{0}")]
    Broken(Failure),
}

/// Reads one frame.
pub(crate) async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> Result<FromRunner, FrameError> {
    let mut length = [0_u8; 4];
    match reader.read_exact(&mut length).await {
        Ok(_) => {}
        Err(_) => return Err(FrameError::Closed),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        let message = format!("the runner sent a frame of {length} bytes; the limit is {MAX_FRAME}");
        return Err(FrameError::Broken(Failure::new(TOO_LARGE, message)));
    }
    let mut body = vec![0_u8; length];
    reader.read_exact(&mut body).await.map_err(|_| FrameError::Closed)?;
    serde_json::from_slice(&body).map_err(|e| {
        FrameError::Broken(Failure::new(
            BROKEN,
            format!("the runner sent a frame that is not protocol version {VERSION}: {e}"),
        ))
    })
}

/// Writes one frame. A frame that is too large is not sent: the runner would have to end over it.
pub(crate) async fn write<W: AsyncWrite + Unpin>(writer: &mut W, frame: &ToRunner) -> Result<(), FrameError> {
    let unreadable = |e: serde_json::Error| Failure::new(BROKEN, format!("a frame cannot be written: {e}"));
    let body = serde_json::to_vec(frame).map_err(|e| FrameError::Broken(unreadable(e)))?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let Some(length) = length else {
        let what = match frame {
            ToRunner::RunStep(_) => "what the step is given (inputs, outputs of its dependencies, state)",
            _ => "an answer to the step",
        };
        let message = format!("{what} takes {} bytes; the limit is {MAX_FRAME}", body.len());
        return Err(FrameError::Broken(Failure::new(TOO_LARGE, message).with_hint(TOO_LARGE_HINT)));
    };
    let mut bytes = Vec::with_capacity(body.len() + 4);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    writer.write_all(&bytes).await.map_err(|_| FrameError::Closed)
}

/// Whether `path` is what a runner may call a branch: names of letters, digits, `-` and `_` with dots
/// between them. Everything else is the engine's own (`@gateway/…`).
pub(crate) fn is_path(path: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    path.len() <= MAX_PATH && path.split('.').all(is_name)
}
