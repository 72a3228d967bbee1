//! What a step prints and logs: kept in the run's events, bounded, and never in the step's way.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use wflo_core::effect::json_bytes;
use wflo_core::event::EventBody;

use crate::journal::Journal;
use crate::services::Services;

mod complaint;
mod plain;

pub(crate) use complaint::Complaint;
pub(crate) use plain::Plain;

/// The most that is kept of one attempt, in bytes.
const KEPT: usize = 2 << 20;
/// How much is kept of the beginning of a pipe, in bytes; what comes then is kept from the end.
const HEAD: usize = 512 << 10;
/// How much is kept of the end of a pipe, in bytes: the last words of a program are what it died of.
const TAIL: usize = 128 << 10;
/// What a line takes beside its text.
const FRAME: usize = 64;
/// The longest line, in bytes.
const LINE: usize = 8 << 10;
/// The longest level, in characters.
const LEVEL: usize = 40;
/// How long lines are gathered before they are committed.
const GATHER: Duration = Duration::from_millis(100);

/// Takes lines; cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    sender: mpsc::Sender<(String, String, Value)>,
}

/// Writes lines until every [`Output`] is dropped.
pub(crate) struct Keeper {
    task: tokio::task::JoinHandle<Option<Complaint>>,
}

impl Output {
    pub(crate) fn new(journal: Arc<Journal>, services: Arc<Services>, step: String) -> (Output, Keeper) {
        let (sender, receiver) = mpsc::channel(256);
        let task = tokio::spawn(keep(journal, services, step, receiver));
        (Output { sender }, Keeper { task })
    }

    pub(crate) async fn line(&self, level: &str, message: String, fields: Value) {
        // Cut before it is queued: a frame may hold a line of megabytes.
        let level: String = level.chars().take(LEVEL).collect();
        let message = if message.len() > LINE { message.chars().take(LINE).collect() } else { message };
        let fields = if json_bytes(&fields) > LINE as u64 { Value::Null } else { fields };
        // The keeper drains whatever comes, so this waits only for memory, never for the disk's end.
        let _ = self.sender.send((level, message, fields)).await;
    }

    /// Reads a pipe to its end, line by line.
    pub(crate) fn follow(
        &self,
        level: &'static str,
        pipe: std::os::fd::OwnedFd,
    ) -> std::io::Result<tokio::task::JoinHandle<()>> {
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe)?;
        let mut lines = Lines::new(self.clone(), level);
        Ok(tokio::spawn(async move {
            let mut buffer = vec![0_u8; 64 << 10];
            while let Ok(read) = pipe.read(&mut buffer).await {
                let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                lines.push(bytes).await;
            }
            lines.end().await;
        }))
    }
}

/// Bytes as lines: the beginning as it comes, of more than that the end.
pub(crate) struct Lines {
    output: Output,
    level: &'static str,
    line: Vec<u8>,
    kept: usize,
    tail: Tail,
}

impl Lines {
    pub(crate) fn new(output: Output, level: &'static str) -> Self {
        Lines { output, level, line: Vec::new(), kept: 0, tail: Tail::default() }
    }

    /// Takes what has come. Past the bound it is still to be called, so that who writes goes on.
    pub(crate) async fn push(&mut self, mut bytes: &[u8]) {
        while let Some((byte, after)) = bytes.split_first().filter(|_| self.kept < HEAD) {
            bytes = after;
            if *byte == b'\n' || self.line.len() >= LINE {
                self.kept += self.line.len() + FRAME;
                self.say(&String::from_utf8_lossy(&self.line)).await;
                self.line.clear();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        if self.kept >= HEAD {
            self.tail.push(&std::mem::take(&mut self.line));
            self.tail.push(bytes);
        }
    }

    /// Says what is left.
    pub(crate) async fn end(mut self) {
        let (left_out, last) = std::mem::take(&mut self.tail).end();
        if left_out > 0 {
            self.say(&format!("… {left_out} bytes of {} are left out here …", self.level)).await;
        }
        for text in last {
            self.say(&text).await;
        }
        if !self.line.is_empty() {
            self.say(&String::from_utf8_lossy(&self.line)).await;
        }
    }

    async fn say(&self, text: &str) {
        self.output.line(self.level, text.to_owned(), Value::Null).await;
    }
}

/// The end of a pipe of which only beginning and end are kept.
#[derive(Default)]
struct Tail {
    /// The last bytes, up to twice what is kept.
    bytes: Vec<u8>,
    /// Bytes that are no longer there.
    gone: u64,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * TAIL {
            let old = self.bytes.len() - TAIL;
            self.bytes.drain(..old);
            self.gone += old as u64;
        }
    }

    /// How many bytes are left out before the last lines, and those.
    fn end(self) -> (u64, Vec<String>) {
        let (mut lines, mut taken, mut from) = (Vec::new(), 0, self.bytes.len());
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n').rev() {
            taken += line.len().min(LINE) + FRAME;
            // A line whose beginning is gone is no line.
            let is_whole = self.gone == 0 || line.len() < from;
            if taken > TAIL || !is_whole {
                break;
            }
            from -= line.len();
            lines.push(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned());
        }
        lines.reverse();
        (self.gone + from as u64, lines)
    }
}

impl Keeper {
    /// Waits until everything is committed; every [`Output`] must be gone. Gives what the last lines complain
    /// of.
    pub(crate) async fn finish(self) -> Option<Complaint> {
        self.task.await.ok().flatten()
    }
}

async fn keep(
    journal: Arc<Journal>,
    services: Arc<Services>,
    step: String,
    mut receiver: mpsc::Receiver<(String, String, Value)>,
) -> Option<Complaint> {
    let (mut kept, mut is_full) = (0_usize, false);
    let mut last = complaint::LastLines::default();
    while let Some(first) = receiver.recv().await {
        let mut lines = vec![first];
        let until = tokio::time::Instant::now() + GATHER;
        while lines.len() < 1_000 {
            match tokio::time::timeout_at(until, receiver.recv()).await {
                Ok(Some(line)) => lines.push(line),
                Ok(None) | Err(_) => break,
            }
        }
        let mut facts = Vec::new();
        for (level, message, fields) in lines {
            last.push(&message);
            if kept > KEPT {
                if !std::mem::replace(&mut is_full, true) {
                    let message = format!("… more than {KEPT} bytes of output: the rest is not kept");
                    facts.push(EventBody::Log { step: step.clone(), level, message, fields: Value::Null });
                }
                continue;
            }
            let message = services.redact(message);
            kept += message.len() + FRAME;
            facts.push(EventBody::Log { step: step.clone(), level, message, fields });
        }
        if facts.is_empty() {
            continue;
        }
        if let Err(e) = journal.note(facts).await {
            tracing::warn!(step, error = %e, "output of a step could not be kept");
        }
    }
    last.complaint()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(chunks: &[&[u8]]) -> (u64, Vec<String>) {
        let mut tail = Tail::default();
        chunks.iter().for_each(|chunk| tail.push(chunk));
        tail.end()
    }

    #[test]
    fn what_fits_is_whole() {
        assert_eq!(ended(&[]), (0, vec![]));
        assert_eq!(ended(&[b"a\n\nb"]), (0, vec!["a".to_owned(), String::new(), "b".to_owned()]));
        assert_eq!(ended(&[b"one ", b"line\n"]), (0, vec!["one line".to_owned()]));
    }

    #[test]
    fn the_last_lines_of_much_are_kept_whole_and_the_rest_is_counted() {
        let all: Vec<u8> = (0..200_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let chunks: Vec<&[u8]> = all.chunks(10_007).collect();
        let (left_out, lines) = ended(&chunks);
        assert_eq!(lines.last().map(String::as_str), Some("line 199999"));
        let first: usize = lines[0].strip_prefix("line ").unwrap().parse().unwrap();
        assert_eq!(lines.len(), 200_000 - first, "no line between is missing");
        let shown: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert_eq!(left_out as usize + shown, all.len());
        assert!(lines.iter().map(|line| line.len() + FRAME).sum::<usize>() <= TAIL);
    }

    #[test]
    fn a_line_without_an_end_or_a_beginning_is_left_out() {
        let (left_out, lines) = ended(&[&vec![b'x'; 5 * TAIL], b"\nlast"]);
        assert_eq!((left_out, lines), (5 * TAIL as u64 + 1, vec!["last".to_owned()]));
        let (left_out, lines) = ended(&[&vec![b'x'; 5 * TAIL]]);
        assert_eq!((left_out, lines), (5 * TAIL as u64, vec![]));
    }
}
