//! What reaches a driver, and the box that it reaches it by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use wflo_core::error::Failure;
use wflo_core::event::Event;
use wflo_core::machine::{Attempt as Spoken, CommandBody, TimerKey};
use wflo_core::ports::store::Op;

use crate::error::EngineError;
use crate::executor::End;

/// What reaches a driver.
pub(crate) enum Msg {
    /// There may be messages in the inbox.
    Inbox,
    /// A timer that was set for this time is due.
    Timer(TimerKey, jiff::Timestamp),
    /// A slot is free for a step.
    Slot(OwnedSemaphorePermit),
    /// An attempt asks something of the machine.
    Tell { body: Box<CommandBody>, ops: Vec<Op>, reply: oneshot::Sender<Result<Vec<Event>, EngineError>> },
    /// An attempt ended.
    Ended { step: String, spoken: Spoken, end: Box<End> },
    /// An undo ended.
    Undone { step: String, report: serde_json::Value, error: Option<Failure> },
    /// The engine shuts down.
    Shutdown,
}

/// The way into a driver. It has no limit of its own, so that a run that waits for its place never
/// makes the others wait: every asker waits for its answer, and one notice of the inbox is enough.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: mpsc::UnboundedSender<Msg>,
    noticed: Arc<AtomicBool>,
}

impl Mailbox {
    pub(crate) fn new() -> (Mailbox, mpsc::UnboundedReceiver<Msg>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Mailbox { sender, noticed: Arc::default() }, receiver)
    }

    /// Gives the message back when the driver is gone.
    pub(crate) fn put(&self, message: Msg) -> Result<(), Box<Msg>> {
        let notice = matches!(message, Msg::Inbox);
        if notice && self.noticed.swap(true, Ordering::AcqRel) && !self.sender.is_closed() {
            return Ok(());
        }
        self.sender.send(message).map_err(|returned| Box::new(returned.0))
    }

    /// The inbox is about to be read: what comes from now on needs another notice.
    pub(crate) fn reading_inbox(&self) {
        self.noticed.store(false, Ordering::Release);
    }
}
