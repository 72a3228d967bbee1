//! One account of this process: its slice of a budget, and what became of it.

use wflo_core::budget::{Amount, Budget, Measure};
use wflo_core::id::BudgetId;
use wflo_core::ports::store::Want;

/// See the module. All numbers are in the smallest unit of the measure.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) budget: BudgetId,
    pub(super) measure: Measure,
    /// The slice: what the store holds for this process.
    pub(super) granted: i64,
    /// Taken by ended calls since the last fold.
    pub(super) spent: i64,
    /// What running calls may still take.
    pub(super) held: i64,
    /// On its way back to the store.
    pub(super) parked: i64,
    /// Of the slice, what may only go back to the store; what of it is on its way.
    pub(super) retired: i64,
    pub(super) retiring: i64,
    /// Calls that wait for room in this one (and not only in another of their accounts), and what they want
    /// together.
    pub(super) waiting: usize,
    pub(super) wanted: i64,
    /// The largest hold, and the sum of all holds, since the last look.
    largest: i64,
    flow: i64,
    /// How much room this process wanted to have at hand at the last look.
    pub(super) target: i64,
    /// As it was last seen in the store.
    pub(super) seen: Option<Budget>,
    /// The store had not the room when it was asked last.
    pub(super) dry: bool,
}

impl Account {
    pub(super) fn new(budget: BudgetId, measure: Measure) -> Account {
        Account {
            budget,
            measure,
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
        }
    }

    /// What a new call can hold.
    pub(super) fn free(&self) -> i64 {
        let taken = self.spent.saturating_add(self.held);
        self.granted.saturating_sub(taken).saturating_sub(self.parked).saturating_sub(self.retired)
    }

    pub(super) fn hold(&mut self, amount: i64) {
        self.held += amount;
        self.largest = self.largest.max(amount);
        self.flow = self.flow.saturating_add(amount);
    }

    pub(super) fn settle(&mut self, held: i64, taken: i64) {
        self.held -= held;
        self.spent = self.spent.saturating_add(taken);
    }

    /// Adjusts what is wanted at hand to what the last while took: four times its holds, sinking by a
    /// quarter each time when less is taken, to nothing. To be called once a fold.
    pub(super) fn adjust(&mut self) {
        let wanted = self.flow.saturating_mul(4).max(self.largest.saturating_mul(4));
        let sunk = self.target - self.target / 4 - self.target % 4;
        self.target = wanted.max(sunk);
        (self.flow, self.largest) = (0, 0);
    }

    /// Somebody else wants what is not needed here: nothing is had at hand until calls come again.
    pub(super) fn forgo(&mut self) {
        (self.target, self.flow, self.largest) = (0, 0, 0);
    }

    /// How much room this process wants to have at hand now: as much again as it took since the last look,
    /// if that is more. So a process that has just begun asks the store twice as much each time, and not for
    /// every few calls.
    fn at_hand(&self) -> i64 {
        self.target.max(self.flow).max(self.largest.saturating_mul(4))
    }

    /// What to fetch ahead, if anything.
    pub(super) fn ahead(&self) -> Option<Want> {
        let target = self.at_hand();
        let low = target > 0 && self.waiting == 0 && self.free() < target / 2;
        let most = Amount::from_units(target.saturating_sub(self.free()));
        low.then_some(Want { budget: self.budget, least: Amount::ZERO, most })
    }

    /// What a call lacks that takes `amount` of it, if anything.
    pub(super) fn lack(&self, amount: i64) -> Option<Want> {
        let least = amount.saturating_sub(self.free());
        let most = least.saturating_add(self.at_hand().max(self.wanted));
        let units = Amount::from_units;
        (least > 0).then(|| Want { budget: self.budget, least: units(least), most: units(most) })
    }

    /// What the budget, as it was seen in the store, can give to calls of this process.
    pub(super) fn room(&self, seen: &Budget) -> Room {
        // A bill above its hold may have taken more than the slice.
        let others = (i128::from(seen.held.units()) - i128::from(self.granted)).max(0);
        let settled = i128::from(seen.settled.units()) + i128::from(self.spent);
        let possible = i128::from(seen.limit.units()) - settled;
        Room { others, possible, now: possible - others - i128::from(self.held) }
    }

    /// The budget as whoever is refused sees it: what this process has spent counts as settled.
    pub(super) fn view(&self, seen: &Budget) -> Budget {
        let settled = seen.settled.saturating_add(Amount::from_units(self.spent));
        let left = i64::try_from(self.room(seen).now.max(0)).unwrap_or(i64::MAX);
        let held = seen.limit.saturating_sub(settled).saturating_sub(Amount::from_units(left));
        Budget { settled, held: held.max(Amount::ZERO), ..seen.clone() }
    }
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// What other processes hold.
    pub(super) others: i128,
    /// What there will be if everything that is held comes free.
    pub(super) possible: i128,
    /// What there is now.
    pub(super) now: i128,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_process_that_has_just_begun_asks_the_store_more_seldom_each_time() {
        let mut account = Account::new(BudgetId::from_uuid(Uuid::nil()), Measure::Cost);
        let (hold, bill, mut asked) = (1_000, 120, 0);
        for _ in 0..2_000 {
            if let Some(want) = account.lack(hold) {
                account.granted += want.most.units();
                asked += 1;
            }
            account.hold(hold);
            account.settle(hold, bill);
        }
        assert!(asked <= 12, "{asked}");
    }

    #[test]
    fn what_is_wanted_elsewhere_is_not_had_at_hand() {
        let mut account = Account::new(BudgetId::from_uuid(Uuid::nil()), Measure::Cost);
        account.granted = 100;
        (0..10).for_each(|_| account.hold(10));
        account.adjust();
        account.hold(10);
        account.forgo();
        assert_eq!(account.ahead(), None);
        assert_eq!(account.lack(10).unwrap().most.units(), 20);
    }
}
