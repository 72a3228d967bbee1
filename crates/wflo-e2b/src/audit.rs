//! What was done in the sandboxes of this server, and on whose word: one line of JSON for each.
//!
//! **Architecture Invariant:** a line holds no token, no key, no code and no contents of a file; commands, their
//! folders and what a client notes of a sandbox hold no value of its variables; and no text of a client's is longer
//! there than a stated length. Paths of files stand there as they were asked for.

mod log;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use wflo_core::ports::clock::Clock;

use self::log::Log;
use crate::error::ServeError;

/// How much of one text a line holds, in characters.
const LONGEST: usize = 4_096;
/// Values that are shorter are no secrets: they would take words out of every line.
pub(crate) const SHORTEST_SECRET: usize = 6;
/// How much is searched for them, in bytes times values: some tenths of a second.
const SEARCHED: usize = 1 << 30;

/// The file.
pub(crate) struct Audit {
    log: Mutex<Log>,
    clock: Arc<dyn Clock>,
}

impl Audit {
    /// Opens the file in `folder`, or makes both.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Audit, ServeError> {
        let path = folder.join(log::NAME);
        let failed = |source| ServeError::Audit { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let log = Log::open(folder).map_err(failed)?;
        Ok(Audit { log: Mutex::new(log), clock })
    }

    /// Writes one line. A disk that is full is no reason to keep a sandbox from being ended.
    pub(crate) fn record(&self, event: &str, sandbox: &str, details: &impl Serialize) {
        let time = self.clock.now().to_string();
        let line = line(time.clone(), event, sandbox, details);
        let written = self.log.lock().unwrap_or_else(PoisonError::into_inner).add(&time, &line);
        if let Err(error) = written {
            tracing::error!(%error, event, sandbox, "the audit log cannot be written");
        }
    }
}

/// One line, with its end.
fn line(time: String, event: &str, sandbox: &str, details: &impl Serialize) -> String {
    let mut line = Map::new();
    line.insert("time".to_owned(), Value::String(time));
    line.insert("event".to_owned(), Value::String(event.to_owned()));
    line.insert("sandbox".to_owned(), Value::String(sandbox.to_owned()));
    if let Ok(Value::Object(details)) = serde_json::to_value(details) {
        line.extend(details.into_iter().map(|(name, value)| (name, bounded(value))));
    }
    let mut line = Value::Object(line).to_string();
    line.push('\n');
    line
}

/// A text without the values of variables that somebody has set.
pub(crate) fn redacted<'a>(mut text: String, secrets: impl IntoIterator<Item = &'a str>) -> String {
    // The longest first: one may be part of another.
    let mut secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
    secrets.sort_unstable_by(|a, b| (b.len(), a).cmp(&(a.len(), b)));
    secrets.dedup();
    if secrets.len().saturating_mul(text.len()) > SEARCHED {
        // No such command can be executed.
        return "***".to_owned();
    }
    for secret in secrets {
        text = text.replace(secret, "***");
    }
    cut(text)
}

/// A text, as much of it as a line holds.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A detail, each text in it cut.
fn bounded(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(text)),
        Value::Array(values) => values.into_iter().map(bounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, bounded(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_text_makes_a_line_long() {
        let long = "x".repeat(7 << 20);
        let details = json!({ "from": long, "to": "/b", "process": { "tag": [long] } });
        let line = line("2026-01-01T00:00:00Z".to_owned(), "file.moved", "s", &details);
        assert!(line.len() < 10_000, "{}", line.len());
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["to"], "/b");
        assert!(line["from"].as_str().unwrap().ends_with("x…"));
    }

    #[test]
    fn a_command_holds_no_value_that_was_set() {
        let said = redacted("curl -H key: sekret-1-long x".to_owned(), ["sekret-1", "sekret-1-long", "x"]);
        assert_eq!(said, "curl -H key: *** x");
        assert!(redacted("é".repeat(9_000), []).chars().count() < 4_200);
        let many: Vec<_> = (0..1_000).map(|number| format!("secret-{number}")).collect();
        assert_eq!(redacted("x".repeat(2 << 20), many.iter().map(String::as_str)), "***");
    }
}
