//! The queue before the meters: callers take turns, and a call passes all of its limits at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Limit;
use super::meter::{Full, Meter};
use crate::counts::{AtLimit, Counts};

/// Meters of callers that are kept although they are idle.
const IDLE: usize = 1_024;

/// How soon a queue that waits for running calls is looked at again, whatever happens.
const LOOK: Duration = Duration::from_secs(1);

/// What a call wants to take.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) caller: String,
    /// Until its usage is known.
    pub(crate) tokens: u64,
}

/// Who said no, and when it may be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) limit: String,
    pub(crate) wait: Duration,
}

/// One limit, and those who wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub limit: String,
    /// How many calls wait.
    pub waiting: usize,
}

/// Whose meter: the limit's place in the settings, and its caller where each has one.
type Key = (usize, Option<String>);

/// All limits, and those who wait for them.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Vec<Limit>,
    /// What is counted of each.
    counts: Vec<Arc<AtLimit>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    meters: HashMap<Key, Meter>,
    /// By their place in the turns of their callers, then by who came first.
    waiting: BTreeMap<(u64, u64), Waiting>,
    /// The turn that each waiting caller's newest call has.
    turns: HashMap<String, u64>,
    turn: u64,
    ids: u64,
    /// How many passes were given.
    passes: u64,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    keys: Vec<Key>,
    claim: Claim,
    granted: oneshot::Sender<Pass>,
}

/// A call's part of its limits; dropping it ends the call. One that was never sent has passed no limit: its part of
/// the minute is somebody else's again.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    keys: Vec<Key>,
    id: u64,
    sent: AtomicBool,
}

impl Pass {
    /// The call goes out now.
    pub(crate) fn sends(&self) {
        self.sent.store(true, Ordering::Relaxed);
    }

    /// What the call has used, instead of what it claimed.
    pub(crate) fn used(&self, tokens: u64) {
        let mut state = self.gate.state();
        for key in &self.keys {
            if let Some(meter) = state.meters.get_mut(key) {
                meter.used(self.id, tokens);
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        for key in &self.keys {
            if let Some(meter) = state.meters.get_mut(key) {
                meter.end();
                if !*self.sent.get_mut() {
                    meter.forgo(self.id);
                }
            }
        }
        let unwanted = self.gate.pump(&mut state);
        drop(state);
        drop(unwanted);
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    gate: &'a Gate,
    order: (u64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if let Some(gone) = state.waiting.remove(&self.order) {
            let caller = gone.claim.caller;
            if !state.waiting.values().any(|waiting| waiting.claim.caller == caller) {
                state.turns.remove(&caller);
            }
        }
    }
}

impl Gate {
    pub(crate) fn new(limits: Vec<Limit>, counts: &Counts) -> Gate {
        let counts = limits.iter().map(|limit| counts.limit(&limit.name)).collect();
        Gate { limits, counts, state: Mutex::default() }
    }

    /// How many wait for each limit.
    pub(crate) fn queues(&self) -> Vec<Queue> {
        let state = self.state();
        let waits = |at: usize| move |waiting: &&Waiting| waiting.keys.iter().any(|key| key.0 == at);
        let limits = self.limits.iter().enumerate();
        let queue = |(at, limit): (usize, &Limit)| Queue {
            limit: limit.name.clone(),
            waiting: state.waiting.values().filter(waits(at)).count(),
        };
        limits.map(queue).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the call's part of every limit that applies, in its turn.
    ///
    /// # Errors
    /// [`Denied`] when its turn does not come in time, or too many wait already.
    pub(crate) async fn take(self: &Arc<Self>, claim: Claim) -> Result<Option<Pass>, Denied> {
        let since = Instant::now();
        let taken = self.wait_for(claim).await;
        match &taken {
            Ok(pass) => {
                let keys = pass.iter().flat_map(|pass| &pass.keys);
                keys.for_each(|(at, _)| self.counts[*at].waited().observe(since.elapsed()));
            }
            Err(denied) => {
                let named =
                    self.limits.iter().zip(&self.counts).find(|(limit, _)| limit.name == denied.limit);
                named.inspect(|(_, counts)| counts.deny());
            }
        }
        taken
    }

    async fn wait_for(self: &Arc<Self>, claim: Claim) -> Result<Option<Pass>, Denied> {
        let applying = self.limits.iter().enumerate().filter(|(_, limit)| limit.applies(&claim));
        let keys: Vec<Key> =
            applying.map(|(at, limit)| (at, limit.per_caller.then(|| claim.caller.clone()))).collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let own = || keys.iter().map(|(at, _)| &self.limits[*at]);
        let patience = own().map(|limit| limit.wait).min().unwrap_or_default();
        let deadline = Instant::now() + patience;
        let (granted, mut pass) = oneshot::channel();
        let (place, unwanted) = {
            let mut state = self.state();
            for key in &keys {
                let waiting = state.waiting.values().filter(|waiting| waiting.keys.contains(key)).count();
                let limit = &self.limits[key.0];
                if waiting >= limit.queue {
                    return Err(Denied { limit: limit.name.clone(), wait: LOOK });
                }
            }
            state.ids += 1;
            // The turn after the caller's last one, and none that is past.
            let turn = state.turns.get(&claim.caller).map_or(state.turn, |last| (last + 1).max(state.turn));
            state.turns.insert(claim.caller.clone(), turn);
            let order = (turn, state.ids);
            state.waiting.insert(order, Waiting { keys: keys.clone(), claim: claim.clone(), granted });
            (Place { gate: self, order }, self.pump(&mut state))
        };
        drop(unwanted);
        loop {
            let look = self.state().next.unwrap_or(deadline).min(Instant::now() + LOOK).min(deadline);
            tokio::select! {
                biased;
                pass = &mut pass => return Ok(pass.ok()),
                () = tokio::time::sleep_until(look) => {}
            }
            let mut state = self.state();
            let unwanted = self.pump(&mut state);
            drop(state);
            drop(unwanted);
            if let Ok(pass) = pass.try_recv() {
                return Ok(Some(pass));
            }
            if Instant::now() >= deadline {
                let denied = self.denied(&keys, &claim);
                drop(place);
                return Err(denied);
            }
        }
    }

    /// The limit that has no room, and when it may have.
    fn denied(&self, keys: &[Key], claim: &Claim) -> Denied {
        let now = Instant::now();
        let mut state = self.state();
        let full = keys.iter().find_map(|key| {
            let limit = &self.limits[key.0];
            let room = state.meters.entry(key.clone()).or_default().room(limit, claim.tokens, now);
            room.err().map(|full| (limit, full))
        });
        match full {
            Some((limit, Full::Until(until))) => Denied { limit: limit.name.clone(), wait: until - now },
            Some((limit, Full::Running)) => Denied { limit: limit.name.clone(), wait: LOOK },
            // Others were before it.
            None => Denied {
                limit: keys.first().map_or_else(String::new, |key| self.limits[key.0].name.clone()),
                wait: LOOK,
            },
        }
    }

    /// Lets everybody pass whose turn it is. What nobody waits for any longer is given back, to be dropped
    /// once the state is free again.
    fn pump(self: &Arc<Self>, state: &mut State) -> Vec<Pass> {
        let now = Instant::now();
        if state.meters.len() > IDLE {
            state.meters.retain(|_, meter| !meter.is_idle(now));
        }
        let (mut blocked, mut passing, mut next) = (Vec::<Key>::new(), Vec::new(), None::<Instant>);
        let State { meters, waiting, passes, .. } = state;
        for (order, waits) in &*waiting {
            if waits.keys.iter().any(|key| blocked.contains(key)) {
                continue;
            }
            let full = waits.keys.iter().find_map(|key| {
                let meter = meters.entry(key.clone()).or_default();
                meter.room(&self.limits[key.0], waits.claim.tokens, now).err().map(|full| (key, full))
            });
            match full {
                Some((key, full)) => {
                    // Nobody behind it takes what it waits for.
                    blocked.push(key.clone());
                    if let Full::Until(until) = full {
                        next = Some(next.map_or(until, |next| next.min(until)));
                    }
                }
                None => {
                    *passes += 1;
                    for key in &waits.keys {
                        let limit = &self.limits[key.0];
                        meters.entry(key.clone()).or_default().pass(limit, waits.claim.tokens, *passes, now);
                    }
                    passing.push((*order, *passes));
                }
            }
        }
        state.next = next;
        let mut unwanted = Vec::new();
        for (order, id) in passing {
            let Some(Waiting { keys, claim, granted }) = state.waiting.remove(&order) else { continue };
            state.turn = state.turn.max(order.0);
            if !state.waiting.values().any(|waiting| waiting.claim.caller == claim.caller) {
                state.turns.remove(&claim.caller);
            }
            let pass = Pass { gate: Arc::clone(self), keys, id, sent: AtomicBool::new(false) };
            if let Err(pass) = granted.send(pass) {
                unwanted.push(pass);
            }
        }
        unwanted
    }
}

#[cfg(test)]
mod tests;
