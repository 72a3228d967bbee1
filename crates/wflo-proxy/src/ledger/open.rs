//! The hold of a call: in full, with a shorter answer, after a wait, or not at all.
//!
//! Owns the order in which a call that does not fit is helped: it waits while running calls may still free
//! room; it is cut, where every budget that is short has opted in; then its budget says what happens: it is
//! refused, queued, or made as a call of a cheaper model.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;
use wflo_core::budget::{Amounts, OnExceeded};
use wflo_core::error::{Code, Failure};
use wflo_core::key::VirtualKey;
use wflo_core::money::NanoUsd;
use wflo_core::size::Millis;
use wflo_gateway::ledger::{CallIntent, LedgerError, Opened, Refusal, Ticket};
use wflo_gateway::shorter::Most;

use super::queue::Place;
use super::{FURTHER, Running, SliceLedger, failed, micros, refused_to, short, unrecorded};
use crate::accounts::Known;
use crate::keys::{Client, Pace};
use crate::log::Intent;
use crate::spending::{Denied, Held, Seq, Wanted};

/// A hold.
struct Reserved {
    seq: u64,
    /// The most tokens of one answer, where they are fewer than was asked for.
    output_limit: Option<u64>,
}

impl SliceLedger {
    pub(super) async fn opened(&self, mut intent: CallIntent) -> Result<Opened, LedgerError> {
        let client = intent.caller.get::<Arc<Client>>().cloned();
        let key = client.as_ref().and_then(|client| client.key.as_ref());
        if let Some(refusal) = self.unwelcome(&intent, key, client.as_deref()) {
            return Ok(Opened::Refused(refusal));
        }
        if let Some(answered) = self.kept(&intent, client.as_deref()).await {
            return Ok(answered);
        }
        let begun = Instant::now();
        let mut place: Option<Place> = None;
        loop {
            match intent.gone.unless(intent.turn.take()).await {
                Some(Ok(())) => {}
                Some(Err(refusal)) => {
                    self.metrics.refused("limit");
                    return Ok(Opened::Refused(refusal));
                }
                None => return Ok(Opened::GivenUp),
            }
            let known = self.known(key).await?;
            let budget = match self.reserve(&mut intent, key, &known).await? {
                Ok(reserved) => {
                    let dispatched = Instant::now();
                    let running = Running {
                        seq: AtomicU64::new(reserved.seq),
                        dispatched,
                        before_us: micros(dispatched.duration_since(intent.since)),
                        billed: intent.path.endpoint.is_billed(),
                        caller: intent.caller,
                        client,
                        accounts: Arc::clone(&known.accounts),
                    };
                    let ticket = Ticket::new(running);
                    return Ok(Opened::Dispatch { ticket, output_limit: reserved.output_limit });
                }
                Err(_) if intent.gone.is_gone() => return Ok(Opened::GivenUp),
                Err(Denied::Short(budget)) => budget,
                Err(Denied::Log(message)) => return Err(unrecorded(message)),
            };
            intent.turn.give_back();
            let said = known.applied(budget.id);
            match said.map_or(OnExceeded::Halt, |said| said.budget.action_on_exceeded) {
                OnExceeded::Queue => {
                    let most = said.map_or(Millis(0), |said| said.queue);
                    let until = begun.checked_add(Duration::from_millis(most.0));
                    let wait = self.queues.wait(&mut place, budget.id, until, || self.treasury.changes());
                    match intent.gone.unless(wait).await {
                        Some(true) => continue,
                        Some(false) => {}
                        None => return Ok(Opened::GivenUp),
                    }
                }
                OnExceeded::Downgrade if intent.cheaper => {
                    let refusal = short(*budget, &whole(&intent));
                    return Ok(Opened::Cheaper(Ticket::new(()), refusal));
                }
                OnExceeded::Downgrade | OnExceeded::Halt | OnExceeded::Ask => {}
            }
            self.metrics.refused("budget");
            return Ok(Opened::Refused(short(*budget, &whole(&intent))));
        }
    }

    /// Why a call is not made whatever its budgets say.
    fn unwelcome(
        &self,
        intent: &CallIntent,
        key: Option<&VirtualKey>,
        client: Option<&Client>,
    ) -> Option<Refusal> {
        let (key, client) = (key?, client?);
        if let Some(refusal) = refused_to(key, &intent.caller, &intent.model) {
            self.metrics.refused("model");
            return Some(refusal);
        }
        // A call that is opened again for a cheaper model is the same request.
        if intent.place.is_none()
            && let Pace::TooFast(per_minute, wait) = client.pace(self.clock.now())
        {
            self.metrics.refused("rate");
            return Some(too_fast(key, per_minute, wait));
        }
        None
    }

    /// The hold of the whole call, or of as long an answer as fits.
    async fn reserve(
        &self,
        intent: &mut CallIntent,
        key: Option<&VirtualKey>,
        known: &Known,
    ) -> Result<Result<Reserved, Denied>, LedgerError> {
        let wanted = self.wanted(intent, key, known, whole(intent));
        let at_once = self.treasury.spending().hold(wanted);
        let answer = match at_once {
            Held::Asked(answer) => answer,
            Held::NoRoom(_) => {
                // Before it waits, or is cut: it may be less than its bytes say.
                if let Some(counted) = intent.counted() {
                    *intent = counted;
                }
                let wanted = self.wanted(intent, key, known, whole(intent));
                self.hold(wanted, self.patience.room, &intent.gone).await
            }
        };
        let short = match answer {
            Ok(Seq(seq)) => return Ok(Ok(Reserved { seq, output_limit: None })),
            Err(denied @ Denied::Short(_)) if !intent.gone.is_gone() => denied,
            Err(denied) => return Ok(Err(denied)),
        };
        // It will never fit as it is; with a shorter answer it may.
        let Some((amounts, tokens)) = self.cut(intent, known).await? else { return Ok(Err(short)) };
        let answer = self.hold(self.wanted(intent, key, known, amounts), FURTHER, &intent.gone).await;
        Ok(answer.map(|Seq(seq)| Reserved { seq, output_limit: Some(tokens) }))
    }

    fn wanted(
        &self,
        intent: &CallIntent,
        key: Option<&VirtualKey>,
        known: &Known,
        amounts: Amounts,
    ) -> Wanted {
        Wanted {
            accounts: Arc::clone(&known.accounts),
            intent: Intent {
                seq: 0,
                at_ms: self.clock.now().as_millisecond(),
                amounts,
                key: key.map(|key| key.id),
                budgets: Vec::new(),
                provider: intent.provider.clone(),
                model: intent.model.clone(),
            },
        }
    }

    /// How far the call must be cut to fit into what is left now, if it may be.
    async fn cut(&self, intent: &CallIntent, known: &Known) -> Result<Option<(Amounts, u64)>, LedgerError> {
        let Some(shorter) = intent.shorter.as_ref().filter(|_| known.cuts()) else { return Ok(None) };
        let store = &self.treasury.options.store;
        let seen = store.budgets_by_id(known.budgets()).await.map_err(|error| failed(&error))?;
        let (whole, mut room, mut floor) = (whole(intent), Vec::new(), 0);
        for budget in self.treasury.spending().views(seen) {
            let left = budget.left();
            if left < whole.of(budget.measure) {
                let Some(least) = known.applied(budget.id).and_then(|said| said.floor) else {
                    return Ok(None);
                };
                floor = floor.max(least);
                room.push((budget.measure, left));
            }
        }
        let size = |most: Most| amounts(intent, most.cost, most.tokens);
        let fits = |most: Most| room.iter().all(|(measure, left)| size(most).of(*measure) <= *left);
        let cut = shorter.longest(floor, fits).and_then(|tokens| Some((shorter.at(tokens)?, tokens)));
        Ok(cut.map(|(most, tokens)| (size(most), tokens)))
    }
}

/// What a call takes; one that costs nothing (counting tokens) is no call of a model.
fn amounts(intent: &CallIntent, cost: NanoUsd, tokens: u64) -> Amounts {
    match intent.path.endpoint.is_billed() {
        true => Amounts { cost, tokens, model_calls: 1, ..Amounts::default() },
        false => Amounts::default(),
    }
}

fn whole(intent: &CallIntent) -> Amounts {
    amounts(intent, intent.hold, intent.max_input_tokens.saturating_add(intent.max_output_tokens))
}

fn too_fast(key: &VirtualKey, per_minute: u32, wait: Duration) -> Refusal {
    let requests = if per_minute == 1 { "1 request".to_owned() } else { format!("{per_minute} requests") };
    Refusal::Later {
        status: 429,
        kind: "rate_limited".to_owned(),
        failure: Failure::new(Code(4068), format!("the key `{}` may make {requests} in a minute", key.name))
            .with_hint("Wait as long as retry-after says, or use a key that was made with a larger --rpm."),
        wait,
    }
}
