//! Calls that wait for room, first come first served.
//!
//! Owns the queue. Who waits holds up others only on the accounts that are short of it.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use wflo_core::budget::{Amounts, Budget};
use wflo_core::id::BudgetId;
use wflo_core::ports::store::Want;

use super::{Accounts, Answer, At, Denied, Seq, Spending, Wanted};

/// A call in the queue.
pub(super) struct Waiter {
    wanted: Wanted,
    /// Those of its accounts on which it is short, or behind one that is. It holds up nobody elsewhere.
    on: Vec<At>,
    reply: oneshot::Sender<Answer>,
}

/// What is left to hope for, for those that wait for a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Still {
    /// Somebody waits.
    pub(crate) waits: bool,
    /// Others hold some of it.
    pub(crate) others: bool,
}

impl Spending {
    /// Lets a call wait for room, behind all that wait already for the same account.
    pub(crate) fn wait(&mut self, wanted: Wanted) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let amounts = wanted.intent.amounts;
        let on = wanted.accounts.iter().copied().filter(|at| !self.fits(*at, &amounts)).collect();
        let mut waiter = Waiter { wanted, on: Vec::new(), reply };
        self.stand(&mut waiter, on);
        self.waiters.push_back(waiter);
        answer
    }

    /// From now on the call waits for room in these of its accounts.
    fn stand(&mut self, waiter: &mut Waiter, on: Vec<At>) {
        let amounts = waiter.wanted.intent.amounts;
        for (ats, more) in [(&waiter.on, false), (&on, true)] {
            for at in ats {
                let Some(account) = self.accounts.get_mut(*at) else { continue };
                let amount = amounts.of(account.measure).units();
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
            let accounts = Accounts::clone(&waiter.wanted.accounts);
            let amounts = waiter.wanted.intent.amounts;
            let takes =
                |at: &At| self.accounts.get(*at).map(|account| (account, amounts.of(account.measure)));
            // What takes nothing of an account waits for nobody there.
            let behind =
                |at: &At| blocked.contains(at) && takes(at).is_some_and(|(_, amount)| amount.units() > 0);
            let behind: Vec<At> = accounts.iter().copied().filter(behind).collect();
            if !behind.is_empty() {
                self.stand(&mut waiter, behind);
                left.push_back(waiter);
                continue;
            }
            let short = |at: &At| {
                takes(at)
                    .is_some_and(|(account, amount)| amount.units() > 0 && account.free() < amount.units())
            };
            let short: Vec<At> = accounts.iter().copied().filter(short).collect();
            // Where the store has not the room it is waited for; the others have it, and are asked then.
            let dry = |at: &At| self.accounts.get(*at).is_some_and(|account| account.dry);
            let dry: Vec<At> = short.iter().copied().filter(dry).collect();
            let short = if dry.is_empty() { short } else { dry };
            if !short.is_empty() {
                blocked.extend(&short);
                lacking.push(self.lacks(&short, &amounts));
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

    fn lacks(&self, accounts: &[At], amounts: &Amounts) -> Vec<Want> {
        let known = accounts.iter().filter_map(|at| self.accounts.get(*at));
        known.filter_map(|account| account.lack(amounts.of(account.measure).units())).collect()
    }

    /// How many calls wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.iter().filter(|waiter| !waiter.reply.is_closed()).count()
    }

    /// Whether anybody waits.
    pub(crate) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// What a budget that was short can still give to calls of this process: refuses all that will not
    /// fit whatever comes free, and says whether somebody still waits for it.
    pub(crate) fn short(&mut self, seen: &Budget) -> Still {
        let Some(at) = self.by_budget.get(&seen.id).copied() else { return Still::default() };
        let Some(account) = self.accounts.get_mut(at) else { return Still::default() };
        account.seen = Some(seen.clone());
        account.dry = true;
        let (room, measure, view) = (account.room(seen), account.measure, account.view(seen));
        let (mut still, mut left) = (Still { others: room.others > 0, ..Still::default() }, VecDeque::new());
        for mut waiter in std::mem::take(&mut self.waiters) {
            let wanted = i128::from(waiter.wanted.intent.amounts.of(measure).units());
            let concerned = wanted > 0 && waiter.wanted.accounts.contains(&at) && !waiter.reply.is_closed();
            if concerned && wanted > room.possible {
                self.stand(&mut waiter, Vec::new());
                let _ = waiter.reply.send(Err(Denied::Short(Box::new(view.clone()))));
                continue;
            }
            still.waits |= concerned;
            left.push_back(waiter);
        }
        self.waiters = left;
        still
    }

    /// The budget in the way of a call that has waited long enough.
    pub(crate) fn in_the_way(&self, accounts: &Accounts, amounts: &Amounts) -> Option<Budget> {
        let known = accounts.iter().filter_map(|at| self.accounts.get(*at));
        let (account, seen) = known
            .filter(|account| amounts.of(account.measure).units() > 0)
            .filter_map(|account| Some((account, account.seen.as_ref()?)))
            .min_by_key(|(account, _)| account.free() >= amounts.of(account.measure).units())?;
        Some(account.view(seen))
    }

    /// These budgets, as they were just read from the store, with what this process has spent and holds.
    pub(crate) fn views(&self, seen: Vec<Budget>) -> Vec<Budget> {
        let view = |seen: Budget| {
            let at = self.by_budget.get(&seen.id).and_then(|at| self.accounts.get(*at));
            at.map_or_else(|| seen.clone(), |account| account.view(&seen))
        };
        seen.into_iter().map(view).collect()
    }

    /// Refuses everybody who waits: the store fails.
    pub(crate) fn fail_waiters(&mut self, message: &str) {
        for mut waiter in std::mem::take(&mut self.waiters) {
            self.stand(&mut waiter, Vec::new());
            let _ = waiter.reply.send(Err(Denied::Log(message.to_owned())));
        }
    }

    /// The budget's limit was lowered below what is in use of it: what no call holds of the slice goes back
    /// with the next fold, and is not spent before.
    pub(crate) fn retire(&mut self, budget: BudgetId) {
        if let Some(account) = self.of(budget) {
            account.retired = account.retired.saturating_add(account.free().max(0));
            account.forgo();
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.waiters.len()
    }
}
