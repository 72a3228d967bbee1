//! The gateway's ledger over slices: no call waits for the disk.
//!
//! Owns the translation between the gateway's calls and what this process spends. An intent is in the
//! log before the call is sent, its settlement before the answer's last byte is given out; both survive the
//! end of the process, and the store has them with the next fold. What becomes of a call that does not fit is
//! `open`'s.

mod kept;
mod open;
mod queue;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use wflo_core::budget::{Amounts, Budget, Shortfall};
use wflo_core::cost::PromptCache;
use wflo_core::error::{Code, Failure};
use wflo_core::key::{KeyRefusal, VirtualKey};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::StoreError;
use wflo_gateway::gone::Gone;
use wflo_gateway::ledger::{
    BoxFuture, CallIntent, Caller, Further, Ledger, LedgerError, Next, Opened, Outcome, Refusal, Ticket,
};

use crate::accounts::{Directory, Known};
use crate::keys::Client;
use crate::log::{End, Intent};
use crate::metrics::Metrics;
use crate::rules::Rules;
use crate::spending::{Accounts, Answer, Denied, Held, Seq, Wanted};
use crate::treasury::Treasury;

pub(crate) use self::queue::Queues;

/// How long a further attempt waits for more of a budget from the store.
const FURTHER: Duration = Duration::from_millis(500);

/// How the ledger behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long a call waits for room that running calls may free.
    pub(crate) room: Duration,
}

/// See the module.
pub(crate) struct SliceLedger {
    pub(crate) treasury: Arc<Treasury>,
    pub(crate) directory: RwLock<Arc<Directory>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) patience: Patience,
    /// Calls that are queued for budgets.
    pub(crate) queues: Queues,
}

/// A call under way.
struct Running {
    /// Of its present attempt.
    seq: AtomicU64,
    dispatched: Instant,
    /// What the gateway took until then, in microseconds.
    before_us: u64,
    caller: Caller,
    client: Option<Arc<Client>>,
    accounts: Accounts,
    /// It is a call of a model, and not one that costs nothing.
    billed: bool,
}

impl Running {
    fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }
}

impl SliceLedger {
    /// From now on these limits apply: they are in the store, and what was taken under others is given back.
    pub(crate) async fn limit(&self, rules: Rules) -> Result<(), StoreError> {
        let standing = self.treasury.options.store.standing_budgets().await?;
        self.direct(Directory::new(rules, standing)).await
    }

    /// The store has changed: standing budgets may have.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        let standing = self.treasury.options.store.standing_budgets().await?;
        let directory = self.directory();
        match directory.standing == standing {
            true => Ok(()),
            false => self.direct(Directory::new(directory.rules.clone(), standing)).await,
        }
    }

    async fn direct(&self, directory: Directory) -> Result<(), StoreError> {
        let directory = Arc::new(directory);
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&directory);
        directory.open(&self.treasury, None, self.clock.now()).await.map(drop)
    }

    fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn known(&self, key: Option<&VirtualKey>) -> Result<Arc<Known>, LedgerError> {
        let directory = self.directory();
        let now = self.clock.now();
        match directory.at_hand(key, now) {
            Some(known) => Ok(known),
            None => directory.open(&self.treasury, key, now).await.map_err(|error| failed(&error)),
        }
    }

    /// The hold, at once or after a wait for room that ends when its client goes.
    async fn hold(&self, wanted: Wanted, patience: Duration, gone: &Gone) -> Answer {
        let (accounts, amounts) = (Arc::clone(&wanted.accounts), wanted.intent.amounts);
        let answer = {
            let mut spending = self.treasury.spending();
            match spending.hold(wanted) {
                Held::Asked(answer) => return answer,
                Held::NoRoom(wanted) => spending.wait(wanted),
            }
        };
        self.treasury.wake();
        let mut hope = self.treasury.hope(answer);
        let since = Instant::now();
        let answer = gone.unless(tokio::time::timeout(patience, hope.answered())).await;
        self.metrics.waited(since.elapsed());
        match answer {
            Some(Ok(Some(answer))) => answer,
            Some(Ok(None)) => Err(Denied::Log("the gateway is ending".to_owned())),
            Some(Err(_)) | None => {
                if let Some(answer) = hope.give_up() {
                    return answer;
                }
                self.treasury.wake();
                match self.treasury.spending().in_the_way(&accounts, &amounts) {
                    Some(budget) => Err(Denied::Short(Box::new(budget))),
                    None => Err(Denied::Log("the store did not answer in time".to_owned())),
                }
            }
        }
    }

    fn end(&self, seq: u64, end: Option<End>) {
        let lacking = {
            let mut spending = self.treasury.spending();
            spending.end(seq, end);
            spending.has_waiters() && !spending.serve().is_empty()
        };
        if lacking {
            self.treasury.wake();
        }
    }
}

fn failed(error: &StoreError) -> LedgerError {
    LedgerError { code: wflo_core::error::Coded::code(error), message: error.to_string() }
}

fn unrecorded(message: String) -> LedgerError {
    LedgerError { code: Code(4069), message }
}

/// What a key may not do. A key for an alias may call what that stands for, and nothing else by it.
fn refused_to(key: &VirtualKey, caller: &Caller, model: &str) -> Option<Refusal> {
    let may = key.may_call(model) || caller.alias_for(model).is_some_and(|alias| key.may_call(alias));
    (!may).then(|| Refusal::Other {
        status: 403,
        kind: "model_not_allowed".to_owned(),
        failure: Failure::new(Code(4067), format!("the key `{}` may not call the model `{model}`", key.name))
            .with_hint(match key.metrics {
                true => "It was made to read `/metrics`, and calls nothing.".to_owned(),
                false => format!("It may call: {}.", key.models.join(", ")),
            }),
    })
}

fn no_longer_good(client: &Client, why: KeyRefusal) -> Refusal {
    let why = match why {
        KeyRefusal::Expired => "has expired",
        KeyRefusal::Revoked => "was revoked",
    };
    Refusal::Other {
        status: 401,
        kind: "authentication_error".to_owned(),
        failure: Failure::new(Code(4066), format!("the key `{}` {why}", client.name())),
    }
}

fn short(budget: Budget, amounts: &Amounts) -> Refusal {
    let wanted = amounts.of(budget.measure);
    Refusal::Budget(Box::new(Shortfall { budget, wanted }))
}

impl Ledger for SliceLedger {
    fn open(&self, intent: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>> {
        Box::pin(self.opened(intent))
    }

    fn close(&self, ticket: Ticket, outcome: Outcome) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some(running) = ticket.get::<Running>() else { return Ok(()) };
            let begun = Instant::now();
            let upstream_us = micros(begun.duration_since(running.dispatched));
            let usage = outcome.usage.unwrap_or_default();
            let end = End {
                at_ms: self.clock.now().as_millisecond(),
                cost: outcome.settled,
                uncertain: outcome.uncertain,
                uncounted: outcome.uncertain,
                status: outcome.recorded.status,
                input_tokens: usage.total_input(),
                cached_tokens: usage.cached_input(),
                output_tokens: usage.total_output(),
                took_us: running.before_us.saturating_add(upstream_us),
                prompt_cache: outcome.prompt_cache,
            };
            self.end(running.seq(), Some(end));
            self.metrics.settled(&end, running.client.as_deref());
            self.metrics.added(running.before_us.saturating_add(micros(begun.elapsed())));
            Ok(())
        })
    }

    fn again<'a>(&'a self, ticket: &'a Ticket, next: Next) -> BoxFuture<'a, Result<Further, LedgerError>> {
        Box::pin(async move {
            let Some(running) = ticket.get::<Running>() else {
                return Err(LedgerError {
                    code: Code(9002),
                    message: "the ticket is another ledger's".to_owned(),
                });
            };
            let at_ms = self.clock.now().as_millisecond();
            let key = running.client.as_ref().and_then(|client| client.key.as_ref());
            if let Some(refusal) = key.and_then(|key| refused_to(key, &running.caller, &next.model)) {
                return Ok(Further::Refused(refusal));
            }
            // A key that was good when the call began may be so no longer.
            if let Some(client) = &running.client
                && let Some(why) = client.refused(self.clock.now())
            {
                return Ok(Further::Refused(no_longer_good(client, why)));
            }
            let tokens = next.max_input_tokens.saturating_add(next.max_output_tokens);
            let amounts = match running.billed {
                true => Amounts { cost: next.hold, tokens, model_calls: 1, ..Amounts::default() },
                false => Amounts::default(),
            };
            let wanted = Wanted {
                accounts: Arc::clone(&running.accounts),
                intent: Intent {
                    seq: 0,
                    at_ms,
                    amounts,
                    key: key.map(|key| key.id),
                    budgets: Vec::new(),
                    provider: next.provider,
                    model: next.model,
                },
            };
            let last = next.tried.last().map_or("", |tried| tried.failure.as_str());
            // What was not charged was not billed: there is nothing to report of it.
            let end = (next.charged > NanoUsd::ZERO).then(|| End {
                at_ms,
                cost: next.charged,
                uncertain: last.parse::<u16>().is_err(),
                uncounted: true,
                status: last.parse().unwrap_or(0),
                input_tokens: 0,
                cached_tokens: 0,
                output_tokens: 0,
                took_us: micros(running.dispatched.elapsed()),
                prompt_cache: PromptCache::default(),
            });
            let seq = running.seq();
            let swapped = self.treasury.spending().swap(seq, end, wanted);
            let answer = match swapped {
                Held::Asked(answer) => answer,
                // Room for both is a way, too: more may be had from the store.
                Held::NoRoom(wanted) => {
                    let answer = self.hold(wanted, FURTHER, &Gone::never()).await;
                    if answer.is_ok() {
                        self.end(seq, end);
                    }
                    answer
                }
            };
            match answer {
                Ok(Seq(seq)) => {
                    running.seq.store(seq, Ordering::Release);
                    Ok(Further::Dispatch)
                }
                Err(Denied::Short(budget)) => Ok(Further::Refused(short(*budget, &amounts))),
                Err(Denied::Log(message)) => Err(unrecorded(message)),
            }
        })
    }

    fn release(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            if let Some(running) = ticket.get::<Running>() {
                self.end(running.seq(), None);
            }
            Ok(())
        })
    }

    fn keeps_answers(&self) -> bool {
        false
    }

    fn connection_closed_early(&self, _: &Ticket) {
        // Nothing is replayed outside of runs, so nobody attaches to a call.
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
