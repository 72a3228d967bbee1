//! The sandboxes of a server: made, found, ended. Owns how many there may be, and that each ends in time.

mod making;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use wflo_core::error::{Code, Coded as _};
use wflo_core::ports::clock::Clock;
use wflo_core::size::{Bytes, MilliCpus};
use wflo_sandbox::{Bind, Launcher, Outcome};

use self::making::not_made;
use crate::access::Tokens;
use crate::audit::{self, Audit};
use crate::ending::Ending;
use crate::error::ApiError;
use crate::life::{AtEnd, Due};
use crate::live::{ById, Live, Made};
use crate::room::Room;
use crate::turns::Turns;
use crate::{network, secret};

/// The home folder inside, which is where E2B's is.
pub(crate) const HOME: &str = "/home/user";
/// So much of the sandboxes' memory is one permit.
const UNIT: u64 = 1 << 20;

/// What each sandbox gets.
#[derive(Debug, Clone)]
pub struct Each {
    /// Memory, everything written included.
    pub memory: Bytes,
    /// Processors.
    pub cpus: MilliCpus,
    /// Processes and threads.
    pub pids: u32,
    /// All that is written.
    pub disk: Bytes,
    /// What it may ask the kernel for.
    pub preset: wflo_sandbox::Preset,
    /// What it may read beside this machine's toolchain.
    pub ro: Vec<Bind>,
    /// Folders that are searched for programs before the usual ones.
    pub path: Vec<PathBuf>,
    /// Rules of hosts that it may reach.
    pub hosts: Vec<String>,
    /// The longest time that a client may ask for.
    pub longest: Duration,
}

/// What all of them share.
pub(crate) struct Sandboxes {
    launcher: Launcher,
    program: PathBuf,
    pub(crate) each: Each,
    most: usize,
    memory: Option<Bytes>,
    room: Arc<Semaphore>,
    memory_room: Option<Arc<Semaphore>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<Audit>,
    all: Mutex<ById>,
    /// Room for messages about sandboxes.
    pub(crate) inward: Room,
    /// Requests for a new one that may be the same request.
    turns: Turns,
    /// New ones on their way.
    making: TaskTracker,
    /// One waits for the end of each sandbox, and one carries out each change.
    tasks: TaskTracker,
}

/// A request that is carried out once however often it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Once {
    /// By what its client knows it.
    pub(crate) key: String,
    /// What was asked for.
    pub(crate) request: blake3::Hash,
}

/// What a client wants of a new one.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) template: String,
    pub(crate) span: Duration,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) at_end: AtEnd,
    pub(crate) wakes: bool,
    /// Rules, all of them the server's.
    pub(crate) hosts: Vec<String>,
    pub(crate) once: Option<Once>,
}

/// What the sandboxes need.
pub(crate) struct Ground {
    pub(crate) launcher: Launcher,
    pub(crate) program: PathBuf,
    pub(crate) each: Each,
    pub(crate) most: usize,
    pub(crate) memory: Option<Bytes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<Audit>,
}

impl Sandboxes {
    pub(crate) fn new(ground: Ground) -> Sandboxes {
        let Ground { launcher, program, each, most, memory, clock, audit } = ground;
        let units = |memory: Bytes| usize::try_from(memory.0 / UNIT).unwrap_or(usize::MAX);
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Sandboxes {
            launcher,
            program,
            each,
            most,
            memory,
            room: semaphore(most),
            memory_room: memory.map(|memory| semaphore(units(memory))),
            clock,
            audit,
            all: Mutex::default(),
            inward: Room::new(),
            turns: Turns::default(),
            making: TaskTracker::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn all(&self) -> MutexGuard<'_, ById> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that there are.
    pub(crate) fn list(&self) -> Vec<Arc<Live>> {
        self.all().values().cloned().collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Live>> {
        self.all().get(id).cloned()
    }

    /// Room for one more; it is free again when the sandbox is gone.
    fn room(&self) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
        let one = Arc::clone(&self.room).try_acquire_owned().map_err(|_| ApiError::TooMany(self.most))?;
        let mut room = vec![one];
        if let (Some(semaphore), Some(memory)) = (&self.memory_room, self.memory) {
            let units = u32::try_from(self.each.memory.0.div_ceil(UNIT)).unwrap_or(u32::MAX);
            let acquired = Arc::clone(semaphore).try_acquire_many_owned(units);
            room.push(acquired.map_err(|_| ApiError::NoMemory(memory))?);
        }
        Ok(room)
    }

    /// Makes one, or finds the one that was made for the same key; and does that whether or not its client waits
    /// for it, so that what is made has its room and its line.
    pub(crate) async fn create(self: &Arc<Self>, wish: Wish) -> Result<Arc<Live>, ApiError> {
        if self.room.is_closed() {
            return Err(ApiError::TooMany(self.most));
        }
        let own = Arc::clone(self);
        let made = self.making.spawn(async move { own.in_turn(wish).await }).await;
        made.unwrap_or_else(|error| Err(not_made(Code(9005), &error)))
    }

    async fn in_turn(self: &Arc<Self>, wish: Wish) -> Result<Arc<Live>, ApiError> {
        let Some(once) = wish.once.clone() else { return self.make(wish).await };
        // Another that has the key may be on its way: it is there, or has failed, once it is this one's turn.
        let _turn = self.turns.take(&once.key).await;
        let has_key = |live: &&Arc<Live>| live.once.as_ref().is_some_and(|its| its.key == once.key);
        let there = self.all().values().filter(|live| !live.is_over()).find(has_key).cloned();
        match there {
            Some(live) if live.once.as_ref() == Some(&once) => Ok(live),
            Some(_) => Err(ApiError::OtherRequest),
            None => self.make(wish).await,
        }
    }

    async fn make(self: &Arc<Self>, wish: Wish) -> Result<Arc<Live>, ApiError> {
        let room = self.room()?;
        let (id, tokens) = (|| {
            let tokens = Tokens { access: secret::token()?, traffic: secret::token()? };
            std::io::Result::Ok((secret::name()?, tokens))
        })()
        .map_err(|error| not_made(Code(9005), &error))?;
        let (own, env, name) = (Arc::clone(self), wish.env.clone(), id.clone());
        let hosts = wish.hosts.clone();
        let launched = tokio::task::spawn_blocking(move || own.launch(&name, env, &hosts)).await;
        let (tree, agent, sight) = launched.map_err(|error| not_made(Code(9005), &error))??;
        let ending = Ending::of(&tree).map_err(|error| not_made(Code(9005), &error))?;
        let network = network::open(&tree, &wish.hosts, sight, &id, &self.audit)
            .map_err(|error| not_made(error.code(), &error))?;
        let made = Made {
            id: id.clone(),
            template: wish.template,
            tokens,
            metadata: wish.metadata,
            env: wish.env,
            now: self.clock.now(),
            span: wish.span,
            longest: self.each.longest,
            at_end: wish.at_end,
            wakes: wish.wakes,
            hosts: wish.hosts,
            once: wish.once,
            tree,
            network,
            agent,
            room,
        };
        let live = Arc::new(made.live());
        let noted = |text: &String| audit::redacted(text.clone(), live.env.values().map(String::as_str));
        let metadata: BTreeMap<_, _> = live.metadata.iter().map(|(key, value)| (key, noted(value))).collect();
        let details = json!({
            "template": live.template, "metadata": metadata, "ends": live.ends().to_string(), "hosts": live.hosts(),
        });
        self.audit.record("sandbox.created", &id, &details);
        self.all().insert(id, Arc::clone(&live));
        self.tasks.spawn(Arc::clone(self).until_end(Arc::clone(&live), ending));
        Ok(live)
    }

    async fn look_at_the_time(&self, live: &Arc<Live>) -> Option<Due> {
        let (looked_at, now) = (Arc::clone(live), self.clock.now());
        // Who cannot look ends it: it has no more time than it was given.
        let looked = tokio::task::spawn_blocking(move || looked_at.look_at_the_time(now)).await;
        looked.unwrap_or(Some(Due::End("timeout")))
    }

    /// Waits until it has ended, by itself or in time, and forgets it.
    async fn until_end(self: Arc<Self>, live: Arc<Live>, ending: Ending) {
        let ended = ending.exit(&live);
        tokio::pin!(ended);
        let mut why = "program";
        let exit = loop {
            tokio::select! {
                exit = &mut ended => break exit,
                () = live.changed.notified() => {}
                () = tokio::time::sleep_until(live.deadline()) => match self.look_at_the_time(&live).await {
                    None => {}
                    Some(Due::Pause) => {
                        self.audit.record("sandbox.paused", &live.id, &json!({ "why": "timeout" }));
                    }
                    Some(Due::End(reason)) => {
                        why = reason;
                        self.kill(&live).await;
                        break ended.await;
                    }
                }
            }
        };
        let unrecorded = match live.take_network() {
            Some(network) => network.stop().await,
            None => None,
        };
        self.all().remove(&live.id);
        live.leave();
        let outcome = match exit.map(|exit| exit.outcome) {
            Some(Outcome::OutOfMemory) => "out of memory",
            Some(Outcome::TooManyTasks) => "too many processes",
            Some(Outcome::RanOn) => "ran on while it was stopped",
            Some(Outcome::Killed | Outcome::Signalled(_)) => "killed",
            Some(Outcome::TimedOut | Outcome::Exited(_) | Outcome::NotExecuted(_)) => "ended",
            None => "unknown",
        };
        let mut details = json!({ "why": why, "outcome": outcome });
        if let (Some(details), Some(unrecorded)) = (details.as_object_mut(), unrecorded) {
            details.insert("unrecorded_connections".to_owned(), unrecorded);
        }
        self.audit.record("sandbox.ended", &live.id, &details);
    }

    /// Ends it with all its processes; returns when none is left.
    pub(crate) async fn kill(&self, live: &Arc<Live>) {
        // From now on nobody finds it.
        self.all().remove(&live.id);
        let dying = Arc::clone(live);
        let killed = self.tasks.spawn_blocking(move || {
            // What cannot be killed has been.
            let _ = dying.tree.kill();
            dying.leave();
        });
        let _ = killed.await;
    }

    /// Pauses it, as its client has asked; whether it was not paused before.
    pub(crate) async fn pause(&self, live: &Arc<Live>) -> Result<bool, ApiError> {
        let (now, details) = (self.clock.now(), json!({ "why": "asked" }));
        self.carry_out(live, "sandbox.paused", details, move |live| live.pause(now)).await
    }

    /// Lets it go on, with `span` or as much as it was given last; whether it was paused.
    pub(crate) async fn resume(
        &self,
        live: &Arc<Live>,
        span: Option<Duration>,
        details: Value,
    ) -> Result<bool, ApiError> {
        let now = self.clock.now();
        self.carry_out(live, "sandbox.resumed", details, move |live| live.resume(span, now)).await
    }

    /// Changes it, which blocks, and records that where anything changed; to its end, whether or not its client
    /// waits for it.
    async fn carry_out(
        &self,
        live: &Arc<Live>,
        event: &'static str,
        details: Value,
        change: impl FnOnce(&Live) -> Result<bool, ApiError> + Send + 'static,
    ) -> Result<bool, ApiError> {
        let (own, audit) = (Arc::clone(live), Arc::clone(&self.audit));
        let carried = self.tasks.spawn_blocking(move || {
            let changed = change(&own)?;
            if changed {
                audit.record(event, &own.id, &details);
            }
            Ok(changed)
        });
        carried.await.unwrap_or_else(|_| Err(ApiError::Broken(live.id.clone())))
    }

    async fn kill_all(&self) {
        for live in self.list() {
            self.kill(&live).await;
        }
    }

    /// Ends all of them, those that are being made too, and waits until each is gone.
    pub(crate) async fn end(&self) {
        self.room.close();
        self.kill_all().await;
        // Who had room already is on the way to a sandbox.
        self.making.close();
        self.making.wait().await;
        self.kill_all().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl std::fmt::Debug for Sandboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} sandboxes", self.all().len(), self.most)
    }
}
