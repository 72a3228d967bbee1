//! The conversation with a runner during one attempt, from hello to its last word.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wflo_core::effect::memory_of;
use wflo_core::error::{Code, Failure};
use wflo_core::event::Wait;
use wflo_gateway::serve::{Connections, UnderWay};

use super::Steps;
use crate::at_hand;
use crate::broker::{Broker, Unanswered};
use crate::egress::Outlet;
use crate::error::EngineError;
use crate::executor::{Attempt, End, Stop};
use crate::outbox::{Outbox, Told};
use crate::output::Output;
use crate::protocol::{
    self, Answer, CallsState, EffectCall, FrameError, FromRunner, On, RunStep, StepError, ToRunner,
};
use crate::sandboxed::Running;
use crate::standby::Wish;

/// The runner broke the protocol.
const BROKEN: Code = Code(3030);
/// A wait that is shorter than this is not worth ending the sandbox for.
const SHORT: i64 = 2;
/// How long the end of a runner that hung up may take to be seen.
const GONE: Duration = Duration::from_secs(5);
/// How long what a stock client has sent is waited for to be read, before what its step asks for next: longer only where
/// it sends a request in pieces.
const READ: Duration = Duration::from_secs(2);
/// How long a cancelled step has before its sandbox is killed.
const GRACE: Duration = Duration::from_millis(100);

mod asked;
mod drain;
mod ending;
mod incoming;
mod stopwatch;
mod writer;

use asked::{Asked, TOO_MUCH};
use drain::drain;
use incoming::Incoming;
use stopwatch::Stopwatch;
use writer::Stuck;

pub(super) struct Conversation<'a> {
    pub(super) steps: &'a Steps,
    pub(super) attempt: &'a Attempt,
    pub(super) broker: Arc<Broker>,
    pub(super) running: &'a Running,
    /// Of its stock clients, where they are served.
    pub(super) clients: Option<Connections>,
    pub(super) output: Output,
    /// Its way out; taken when it is closed.
    pub(super) outlet: Mutex<Option<Outlet>>,
    pub(super) deadline: Option<Duration>,
    /// What the next step will ask for, where one follows.
    pub(super) next: Option<Wish>,
}

/// The runner's last word, or what came instead of it.
enum Last {
    Succeeded {
        output: Value,
        state: Option<Value>,
    },
    Failed(StepError),
    Suspended(Vec<Wait>),
    Gone,
    Broken(Failure),
    Stop(Stop),
    TimedOut,
    Engine(EngineError),
    /// What the step was told is not its history any more.
    Halted,
}

impl Conversation<'_> {
    /// Gives the runner at the other end of the socket its order, and does what it asks for until its last word.
    pub(super) async fn hold(
        &self,
        (socket, greeted): (UnixStream, bool),
        order: RunStep,
    ) -> Result<End, EngineError> {
        let (reader, mut writer) = socket.into_split();
        let mut received = Incoming::read(reader);
        let (sink, mut line) = Outbox::new();
        let (refuse, refused) = oneshot::channel::<Stuck>();
        let broker = Arc::clone(&self.broker);
        let writing = tokio::spawn(async move {
            // In this order: a runner to which nothing is written any more ends by itself.
            if let Some(stuck) = writer::write(&broker, &mut line, &mut writer).await {
                let _ = refuse.send(stuck);
            }
            drop((line, writer));
        });
        if !greeted {
            sink.small(self.running.hello());
        }
        sink.small(ToRunner::RunStep(Box::new(order)));
        let mut effects = JoinSet::new();
        let last = tokio::select! {
            biased;
            Ok(stuck) = refused => match stuck {
                Stuck::Refused(failure) => Last::Broken(failure),
                Stuck::Engine(error) => Last::Engine(error),
            },
            last = self.listen(&mut received, &sink, &mut effects) => last,
        };
        // An answer that comes while the sandbox ends is the next attempt's.
        self.broker.waits.freeze();
        // Whatever connection closes from here on, no recorded effect follows from it.
        self.broker.calls.ends();
        match &last {
            Last::Stop(stop) if stop.is_urgent() => self.broker.calls.hurry(),
            Last::TimedOut => self.broker.calls.hurry(),
            _ => {}
        }
        match &last {
            // A step whose time is used up may go on later: its code is not unwound.
            Last::Stop(stop) if !matches!(stop, Stop::LeaseLost | Stop::OutOfTime) => {
                self.cancel(&sink, &mut received, "cancelled").await
            }
            Last::TimedOut => self.cancel(&sink, &mut received, "timeout").await,
            _ => {}
        }
        let exit = match &last {
            // How it ended by itself is the answer; a kill would hide it.
            Last::Gone => tokio::time::timeout(GONE, self.running.ended()).await.ok(),
            _ => None,
        };
        // The tree goes first: nothing new is asked, and nothing inside sees the engine hang up.
        self.running.kill().await;
        let outlet = self.outlet.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(outlet) = outlet {
            outlet.close().await;
        }
        // So that what follows knows all that happened.
        self.broker.end_waits();
        self.broker.calls.close().await;
        drain(&mut effects, &self.attempt.step).await;
        drop(sink);
        writing.abort();
        self.conclude(last, exit).await
    }

    async fn listen(
        &self,
        received: &mut Incoming,
        sink: &Outbox,
        effects: &mut JoinSet<Result<(), Unanswered>>,
    ) -> Last {
        let at_hand = &self.broker.waits.at_hand;
        let mut asked = Asked::default();
        let mut watch = self.stopwatch();
        // One that was read while frames of another kind were collected.
        let mut next = None;
        loop {
            watch.look(Instant::now());
            let held = at_hand.held();
            if held.waiting > at_hand::WAITING {
                let message = format!(
                    "the requests of effects that wait take {} MiB; the limit is {} MiB",
                    held.waiting >> 20,
                    at_hand::WAITING >> 20
                );
                let hint = "ask for fewer of them at once, or pass large values by files of the workspace";
                return Last::Broken(Failure::new(TOO_MUCH, message).with_hint(hint));
            }
            let frame = tokio::select! {
                biased;
                stop = self.attempt.stopped() => return Last::Stop(stop),
                // Before what the runner makes of it.
                e = self.broker.calls.broken() => return Last::Engine(e.into()),
                frame = async { next.take() }, if next.is_some() => frame,
                frame = received.next(), if held.has_room() => frame,
                // See `at_hand` for why this cannot last.
                () = at_hand.room(), if !held.has_room() => continue,
                () = watch.expired() => return Last::TimedOut,
                question = self.broker.chain.held() => {
                    // Its program cannot say that it waits. Its call is not begun, so ending it loses
                    // nothing if nothing else is under way.
                    if self.broker.calls.none_in_flight() && self.broker.waits.freeze_while_all(effects.len()) {
                        return Last::Suspended(vec![Wait::Approval { approval_id: question }]);
                    }
                    continue;
                }
                Some(done) = effects.join_next() => {
                    match done {
                        Ok(Ok(()) | Err(Unanswered::Withdrawn)) => continue,
                        Ok(Err(Unanswered::Broken(e))) => return Last::Engine(e),
                        Ok(Err(Unanswered::Halted)) => return Last::Halted,
                        Ok(Err(Unanswered::Failed(failure))) => return Last::Broken(failure),
                        Err(e) if e.is_cancelled() => continue,
                        Err(e) => return Last::Engine(EngineError::Unreadable(format!("internal error: {e}"))),
                    }
                }
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(FrameError::Broken(failure))) => return Last::Broken(failure),
                Some(Err(FrameError::Closed)) | None => return Last::Gone,
            };
            match frame {
                FromRunner::Hello { protocol: version } if version == protocol::VERSION => {
                    // Not before: what this step needs comes first.
                    if let Some(next) = &self.next {
                        let (standbys, sandboxes) = (&self.steps.standbys, &self.steps.sandboxes);
                        standbys.begin(sandboxes, self.attempt.run, next.clone());
                    }
                }
                FromRunner::Hello { protocol: version } => {
                    let message = format!(
                        "the runner speaks protocol {version}, this wflo speaks {}",
                        protocol::VERSION
                    );
                    return Last::Broken(
                        Failure::new(BROKEN, message).with_hint("install the same version of wflo-ai"),
                    );
                }
                FromRunner::Effect(call) => {
                    // What its clients had given up by then.
                    self.clients_are_read().await;
                    if let Err(e) = self.broker.calls.keep_given_up(Some(call.after)).await {
                        return Last::Engine(e.into());
                    }
                    if let Err(failure) = asked.admit(&call, effects.len()) {
                        return Last::Broken(failure);
                    }
                    let recorded = self.broker.journal.get(&call.path, call.seq).is_some();
                    watch.asked(recorded, Instant::now());
                    let on = On { path: call.path.clone(), seq: call.seq };
                    at_hand.begin(on, memory_of(&call.request));
                    effects.spawn(answer(Arc::clone(&self.broker), call, sink.clone()));
                }
                FromRunner::EffectCancelled { path, seq, after } => {
                    let mut these = vec![(On { path, seq }, after)];
                    // What stands behind it is read once it is durable, and not before; a lost race cancels
                    // many waits at once, which are one commit.
                    loop {
                        match received.here() {
                            Ok(Ok(FromRunner::EffectCancelled { path, seq, after })) => {
                                these.push((On { path, seq }, after));
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    if let Some((on, _)) = these.iter().find(|(on, _)| !asked.contains(on)) {
                        let message = format!(
                            "the runner gave the effect {}/{} up without asking for it",
                            on.path, on.seq
                        );
                        return Last::Broken(Failure::new(BROKEN, message));
                    }
                    let reached = these.last().map(|(_, after)| *after);
                    self.clients_are_read().await;
                    if let Err(e) = self.broker.calls.keep_given_up(reached).await {
                        return Last::Engine(e.into());
                    }
                    if let Err(e) = self.broker.cancelled(these).await {
                        return Last::Engine(e);
                    }
                }
                FromRunner::EffectDone { path, seq, result } => {
                    self.broker.tool_done(&On { path, seq }, result)
                }
                FromRunner::Log { level, message, fields } => self.output.line(&level, message, fields).await,
                FromRunner::Succeeded { output, state } => return Last::Succeeded { output, state },
                FromRunner::Failed { error } => return Last::Failed(error),
                FromRunner::Suspended { on } => {
                    for on in &on {
                        // Nothing would ever come of it.
                        let Some(error) = self.broker.waits_again(on) else { continue };
                        self.broker.heard(&error);
                        sink.answer(on.clone(), None, None, Told::Here(Answer::Error(error), None));
                    }
                    if let Some(waits) = self.worth_ending(&on) {
                        return Last::Suspended(waits);
                    }
                    self.broker.chain.runner_waits(&on);
                }
                FromRunner::Calls { n, open } => {
                    sink.offer(ToRunner::Calls { n, state: self.calls(open) });
                }
                FromRunner::Definition { .. } => {
                    return Last::Broken(Failure::new(
                        BROKEN,
                        "the runner sent a definition while it ran a step",
                    ));
                }
            }
        }
    }

    /// Waits until all that stock clients have sent by now is known of.
    async fn clients_are_read(&self) {
        let Some(clients) = &self.clients else { return };
        let began = Instant::now();
        while clients.are_being_read() && began.elapsed() < READ {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn calls(&self, open: usize) -> CallsState {
        match self.clients.as_ref().map_or(UnderWay::Nothing, |clients| clients.under_way(open)) {
            UnderWay::Nothing => CallsState::Quiet,
            UnderWay::Answer => CallsState::Answering,
            UnderWay::Call => CallsState::Running,
        }
    }

    fn stopwatch(&self) -> Stopwatch {
        let rows = self.broker.journal.all();
        let recorded = rows.iter().filter(|row| !row.key.path.starts_with('@')).count();
        Stopwatch::start(self.attempt.active.clone(), self.deadline, recorded, Instant::now())
    }

    /// The waits of a suspended step, if ending its sandbox is worth it.
    fn worth_ending(&self, on: &[On]) -> Option<Vec<Wait>> {
        let waits = self.broker.waits.of(on)?;
        let now = self.steps.services.clock.now();
        let is_short = |wait: &Wait| matches!(wait, Wait::Timer { due, .. } if due.duration_since(now).as_secs() < SHORT);
        let short = waits.iter().any(is_short);
        let worth = !waits.is_empty() && !short && self.broker.calls.none_in_flight();
        (worth && self.broker.waits.freeze_while_waiting(on)).then_some(waits)
    }

    /// Lets the code's own clean-up begin; the kill follows whatever it does.
    async fn cancel(&self, sink: &Outbox, received: &mut Incoming, reason: &str) {
        sink.small(ToRunner::Cancel { reason: reason.to_owned() });
        let _ = tokio::time::timeout(GRACE, async {
            while let Some(Ok(frame)) = received.next().await {
                if matches!(frame, FromRunner::Failed { .. } | FromRunner::Succeeded { .. }) {
                    return;
                }
            }
        })
        .await;
    }
}

/// Carries an effect out and tells the runner.
async fn answer(broker: Arc<Broker>, mut call: EffectCall, sink: Outbox) -> Result<(), Unanswered> {
    let on = On { path: call.path.clone(), seq: call.seq };
    call.after = broker.journal.order_at(call.after);
    let performed = broker.perform(call, &sink).await;
    broker.waits.at_hand.done(&on);
    let answered = performed?;
    let order = answered.order;
    if let Some(Answer::Error(error)) = &answered.answer {
        broker.heard(error);
    }
    // Before it waits for its turn: that may be long.
    let told = answered.told(&sink);
    let fresh = broker.journal.get(&on.path, on.seq).and_then(|row| row.order());
    let turn = match fresh.filter(|_| order.is_none()) {
        // Nobody hears it when the attempt is being ended; it is in the journal.
        Some(order) => tokio::select! {
            turn = broker.journal.turn(order) => Some((turn, order)),
            () = broker.waits.closed() => return Ok(()),
        },
        None => None,
    };
    // All answers before it are in the journal by now, so its place among them is known.
    let place = turn.as_ref().map(|(_, order)| broker.journal.replay_place(*order));
    sink.answer(on, order, place, told);
    drop(turn);
    Ok(())
}
