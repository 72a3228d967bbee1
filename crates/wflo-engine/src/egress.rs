//! What a step's sandbox may reach beside models, and the run's record of it.
//!
//! The proxy is `wflo-egress`; here are its witness, which keeps connections as events of the run, and its
//! life beside an attempt. How many connections there are is the step's choice, so what is recorded of them is
//! bounded (ADR 0029): nothing goes to a host that no durable event names, whatever is left out.

mod ask;
mod keep;
mod remaining;
mod way_out;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wflo_core::error::{Coded as _, Failure};
use wflo_core::event::EventBody;
use wflo_core::machine::HostChange;
use wflo_core::ports::BoxFuture;
use wflo_egress::ask::Asker;
use wflo_egress::host::Target;
use wflo_egress::resolve::SystemResolver;
use wflo_egress::rules::{Change, Rule};
use wflo_egress::witness::{End, Ended, Opening, Unrecorded, Witness};
use wflo_egress::{Egress, EgressHandle, Refusal, Rules};

use self::ask::Questions;
use self::keep::{Fact, Rest};
pub(crate) use self::remaining::Remaining;
pub(crate) use self::way_out::WayOut;
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::journal::Journal;
use crate::launch::{Backend, Launch};
use crate::sandboxed::Running;

/// So many connections of an attempt are events of their own, whatever their hosts.
const RECORDED: usize = 1_000;
/// So many hosts and ports an attempt may reach; each is named by an event.
const TARGETS: usize = 2_000;
/// So many refusals of an attempt are events, each of another target or reason.
const REFUSED: usize = 200;
/// How many more of secrets that were sent where they must not be.
const MISPLACED: usize = 100;

/// The way out of one attempt's sandbox.
pub(crate) struct Outlet {
    handle: EgressHandle,
    book: Arc<Book>,
    keeper: JoinHandle<()>,
    follower: JoinHandle<()>,
}

impl Outlet {
    /// Lets the sandbox reach what its run allows; `None` where that is nothing.
    ///
    /// # Errors
    /// When the rules are none, or the listener cannot be served.
    pub(crate) fn open(
        launch: &Launch,
        running: &Running,
        journal: &Arc<Journal>,
        attempt: &Attempt,
        way_out: &WayOut,
    ) -> Result<Option<Outlet>, EngineError> {
        let Some(listener) = running.take_egress_listener() else { return Ok(None) };
        let (base, mut hosts) = (way_out.rules.clone(), attempt.hosts.clone());
        let (tell, rules) = watch::channel(Arc::new(base.clone()));
        let reach = Arc::new(Reach { base, hosts: hosts.clone(), rules: tell });
        hosts.mark_unchanged();
        reach.catch_up();
        let follower = tokio::spawn({
            let reach = Arc::clone(&reach);
            async move {
                while hosts.changed().await.is_ok() {
                    reach.catch_up();
                }
            }
        });
        let asker = launch.ask_hosts.or(launch.patience).map(|patience| {
            let unknown = launch.ask_hosts.is_some();
            let (attempt, journal) = (attempt.clone(), Arc::clone(journal));
            Arc::new(Questions::new(attempt, journal, (patience, unknown), Arc::clone(&reach)))
                as Arc<dyn Asker>
        });
        let (facts, kept) = mpsc::channel(RECORDED + TARGETS + REFUSED + MISPLACED + 1);
        let book = Arc::new(Book {
            journal: Arc::clone(journal),
            step: attempt.step.clone(),
            facts,
            state: Arc::default(),
        });
        let witness = Arc::clone(&book) as Arc<dyn Witness>;
        let egress = Egress {
            rules,
            asker,
            inspection: way_out.inspection.clone(),
            limits: way_out.limits,
            totals: Arc::clone(&way_out.totals),
            resolver: Arc::new(SystemResolver::default()),
            witness,
        };
        let unusable =
            |e: std::io::Error| EngineError::Unreadable(format!("the egress listener of a sandbox: {e}"));
        let handle = egress.serve(listener).map_err(unusable)?;
        let keeper = tokio::spawn({
            // Without the book: it has the other end of the queue.
            let (journal, step, state) = (Arc::clone(journal), attempt.step.clone(), Arc::clone(&book.state));
            async move {
                let note = |facts: Vec<EventBody>| {
                    let journal = Arc::clone(&journal);
                    async move { journal.note(facts).await }
                };
                keep::keep(&step, &state, kept, note).await;
            }
        });
        Ok(Some(Outlet { handle, book, keeper, follower }))
    }

    /// Ends every connection, and resolves once what became of them is recorded.
    pub(crate) async fn close(self) {
        let Outlet { handle, book, keeper, follower } = self;
        handle.stop().await;
        follower.abort();
        // The keeper ends with the last of what it is sent, and of what is counted.
        drop(book);
        let _ = keeper.await;
    }
}

/// What may be reached, as people change it.
struct Reach {
    base: Rules,
    hosts: watch::Receiver<Arc<Vec<HostChange>>>,
    rules: watch::Sender<Arc<Rules>>,
}

impl Reach {
    /// Brings the rules up to what has been said by now.
    fn catch_up(&self) {
        // Looked at within: of two at once the later has the newer.
        self.rules.send_modify(|rules| {
            *rules = Arc::new(self.base.clone().with(changes(&self.hosts.borrow())));
        });
    }
}

/// Whether an attempt's sandbox has a way out at all: where nothing may be reached there is nobody to ask, and
/// asking fails at once.
pub(crate) fn is_wanted(launch: &Launch, attempt: &Attempt) -> bool {
    let let_in = || attempt.hosts.borrow().iter().any(|change| change.allowed);
    launch.backend != Backend::None
        && (!launch.allow_hosts.is_empty()
            || !launch.ask_rules.is_empty()
            || launch.ask_hosts.is_some()
            || launch.lets_in()
            || let_in())
}

/// What a run may reach as it was started.
///
/// # Errors
/// A rule that is none.
pub(crate) fn rules(launch: &Launch) -> Result<Rules, EngineError> {
    let rules = Rules::parse(&launch.allow_hosts, &launch.allow_addresses);
    let read =
        |rules: &[String]| rules.iter().map(|rule| rule.parse::<Rule>()).collect::<Result<Vec<_>, _>>();
    let failed = |e: wflo_egress::RuleError| EngineError::Failure(e.to_failure());
    let asks = read(&launch.ask_rules).map_err(failed)?;
    let told = read(&launch.told_hosts).map_err(failed)?;
    let told = told.into_iter().map(|rule| Change { rule, allowed: true, is_answer: true });
    let since = launch
        .said_hosts
        .iter()
        .map(|said| Ok(Change { rule: said.rule.parse()?, allowed: said.allowed, is_answer: false }));
    let since = since.collect::<Result<Vec<_>, wflo_egress::RuleError>>().map_err(failed)?;
    without(rules.map_err(failed)?.asking(asks).with(told).with(since), &launch.deny_hosts)
}

/// The rules, with these hosts kept out.
///
/// # Errors
/// A host that is no rule: nothing is reached rather than what should not be.
fn without(rules: Rules, hosts: &[String]) -> Result<Rules, EngineError> {
    let never = hosts.iter().map(|rule| Ok(Change { rule: rule.parse()?, allowed: false, is_answer: true }));
    let never = never.collect::<Result<Vec<_>, wflo_egress::RuleError>>();
    Ok(rules.with(never.map_err(|e| EngineError::Failure(e.to_failure()))?))
}

/// What people have said since. Each was read before it became an event.
fn changes(hosts: &[HostChange]) -> Vec<Change> {
    let read = |change: &HostChange| match change.rule.parse() {
        Ok(rule) => Some(Change { rule, allowed: change.allowed, is_answer: change.is_answer }),
        Err(error) => {
            tracing::warn!(%error, "what was said of a host cannot be read");
            None
        }
    };
    hosts.iter().filter_map(read).collect()
}

/// By what refusals are told from each other. Limits have one code, and so has each place of each secret.
fn kind(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Limit(limit) => format!("{} {}", refusal.code(), limit.setting()),
        Refusal::Misplaced { what, .. } => format!("{} {what}", refusal.code()),
        _ => refusal.code().to_string(),
    }
}

/// A refusal as an event has it.
fn failure(refusal: &Refusal) -> Failure {
    let failure = refusal.to_failure();
    let Refusal::Limit(limit) = refusal else { return failure };
    failure.with_hint(format!("raise `{}` under [sandbox.network] in wflo.toml", limit.setting()))
}

struct Book {
    journal: Arc<Journal>,
    step: String,
    facts: mpsc::Sender<Fact>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    recorded: usize,
    /// Connections that are open and recorded.
    open: HashSet<u64>,
    /// Hosts and ports that durable events name.
    targets: BTreeSet<Target>,
    refused: BTreeSet<(Option<Target>, String)>,
    rest: Rest,
    /// The keeper has been told that the rest is enough for an event, and has not heard it yet.
    is_told: bool,
}

impl State {
    /// How a connection is recorded: by an event of its own, or, to a host that one names already, as one more.
    fn place(&mut self, target: &Target) -> Result<bool, Unrecorded> {
        if self.recorded >= RECORDED && self.targets.contains(target) {
            self.rest.connections += 1;
            return Ok(false);
        }
        if self.recorded >= RECORDED + TARGETS {
            return Err(Unrecorded);
        }
        self.recorded += 1;
        Ok(true)
    }

    /// Whether a refusal is an event; else it is counted.
    fn is_news(&mut self, target: Option<&Target>, refusal: &Refusal) -> bool {
        // Whoever sends a secret elsewhere may try to hide it behind many other refusals.
        let most = if matches!(refusal, Refusal::Misplaced { .. }) { REFUSED + MISPLACED } else { REFUSED };
        let is_news = self.refused.len() < most && self.refused.insert((target.cloned(), kind(refusal)));
        self.rest.refused += u64::from(!is_news);
        is_news
    }
}

impl Book {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, fact: EventBody) {
        // There is room for all that may be told.
        if self.facts.try_send(Fact::Event(Box::new(fact))).is_err() {
            tracing::warn!("what a connection came to is not recorded");
        }
    }
}

impl Witness for Book {
    fn opens<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<(), Unrecorded>> {
        Box::pin(async move {
            {
                let mut state = self.state();
                if !state.place(&opening.target)? {
                    keep::wake(&mut state, &self.facts);
                    return Ok(());
                }
            }
            let fact = EventBody::EgressOpened {
                step: self.step.clone(),
                connection: opening.id,
                host: opening.target.host.to_string(),
                port: opening.target.port,
                way: opening.way.as_str().to_owned(),
                request: opening.request.clone(),
                secrets: opening.secrets.clone(),
            };
            self.journal.note(vec![fact]).await.map_err(|error| {
                tracing::warn!(%error, "a connection is not begun because it cannot be recorded");
                Unrecorded
            })?;
            let mut state = self.state();
            state.open.insert(opening.id);
            state.targets.insert(opening.target.clone());
            Ok(())
        })
    }

    fn ended(&self, ended: Ended) {
        let Ended { opening, address, sent, received, lasted, end } = ended;
        {
            let mut state = self.state();
            if !state.open.remove(&opening.id) {
                state.rest.sent += sent;
                state.rest.received += received;
                keep::wake(&mut state, &self.facts);
                return;
            }
        }
        let (end, error) = match end {
            End::Done => ("done", None),
            End::Refused(refusal) => ("refused", Some(failure(&refusal))),
            End::TimedOut => ("timed_out", None),
            End::Broken => ("broken", None),
            End::Cut => ("cut", None),
        };
        self.tell(EventBody::EgressClosed {
            step: self.step.clone(),
            connection: opening.id,
            host: opening.target.host.to_string(),
            port: opening.target.port,
            address: address.map(|address| address.to_string()),
            sent_bytes: sent,
            received_bytes: received,
            duration_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            end: end.to_owned(),
            error,
        });
    }

    fn refused(&self, target: Option<&Target>, refusal: &Refusal) {
        if !self.state().is_news(target, refusal) {
            return;
        }
        self.tell(EventBody::EgressRefused {
            step: self.step.clone(),
            host: target.map(|target| target.host.to_string()),
            port: target.map(|target| target.port),
            error: failure(refusal),
        });
    }
}

#[cfg(test)]
mod tests {
    use wflo_egress::Limit;

    use super::*;

    #[test]
    fn what_a_step_does_without_end_is_recorded_with_one() {
        let target = |number: usize| Target::parse(&format!("h{number}.example:443"), None).unwrap();
        let mut state = State::default();
        let mut own = 0;
        for number in 0..10_000 {
            if matches!(state.place(&target(number % 3)), Ok(true)) {
                own += 1;
                state.targets.insert(target(number % 3));
            }
        }
        assert_eq!((own, state.rest.connections), (RECORDED, 10_000 - RECORDED as u64));
        // Another host is named however many connections there were; so many of them that there is an end.
        for number in 3..10_000 {
            match state.place(&target(number)) {
                Ok(is_own) => {
                    assert!(is_own, "nothing goes to a host that no event names");
                    own += 1;
                    state.targets.insert(target(number));
                }
                Err(Unrecorded) => break,
            }
        }
        assert_eq!(own, RECORDED + TARGETS);
        assert!(state.place(&target(1)).is_ok() && state.place(&target(99_999)).is_err());
    }

    #[test]
    fn refusals_are_told_once_each_and_not_without_end() {
        let mut state = State::default();
        let told = (0..1_000).filter(|number| {
            let target = Target::parse(&format!("h{}.example:443", number % 500), None).unwrap();
            state.is_news(Some(&target), &Refusal::Slow)
        });
        assert_eq!(told.count(), REFUSED);
        assert_eq!(state.rest.refused, 1_000 - REFUSED as u64);
    }

    #[test]
    fn each_place_that_a_secret_was_sent_to_is_told_whatever_else_was_refused() {
        let target = |number: usize| Target::parse(&format!("h{number}.example:443"), None).unwrap();
        let mut state = State::default();
        let others = (0..2 * REFUSED).filter(|number| state.is_news(Some(&target(*number)), &Refusal::Slow));
        assert_eq!(others.count(), REFUSED);
        let mut sent = |place| {
            let what = wflo_egress::secrets::Misplaced { name: "key".to_owned(), place };
            state.is_news(Some(&target(0)), &Refusal::Misplaced { target: target(0), what })
        };
        use wflo_egress::secrets::Place;
        assert_eq!([Place::Header, Place::Address, Place::Header].map(&mut sent), [true, true, false]);
    }

    #[test]
    fn each_limit_is_told_by_itself_with_its_setting() {
        let mut state = State::default();
        let limits = [Limit::Rate(9), Limit::Requests(7), Limit::Rate(9)];
        let told = limits.map(|limit| state.is_news(None, &limit.into()));
        assert_eq!(told, [true, true, false]);
        let failure = failure(&Limit::Requests(7).into());
        assert!(failure.message.contains('7') && failure.code == "WFLO-5206", "{failure:?}");
        assert!(failure.hint.unwrap().contains("`requests` under [sandbox.network]"));
    }
}
