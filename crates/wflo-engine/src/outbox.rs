//! What is on its way to a runner.
//!
//! Owns the order of frames and the bound of what waits to be written. A runner may ask for thousands of
//! answers and read none, so an answer waits here in memory only if there is room for it; otherwise its
//! place in the line stays, and the writer reads it from the journal at the moment it is sent.
//!
//! **Architecture Invariant:** nobody but the sender of a part waits for a runner to read. Effects end,
//! frames are read and the step is ended whatever the runner does with what it is sent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wflo_core::effect::memory_of;

use crate::error::EngineError;
use crate::protocol::{Answer, On, ToRunner};

/// The most that answers, and parts of them, take while they wait to be written, in bytes of memory.
const ROOM: usize = 8 << 20;
/// What a small frame takes of it, with its place in the line.
const OFFERED: u32 = 256;

/// The end at which frames are put in; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    line: mpsc::UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
}

/// The end from which they are written. Once it is gone nobody waits for room.
#[derive(Debug)]
pub(crate) struct Line {
    line: mpsc::UnboundedReceiver<Outgoing>,
    room: Arc<Semaphore>,
}

/// One frame of the line.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) what: What,
    /// Held until it is written.
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(crate) enum What {
    Frame(ToRunner),
    /// The answer to an effect that has one in the journal.
    Recorded {
        on: On,
        order: Option<u32>,
        place: Option<u32>,
    },
}

/// An answer before its turn.
#[derive(Debug)]
pub(crate) enum Told {
    Here(Answer, Option<OwnedSemaphorePermit>),
    /// It is in the journal, and only there.
    Recorded,
}

impl Outbox {
    pub(crate) fn new() -> (Outbox, Line) {
        let (line, end) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ROOM));
        (Outbox { line, room: Arc::clone(&room) }, Line { line: end, room })
    }

    /// Sends a frame of a few bytes, of which an effect has a few at most.
    pub(crate) fn small(&self, frame: ToRunner) {
        // A runner that is gone is noticed by whoever reads from it.
        let _ = self.line.send(Outgoing { what: What::Frame(frame), _room: None });
    }

    /// Sends a frame of a few bytes that is asked for again if there is no room for it now.
    pub(crate) fn offer(&self, frame: ToRunner) {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(OFFERED) {
            let _ = self.line.send(Outgoing { what: What::Frame(frame), _room: Some(room) });
        }
    }

    /// Sends a part of an answer, once there is room for it.
    ///
    /// # Errors
    /// [`EngineError::ShuttingDown`] when nothing is written any more.
    pub(crate) async fn part(&self, frame: ToRunner) -> Result<(), EngineError> {
        let bytes = match &frame {
            ToRunner::EffectChunk { delta, .. } => memory_of(delta),
            _ => 0,
        };
        let wanted = u32::try_from(bytes.min(ROOM)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await;
        let room = room.map_err(|_| EngineError::ShuttingDown)?;
        let sent = self.line.send(Outgoing { what: What::Frame(frame), _room: Some(room) });
        sent.map_err(|_| EngineError::ShuttingDown)
    }

    /// Keeps an answer that is in the journal as well, if there is room for it now.
    pub(crate) fn keep(&self, answer: Answer) -> Told {
        let bytes = match &answer {
            Answer::Ok(value) => memory_of(value),
            // Errors are short.
            Answer::Error(_) | Answer::Cancelled(_) => return Told::Here(answer, None),
        };
        match u32::try_from(bytes).ok().and_then(|n| Arc::clone(&self.room).try_acquire_many_owned(n).ok()) {
            Some(room) => Told::Here(answer, Some(room)),
            None => Told::Recorded,
        }
    }

    /// Sends an answer.
    pub(crate) fn answer(&self, on: On, order: Option<u32>, place: Option<u32>, told: Told) {
        let outgoing = match told {
            Told::Here(answer, room) => {
                let what = What::Frame(result(on, order, place, answer));
                Outgoing { what, _room: room }
            }
            Told::Recorded => Outgoing { what: What::Recorded { on, order, place }, _room: None },
        };
        let _ = self.line.send(outgoing);
    }

    /// How much of what waits to be written is in memory, in bytes.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        ROOM - self.room.available_permits()
    }
}

impl Line {
    pub(crate) async fn next(&mut self) -> Option<Outgoing> {
        self.line.recv().await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.room.close();
    }
}

/// An answer as a frame.
pub(crate) fn result(on: On, order: Option<u32>, place: Option<u32>, answer: Answer) -> ToRunner {
    ToRunner::EffectResult { path: on.path, seq: on.seq, order, place, answer }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn on(seq: u32) -> On {
        On { path: "0".to_owned(), seq }
    }

    fn large() -> Answer {
        Answer::Ok(json!("x".repeat(1 << 20)))
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_stay_where_they_are_recorded() {
        let (outbox, mut line) = Outbox::new();
        for seq in 0..1_000 {
            outbox.answer(on(seq), None, Some(seq), outbox.keep(large()));
            assert!(outbox.held() <= ROOM);
        }
        let (mut here, mut recorded) = (0, 0);
        for seq in 0..1_000 {
            match line.next().await.unwrap().what {
                What::Frame(ToRunner::EffectResult { seq: sent, .. }) => {
                    assert_eq!(sent, seq);
                    here += 1;
                }
                What::Recorded { on, place, .. } => {
                    assert_eq!((on.seq, place), (seq, Some(seq)));
                    recorded += 1;
                }
                What::Frame(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((here, recorded), (7, 993));
        assert_eq!(outbox.held(), 0);
        assert!(matches!(outbox.keep(large()), Told::Here(_, Some(_))));
    }

    #[tokio::test]
    async fn what_is_offered_is_dropped_where_there_is_no_room_and_counts_until_it_is_written() {
        let (outbox, mut line) = Outbox::new();
        let word = |n| ToRunner::Calls { n, state: crate::protocol::CallsState::Quiet };
        let most = u32::try_from(ROOM).unwrap() / OFFERED;
        for n in 0..most + 10 {
            outbox.offer(word(n.into()));
        }
        assert_eq!(outbox.held(), ROOM);
        for _ in 0..most {
            assert!(matches!(line.next().await.unwrap().what, What::Frame(ToRunner::Calls { .. })));
        }
        assert_eq!(outbox.held(), 0);
        // The next in the line is one that was offered after there was room again.
        outbox.offer(word(7_000_000));
        let What::Frame(ToRunner::Calls { n, .. }) = line.next().await.unwrap().what else { panic!() };
        assert_eq!(n, 7_000_000);
        drop(line);
        outbox.offer(word(0));
        assert_eq!(outbox.held(), 0);
    }

    #[tokio::test]
    async fn a_part_waits_for_room_and_for_nothing_once_the_writer_is_gone() {
        let (outbox, mut line) = Outbox::new();
        let part = |index| ToRunner::EffectChunk {
            path: "0".to_owned(),
            seq: 0,
            index,
            delta: json!("x".repeat(3 << 20)),
        };
        outbox.part(part(0)).await.unwrap();
        outbox.part(part(1)).await.unwrap();
        let third = tokio::spawn({
            let (outbox, part) = (outbox.clone(), part(2));
            async move { outbox.part(part).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        drop(line.next().await.unwrap());
        assert!(third.await.unwrap());
        let fourth = tokio::spawn({
            let (outbox, part) = (outbox.clone(), part(3));
            async move { outbox.part(part).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(line);
        assert!(!fourth.await.unwrap());
    }
}
