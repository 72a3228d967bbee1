//! One sandbox that this server has made, from its making to its end.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::net::UnixStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use wflo_sandbox::ProcessTree;

use crate::access::Tokens;
use crate::ask::Ask;
use crate::conversation::{ANSWER, Conversation};
use crate::error::ApiError;
use crate::frame::{self, Frames};
use crate::life::{AtEnd, Due, Life, Over};
use crate::network::Network;
use crate::room::Room;
use crate::sandboxes::Once;

/// A sandbox, and what its clients know of it.
pub(crate) struct Live {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) tokens: Tokens,
    pub(crate) metadata: BTreeMap<String, String>,
    /// What its programs begin with, as its client has set it.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) started: Timestamp,
    /// What it may reach.
    hosts: Mutex<Vec<String>>,
    /// The request that made it, where that may come twice.
    pub(crate) once: Option<Once>,
    pub(crate) tree: ProcessTree,
    network: Mutex<Option<Network>>,
    /// The agent's standard input.
    agent: OwnedFd,
    life: Mutex<Life>,
    /// Whether a request that finds it paused lets it go on.
    pub(crate) wakes: bool,
    /// Processor time when somebody looked last, and when that was.
    measured: Mutex<Option<(Instant, Duration)>>,
    /// Its time has changed.
    pub(crate) changed: Notify,
    /// Room for messages to the agent, and for the agent's.
    pub(crate) inward: Room,
    outward: Room,
    /// Room among the server's sandboxes, and in their memory.
    room: Mutex<Vec<OwnedSemaphorePermit>>,
}

/// What a new one is made of.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) template: String,
    pub(crate) tokens: Tokens,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) now: Timestamp,
    pub(crate) span: Duration,
    pub(crate) longest: Duration,
    pub(crate) at_end: AtEnd,
    pub(crate) wakes: bool,
    pub(crate) hosts: Vec<String>,
    pub(crate) once: Option<Once>,
    pub(crate) tree: ProcessTree,
    pub(crate) network: Option<Network>,
    pub(crate) agent: OwnedFd,
    pub(crate) room: Vec<OwnedSemaphorePermit>,
}

impl Made {
    pub(crate) fn live(self) -> Live {
        let life = Life::new(self.now, self.span, self.longest, self.at_end);
        Live {
            id: self.id,
            template: self.template,
            tokens: self.tokens,
            metadata: self.metadata,
            env: self.env,
            started: self.now,
            hosts: Mutex::new(self.hosts),
            once: self.once,
            tree: self.tree,
            network: Mutex::new(self.network),
            agent: self.agent,
            life: Mutex::new(life),
            wakes: self.wakes,
            measured: Mutex::default(),
            changed: Notify::new(),
            inward: Room::new(),
            outward: Room::new(),
            room: Mutex::new(self.room),
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn life(&self) -> MutexGuard<'_, Life> {
        held(&self.life)
    }

    /// The rules of hosts that it may reach.
    pub(crate) fn hosts(&self) -> Vec<String> {
        held(&self.hosts).clone()
    }

    /// Lets it reach these hosts from now on, and no others.
    ///
    /// # Errors
    /// When it was made without a network, and is to have one.
    pub(crate) fn allow(&self, hosts: Vec<String>) -> Result<(), ApiError> {
        let network = held(&self.network);
        match &*network {
            Some(network) => network.allow(&hosts)?,
            None if hosts.is_empty() => {}
            None => {
                let why = "the sandbox was made without a network, and gets none any more";
                return Err(ApiError::NotHere { what: "network".to_owned(), why });
            }
        }
        *held(&self.hosts) = hosts;
        Ok(())
    }

    fn hold_network(&self, held_back: bool) {
        if let Some(network) = &*held(&self.network) {
            network.hold(held_back);
        }
    }

    /// What lets its connections out. Given once, to be ended.
    pub(crate) fn take_network(&self) -> Option<Network> {
        held(&self.network).take()
    }

    /// Leaves its room to others, once no process of it is left: whoever still holds it holds nothing but a name.
    pub(crate) fn leave(&self) {
        held(&self.room).clear();
    }

    /// When its time is up, by the wall's clock.
    pub(crate) fn ends(&self) -> Timestamp {
        self.life().ends()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.life().is_paused() == Ok(true)
    }

    /// Whether it ends, or has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.life().is_paused().is_err()
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Instant {
        self.life().deadline()
    }

    pub(crate) fn at_end(&self) -> AtEnd {
        self.life().at_end()
    }

    fn gone(&self) -> ApiError {
        ApiError::Gone(self.id.clone())
    }

    /// Gives it `span` from now on; only more than it has where `only_more`. What is paused has it once it goes on.
    ///
    /// # Errors
    /// When it ends.
    pub(crate) fn give(&self, span: Duration, now: Timestamp, only_more: bool) -> Result<(), ApiError> {
        self.life().give(span, now, only_more).map_err(|Over| self.gone())?;
        self.changed.notify_one();
        Ok(())
    }

    /// Stops all of it, and ends its connections; whether it was not stopped before. Blocks.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn pause(&self, now: Timestamp) -> Result<bool, ApiError> {
        let mut life = self.life();
        if life.is_paused().map_err(|Over| self.gone())? {
            return Ok(false);
        }
        self.freeze(&mut life, now)?;
        self.changed.notify_one();
        Ok(true)
    }

    fn freeze(&self, life: &mut Life, now: Timestamp) -> Result<(), ApiError> {
        // Whoever goes on all the same reaches nobody.
        self.hold_network(true);
        self.tree.freeze().map_err(|_| self.gone())?;
        life.paused(now);
        Ok(())
    }

    /// Lets it go on, with `span` from now on or as much as it was given last; whether it was stopped. Blocks.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn resume(&self, span: Option<Duration>, now: Timestamp) -> Result<bool, ApiError> {
        let mut life = self.life();
        if !life.is_paused().map_err(|Over| self.gone())? {
            return Ok(false);
        }
        self.tree.thaw().map_err(|_| self.gone())?;
        self.hold_network(false);
        life.resumed(span, now);
        self.changed.notify_one();
        Ok(true)
    }

    /// Does what is due, or says why it is to be ended: nobody is given more time from then on. Blocks.
    pub(crate) fn look_at_the_time(&self, now: Timestamp) -> Option<Due> {
        let mut life = self.life();
        let due = life.due()?;
        if due == Due::Pause && self.freeze(&mut life, now).is_err() {
            return Some(life.end("timeout"));
        }
        Some(due)
    }

    /// The share of one processor that was used since somebody looked last, in percent.
    pub(crate) fn share(&self, used: Duration) -> f64 {
        let now = Instant::now();
        let before = held(&self.measured).replace((now, used));
        let Some((when, then)) = before else { return 0.0 };
        let passed = now.duration_since(when).as_secs_f64();
        if passed <= 0.0 { 0.0 } else { used.saturating_sub(then).as_secs_f64() / passed * 100.0 }
    }

    /// Asks the agent for something, on a socket of its own.
    ///
    /// # Errors
    /// When it takes no requests, or the message is too long.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Conversation, ApiError> {
        let mut asked = Vec::with_capacity(ask.body.get().len() + 256);
        serde_json::to_writer(&mut asked, ask).map_err(|_| ApiError::Broken(self.id.clone()))?;
        if asked.len() > frame::MOST {
            return Err(ApiError::TooLarge(wflo_core::size::Bytes(frame::MOST as u64)));
        }
        let (ours, theirs) = self.socket().map_err(|error| ApiError::unsent(&self.id, &error))?;
        let (reading, mut writing) = ours.into_split();
        drop(theirs);
        let broken = |_| ApiError::Broken(self.id.clone());
        let sent = frame::send(&mut writing, frame::Kind::Message, &asked);
        tokio::time::timeout(ANSWER, sent)
            .await
            .map_err(|_| ApiError::late(&self.id, ANSWER))?
            .map_err(broken)?;
        Ok(Conversation { id: self.id.clone(), frames: Frames::new(reading, self.outward.clone()), writing })
    }

    /// A connected pair, whose other end the agent has.
    fn socket(&self) -> io::Result<(UnixStream, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let theirs = OwnedFd::from(theirs);
        let fds = [theirs.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        // An agent that takes nothing any more is broken; nobody waits for it.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.agent, &[io::IoSlice::new(b"R")], &mut control, flags)?;
        Ok((ours, theirs))
    }
}

/// A sandbox's own name for the log.
impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sandbox {}", self.id)
    }
}

/// Sandboxes by their names.
pub(crate) type ById = BTreeMap<String, Arc<Live>>;
