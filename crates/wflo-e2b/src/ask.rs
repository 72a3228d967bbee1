//! What a server asks the agent in a sandbox for: the first message of every request's socket.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One request.
#[derive(Debug, Serialize)]
pub(crate) struct Ask<'a> {
    /// The method, such as `process.Process/Start`.
    pub(crate) method: &'a str,
    /// Its message, as the client sent it: JSON, of which nothing more is known.
    pub(crate) body: &'a RawValue,
    /// How long what is started by it may last, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

/// The same, as the agent has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) body: Box<RawValue>,
    #[serde(default)]
    pub(crate) timeout_ms: Option<u64>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, body: &'a RawValue) -> Ask<'a> {
        Ask { method, body, timeout_ms: None }
    }
}

/// A message of the server's own.
pub(crate) fn own(message: &impl Serialize) -> Box<RawValue> {
    // What cannot be said says nothing, and is refused.
    serde_json::value::to_raw_value(message).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Reads a file: [`ReadFile`], answered by [`FileSize`] and its bytes.
pub(crate) const READ_FILE: &str = "files/read";
/// Writes a file: [`WriteFile`], then its bytes.
pub(crate) const WRITE_FILE: &str = "files/write";
/// Runs code: [`Execute`], answered by messages.
pub(crate) const EXECUTE: &str = "code/execute";
/// The kind of its first message: the context is there, and code is run when its turn comes.
pub(crate) const BEGUN: &str = "begun";
/// Contexts of code.
pub(crate) const NEW_CONTEXT: &str = "code/contexts/new";
pub(crate) const LIST_CONTEXTS: &str = "code/contexts/list";
pub(crate) const END_CONTEXT: &str = "code/contexts/end";
pub(crate) const RESTART_CONTEXT: &str = "code/contexts/restart";
/// What is used of the disk: [`DiskUse`].
pub(crate) const DISK: &str = "disk";

/// Of [`READ_FILE`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadFile {
    pub(crate) path: String,
}

/// The first message of its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileSize {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// Of [`WRITE_FILE`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WriteFile {
    pub(crate) path: String,
    /// What follows is compressed.
    #[serde(default)]
    pub(crate) gzip: bool,
    /// Extended attributes that the file gets, without their prefix.
    #[serde(default)]
    pub(crate) metadata: std::collections::BTreeMap<String, String>,
}

/// Of [`EXECUTE`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Execute {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) context_id: Option<String>,
    #[serde(default)]
    pub(crate) language: Option<String>,
    #[serde(default)]
    pub(crate) env_vars: Option<std::collections::BTreeMap<String, String>>,
}

/// Of [`NEW_CONTEXT`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NewContext {
    #[serde(default)]
    pub(crate) cwd: Option<String>,
    #[serde(default)]
    pub(crate) language: Option<String>,
}

/// Of [`END_CONTEXT`] and [`RESTART_CONTEXT`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WhichContext {
    pub(crate) id: String,
}

/// Answer to [`DISK`], in bytes.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct DiskUse {
    pub(crate) used: u64,
    pub(crate) total: u64,
}
