//! What this process holds, in memory: accounts, calls under way, and who waits.
//!
//! Owns the arithmetic. It is synchronous and asks nobody; bringing more money and bringing what was
//! spent into the store is the treasury's business.
//!
//! **Architecture Invariant:** on every account `spent + held + parked <= granted`, but for a bill that
//! is larger than its hold; a hold is taken on all accounts of a call or on none, and only behind an
//! intent that is in the log.

use std::collections::{HashMap, VecDeque};
use std::io;

use tokio::sync::oneshot;
use wflo_core::budget::{Amount, Budget};
use wflo_core::id::{BudgetId, EngineId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Fold, Part, Want};
use wflo_core::slice::CallRecord;

use crate::log::{Intent, Log, Settled};

/// Where an account stands in [`Spending`].
pub(crate) type At = usize;

/// The accounts of a call, each once.
pub(crate) type Accounts = std::sync::Arc<[At]>;

/// One account of this process.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) budget: BudgetId,
    /// The slice: what the store holds for this process.
    granted: i64,
    /// Billed since the last fold.
    spent: i64,
    /// What running calls may still be billed.
    held: i64,
    /// On its way back to the store.
    parked: i64,
    /// Of the slice, what may only go back to the store; what of it is on its way.
    retired: i64,
    retiring: i64,
    /// Calls that wait for room in this one (and not only in another of their accounts), and what they want
    /// together.
    waiting: usize,
    wanted: i64,
    /// The largest hold, and the sum of all holds, since the last look.
    largest: i64,
    flow: i64,
    /// How much room this process wants to have at hand.
    target: i64,
    /// As it was last seen in the store.
    seen: Option<Budget>,
    /// The store had not the room when it was asked last.
    dry: bool,
}

impl Account {
    fn free(&self) -> i64 {
        let taken = self.spent.saturating_add(self.held);
        self.granted.saturating_sub(taken).saturating_sub(self.parked).saturating_sub(self.retired)
    }
}

/// A call that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seq(pub(crate) u64);

/// What a call wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) accounts: Accounts,
    /// Without its number and its budgets, which are filled in.
    pub(crate) intent: Intent,
}

/// Why a call got no hold.
#[derive(Debug)]
pub(crate) enum Denied {
    /// A budget has not the room.
    Short(Box<Budget>),
    /// The log could not be written.
    Log(String),
}

/// How a waiting call is answered.
pub(crate) type Answer = Result<Seq, Denied>;

/// Whether a hold was tried for.
#[derive(Debug)]
pub(crate) enum Held {
    /// There was room; what came of it.
    Asked(Answer),
    /// There is no room, and nothing has changed.
    NoRoom(Wanted),
}

struct Waiter {
    wanted: Wanted,
    /// Those of its accounts on which it is short, or behind one that is. It holds up nobody elsewhere.
    on: Vec<At>,
    reply: oneshot::Sender<Answer>,
}

struct Open {
    accounts: Accounts,
    intent: Intent,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) at_ms: i64,
    pub(crate) cost: NanoUsd,
    pub(crate) uncertain: bool,
    pub(crate) status: u16,
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) took_us: u64,
}

/// See the module.
pub(crate) struct Spending {
    spender: EngineId,
    accounts: Vec<Account>,
    by_budget: HashMap<BudgetId, At>,
    open: HashMap<u64, Open>,
    waiters: VecDeque<Waiter>,
    log: Log,
    /// The last record could not be written: no call is made.
    mute: bool,
    /// What ended and could not be logged: it counts as running until it is.
    unlogged: Vec<(u64, Option<End>)>,
    /// Ended since the last fold.
    calls: Vec<CallRecord>,
    overruns: u32,
    /// Up to where the store has it.
    position: u64,
}

/// More calls than this that the store does not take: no further ones are made.
const UNFOLDED: usize = 200_000;

impl Spending {
    pub(crate) fn new(spender: EngineId, log: Log) -> Spending {
        Spending {
            spender,
            accounts: Vec::new(),
            by_budget: HashMap::new(),
            open: HashMap::new(),
            waiters: VecDeque::new(),
            log,
            mute: false,
            unlogged: Vec::new(),
            calls: Vec::new(),
            overruns: 0,
            position: 0,
        }
    }

    /// The account of a budget, made empty when it is new here.
    pub(crate) fn account(&mut self, budget: BudgetId) -> At {
        if let Some(at) = self.by_budget.get(&budget) {
            return *at;
        }
        let at = self.accounts.len();
        self.accounts.push(Account {
            budget,
            granted: 0,
            spent: 0,
            held: 0,
            parked: 0,
            retired: 0,
            retiring: 0,
            waiting: 0,
            wanted: 0,
            largest: 0,
            flow: 0,
            target: 0,
            seen: None,
            dry: false,
        });
        self.by_budget.insert(budget, at);
        at
    }

    /// Takes the hold at once if there is room and nobody waits for it; else gives the call back.
    pub(crate) fn hold(&mut self, wanted: Wanted) -> Held {
        let amount = wanted.intent.amount.nanos();
        let fits = |at: &At| {
            self.accounts.get(*at).is_some_and(|account| account.waiting == 0 && account.free() >= amount)
        };
        if amount > 0 && !wanted.accounts.iter().all(fits) {
            return Held::NoRoom(wanted);
        }
        Held::Asked(self.take(wanted))
    }

    /// Takes the hold, for which there is room.
    fn take(&mut self, wanted: Wanted) -> Answer {
        let Wanted { accounts, mut intent } = wanted;
        if self.calls.len() >= UNFOLDED {
            return Err(Denied::Log("the store has not taken the last calls".to_owned()));
        }
        intent.budgets =
            accounts.iter().filter_map(|at| self.accounts.get(*at)).map(|account| account.budget).collect();
        // First the log: a hold that is nowhere but in memory would be forgotten with the process.
        let written = self.log.intent(&mut intent);
        self.mute = written.is_err();
        if let Err(error) = written {
            return Err(Denied::Log(error.to_string()));
        }
        let amount = intent.amount.nanos();
        for at in accounts.iter() {
            if let Some(account) = self.accounts.get_mut(*at) {
                account.held += amount;
                account.largest = account.largest.max(amount);
                account.flow = account.flow.saturating_add(amount);
            }
        }
        let seq = intent.seq;
        self.open.insert(seq, Open { accounts, intent });
        Ok(Seq(seq))
    }

    /// Ends one attempt of a call and takes the hold of the next in its place, if there is room; else
    /// gives it back, and nothing has changed.
    pub(crate) fn swap(&mut self, seq: u64, end: Option<End>, wanted: Wanted) -> Held {
        let Some(open) = self.open.get(&seq) else { return Held::NoRoom(wanted) };
        let freed = open.intent.amount.nanos() - end.map_or(0, |end| end.cost.nanos());
        let amount = wanted.intent.amount.nanos();
        let fits = |at: &At| {
            let freed = if open.accounts.contains(at) { freed } else { 0 };
            self.accounts.get(*at).is_some_and(|account| account.free().saturating_add(freed) >= amount)
        };
        if !wanted.accounts.iter().all(fits) {
            return Held::NoRoom(wanted);
        }
        self.end(seq, end);
        Held::Asked(self.take(wanted))
    }

    /// Lets a call wait for room, behind all that wait already for the same account.
    pub(crate) fn wait(&mut self, wanted: Wanted) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let amount = wanted.intent.amount.nanos();
        let stands = |at: &At| {
            self.accounts.get(*at).is_some_and(|account| account.waiting > 0 || account.free() < amount)
        };
        let on = wanted.accounts.iter().copied().filter(stands).collect();
        let mut waiter = Waiter { wanted, on: Vec::new(), reply };
        self.stand(&mut waiter, on);
        self.waiters.push_back(waiter);
        answer
    }

    /// From now on the call waits for room in these of its accounts.
    fn stand(&mut self, waiter: &mut Waiter, on: Vec<At>) {
        let amount = waiter.wanted.intent.amount.nanos();
        for (ats, more) in [(&waiter.on, false), (&on, true)] {
            for at in ats {
                let Some(account) = self.accounts.get_mut(*at) else { continue };
                (account.waiting, account.wanted) = match more {
                    true => (account.waiting + 1, account.wanted.saturating_add(amount)),
                    false => (account.waiting.saturating_sub(1), account.wanted.saturating_sub(amount)),
                };
            }
        }
        waiter.on = on;
    }

    /// Gives room to those that wait, the oldest first; nobody overtakes on an account that an older one
    /// is short of. The first that is left of each, as what it lacks.
    pub(crate) fn serve(&mut self) -> Vec<Vec<Want>> {
        let mut lacking = Vec::new();
        let mut blocked: Vec<At> = Vec::new();
        let mut left = VecDeque::with_capacity(self.waiters.len());
        while let Some(mut waiter) = self.waiters.pop_front() {
            if waiter.reply.is_closed() {
                self.stand(&mut waiter, Vec::new());
                continue;
            }
            let accounts = std::sync::Arc::clone(&waiter.wanted.accounts);
            let behind: Vec<At> = accounts.iter().copied().filter(|at| blocked.contains(at)).collect();
            if !behind.is_empty() {
                self.stand(&mut waiter, behind);
                left.push_back(waiter);
                continue;
            }
            let amount = waiter.wanted.intent.amount.nanos();
            let short = |at: &At| self.accounts.get(*at).is_some_and(|account| account.free() < amount);
            let short: Vec<At> = accounts.iter().copied().filter(short).collect();
            // Where the store has not the room it is waited for; the others have it, and are asked then.
            let dry = |at: &At| self.accounts.get(*at).is_some_and(|account| account.dry);
            let dry: Vec<At> = short.iter().copied().filter(dry).collect();
            let short = if dry.is_empty() { short } else { dry };
            if !short.is_empty() {
                blocked.extend(&short);
                lacking.push(self.lacks(&short, amount));
                self.stand(&mut waiter, short);
                left.push_back(waiter);
                continue;
            }
            self.stand(&mut waiter, Vec::new());
            let answer = self.take(waiter.wanted);
            if let Err(Ok(Seq(unheard))) = waiter.reply.send(answer) {
                // Whoever waited went in this moment: nothing was sent.
                self.end(unheard, None);
            }
        }
        self.waiters = left;
        lacking
    }

    fn lacks(&self, accounts: &[At], amount: i64) -> Vec<Want> {
        let lack = |at: &At| {
            let account = self.accounts.get(*at)?;
            let least = amount.saturating_sub(account.free());
            let most = least.saturating_add(account.target.max(account.wanted));
            let (least, most) = (NanoUsd::from_nanos(least), NanoUsd::from_nanos(most));
            (least > NanoUsd::ZERO).then_some(Want { budget: account.budget, least, most })
        };
        accounts.iter().filter_map(lack).collect()
    }

    /// How many calls wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.iter().filter(|waiter| !waiter.reply.is_closed()).count()
    }

    /// Whether anybody waits.
    pub(crate) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// A call is over: settled, or (`None`) certainly never sent.
    pub(crate) fn end(&mut self, seq: u64, end: Option<End>) {
        if !self.try_end(seq, end).is_ok_and(|known| known) && self.open.contains_key(&seq) {
            self.unlogged.push((seq, end));
        }
    }

    /// Whether calls can be recorded, and so be made.
    pub(crate) fn is_mute(&self) -> bool {
        self.mute || self.calls.len() >= UNFOLDED
    }

    /// Tries again what could not be logged, and whether anything can be.
    pub(crate) fn retry(&mut self) {
        if self.mute {
            let turned = self.log.turn(self.open.values().map(|open| &open.intent));
            // The release of no call says nothing, and takes its number like any other record.
            self.mute = turned.and_then(|()| self.log.released(0)).is_err();
        }
        for (seq, end) in std::mem::take(&mut self.unlogged) {
            self.end(seq, end);
        }
    }

    /// Whether the call was open.
    fn try_end(&mut self, seq: u64, end: Option<End>) -> io::Result<bool> {
        if !self.open.contains_key(&seq) {
            return Ok(false);
        }
        match end {
            None => self.log.released(seq)?,
            Some(end) => self.log.settled(&mut Settled {
                lsn: 0,
                seq,
                at_ms: end.at_ms,
                cost: end.cost,
                uncertain: end.uncertain,
                status: end.status,
                input_tokens: end.input_tokens,
                cached_tokens: end.cached_tokens,
                output_tokens: end.output_tokens,
                took_us: end.took_us,
            })?,
        }
        let Some(open) = self.open.remove(&seq) else { return Ok(false) };
        let (amount, cost) = (open.intent.amount, end.map_or(NanoUsd::ZERO, |end| end.cost));
        for at in open.accounts.iter() {
            if let Some(account) = self.accounts.get_mut(*at) {
                account.held -= amount.nanos();
                account.spent = account.spent.saturating_add(cost.nanos());
            }
        }
        if let Some(end) = end {
            self.overruns += u32::from(end.cost > amount);
            self.calls.push(record(&open.intent, &end));
        }
        Ok(true)
    }

    /// What the store gave.
    pub(crate) fn grant(&mut self, wants: &[Want], granted: &[NanoUsd]) {
        for (want, granted) in wants.iter().zip(granted) {
            let at = self.account(want.budget);
            if let Some(account) = self.accounts.get_mut(at) {
                account.granted = account.granted.saturating_add(granted.nanos());
                account.dry &= want.least <= NanoUsd::ZERO;
            }
        }
    }

    /// What a budget that was short can still give to calls of this process: refuses all that will not
    /// fit whatever comes free, and says whether somebody still waits for it.
    pub(crate) fn short(&mut self, seen: &Budget) -> Still {
        let Some(at) = self.by_budget.get(&seen.id).copied() else { return Still::default() };
        let Some(account) = self.accounts.get_mut(at) else { return Still::default() };
        account.seen = Some(seen.clone());
        account.dry = true;
        let spent = i128::from(account.spent);
        // A bill above its hold may have taken more than the slice.
        let others = (i128::from(seen.held.units()) - i128::from(account.granted)).max(0);
        let in_flight = i128::from(account.held);
        let possible = i128::from(seen.limit.units()) - i128::from(seen.settled.units()) - spent;
        let now = possible - others - in_flight;
        let (mut still, mut left) = (Still { others: others > 0, ..Still::default() }, VecDeque::new());
        for mut waiter in std::mem::take(&mut self.waiters) {
            let wanted = i128::from(waiter.wanted.intent.amount.nanos());
            let concerned = waiter.wanted.accounts.contains(&at) && !waiter.reply.is_closed();
            if concerned && wanted > possible {
                self.stand(&mut waiter, Vec::new());
                let view = self.view(seen, now);
                let _ = waiter.reply.send(Err(Denied::Short(Box::new(view))));
                continue;
            }
            still.waits |= concerned;
            left.push_back(waiter);
        }
        self.waiters = left;
        still
    }

    /// The budget as whoever is refused sees it: what this process has spent counts as settled.
    fn view(&self, seen: &Budget, left: i128) -> Budget {
        let at = self.by_budget.get(&seen.id).and_then(|at| self.accounts.get(*at));
        let spent = at.map_or(0, |account| account.spent);
        let settled = seen.settled.saturating_add(Amount::from_units(spent));
        let left = i64::try_from(left.max(0)).unwrap_or(i64::MAX);
        let held = seen.limit.saturating_sub(settled).saturating_sub(Amount::from_units(left));
        Budget { settled, held: held.max(Amount::ZERO), ..seen.clone() }
    }

    /// The budget in the way of a call that has waited long enough.
    pub(crate) fn in_the_way(&self, accounts: &Accounts, amount: NanoUsd) -> Option<Budget> {
        let known = accounts.iter().filter_map(|at| self.accounts.get(*at));
        let (account, seen) = known
            .filter_map(|account| Some((account, account.seen.as_ref()?)))
            .min_by_key(|(account, _)| account.free() >= amount.nanos())?;
        let others = (i128::from(seen.held.units()) - i128::from(account.granted)).max(0);
        let possible =
            i128::from(seen.limit.units()) - i128::from(seen.settled.units()) - i128::from(account.spent);
        Some(self.view(seen, possible - others - i128::from(account.held)))
    }

    /// Refuses everybody who waits: the store fails.
    pub(crate) fn fail_waiters(&mut self, message: &str) {
        for mut waiter in std::mem::take(&mut self.waiters) {
            self.stand(&mut waiter, Vec::new());
            let _ = waiter.reply.send(Err(Denied::Log(message.to_owned())));
        }
    }

    /// What to fetch ahead, so that the next calls need not wait.
    pub(crate) fn ahead(&self) -> Vec<Want> {
        let low = self.accounts.iter().filter(|account| {
            account.target > 0 && account.waiting == 0 && account.free() < account.target / 2
        });
        let want = |account: &Account| Want {
            budget: account.budget,
            least: NanoUsd::ZERO,
            most: NanoUsd::from_nanos(account.target.saturating_sub(account.free())),
        };
        low.map(want).collect()
    }

    /// Adjusts what is wanted at hand to what the last while took: four times its holds, sinking by a
    /// quarter each time when less is taken, to nothing. To be called once a fold.
    fn adjust(&mut self) {
        for account in &mut self.accounts {
            let wanted = account.flow.saturating_mul(4).max(account.largest.saturating_mul(4));
            let sunk = account.target - account.target / 4 - account.target % 4;
            account.target = wanted.max(sunk);
            (account.flow, account.largest) = (0, 0);
        }
    }

    /// The budget's limit was lowered below what is in use of it: what no call holds of the slice goes back
    /// with the next fold, and is not spent before.
    pub(crate) fn retire(&mut self, budget: BudgetId) {
        let at = self.account(budget);
        if let Some(account) = self.accounts.get_mut(at) {
            account.retired = account.retired.saturating_add(account.free().max(0));
            account.target = 0;
        }
    }

    /// Everything that ended since the last fold, and what is not needed of each slice. `recalled` are
    /// budgets that somebody else waits for. `None` when there is nothing to say. [`Spending::folded`] or
    /// [`Spending::not_folded`] follows.
    pub(crate) fn fold(&mut self, recalled: &[BudgetId], ends: bool, at: jiff::Timestamp) -> Option<Folding> {
        self.retry();
        self.adjust();
        let mut parts = Vec::new();
        for account in &mut self.accounts {
            if ends || recalled.contains(&account.budget) {
                account.target = 0;
            }
            // Twice the target before any goes back: what is returned now is not fetched in a moment.
            let keep = account.target.saturating_mul(2);
            let back = if account.waiting > 0 { 0 } else { account.free().saturating_sub(keep).max(0) };
            let back = back.saturating_add(account.retired);
            let freed = account.spent.saturating_add(back).min(account.granted - account.held);
            let freed = freed.max(0);
            if account.spent == 0 && freed == 0 {
                continue;
            }
            account.parked = (freed - account.spent).max(0);
            // It is on its way; if it does not arrive it is retired again.
            account.retiring = std::mem::take(&mut account.retired);
            let nano = NanoUsd::from_nanos;
            parts.push(Part { budget: account.budget, settled: nano(account.spent), freed: nano(freed) });
        }
        if parts.is_empty() && self.calls.is_empty() && !ends {
            return None;
        }
        let calls = std::mem::take(&mut self.calls);
        let overruns = std::mem::take(&mut self.overruns);
        Some(Folding(Fold {
            spender: self.spender,
            from: self.position,
            to: self.log.last(),
            parts,
            calls,
            overruns,
            ends,
            at,
        }))
    }

    /// The fold is in the store.
    pub(crate) fn folded(&mut self, folding: &Folding) {
        let fold = &folding.0;
        for part in &fold.parts {
            let at = self.account(part.budget);
            if let Some(account) = self.accounts.get_mut(at) {
                account.granted -= part.freed.nanos();
                account.spent -= part.settled.nanos();
                (account.parked, account.retiring) = (0, 0);
            }
        }
        self.position = fold.to;
        if fold.ends {
            self.log.remove();
            return;
        }
        self.log.folded(fold.to);
        if let Err(error) = self.log.turn(self.open.values().map(|open| &open.intent)) {
            tracing::warn!(%error, "the log could not be continued in a new file");
        }
    }

    /// The fold did not come into the store: it is said again with the next.
    pub(crate) fn not_folded(&mut self, folding: Folding) {
        let fold = folding.0;
        for part in &fold.parts {
            let at = self.account(part.budget);
            if let Some(account) = self.accounts.get_mut(at) {
                account.retired = account.retired.saturating_add(std::mem::take(&mut account.retiring));
                account.parked = 0;
            }
        }
        let later = std::mem::replace(&mut self.calls, fold.calls);
        self.calls.extend(later);
        self.overruns += fold.overruns;
    }

    /// From now on the disk is full.
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self) {
        self.log.fill_disk();
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// Calls under way.
    pub(crate) fn running(&self) -> usize {
        self.open.len()
    }
}

/// A fold on its way to the store.
pub(crate) struct Folding(pub(crate) Fold);

/// What is left to hope for, for those that wait for a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Still {
    /// Somebody waits.
    pub(crate) waits: bool,
    /// Others hold some of it.
    pub(crate) others: bool,
}

/// More than this is no count of a call, and would not fit into a store.
const MOST: u64 = 1 << 62;

pub(crate) fn record(intent: &Intent, end: &End) -> CallRecord {
    CallRecord {
        seq: intent.seq,
        at_ms: end.at_ms,
        key: intent.key,
        provider: intent.provider.clone(),
        model: intent.model.clone(),
        status: end.status,
        input_tokens: end.input_tokens.min(MOST),
        cached_tokens: end.cached_tokens.min(MOST),
        output_tokens: end.output_tokens.min(MOST),
        cost: end.cost,
        uncertain: end.uncertain,
        took_us: end.took_us.min(MOST),
    }
}
