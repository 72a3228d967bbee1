//! The port to whoever keeps the money and the journal.
//!
//! Owns the shapes that cross it. The gateway knows what a call can cost and what it did cost; the
//! ledger knows who calls, which budgets apply, what happened before, and makes it durable.
//!
//! **Architecture Invariant:** a request is sent upstream only after [`Ledger::open`] returned
//! [`Opened::Dispatch`], a further attempt of it only after [`Ledger::again`] returned
//! [`Further::Dispatch`], and its ticket ends in exactly one of [`Ledger::close`] and
//! [`Ledger::release`], whatever the client does. The last bytes of an answer are given to the
//! client only after `close` returned.

mod caller;
mod recorded;

pub use self::caller::Caller;
pub use self::recorded::Recorded;
pub use crate::gateway::Share;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wflo_core::budget::Shortfall;
use wflo_core::cost::PromptCache;
use wflo_core::error::{Code, Failure};
use wflo_core::money::NanoUsd;
use wflo_core::size::Millis;

use crate::cache::Lookup;
use crate::closer::Closer;
use crate::dialect::{Dialect, Endpoint};
use crate::error::GatewayError;
use crate::gone::Gone;
use crate::repeats::Circle;
use crate::shorter::Shorter;
use crate::turn::Turn;
use crate::usage::Usage;

/// A future that can be sent, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The ledger's own handle of a dispatched call.
#[derive(Clone)]
pub struct Ticket(Arc<dyn Any + Send + Sync>);

impl Ticket {
    /// A ticket holding whatever the ledger wants to find again.
    pub fn new<T: Any + Send + Sync>(inner: T) -> Ticket {
        Ticket(Arc::new(inner))
    }

    /// What the ledger put in, if it is a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket")
    }
}

/// Which endpoint of which dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallPath {
    /// The protocol.
    pub dialect: Dialect,
    /// The endpoint.
    pub endpoint: Endpoint,
}

/// A call about to be made.
#[derive(Debug, Clone)]
pub struct CallIntent {
    /// Who calls.
    pub caller: Caller,
    /// What is asked.
    pub path: CallPath,
    /// The model as it is asked for at its provider: an alias stands for its model here.
    pub model: String,
    /// The provider's name.
    pub provider: String,
    /// Where the provider is, as [`crate::route::Provider::address`] says it.
    pub address: String,
    /// Why nothing can be sent there as its operator has left it (it has no key here): a recorded answer
    /// is given all the same, and a call that is dispatched is released.
    pub not_ready: Option<Failure>,
    /// BLAKE3, in hex, of the endpoint, the headers that change its meaning and the client's bytes.
    pub fingerprint: String,
    /// The client's bytes; empty where the fingerprint is.
    pub body: Bytes,
    /// The client says that this is its n-th repetition of one request (`x-stainless-retry-count`);
    /// `None` when it does not say. A ledger attaches it to an earlier identical call that runs or
    /// that was answered with success; an error that arrived is what the client repeats it for.
    pub retry_of: Option<u32>,
    /// The most that the call can cost.
    pub hold: NanoUsd,
    /// The most input tokens, over the whole call.
    pub max_input_tokens: u64,
    /// The most output tokens, over all choices.
    pub max_output_tokens: u64,
    /// Path and sequence number of a call made through `context.llm`; `None` for a stock client's.
    pub positional: Option<(String, u32)>,
    /// When all of the request was there.
    pub since: tokio::time::Instant,
    /// Length of the request in bytes.
    pub request_bytes: u64,
    /// The client asked for a stream.
    pub stream: bool,
    /// What it would hold if its text were counted; `None` where nobody can count it.
    pub closer: Option<Closer>,
    /// What it would hold with less output than it asks for; `None` where its server cannot be told so.
    pub shorter: Option<Shorter>,
    /// A cheaper model can be tried if this one does not fit. A budget that says `downgrade` is then answered
    /// with [`Opened::Cheaper`]; without one it is a budget that halts.
    pub cheaper: bool,
    /// What the call must wait for before its intent is written: limits of the operator's own. The ledger
    /// takes it right before that commit, and gives it back while the call waits for anything else. What
    /// is taken ends with the call.
    pub turn: Turn,
    /// Whether whoever asked has gone. A ledger that lets the call wait answers with [`Opened::GivenUp`] then, and
    /// holds nothing; one that does not look is asked to release what it held.
    pub gone: Gone,
    /// The answer that may be given instead of making the call. The ledger asks for it after its own record,
    /// which wins, and after policies, and before it takes the turn or a hold; what it is given it records, and
    /// answers with [`Opened::Replay`].
    pub cached: Lookup,
    /// Where the call stands that is opened again for a cheaper model: what [`Opened::Cheaper`] gave.
    pub place: Option<Ticket>,
    /// How often the caller has made this call, where people are asked about circles (`[repeats] action =
    /// "ask"`): a ledger that lets a closed one pass has their yes, or makes nothing of it.
    pub circle: Option<Circle>,
}

/// How a dispatched call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub recorded: Recorded,
    /// What is charged: equal to `recorded.cost`.
    pub settled: NanoUsd,
    /// What was used, when the provider said so.
    pub usage: Option<Usage>,
    /// The bill is not known, so the whole hold is charged.
    pub uncertain: bool,
    /// What the provider's own cache did to the bill.
    pub prompt_cache: PromptCache,
}

/// What [`Ledger::open`] decides.
#[derive(Debug)]
pub enum Opened {
    /// The intent and the hold are durable: send it.
    Dispatch {
        /// Its handle.
        ticket: Ticket,
        /// The most tokens of one answer, where the hold is for fewer than the call asks for
        /// ([`Shorter::at`]): it must be sent with that limit.
        output_limit: Option<u64>,
    },
    /// It was made before: give this answer.
    Replay(Recorded),
    /// It may not be made.
    Refused(Refusal),
    /// It does not fit, and its budget wants a cheaper model: open it again as a call of that one, with this
    /// ticket as its [`place`](CallIntent::place). Nothing is held.
    Cheaper(Ticket, Refusal),
    /// Its client gave it up, while it waited here or when it was first made: it gets no answer, and
    /// in the latter case is waited for to do so again.
    GivenUp,
}

/// Why a call may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A budget does not have room for it: which one, how it stood with what it says of such calls, and what
    /// the call could take of it.
    Budget(Box<Shortfall>),
    /// The same, after people were asked to raise the budget and nobody has answered.
    Unanswered {
        /// Which budget, and what the call could take of it.
        shortfall: Box<Shortfall>,
        /// For how long a call is held for an answer.
        waited: Millis,
    },
    /// Not now: too many calls, or a provider that fails. It may be made later.
    Later {
        /// The HTTP status for clients.
        status: u16,
        /// A machine-readable kind.
        kind: String,
        /// What happened, and who says so.
        failure: Failure,
        /// After how long it is worth another try.
        wait: Duration,
    },
    /// Anything else: a policy, a journal that does not match, a lost lease.
    Other {
        /// The HTTP status for clients; statuses of 500 and above are retried by some.
        status: u16,
        /// A machine-readable kind, such as `journal_mismatch`.
        kind: String,
        /// What happened.
        failure: Failure,
    },
}

/// An attempt at a provider that did not become the answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Tried {
    /// The provider.
    pub provider: String,
    /// The model as it was asked for there.
    pub model: String,
    /// How it failed: `never sent`, `no answer`, or the status of its answer.
    pub failure: String,
    /// What it is charged: nothing where nothing was sent or the provider refused it.
    pub charged_usd: NanoUsd,
}

/// The next attempt of a call that is under way.
#[derive(Debug, Clone)]
pub struct Next {
    /// Every attempt so far, the one that failed last at the end.
    pub tried: Vec<Tried>,
    /// What the attempt that failed is charged, in place of its hold.
    pub charged: NanoUsd,
    /// The provider of the next one.
    pub provider: String,
    /// Where it is.
    pub address: String,
    /// The model as it is asked for there.
    pub model: String,
    /// The most that it can cost.
    pub hold: NanoUsd,
    /// The most input tokens.
    pub max_input_tokens: u64,
    /// The most output tokens, over all choices.
    pub max_output_tokens: u64,
}

/// What [`Ledger::again`] decides.
#[derive(Debug)]
pub enum Further {
    /// What was charged and the next hold are durable: send it.
    Dispatch,
    /// It may not be made; nothing has changed.
    Refused(Refusal),
}

/// The ledger could not do its work; nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal could not record the call: {message}")]
pub struct LedgerError {
    /// The code of what failed.
    pub code: Code,
    /// What failed, without secrets.
    pub message: String,
}

/// Keeps holds, settlements and recorded answers.
pub trait Ledger: Send + Sync {
    /// Journals the intent and takes the hold in one commit; returns only once that is durable. It
    /// may wait: for a person who is asked, for room behind running holds, for the end of the
    /// earlier call that this one attaches to.
    fn open(&self, intent: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>>;

    /// Records the answer and settles the hold in one commit; returns only once that is durable.
    /// Called before the answer's last bytes are given to the client.
    fn close(&self, ticket: Ticket, outcome: Outcome) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// A call whose attempt failed is tried once more: the failed attempt is charged, and the hold of
    /// the next one taken in place of its own, in one commit; returns only once that is durable. The
    /// ticket stays the call's. It does not wait for room. A ledger that does not say how keeps every
    /// call to one attempt.
    fn again<'a>(&'a self, _ticket: &'a Ticket, _next: Next) -> BoxFuture<'a, Result<Further, LedgerError>> {
        let failure = Failure::new(Code(4081), "this ledger keeps a call to one attempt");
        let refusal = Refusal::Other { status: 503, kind: "one_attempt".to_owned(), failure };
        Box::pin(std::future::ready(Ok(Further::Refused(refusal))))
    }

    /// Gives back the hold of a call of which nothing was ever sent.
    fn release(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// The connection that made this call closed before it got the answer's last byte: an identical
    /// request may attach to the call instead of being made again. Comes at most once for a call,
    /// before `close` or after it, and must not block.
    fn connection_closed_early(&self, ticket: &Ticket);

    /// The gateway ends a call of this caller with an error. Its client is told once this resolves.
    fn refused<'a>(&'a self, _caller: &'a Caller, _error: &'a GatewayError) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether answers are kept to be given again. If not, [`CallIntent::fingerprint`] is empty, and of
    /// [`Recorded`] there is only the status: a long stream then takes no memory, and no body is hashed.
    fn keeps_answers(&self) -> bool {
        true
    }

    /// Resolves once people wait for the end of whoever made this call: from then on the answer is
    /// waited for only a short while, to learn its bill.
    fn ending<'a>(&'a self, _ticket: &'a Ticket) -> BoxFuture<'a, ()> {
        Box::pin(std::future::pending())
    }
}
