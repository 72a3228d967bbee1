//! A recording: the answers of a run's model calls, in a file, for tests without a provider.
//!
//! Owns the file and which answer belongs to a call. A run keeps every answer in its journal, so
//! recording is a copy of it; replaying answers a step's calls from the file, journals them like any
//! other, and makes none. An answer belongs to a step, a request byte for byte, and an occurrence of it.
//! Times and random values are recorded as well, because requests are made of them.
//!
//! **Architecture Invariant:** a run that replays sends nothing to a provider: a call that the recording
//! does not hold is refused.

use std::collections::HashSet;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wflo_core::cost;
use wflo_core::effect::{EffectKind, EffectRecord, EffectState};
use wflo_core::error::{Code, Coded};
use wflo_core::id::RunId;
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;
use wflo_gateway::ledger::Recorded;

use crate::error::EngineError;

/// The format that this program writes and reads.
const FORMAT: u32 = 1;
/// A larger file is not read, in bytes.
const LARGEST: u64 = 1 << 30;
/// How much of a file is looked at for its first line, in bytes.
const LONGEST_HEAD: u64 = 64 << 10;

/// The first line of a recording.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// The format.
    wflo_recording: u32,
    /// The workflow that was recorded.
    workflow: String,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The step that asked.
    pub step: String,
    /// In hex. Of a model call: BLAKE3 of the endpoint, the headers that change its meaning, and the
    /// request's bytes. Else the effect's own.
    pub fingerprint: String,
    /// What was answered.
    #[serde(flatten)]
    pub said: Said,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Said {
    /// To a model call.
    Llm {
        /// What was asked of: `chat`, `messages`, …
        endpoint: String,
        /// The provider that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        /// The model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The answer.
        answer: Recorded,
    },
    /// The time, or a random value.
    Drawn {
        /// It.
        value: Value,
    },
}

/// The answers of a run, in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The workflow's name.
    pub workflow: String,
    /// The answers.
    pub entries: Vec<Entry>,
}

/// A file that is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("the recording {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// It cannot be written.
    #[error("the recording {path} cannot be written: {reason}")]
    Place {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A line is not what `wflo run --record` writes.
    #[error("line {line} of the recording {path} is not what this version reads: {reason}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

impl Coded for RecordingError {
    fn code(&self) -> Code {
        Code(4098)
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            RecordingError::Place { .. } => "Name a file in a folder that you may write to.".to_owned(),
            RecordingError::File { .. } | RecordingError::Line { .. } => {
                "Make one by `wflo run --record FILE`, or `wflo runs record RUN FILE`.".to_owned()
            }
        })
    }
}

impl Recording {
    /// The answers that a run has in its journal; those of its retries are in theirs.
    ///
    /// # Errors
    /// Store errors; a run that is not there.
    pub async fn of_run(store: &dyn Store, run: RunId) -> Result<Recording, EngineError> {
        let unreadable = |what: String| EngineError::Unreadable(what);
        let record = store.run(run).await?.ok_or_else(|| unreadable(format!("{run} is not there")))?;
        let mut entries = Vec::new();
        for effect in store.run_effects(run).await? {
            let is_drawn = matches!(effect.kind, EffectKind::Now | EffectKind::Random);
            let is_own = is_drawn && effect.attributes["carried"] != true || cost::is_call(&effect);
            if !is_own || !matches!(effect.state, EffectState::Finished { .. }) {
                continue;
            }
            let gone = || unreadable(format!("the answer of {} is gone", effect.key));
            let whole = store.effect(run, effect.key.clone()).await?.ok_or_else(gone)?;
            let EffectState::Finished { result, .. } = whole.state else { return Err(gone()) };
            let value = result.into_here().ok_or_else(gone)?;
            let step = whole.key.step;
            if is_drawn {
                let fingerprint = whole.fingerprint.to_string();
                entries.push(Entry { step, fingerprint, said: Said::Drawn { value } });
                continue;
            }
            let answer = serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))?;
            let request = whole.request.into_here().unwrap_or_default();
            let text = |name: &str| whole.attributes[name].as_str().map(str::to_owned);
            entries.push(Entry {
                step,
                fingerprint: request["fingerprint"].as_str().unwrap_or_default().to_owned(),
                said: Said::Llm {
                    endpoint: whole.name,
                    provider: text("provider"),
                    model: text("model"),
                    answer,
                },
            });
        }
        Ok(Recording { workflow: record.workflow, entries })
    }

    /// How many model calls it answers.
    pub fn calls(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.said, Said::Llm { .. })).count()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn read(file: &Path) -> Result<Recording, RecordingError> {
        let path = file.display().to_string();
        let failed = |reason: String| RecordingError::File { path: path.clone(), reason };
        let about = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
        // A device or a pipe has no end.
        if !about.is_file() {
            return Err(failed("it is not a file".to_owned()));
        }
        if about.len() > LARGEST {
            return Err(failed(format!("it is larger than {} MiB", LARGEST >> 20)));
        }
        let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let bad = |line: usize, reason: String| RecordingError::Line { path: path.clone(), line, reason };
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let (_, first) = lines.next().ok_or_else(|| bad(1, "it is empty".to_owned()))?;
        let head: Head = serde_json::from_str(first).map_err(|error| bad(1, error.to_string()))?;
        if head.wflo_recording != FORMAT {
            return Err(bad(1, format!("it has format {}", head.wflo_recording)));
        }
        let entries = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| serde_json::from_str(line).map_err(|error| bad(at, error.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(Recording { workflow: head.workflow, entries })
    }

    /// How many answers to model calls the recording of a replayed run holds, and how many of them the run was
    /// not given; `None` for a run that is not answered from one.
    ///
    /// # Errors
    /// Store errors; a recording that does not read.
    pub async fn left_by(store: &dyn Store, run: &RunRecord) -> Result<Option<(usize, usize)>, EngineError> {
        let Some(file) = run.options.recording.as_deref() else { return Ok(None) };
        let recording =
            Recording::read(Path::new(file)).map_err(|error| EngineError::Unreadable(error.to_string()))?;
        let effects = store.run_effects(run.id).await?;
        let used: HashSet<usize> = effects.iter().filter_map(place_of).collect();
        let calls = recording.entries.iter().enumerate();
        let calls = calls.filter(|(_, entry)| matches!(entry.said, Said::Llm { .. }));
        let (mut all, mut left) = (0, 0);
        for (place, _) in calls {
            all += 1;
            left += usize::from(!used.contains(&place));
        }
        Ok(Some((all, left)))
    }

    /// Makes the folder of a file, and checks that a recording can be written there: before a run that is
    /// paid for.
    ///
    /// # Errors
    /// [`RecordingError::Place`].
    pub fn prepare(file: &Path) -> Result<(), RecordingError> {
        staged(file).map(drop)
    }

    /// Writes a file, whole or not at all, in a folder that is made where it is missing; over another only if
    /// that is a recording.
    ///
    /// # Errors
    /// [`RecordingError::Place`].
    pub fn write(&self, file: &Path) -> Result<(), RecordingError> {
        let failed = |reason: String| RecordingError::Place { path: file.display().to_string(), reason };
        let mut staged = staged(file)?;
        let head = Head { wflo_recording: FORMAT, workflow: self.workflow.clone() };
        let mut lines = vec![serde_json::to_string(&head).map_err(|error| failed(error.to_string()))?];
        for entry in &self.entries {
            lines.push(serde_json::to_string(entry).map_err(|error| failed(error.to_string()))?);
        }
        lines.push(String::new());
        staged.write_all(lines.join("\n").as_bytes()).map_err(|error| failed(error.to_string()))?;
        staged.persist(file).map_err(|error| failed(error.error.to_string()))?;
        Ok(())
    }
}

/// Which answer of a recording an effect was given.
pub(crate) fn place_of(effect: &EffectRecord) -> Option<usize> {
    usize::try_from(effect.attributes["recorded"].as_u64()?).ok()
}

/// A file beside the one that is to be written.
fn staged(file: &Path) -> Result<tempfile::NamedTempFile, RecordingError> {
    let failed = |reason: String| RecordingError::Place { path: file.display().to_string(), reason };
    if !may_be_written_over(file).map_err(|error| failed(error.to_string()))? {
        return Err(failed("something else than a recording is there, and is left as it is".to_owned()));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    // The name of the file beside it helps nobody.
    tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(error.kind().to_string()))
}

/// Whether nothing is lost by a recording in this place: none is there, or nothing, or a recording.
fn may_be_written_over(file: &Path) -> std::io::Result<bool> {
    let mut first = String::new();
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(about) if !about.is_file() => return Ok(false),
        Ok(_) => {}
    }
    let mut beginning = std::io::BufReader::new(std::fs::File::open(file)?).take(LONGEST_HEAD);
    match beginning.read_line(&mut first) {
        Ok(_) => Ok(first.is_empty() || serde_json::from_str::<Head>(&first).is_ok()),
        // Not even text.
        Err(_) => Ok(false),
    }
}

/// What one step is answered with.
#[derive(Debug)]
pub(crate) struct Replaying {
    entries: Vec<(usize, Entry)>,
    /// Those that were given, in earlier attempts and generations too.
    used: Mutex<HashSet<usize>>,
}

impl Replaying {
    /// The answers of `step`, less those at the places `used`.
    pub(crate) fn of_step(recording: Recording, step: &str, used: HashSet<usize>) -> Self {
        let all = recording.entries.into_iter().enumerate();
        Replaying { entries: all.filter(|(_, entry)| entry.step == step).collect(), used: Mutex::new(used) }
    }

    /// The next answer to a request, and its place in the recording.
    pub(crate) fn take(&self, fingerprint: &str) -> Option<(usize, Said)> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            |(place, entry): &&(usize, Entry)| entry.fingerprint == fingerprint && !used.contains(place);
        let (place, entry) = self.entries.iter().find(fits)?;
        used.insert(*place);
        Some((*place, entry.said.clone()))
    }

    /// How many model calls of the step are answered in all, and how many of them are left.
    pub(crate) fn count(&self) -> (usize, usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = || self.entries.iter().filter(|(_, entry)| matches!(entry.said, Said::Llm { .. }));
        (calls().count(), calls().filter(|(place, _)| !used.contains(place)).count())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wflo_core::money::NanoUsd;

    use super::*;

    fn call(step: &str, fingerprint: &str, body: &str) -> Entry {
        let answer = Recorded {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_owned().into(),
            interrupted: false,
            broke: None,
            usage: None,
            cost: NanoUsd::from_nanos(7),
        };
        let (endpoint, provider, model) = ("chat".to_owned(), Some("local".to_owned()), Some("m".to_owned()));
        Entry {
            step: step.to_owned(),
            fingerprint: fingerprint.to_owned(),
            said: Said::Llm { endpoint, provider, model, answer },
        }
    }

    fn drawn(step: &str, value: Value) -> Entry {
        Entry { step: step.to_owned(), fingerprint: "now".to_owned(), said: Said::Drawn { value } }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.jsonl");
        let entries =
            vec![call("a", "1", "{\"text\":\"ünï\\n\"}"), call("b", "2", ""), drawn("b", json!(0.25))];
        let recording = Recording { workflow: "w".to_owned(), entries };
        recording.write(&file).unwrap();
        recording.write(&file).unwrap();
        assert_eq!(Recording::read(&file).unwrap(), recording);
    }

    #[test]
    fn nothing_else_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording { workflow: "w".to_owned(), entries: Vec::new() };
        for (name, content) in [("wflo.toml", &b"[project]\n"[..]), ("picture", b"\xff\xd8"), ("one", b"x")] {
            let file = folder.path().join(name);
            std::fs::write(&file, content).unwrap();
            assert!(matches!(recording.write(&file), Err(RecordingError::Place { .. })), "{name}");
            assert_eq!(std::fs::read(&file).unwrap(), content);
        }
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        recording.write(&empty).unwrap();
        assert!(recording.write(folder.path()).is_err());
    }

    #[test]
    fn the_folder_of_a_recording_is_made_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tests/replay/calls.jsonl");
        Recording::prepare(&file).unwrap();
        let made = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(made, 0, "a check leaves nothing behind");
        std::fs::write(folder.path().join("tests/file"), "x").unwrap();
        let below = folder.path().join("tests/file/calls.jsonl");
        assert!(matches!(Recording::prepare(&below), Err(RecordingError::Place { .. })));
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        for place in ["/dev/zero", "/"] {
            assert!(matches!(Recording::read(Path::new(place)), Err(RecordingError::File { .. })), "{place}");
        }
    }

    #[test]
    fn another_file_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.jsonl");
        let head = "{\"wflo_recording\":1,\"workflow\":\"w\"}\n";
        for (text, line) in [
            (String::new(), 1),
            ("{}".to_owned(), 1),
            (head.replace(":1,", ":2,"), 1),
            (format!("{head}{{\"step\":1}}"), 2),
        ] {
            std::fs::write(&file, &text).unwrap();
            let error = Recording::read(&file).unwrap_err();
            assert!(matches!(error, RecordingError::Line { line: at, .. } if at == line), "{text}: {error}");
        }
        assert!(matches!(Recording::read(&folder.path().join("none")), Err(RecordingError::File { .. })));
    }

    #[test]
    fn equal_requests_are_answered_in_their_order_each_once() {
        let entries = vec![
            call("a", "1", "x"),
            call("b", "1", "other step"),
            call("a", "1", "y"),
            drawn("a", json!("noon")),
            call("a", "2", "z"),
        ];
        let recording = Recording { workflow: "w".to_owned(), entries };
        let replaying = Replaying::of_step(recording.clone(), "a", HashSet::new());
        let body = |found: Option<(usize, Said)>| match found {
            Some((_, Said::Llm { answer, .. })) => Some(answer.body),
            _ => None,
        };
        assert_eq!(body(replaying.take("1")), Some("x".into()));
        assert_eq!(body(replaying.take("1")), Some("y".into()));
        assert_eq!(body(replaying.take("1")), None);
        assert_eq!(replaying.take("now"), Some((3, Said::Drawn { value: json!("noon") })));
        assert_eq!(replaying.count(), (3, 1));
        let resumed = Replaying::of_step(recording, "a", HashSet::from([0]));
        assert_eq!(body(resumed.take("1")), Some("y".into()));
    }
}
