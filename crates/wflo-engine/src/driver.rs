//! One run's driver: a task that owns the run's state while anything happens in it.
//!
//! It turns messages into commands, commits what the machine answers, and only then carries out what
//! has become outstanding. When everything waits it parks: the state is dropped, and the run is loaded
//! again by whatever wakes it.
//!
//! The next step is started in the commit that ends the one before, so a line of steps costs one
//! flush a step.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tracing::Instrument as _;
use wflo_core::error::Coded;
use wflo_core::event::{AfterFailure, Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::machine::{
    self, Action, Attempt as Spoken, Command, CommandBody, RunState, StepStatus, TimerKey,
};
use wflo_core::ports::store::{Batch, Fence, Op, StoreError};
use wflo_core::run::RunStatus;

use crate::engine::Shared;
use crate::error::EngineError;
use crate::executor::{Attempt, Decisions, End, RunContext, Stop};
use crate::inbox::Message;
use crate::waiters::Progress;

mod leftovers;
mod mailbox;
pub(crate) mod ops;

pub(crate) use mailbox::{Mailbox, Msg};

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

struct Live {
    stop: watch::Sender<Option<Stop>>,
    spoken: Spoken,
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
    stopping: Option<Stop>,
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
        Driver {
            run: context.record.id,
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
            stopping: None,
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
        (left, self.receiver)
    }

    /// Accepts and starts a new run in one commit. Nobody can have left it a message before.
    async fn accept(&mut self, acceptance: Acceptance) -> Result<(), EngineError> {
        let told = self.command(self.start(), acceptance.ops).await;
        let begun = if told.is_ok() { Ok(()) } else { Err(EngineError::NoRun(self.run)) };
        // The submitter may have been dropped; the run is durable all the same.
        let _ = acceptance.reply.send(told.map(|_| ()));
        begun
    }

    fn start(&self) -> CommandBody {
        let record = &self.context.record;
        CommandBody::Start { version: record.version.clone(), carried: record.options.carried.clone() }
    }

    /// Starts a new run, or takes up what a predecessor left.
    async fn begin(&mut self) -> Result<(), EngineError> {
        if self.state.status == RunStatus::Pending {
            self.cancel_before_it_begins().await?;
        }
        if self.state.status == RunStatus::Pending {
            self.command(self.start(), Vec::new()).await?;
        } else {
            // By the moment at which they were set: a clock that was changed since does not move them.
            for timer in self.shared.store.timers(None, Some(self.run)).await? {
                if let Ok(key) = timer.key.parse() {
                    self.shared.timers.set(self.run, key, timer.due, &timer.set);
                }
            }
            // What people have said comes before any step is started again: a cancelled run starts none.
            self.read_inbox().await?;
            self.answer_for_the_dead().await?;
            self.commit(Vec::new(), self.state.clone(), Vec::new()).await?;
        }
        self.read_inbox().await
    }

    /// A run that was cancelled while it was queued starts nothing.
    async fn cancel_before_it_begins(&mut self) -> Result<(), EngineError> {
        for message in self.shared.store.run_inbox(self.run).await? {
            if let Ok(cancel @ Message::Cancel { .. }) = serde_json::from_value(message.message) {
                let read = vec![Op::DropInbox { ids: vec![message.id] }];
                self.command(cancel.into_command(), read).await?;
                break;
            }
        }
        Ok(())
    }

    /// A stop that was asked of an attempt which died with its engine is done.
    async fn answer_for_the_dead(&mut self) -> Result<(), EngineError> {
        for action in machine::outstanding(&self.state) {
            if let Action::StopStep { step } = action
                && !self.live.contains_key(&step)
            {
                let Some(found) = self.state.step(&step) else { continue };
                let attempt = Spoken { generation: found.generation, attempt: found.attempt };
                self.command(CommandBody::StepStopped { step, attempt }, Vec::new()).await?;
            }
        }
        Ok(())
    }

    async fn turn(&mut self) -> Left {
        loop {
            if self.live.is_empty() && self.undoing.is_empty() {
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
            let Some(message) = self.receiver.recv().await else { return Left::Shutdown };
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
                Ok(parsed) => self.command(parsed.into_command(), read.clone()).await,
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
        if self.live.get(&step).is_some_and(|live| live.spoken == spoken) {
            self.live.remove(&step);
        }
        let attempt = spoken;
        let name = step.clone();
        let (mut ops, mut copies) = (Vec::new(), None);
        let body = match end {
            End::Succeeded { output, state, cost, layer, ops: with } => {
                ops = with;
                CommandBody::StepSucceeded { step, attempt, output, state, cost, layer }
            }
            End::Failed { error, timed_out, no_retry, keep } => {
                if no_retry.is_none() && !keep.is_empty() {
                    copies = Some(Op::CopyEffects {
                        run: self.run,
                        step: step.clone(),
                        from: spoken.generation,
                        to: spoken.generation + 1,
                        keep,
                    });
                }
                CommandBody::StepFailed { step, attempt, error, timed_out, no_retry }
            }
            End::Lost { reason } => CommandBody::StepLost { step, attempt, reason },
            End::Suspended { on } => CommandBody::StepSuspended { step, attempt, on },
            End::Stopped => CommandBody::StepStopped { step, attempt },
        };
        let told = self.end(body, ops, copies).await;
        if let Err(EngineError::Store(e)) = &told
            && !is_fatal(e)
        {
            // The store refused this end (an approval was used or taken back meanwhile): the attempt
            // counts as lost, and another one finds out.
            let reason = format!("its end was refused: {e}");
            let lost = CommandBody::StepLost { step: name, attempt, reason };
            return tolerate_rejection(self.command(lost, Vec::new()).await);
        }
        tolerate_rejection(told)
    }

    /// The end of an attempt; `copies` only go with it when a new generation follows.
    async fn end(
        &mut self,
        body: CommandBody,
        mut ops: Vec<Op>,
        copies: Option<Op>,
    ) -> Result<Vec<Event>, EngineError> {
        let (events, next) = machine::step(&self.state, self.told(self.shared.clock.now(), body))?;
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

    /// Makes events durable, together with the starts that they allow, and carries out what follows.
    async fn commit(
        &mut self,
        mut events: Vec<Event>,
        mut next: RunState,
        mut ops: Vec<Op>,
    ) -> Result<(), EngineError> {
        self.close_leftovers(&events).await?;
        let starts = self.admit(&mut events, &mut next);
        let was = std::mem::replace(&mut self.state, next);
        // Callers' ops come first: they may refuse the batch (a hold, a use of an approval).
        ops.extend(ops::of_change(self.run, &was, &self.state, &events, &self.shared.clock.moment()));
        if !ops.is_empty() {
            let batch = Batch { fence: Some(Fence { run: self.run, epoch: self.epoch }), ops };
            crate::failpoint::pass("run.commit.before");
            if let Err(e) = self.shared.store.commit(batch).await {
                self.state = was;
                self.permits.clear();
                if !starts.is_empty() {
                    // They were refused with the rest and are tried again on their own.
                    self.want_slot();
                }
                return Err(e.into());
            }
            crate::failpoint::pass("run.commit.after");
        }
        self.follow(&was, starts);
        // A slot that nothing here needs is another run's.
        self.permits.clear();
        Ok(())
    }

    /// In a commit of its own: what it closes is over whatever becomes of the events.
    async fn close_leftovers(&self, events: &[Event]) -> Result<(), StoreError> {
        let (store, at) = (self.shared.store.as_ref(), self.shared.clock.now());
        let ops = leftovers::ops(store, self.run, &self.state, events, at).await?;
        if ops.is_empty() {
            return Ok(());
        }
        let batch = Batch { fence: Some(Fence { run: self.run, epoch: self.epoch }), ops };
        match store.commit(batch).await {
            Err(e) if is_fatal(&e) => Err(e),
            Err(e) => {
                tracing::warn!(run_id = %self.run, error = %e, "lost calls could not be charged");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Starts, in the draft, every outstanding step that has a free slot.
    fn admit(&mut self, events: &mut Vec<Event>, next: &mut RunState) -> Vec<String> {
        let mut starts = Vec::new();
        // Apart from the free ones, or the next step would take the slot of the one before it.
        let mut taken = Vec::new();
        if self.stopping.is_some() || !next.steps.iter().any(|s| s.status.is_active()) {
            return starts;
        }
        for action in machine::outstanding(next) {
            let Action::RunStep { step, .. } = action else { continue };
            if self.live.contains_key(&step) || starts.contains(&step) {
                continue;
            }
            let permit =
                self.permits.pop().or_else(|| Arc::clone(&self.shared.slots).try_acquire_owned().ok());
            let Some(permit) = permit else {
                self.want_slot();
                break;
            };
            let body = CommandBody::StepStarted { step: step.clone(), epoch: self.epoch };
            let told = self.told(self.shared.clock.now(), body);
            match machine::step(next, told) {
                Ok((more, state)) => {
                    events.extend(more);
                    *next = state;
                    taken.push(permit);
                    starts.push(step);
                }
                Err(e) => {
                    tracing::warn!(run_id = %self.run, step, error = %e, "an outstanding step cannot start")
                }
            }
        }
        self.permits.append(&mut taken);
        starts
    }

    fn want_slot(&mut self) {
        if self.wants_slot {
            return;
        }
        self.wants_slot = true;
        let (slots, mailbox) = (Arc::clone(&self.shared.slots), self.mailbox.clone());
        tokio::spawn(async move {
            if let Ok(permit) = slots.acquire_owned().await {
                // A driver that is gone gives the slot back by dropping it.
                drop(mailbox.put(Msg::Slot(permit)));
            }
        });
    }

    /// What the commit asks for.
    fn follow(&mut self, was: &RunState, starts: Vec<String>) {
        for step in starts {
            if let Some(permit) = self.permits.pop() {
                self.spawn_attempt(step, permit);
            }
        }
        if was.approvals != self.state.approvals {
            self.decisions.send_replace(Arc::new(decisions_of(&self.state)));
        }
        let holding = self.state.paused || self.state.ending.is_some();
        if holding {
            let reason = if self.state.ending.is_some() { Stop::Ending } else { Stop::Paused };
            for live in self.live.values().filter(|live| live.stop.borrow().is_none()) {
                live.stop.send_replace(Some(reason));
            }
        }
        let definition = Arc::clone(&self.state.definition);
        for (spec, step) in definition.steps.iter().zip(&self.state.steps) {
            if matches!(step.status, StepStatus::Undoing { .. }) && self.undoing.insert(spec.name.clone()) {
                self.spawn_undo(spec.name.clone(), step.generation);
            }
        }
        self.shared.follow_timers(self.run, was, &self.state);
        if was.status != self.state.status {
            self.shared.waiters.say(self.run, &Progress::Driving);
        }
    }

    fn spawn_attempt(&mut self, step: String, permit: OwnedSemaphorePermit) {
        let Some(found) = self.state.step(&step) else { return };
        let spoken = Spoken { generation: found.generation, attempt: found.attempt };
        let (stop, stopped) = watch::channel(None);
        let attempt = Attempt {
            run: self.run,
            step: step.clone(),
            generation: spoken.generation,
            attempt: spoken.attempt,
            epoch: self.epoch,
            context: Arc::clone(&self.context),
            outputs: self.state.outputs_for(&step),
            variables: Arc::clone(&self.state.variables),
            layers: self.layers_before(&step),
            stop: stopped,
            decisions: self.decisions.subscribe(),
            driver: DriverHandle { mailbox: self.mailbox.clone() },
        };
        self.live.insert(step.clone(), Live { stop, spoken });
        let (executor, mailbox) = (Arc::clone(&self.shared.executor), self.mailbox.clone());
        let Spoken { generation, attempt: number } = spoken;
        let span = tracing::info_span!("step", step, generation, attempt = number);
        let work = async move {
            let end = executor.run(attempt).instrument(span).await;
            // The slot goes first, so that this run's next step can have it.
            drop(permit);
            end
        };
        tokio::spawn(async move {
            // A panic of the executor is a lost attempt, not a lost run.
            let end = match tokio::spawn(work).await {
                Ok(end) => end,
                Err(e) => End::Lost { reason: format!("internal error: {e}") },
            };
            drop(mailbox.put(Msg::Ended { step, spoken, end: Box::new(end) }));
        });
    }

    /// Layers of all steps that succeeded before this one could start, in the order they ended.
    fn layers_before(&self, step: &str) -> Vec<String> {
        let layers = crate::changes::layers(&self.state).into_iter();
        layers.filter(|(of, _)| *of != step).map(|(_, layer)| layer.to_owned()).collect()
    }

    fn spawn_undo(&self, step: String, generation: u32) {
        let (executor, mailbox) = (Arc::clone(&self.shared.executor), self.mailbox.clone());
        let (context, fence) = (Arc::clone(&self.context), Fence { run: self.run, epoch: self.epoch });
        tokio::spawn(async move {
            let (report, error) = executor.compensate(context, step.clone(), generation, fence).await;
            drop(mailbox.put(Msg::Undone { step, report, error }));
        });
    }

    /// Ends what is still live, whatever the reason; what it says is not written any more.
    async fn end_attempts(&mut self, left: &Left) {
        let reason = match left {
            Left::GivenUp(EngineError::Store(StoreError::LeaseLost { .. })) => Stop::LeaseLost,
            _ => Stop::Shutdown,
        };
        for live in self.live.values() {
            live.stop.send_replace(Some(reason));
        }
        while !(self.live.is_empty() && self.undoing.is_empty()) {
            match self.receiver.recv().await {
                Some(Msg::Ended { step, .. }) => {
                    self.live.remove(&step);
                }
                Some(Msg::Undone { step, .. }) => {
                    self.undoing.remove(&step);
                }
                Some(Msg::Tell { reply, .. }) => {
                    let _ = reply.send(Err(EngineError::ShuttingDown));
                }
                Some(_) => {}
                None => return,
            }
        }
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
