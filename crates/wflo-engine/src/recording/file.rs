//! The file of a recording: JSON Lines, a head and an answer each.
//!
//! Owns its format, and that it is written whole or not at all, over nothing that is no recording.

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wflo_core::error::{Code, Coded};

use super::Recording;

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
                "make one by `wflo run --record FILE`, or `wflo runs record RUN FILE`.".to_owned()
            }
        })
    }
}

impl Recording {
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
