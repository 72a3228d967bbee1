//! What this process holds, in memory: accounts, calls under way, and who waits.
//!
//! Owns the arithmetic. It is synchronous and asks nobody; bringing more room and bringing what was
//! spent into the store is the treasury's business.
//!
//! **Architecture Invariant:** on every account `spent + held + parked <= granted`, but for a bill that
//! is larger than its hold; a hold is taken on all accounts of a call or on none, and only behind an
//! intent that is in the log.

mod account;
mod fold;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use wflo_core::budget::{Amount, Amounts, Budget, Measure};
use wflo_core::id::{BudgetId, EngineId};
use wflo_core::ports::store::Want;
use wflo_core::slice::CallRecord;

use self::account::Account;
use self::waiting::Waiter;
use crate::failpoint;
use crate::log::{End, Intent, Log};

pub(crate) use self::fold::Folding;

/// Where an account stands in [`Spending`].
pub(crate) type At = usize;

/// The accounts of a call, each once.
pub(crate) type Accounts = Arc<[At]>;

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

struct Open {
    accounts: Accounts,
    intent: Intent,
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
    pub(crate) fn account(&mut self, budget: BudgetId, measure: Measure) -> At {
        if let Some(at) = self.by_budget.get(&budget) {
            return *at;
        }
        let at = self.accounts.len();
        self.accounts.push(Account::new(budget, measure));
        self.by_budget.insert(budget, at);
        at
    }

    /// The account of a budget, if this process has one.
    fn of(&mut self, budget: BudgetId) -> Option<&mut Account> {
        let at = self.by_budget.get(&budget)?;
        self.accounts.get_mut(*at)
    }

    /// Whether an account has room for its part of a call, and nobody waits for it.
    fn fits(&self, at: At, amounts: &Amounts) -> bool {
        self.accounts.get(at).is_some_and(|account| {
            let amount = amounts.of(account.measure).units();
            amount == 0 || (account.waiting == 0 && account.free() >= amount)
        })
    }

    /// Takes the hold at once if there is room and nobody waits for it; else gives the call back.
    pub(crate) fn hold(&mut self, wanted: Wanted) -> Held {
        match wanted.accounts.iter().all(|at| self.fits(*at, &wanted.intent.amounts)) {
            true => Held::Asked(self.take(wanted)),
            false => Held::NoRoom(wanted),
        }
    }

    /// Takes the hold, for which there is room.
    fn take(&mut self, wanted: Wanted) -> Answer {
        let Wanted { accounts, mut intent } = wanted;
        if self.calls.len() >= UNFOLDED {
            return Err(Denied::Log("the store has not taken the last calls".to_owned()));
        }
        let known = accounts.iter().filter_map(|at| self.accounts.get(*at));
        intent.budgets = known.map(|account| (account.budget, account.measure)).collect();
        // First the log: a hold that is nowhere but in memory would be forgotten with the process.
        failpoint::pass("gateway.intent.before");
        let written = self.log.intent(&mut intent);
        failpoint::pass("gateway.intent.after");
        self.mute = written.is_err();
        if let Err(error) = written {
            return Err(Denied::Log(error.to_string()));
        }
        for at in accounts.iter() {
            if let Some(account) = self.accounts.get_mut(*at) {
                account.hold(intent.amounts.of(account.measure).units());
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
        let (held, amounts) = (&open.intent.amounts, &wanted.intent.amounts);
        let taken = end.map(|end| end.taken(held)).unwrap_or_default();
        let fits = |at: &At| {
            self.accounts.get(*at).is_some_and(|account| {
                let units = |amounts: &Amounts| amounts.of(account.measure).units();
                let freed = if open.accounts.contains(at) { units(held) - units(&taken) } else { 0 };
                account.free().saturating_add(freed) >= units(amounts) || units(amounts) == 0
            })
        };
        if !wanted.accounts.iter().all(fits) {
            return Held::NoRoom(wanted);
        }
        self.end(seq, end);
        Held::Asked(self.take(wanted))
    }

    /// A call is over: settled, or (`None`) certainly never sent.
    pub(crate) fn end(&mut self, seq: u64, end: Option<End>) {
        if !self.try_end(seq, end).is_ok_and(|known| known) && self.open.contains_key(&seq) {
            self.unlogged.push((seq, end));
        }
    }

    /// A call was answered from the cache. It is stored with the next fold and in no log: no money is in it, and
    /// what a killed process has not stored yet of such calls is missing in reports. While the store takes
    /// nothing, no more of them are remembered than of other calls.
    pub(crate) fn answered(&mut self, call: CallRecord) {
        if self.calls.len() < UNFOLDED {
            self.calls.push(call);
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
            Some(end) => {
                failpoint::pass("gateway.settle.before");
                self.log.settled(seq, &end)?;
                failpoint::pass("gateway.settle.after");
            }
        }
        let Some(open) = self.open.remove(&seq) else { return Ok(false) };
        let held = open.intent.amounts;
        let taken = end.map(|end| end.taken(&held)).unwrap_or_default();
        for at in open.accounts.iter() {
            if let Some(account) = self.accounts.get_mut(*at) {
                account.settle(held.of(account.measure).units(), taken.of(account.measure).units());
            }
        }
        if let Some(end) = end {
            self.overruns += u32::from(end.is_over(&open.intent));
            self.calls.push(end.record(&open.intent));
        }
        Ok(true)
    }

    /// What the store gave.
    pub(crate) fn grant(&mut self, wants: &[Want], granted: &[Amount]) {
        for (want, granted) in wants.iter().zip(granted) {
            if let Some(account) = self.of(want.budget) {
                account.granted = account.granted.saturating_add(granted.units());
                account.dry &= want.least.units() <= 0;
            }
        }
    }

    /// Calls under way.
    pub(crate) fn running(&self) -> usize {
        self.open.len()
    }

    /// From now on the disk is full.
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self) {
        self.log.fill_disk();
    }
}
