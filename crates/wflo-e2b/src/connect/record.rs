//! What of the calls of envd is on record: programs that are started and signalled, files that are moved and
//! removed.
//!
//! **Architecture Invariant:** what a message of these is read as here is what the agent reads it as, or wider:
//! one that is not understood is refused, and leaves no line; nothing that the agent does is without one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::audit;
use crate::body;
use crate::error::ApiError;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Start {
    process: Program,
    pty: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Program {
    cmd: String,
    args: Words,
    envs: Secrets,
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
    body: &str,
    env: &BTreeMap<String, String>,
) -> Result<Option<(&'static str, Value)>, ApiError> {
    Ok(Some(match method {
        "process.Process/Start" => {
            let Start { process, pty } = read(body)?;
            let secrets = || env.values().chain(process.envs.0.iter()).map(String::as_str);
            let words = [process.cmd, process.args.0].join("");
            let command = audit::redacted(words, secrets());
            let cwd = process.cwd.map(|cwd| audit::redacted(cwd, secrets()));
            let details = json!({ "command": command, "cwd": cwd, "terminal": pty.is_some() });
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

fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, ApiError> {
    body::parsed(body.as_bytes())
}

/// A list of words as one text with a space before each: in a message that holds nothing but short words they
/// would take many times its memory.
#[derive(Default)]
struct Words(String);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Words, D::Error> {
        struct Joins;
        impl<'de> Visitor<'de> for Joins {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Words, A::Error> {
                let mut joined = String::new();
                while let Some(word) = words.next_element::<Text<'de>>()? {
                    joined.push(' ');
                    joined.push_str(&word.0);
                }
                Ok(Words(joined))
            }
        }
        from.deserialize_seq(Joins)
    }
}

/// The values of variables that can be secrets, of all that are set.
#[derive(Default)]
struct Secrets(Vec<String>);

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secrets, D::Error> {
        struct Keeps;
        impl<'de> Visitor<'de> for Keeps {
            type Value = Secrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut variables: A) -> Result<Secrets, A::Error> {
                let mut kept = Vec::new();
                while let Some((_, value)) = variables.next_entry::<Text<'de>, Text<'de>>()? {
                    if value.0.len() >= audit::SHORTEST_SECRET {
                        kept.push(value.0.into_owned());
                    }
                }
                Ok(Secrets(kept))
            }
        }
        from.deserialize_map(Keeps)
    }
}

/// A text that is not copied where it need not be.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(method: &str, body: &Value) -> Result<Option<(&'static str, Value)>, ApiError> {
        of(method, &body.to_string(), &BTreeMap::new())
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
        let body = json!({ "process": { "cmd": "curl", "args": ["-H", "s\nsecret-1", ""], "cwd": "/tmp/secret-1", "envs": { "A": "secret-1", "B": "l" } }, "pty": null });
        let (_, details) = recorded("process.Process/Start", &body).unwrap().unwrap();
        assert_eq!(details, json!({ "command": "curl -H s\n*** ", "cwd": "/tmp/***", "terminal": false }));
        for wrong in [
            json!({ "args": [1] }),
            json!({ "args": "x" }),
            json!({ "envs": ["x"] }),
            json!({ "envs": { "A": 1 } }),
        ] {
            let body = json!({ "process": wrong });
            assert!(recorded("process.Process/Start", &body).is_err(), "{body}");
        }
    }
}
