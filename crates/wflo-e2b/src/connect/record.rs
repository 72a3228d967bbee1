//! What of the calls of envd is on record: programs that are started and signalled, files that are moved and
//! removed.
//!
//! **Architecture Invariant:** what a message of these is read as here is what the agent reads it as, or wider:
//! one that is not understood is refused, and leaves no line; nothing that the agent does is without one.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit;
use crate::error::ApiError;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Start {
    process: Program,
    pty: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Program {
    cmd: String,
    args: Vec<String>,
    envs: BTreeMap<String, String>,
    cwd: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Signal {
    process: Selector,
    signal: String,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(default)]
struct Selector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Move {
    source: String,
    destination: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct At {
    path: String,
}

/// The event of a call and its details, if it is one that is on record. `env` has the sandbox's variables.
///
/// # Errors
/// [`ApiError::Unclear`] for a message that is none of its method.
pub(super) fn of(
    method: &str,
    body: &Value,
    env: &BTreeMap<String, String>,
) -> Result<Option<(&'static str, Value)>, ApiError> {
    Ok(Some(match method {
        "process.Process/Start" => {
            let Start { process, pty } = read(body)?;
            let secrets = env.values().chain(process.envs.values()).map(String::as_str);
            let words = std::iter::once(process.cmd.as_str()).chain(process.args.iter().map(String::as_str));
            let command = audit::command(words, secrets);
            let details = json!({ "command": command, "cwd": process.cwd, "terminal": !pty.is_null() });
            ("command.started", details)
        }
        "process.Process/SendSignal" => {
            let Signal { process, signal } = read(body)?;
            ("command.signalled", json!({ "process": process, "signal": signal }))
        }
        "filesystem.Filesystem/Move" => {
            let Move { source, destination } = read(body)?;
            ("file.moved", json!({ "from": source, "to": destination }))
        }
        "filesystem.Filesystem/Remove" => {
            let At { path } = read(body)?;
            ("file.removed", json!({ "path": path }))
        }
        _ => return Ok(None),
    }))
}

fn read<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    T::deserialize(body).map_err(|error| ApiError::Unclear(format!("the message is not understood: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(method: &str, body: &Value) -> Result<Option<(&'static str, Value)>, ApiError> {
        of(method, body, &BTreeMap::new())
    }

    #[test]
    fn what_is_no_message_of_its_method_leaves_no_line() {
        let long = "x".repeat(7 << 20);
        for (method, body) in [
            ("filesystem.Filesystem/Move", json!({ "source": [long] })),
            ("filesystem.Filesystem/Move", json!({ "source": long })),
            ("filesystem.Filesystem/Remove", json!({ "path": { "x": long } })),
            ("process.Process/SendSignal", json!({ "process": { "pid": 1 }, "signal": [long] })),
            ("process.Process/SendSignal", json!({ "process": long, "signal": "SIGNAL_SIGKILL" })),
            ("process.Process/Start", json!({ "process": { "cmd": "sh", "args": long } })),
        ] {
            assert!(matches!(recorded(method, &body), Err(ApiError::Unclear(_))), "{method}");
        }
    }

    #[test]
    fn nothing_but_the_fields_of_a_message_is_kept() {
        let body = json!({ "process": { "pid": 7, "x": "y" }, "signal": "SIGNAL_SIGTERM", "z": "z" });
        let (event, details) = recorded("process.Process/SendSignal", &body).unwrap().unwrap();
        assert_eq!(event, "command.signalled");
        assert_eq!(details, json!({ "process": { "pid": 7 }, "signal": "SIGNAL_SIGTERM" }));
        let body = json!({ "process": { "cmd": "ls", "args": ["-l"] }, "pty": { "size": {} } });
        let (_, details) = recorded("process.Process/Start", &body).unwrap().unwrap();
        assert_eq!(details, json!({ "command": "ls -l", "cwd": null, "terminal": true }));
        assert!(recorded("process.Process/List", &json!({})).unwrap().is_none());
    }
}
