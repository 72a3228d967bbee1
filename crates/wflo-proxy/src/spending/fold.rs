//! Folds: what was spent since the last one, and what goes back of each slice.

use std::sync::Arc;

use wflo_core::budget::Amount;
use wflo_core::id::BudgetId;
use wflo_core::ports::store::{Fold, Part, Want};

use super::Spending;

/// A fold on its way to the store.
pub(crate) struct Folding(pub(crate) Arc<Fold>);

impl Spending {
    /// What to fetch ahead, so that the next calls need not wait.
    pub(crate) fn ahead(&self) -> Vec<Want> {
        self.accounts.iter().filter_map(super::account::Account::ahead).collect()
    }

    /// Everything that ended since the last fold, and what is not needed of each slice. `recalled` are
    /// budgets that somebody else waits for. `None` when there is nothing to say. [`Spending::folded`] or
    /// [`Spending::not_folded`] follows.
    pub(crate) fn fold(&mut self, recalled: &[BudgetId], ends: bool, at: jiff::Timestamp) -> Option<Folding> {
        self.retry();
        let mut parts = Vec::new();
        for account in &mut self.accounts {
            account.adjust();
            if ends || recalled.contains(&account.budget) {
                account.forgo();
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
            let units = Amount::from_units;
            parts.push(Part { budget: account.budget, settled: units(account.spent), freed: units(freed) });
        }
        if parts.is_empty() && self.calls.is_empty() && !ends {
            return None;
        }
        if parts.is_empty() && !self.calls.is_empty() && self.log.last() == self.position {
            // Hits alone are in no log. A fold that moves no position could be stored twice: the release of no
            // call says nothing, and takes its number like any other record.
            let _ = self.log.released(0);
        }
        let calls = std::mem::take(&mut self.calls);
        let overruns = std::mem::take(&mut self.overruns);
        Some(Folding(Arc::new(Fold {
            spender: self.spender,
            from: self.position,
            to: self.log.last(),
            parts,
            calls,
            overruns,
            ends,
            at,
        })))
    }

    /// The fold is in the store.
    pub(crate) fn folded(&mut self, folding: &Folding) {
        let fold = &folding.0;
        for part in &fold.parts {
            if let Some(account) = self.of(part.budget) {
                account.granted -= part.freed.units();
                account.spent -= part.settled.units();
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
        let fold = Arc::unwrap_or_clone(folding.0);
        for part in &fold.parts {
            if let Some(account) = self.of(part.budget) {
                account.retired = account.retired.saturating_add(std::mem::take(&mut account.retiring));
                account.parked = 0;
            }
        }
        let later = std::mem::replace(&mut self.calls, fold.calls);
        self.calls.extend(later);
        self.overruns += fold.overruns;
    }
}
