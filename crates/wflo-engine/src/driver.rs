//! One run's driver: a task that owns the run's state while anything happens in it.
//!
//! It turns messages into commands, commits what the machine answers, and carries out what has become
//! outstanding. When everything waits it parks: the state is dropped, and the run is loaded again by
//! whatever wakes it.
//!
//! The next step is started in the commit that ends the one before.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use wflo_core::error::Coded;
use wflo_core::event::{AfterFailure, Event, EventBody, LeftBehind};
use wflo_core::id::RunId;
use wflo_core::machine::{
    self, Action, Attempt as Spoken, Command, CommandBody, HostChange, RunState, TimerKey,
};
use wflo_core::ports::store::{Op, StoreError};
use wflo_core::run::RunStatus;

use crate::egress;
use crate::engine::Shared;
use crate::error::EngineError;
use crate::executor::{Decisions, End, RunContext, Stop};
use crate::inbox::Message;

mod ahead;
mod attempts;
mod begin;
mod commit;
mod leftovers;
mod mailbox;
pub(crate) mod ops;
mod results;

use ahead::Ahead;
use attempts::Live;
pub(crate) use mailbox::{Mailbox, Msg};
use results::Results;

/// A run that is accepted and begun in one commit.
pub(crate) struct Acceptance {
    /// The run's row and what belongs to it.
    pub(crate) ops: Vec<Op>,
    /// Told once that is durable.
    pub(crate) reply: oneshot::Sender<Result<(), EngineError>>,
}

/// How an attempt talks to its run's driver.
#[derive(Clone)]
pub struct DriverHandle {
    mailbox: Mailbox,
}

impl DriverHandle {
    /// Applies a command with further ops in its commit; returns the events once they are durable.
    ///
    /// # Errors
    /// When the machine or the store says no; then nothing was written.
    pub async fn tell(&self, body: CommandBody, ops: Vec<Op>) -> Result<Vec<Event>, EngineError> {
        let (reply, answer) = oneshot::channel();
        let message = Msg::Tell { body: Box::new(body), ops, reply };
        self.mailbox.put(message).map_err(|_| EngineError::ShuttingDown)?;
        answer.await.map_err(|_| EngineError::ShuttingDown)?
    }
}

/// Why a driver ended.
#[derive(Debug)]
pub(crate) enum Left {
    Ended(RunStatus),
    Parked(RunStatus),
    Shutdown,
    GivenUp(EngineError),
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    context: Arc<RunContext>,
    run: RunId,
    epoch: u64,
    state: RunState,
    mailbox: Mailbox,
    receiver: mpsc::UnboundedReceiver<Msg>,
    live: HashMap<String, Live>,
    undoing: std::collections::HashSet<String>,
    wants_slot: bool,
    permits: Vec<OwnedSemaphorePermit>,
    decisions: watch::Sender<Arc<Decisions>>,
    hosts: watch::Sender<Arc<Vec<HostChange>>>,
    network: egress::Remaining,
    stopping: Option<Stop>,
    /// Nothing is started until all that a predecessor left has been looked at.
    taking_over: bool,
    ahead: Ahead,
    results: Results,
    /// Why something that was handed over will never be durable: the state here is not the run's.
    lost: Option<StoreError>,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        context: Arc<RunContext>,
        state: RunState,
        epoch: u64,
        (mailbox, receiver): (Mailbox, mpsc::UnboundedReceiver<Msg>),
    ) -> Self {
        let decisions = watch::channel(Arc::new(decisions_of(&state))).0;
        let hosts = watch::channel(Arc::new(state.hosts.clone())).0;
        Driver {
            run: context.record.id,
            results: Results::of(&state),
            shared,
            context,
            epoch,
            state,
            mailbox,
            receiver,
            live: HashMap::new(),
            undoing: std::collections::HashSet::new(),
            wants_slot: false,
            permits: Vec::new(),
            decisions,
            hosts,
            network: egress::Remaining::default(),
            stopping: None,
            taking_over: false,
            ahead: Ahead::default(),
            lost: None,
        }
    }

    /// Drives until the run has ended, everything in it waits, or it must be given up.
    pub(crate) async fn drive(
        mut self,
        acceptance: Option<Acceptance>,
    ) -> (Left, mpsc::UnboundedReceiver<Msg>) {
        let begun = match acceptance {
            Some(acceptance) => self.accept(acceptance).await,
            None => self.begin().await,
        };
        let left = match begun {
            Ok(()) => self.turn().await,
            Err(e) => Left::GivenUp(e),
        };
        self.end_attempts(&left).await;
        self.shared.executor.leave(self.run).await;
        (left, self.receiver)
    }

    async fn turn(&mut self) -> Left {
        loop {
            if let Some(e) = self.lost.take() {
                return Left::GivenUp(e.into());
            }
            if self.live.is_empty() && self.undoing.is_empty() && self.ahead.is_empty() {
                if self.state.status.is_terminal() {
                    return Left::Ended(self.state.status);
                }
                if self.stopping.is_some() {
                    return Left::Shutdown;
                }
                let rests = matches!(self.state.status, RunStatus::Waiting | RunStatus::Paused);
                if rests && self.receiver.is_empty() {
                    return Left::Parked(self.state.status);
                }
            }
            let message = tokio::select! {
                message = self.receiver.recv() => message,
                Some(settled) = self.ahead.next() => {
                    self.lost = settled.err();
                    continue;
                }
            };
            let Some(message) = message else { return Left::Shutdown };
            if let Err(e) = self.handle(message).await {
                return Left::GivenUp(e);
            }
            // A predecessor's attempt that no slot was free for yet is dead: it stops by being said to.
            let holding = self.state.paused || self.state.ending.is_some();
            if holding && let Err(e) = self.answer_for_the_dead().await {
                return Left::GivenUp(e);
            }
        }
    }

    async fn handle(&mut self, message: Msg) -> Result<(), EngineError> {
        match message {
            Msg::Inbox => self.read_inbox().await,
            Msg::Timer(timer, set_for) => self.timer(timer, set_for).await,
            Msg::Slot(permit) => {
                self.wants_slot = false;
                self.permits.push(permit);
                self.commit(Vec::new(), self.state.clone(), Vec::new()).await
            }
            Msg::Tell { body, ops, reply } => {
                let answer = self.command(*body, ops).await;
                let fatal = matches!(&answer, Err(EngineError::Store(e)) if is_fatal(e));
                let told = match &answer {
                    Err(EngineError::Store(e)) if fatal => Some(EngineError::Store(e.clone())),
                    _ => None,
                };
                // The asker may have been dropped; what it asked for is durable all the same.
                let _ = reply.send(answer);
                told.map_or(Ok(()), Err)
            }
            Msg::Ended { step, spoken, end } => self.ended(step, spoken, *end).await,
            Msg::Undone { step, report, error } => {
                self.undoing.remove(&step);
                let told = self.command(CommandBody::StepUndone { step, report, error }, Vec::new()).await;
                tolerate_rejection(told)
            }
            Msg::Shutdown => {
                self.stopping = Some(Stop::Shutdown);
                for live in self.live.values() {
                    live.stop.send_replace(Some(Stop::Shutdown));
                }
                Ok(())
            }
        }
    }

    async fn timer(&mut self, timer: TimerKey, set_for: jiff::Timestamp) -> Result<(), EngineError> {
        let due = machine::outstanding(&self.state).into_iter().find_map(|action| match action {
            // One of the same name that was set anew, for later, is not this one.
            Action::StartTimer { timer: set, due } if set == timer && due <= set_for => Some(due),
            _ => None,
        });
        // The boot clock has decided that it is due, even where the wall clock was set back.
        let Some(due) = due else { return Ok(()) };
        let at = self.shared.clock.now().max(due);
        tolerate_rejection(self.command_at(at, CommandBody::TimerFired { timer }, Vec::new()).await)
    }

    async fn read_inbox(&mut self) -> Result<(), EngineError> {
        self.mailbox.reading_inbox();
        for message in self.shared.store.run_inbox(self.run).await? {
            let read = vec![Op::DropInbox { ids: vec![message.id] }];
            let told = match serde_json::from_value::<Message>(message.message) {
                Ok(parsed) => match parsed.into_command() {
                    Ok(body) => self.command(body, read.clone()).await,
                    Err(overshot) => match overshot.overdrawn(self.shared.store.as_ref()).await? {
                        Some(error) => self.command(CommandBody::Overdrawn { error }, read.clone()).await,
                        None => {
                            self.commit(Vec::new(), self.state.clone(), read).await?;
                            continue;
                        }
                    },
                },
                Err(e) => Err(EngineError::Unreadable(format!("a message for {}: {e}", self.run))),
            };
            match told {
                Ok(_) => {}
                Err(EngineError::Store(e)) if is_fatal(&e) => return Err(e.into()),
                Err(e) => {
                    // Too late or not for this run: it has been looked at, so it must not come again.
                    tracing::info!(run_id = %self.run, error = %e, "a message changed nothing");
                    self.commit(Vec::new(), self.state.clone(), read).await?;
                }
            }
        }
        Ok(())
    }

    async fn ended(&mut self, step: String, spoken: Spoken, end: End) -> Result<(), EngineError> {
        let live = self.live.get(&step).filter(|live| live.spoken == spoken);
        let active_ms = live.map_or(0, |live| live.active.ms());
        let used = live.map(|live| live.used.resources()).filter(|used| !used.is_empty());
        if live.is_some() {
            self.live.remove(&step);
        }
        let attempt = spoken;
        let name = step.clone();
        let (mut ops, mut copies) = (Vec::new(), None);
        // Let go when this returns: an end that keeps a tree is durable then.
        let mut _pin = None;
        let body = match end {
            End::Succeeded { output, state, cost, layer, ops: with } => {
                let changes = self.state.changes_of(&step, state.as_ref());
                match self.results.add(&step, &output, &changes) {
                    Err(error) => {
                        let no_retry = Some(error.clone());
                        CommandBody::StepFailed {
                            step,
                            attempt,
                            error,
                            timed_out: false,
                            no_retry,
                            left: None,
                        }
                    }
                    Ok(()) => {
                        ops = with;
                        let layer = layer.map(|layer| {
                            ops.push(Op::KeepTrees { run: self.run, trees: vec![layer.id.clone()] });
                            _pin = Some(layer.pin);
                            layer.id
                        });
                        CommandBody::StepSucceeded { step, attempt, output, state, cost, layer }
                    }
                }
            }
            End::Failed { error, timed_out, no_retry, keep, left } => {
                if no_retry.is_none() && !keep.is_empty() {
                    copies = Some(Op::CopyEffects {
                        run: self.run,
                        step: step.clone(),
                        from: spoken.generation,
                        to: spoken.generation + 1,
                        keep,
                    });
                }
                let left = left.map(|left| LeftBehind {
                    exit_code: left.exit_code,
                    layer: left.layer.map(|layer| {
                        ops.push(Op::KeepTrees { run: self.run, trees: vec![layer.id.clone()] });
                        _pin = Some(layer.pin);
                        layer.id
                    }),
                });
                CommandBody::StepFailed { step, attempt, error, timed_out, no_retry, left }
            }
            End::Lost { reason } => {
                CommandBody::StepLost { step, attempt, reason, active_ms, answered: None }
            }
            End::Suspended { on } => CommandBody::StepSuspended { step, attempt, on, active_ms },
            End::Stopped => CommandBody::StepStopped { step, attempt, active_ms },
        };
        let used = used.map(|resources| CommandBody::SandboxUsed { step: name.clone(), attempt, resources });
        let told = self.end(used, body, ops, copies).await;
        if let Err(EngineError::Store(e)) = &told
            && !is_fatal(e)
        {
            // The store refused this end (an approval was used or taken back meanwhile): the attempt
            // counts as lost, and another one finds out.
            let reason = format!("its end was refused: {e}");
            let lost = CommandBody::StepLost { step: name, attempt, reason, active_ms, answered: None };
            return tolerate_rejection(self.command(lost, Vec::new()).await);
        }
        tolerate_rejection(told)
    }

    /// The end of an attempt, behind what its sandbox `used`; `copies` only go with it when a new generation
    /// follows.
    async fn end(
        &mut self,
        used: Option<CommandBody>,
        body: CommandBody,
        mut ops: Vec<Op>,
        copies: Option<Op>,
    ) -> Result<Vec<Event>, EngineError> {
        let now = self.shared.clock.now();
        let measured = used.map(|used| machine::step(&self.state, self.told(now, used))).transpose()?;
        let state = measured.as_ref().map_or(&self.state, |(_, state)| state);
        let (ends, next) = machine::step(state, self.told(now, body))?;
        let events: Vec<Event> =
            measured.map(|(events, _)| events).into_iter().flatten().chain(ends).collect();
        let retried = |e: &Event| {
            matches!(
                e.body,
                EventBody::StepFailed { then: AfterFailure::Retry | AfterFailure::UndoThenRetry, .. }
            )
        };
        ops.extend(copies.filter(|_| events.iter().any(retried)));
        self.commit(events.clone(), next, ops).await?;
        Ok(events)
    }

    async fn command(&mut self, body: CommandBody, ops: Vec<Op>) -> Result<Vec<Event>, EngineError> {
        self.command_at(self.shared.clock.now(), body, ops).await
    }

    async fn command_at(
        &mut self,
        at: jiff::Timestamp,
        body: CommandBody,
        ops: Vec<Op>,
    ) -> Result<Vec<Event>, EngineError> {
        let (events, next) = machine::step(&self.state, self.told(at, body))?;
        self.commit(events.clone(), next, ops).await?;
        Ok(events)
    }

    fn told(&self, at: jiff::Timestamp, body: CommandBody) -> Command {
        Command { at, seed: self.shared.clock.uuid(), draw: self.shared.clock.draw(), body }
    }
}

fn decisions_of(state: &RunState) -> Decisions {
    state.approvals.iter().map(|(id, a)| (*id, (a.status, a.decision.clone()))).collect()
}

/// A refused batch of one attempt is that attempt's business; a store that cannot be written, or a
/// lease that is lost, is the run's.
fn is_fatal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::LeaseLost { .. }
            | StoreError::DiskFull { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Altered { .. }
            | StoreError::Locked { .. }
            | StoreError::Failed(_)
            | StoreError::Closed
    )
}

/// What an old attempt says is not listened to; that is no error of the driver.
fn tolerate_rejection(told: Result<Vec<Event>, EngineError>) -> Result<(), EngineError> {
    match told {
        Ok(_) => Ok(()),
        Err(EngineError::Rejected(rejection)) => {
            tracing::debug!(%rejection, "a command changed nothing");
            Ok(())
        }
        Err(e) => {
            tracing::warn!(code = %e.code(), error = %e, "a commit failed");
            Err(e)
        }
    }
}
