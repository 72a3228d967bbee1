//! Facts of an attempt's connections that nobody waits for, on their way into the run's record.
//!
//! Owns what is counted instead of recorded one by one, when the counts are written, and how facts outlive a store that
//! fails. A write that failed may be there all the same, and is made again: what is left of a run's limits is then too
//! little, and never too much. At most one word to write the counts is in the queue, so that a step cannot fill it.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use wflo_core::event::EventBody;

use super::State;

/// So many connections are counted until the counts are written: no more of them are lost with their engine.
const CONNECTIONS: u64 = 100;
/// Or so many bytes.
const BYTES: u64 = 16 << 20;
/// So many facts are written at once, where the store keeps up.
const BATCH: usize = 64;

/// What is to be written.
pub(super) enum Fact {
    Event(Box<EventBody>),
    /// What is counted, which is enough for an event.
    Rest,
}

/// What has no event of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) connections: u64,
    pub(super) refused: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Rest {
    /// Refusals by themselves are no reason: no limit bounds how many there are.
    fn is_due(self) -> bool {
        self.connections >= CONNECTIONS || self.sent.saturating_add(self.received) >= BYTES
    }

    fn add(&mut self, other: Rest) {
        self.connections += other.connections;
        self.refused += other.refused;
        self.sent += other.sent;
        self.received += other.received;
    }

    fn event(self, step: &str) -> Option<EventBody> {
        (self != Rest::default()).then(|| EventBody::EgressMore {
            step: step.to_owned(),
            connections: self.connections,
            refused: self.refused,
            sent_bytes: self.sent,
            received_bytes: self.received,
        })
    }
}

/// Has the counts written, where they are enough by now and nobody has said so.
pub(super) fn wake(state: &mut State, facts: &mpsc::Sender<Fact>) {
    if state.rest.is_due() && !state.is_told {
        state.is_told = facts.try_send(Fact::Rest).is_ok();
    }
}

/// Writes facts until there is nobody to send any, and then what is still counted. What cannot be written is tried
/// again with what comes next.
pub(super) async fn keep<N, F, E>(
    step: &str,
    state: &Mutex<State>,
    mut kept: mpsc::Receiver<Fact>,
    mut note: N,
) where
    N: FnMut(Vec<EventBody>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let (mut facts, mut unwritten) = (Vec::new(), Vec::new());
    loop {
        let is_over = kept.recv_many(&mut facts, BATCH).await == 0;
        for fact in facts.drain(..) {
            match fact {
                Fact::Event(body) => unwritten.push(*body),
                Fact::Rest => lock(state).is_told = false,
            }
        }
        // Nothing comes after the end.
        let tries = if is_over { 2 } else { 1 };
        for _ in 0..tries {
            let rest = take(state, is_over);
            let mut all = unwritten.clone();
            all.extend(rest.event(step));
            if all.is_empty() {
                break;
            }
            match note(all).await {
                Ok(()) => {
                    unwritten.clear();
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "what connections came to is not recorded yet");
                    lock(state).rest.add(rest);
                }
            }
        }
        if is_over {
            return;
        }
    }
}

/// The counts that are written now; they begin anew.
fn take(state: &Mutex<State>, all: bool) -> Rest {
    let mut state = lock(state);
    if all || state.rest.is_due() { std::mem::take(&mut state.rest) } else { Rest::default() }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wflo_egress::host::Target;

    use super::super::RECORDED;
    use super::*;

    /// Sums over what was written: connections, bytes sent, and how many events there are of them.
    fn written(events: &Mutex<Vec<EventBody>>) -> (u64, u64, usize) {
        let (mut connections, mut sent, mut number) = (0, 0, 0);
        for body in events.lock().unwrap().iter() {
            if let EventBody::EgressMore { connections: more, sent_bytes, .. } = body {
                connections += more;
                sent += sent_bytes;
                number += 1;
            }
        }
        (connections, sent, number)
    }

    #[tokio::test]
    async fn few_counts_are_lost_with_an_engine_and_none_with_a_store_that_fails_once() {
        let (state, events) = (Arc::new(Mutex::new(State::default())), Arc::new(Mutex::new(Vec::new())));
        let (facts, kept) = mpsc::channel(8);
        let keeper = tokio::spawn({
            let (state, events, mut fails) = (Arc::clone(&state), Arc::clone(&events), true);
            async move {
                let note = |facts: Vec<EventBody>| {
                    let result = if std::mem::take(&mut fails) { Err("the disk is full") } else { Ok(()) };
                    if result.is_ok() {
                        events.lock().unwrap().extend(facts);
                    }
                    std::future::ready(result)
                };
                keep("a", &state, kept, note).await;
            }
        });
        let target = Target::parse("h.example:443", None).unwrap();
        for _ in 0..RECORDED + 350 {
            {
                let mut state = state.lock().unwrap();
                if state.place(&target).unwrap() {
                    state.targets.insert(target.clone());
                } else {
                    state.rest.sent += 10;
                    wake(&mut state, &facts);
                }
            }
            tokio::task::yield_now().await;
        }
        let (connections, sent, number) = written(&events);
        assert!(connections > 250 && sent == connections * 10, "{connections} connections, {sent} bytes");
        assert!(number <= 4, "{number} events");
        // Much is said of few, also of connections that were counted before.
        {
            let mut state = state.lock().unwrap();
            state.rest.sent += BYTES;
            wake(&mut state, &facts);
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(written(&events).1, 3_500 + BYTES);
        // The rest, however little, is written at the end.
        lock(&state).rest.received += 1;
        lock(&state).rest.refused += 1;
        drop(facts);
        keeper.await.unwrap();
        assert_eq!(written(&events).0, 350);
        let last = events.lock().unwrap().pop();
        let EventBody::EgressMore { connections: 0, refused: 1, received_bytes: 1, .. } = last.unwrap()
        else {
            panic!("the rest is not written")
        };
    }

    #[tokio::test]
    async fn an_end_that_could_not_be_written_is_written_with_the_next() {
        let (state, events) = (Mutex::new(State::default()), Mutex::new(Vec::new()));
        let (facts, kept) = mpsc::channel(8);
        let changed = |rule: &str| {
            let rule = rule.to_owned();
            Fact::Event(Box::new(EventBody::EgressChanged { rule, allowed: true, by: String::new() }))
        };
        facts.send(changed("a.example")).await.unwrap();
        drop(facts);
        let mut fails = true;
        let note = |facts: Vec<EventBody>| {
            let result = if std::mem::take(&mut fails) { Err("busy") } else { Ok(()) };
            if result.is_ok() {
                events.lock().unwrap().extend(facts);
            }
            std::future::ready(result)
        };
        keep("a", &state, kept, note).await;
        assert_eq!(events.lock().unwrap().len(), 1);
    }
}
