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

/// The most that is kept of one attempt, in bytes.
const KEPT: usize = 1 << 20;
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
    task: tokio::task::JoinHandle<()>,
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
        let output = self.clone();
        Ok(tokio::spawn(async move {
            let mut buffer = vec![0_u8; 64 << 10];
            let mut line: Vec<u8> = Vec::new();
            let mut kept = 0;
            loop {
                let read = match pipe.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => read,
                };
                // Past the bound the pipe is still emptied, so that the step goes on.
                if kept > KEPT {
                    continue;
                }
                for byte in &buffer[..read] {
                    if *byte == b'\n' || line.len() >= LINE {
                        kept += line.len() + 1;
                        output.line(level, String::from_utf8_lossy(&line).into_owned(), Value::Null).await;
                        line.clear();
                    }
                    if *byte != b'\n' {
                        line.push(*byte);
                    }
                }
                if kept > KEPT {
                    let note = format!("… more than {KEPT} bytes of {level}: the rest is not kept");
                    output.line(level, note, Value::Null).await;
                }
            }
            if !line.is_empty() && kept <= KEPT {
                output.line(level, String::from_utf8_lossy(&line).into_owned(), Value::Null).await;
            }
        }))
    }
}

impl Keeper {
    /// Waits until everything is committed; every [`Output`] must be gone.
    pub(crate) async fn finish(self) {
        let _ = self.task.await;
    }
}

async fn keep(
    journal: Arc<Journal>,
    services: Arc<Services>,
    step: String,
    mut receiver: mpsc::Receiver<(String, String, Value)>,
) {
    let mut kept = 0_usize;
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
            if kept > KEPT {
                continue;
            }
            let message = services.redact(message);
            kept += message.len() + 64;
            facts.push(EventBody::Log { step: step.clone(), level, message, fields });
        }
        if facts.is_empty() {
            continue;
        }
        if let Err(e) = journal.note(facts).await {
            tracing::warn!(step, error = %e, "output of a step could not be kept");
        }
    }
}
