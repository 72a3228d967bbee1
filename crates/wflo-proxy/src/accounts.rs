//! The accounts of callers, opened in the store.
//!
//! Owns what is known of each caller's accounts. An account of a period is opened at the first call in it, so
//! only that call waits for a commit. A clock that is set back finds the period before as it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use wflo_core::budget::{Applied, Scope, Standing};
use wflo_core::id::{BudgetId, KeyId};
use wflo_core::key::{KeyBudget, VirtualKey};
use wflo_core::ports::store::{Batch, Op, SliceOp, SliceStore, StoreError};

use crate::rules::Rules;
use crate::spending::Accounts;
use crate::treasury::Treasury;

/// Who says what files say, in histories.
const BY: &str = "wflo gateway";

/// The accounts of one caller as long as no period ends.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) accounts: Accounts,
    applied: Vec<Applied>,
    /// What of the key they follow from: a key that is changed has others.
    budget: Option<KeyBudget>,
    labels: BTreeMap<String, String>,
    /// From when, up to and without when.
    span: (Timestamp, Timestamp),
}

impl Known {
    /// What the limits of an account say of calls.
    pub(crate) fn applied(&self, id: BudgetId) -> Option<&Applied> {
        self.applied.iter().find(|applied| applied.budget.id == id)
    }

    /// The ids of the accounts.
    pub(crate) fn budgets(&self) -> Vec<BudgetId> {
        self.applied.iter().map(|applied| applied.budget.id).collect()
    }

    /// Whether they are still those of the key.
    fn are_of(&self, key: &VirtualKey) -> bool {
        self.budget == key.budget && self.labels == key.labels
    }

    /// Whether any account lets calls be cut.
    pub(crate) fn cuts(&self) -> bool {
        self.applied.iter().any(|applied| applied.floor.is_some())
    }
}

/// All accounts that were opened under the same limits.
pub(crate) struct Directory {
    pub(crate) rules: Rules,
    pub(crate) standing: Vec<Standing>,
    known: Mutex<HashMap<Option<KeyId>, Arc<Known>>>,
}

impl Directory {
    pub(crate) fn new(rules: Rules, standing: Vec<Standing>) -> Directory {
        Directory { rules, standing, known: Mutex::default() }
    }

    /// The accounts of a caller, if they are known and it is still their time.
    pub(crate) fn at_hand(&self, key: Option<&VirtualKey>, now: Timestamp) -> Option<Arc<Known>> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&key.map(|key| key.id))?;
        let is_good = known.span.0 <= now && now < known.span.1;
        (is_good && key.is_none_or(|key| known.are_of(key))).then(|| Arc::clone(known))
    }

    /// Opens the accounts of a caller.
    pub(crate) async fn open(
        &self,
        treasury: &Treasury,
        key: Option<&VirtualKey>,
        now: Timestamp,
    ) -> Result<Arc<Known>, StoreError> {
        let applied = self.rules.accounts(&self.standing, key, now);
        put(&*treasury.options.store, &applied, now).await?;
        treasury.retire(applied.iter().map(|applied| applied.budget.id).collect()).await?;
        let accounts = {
            let mut spending = treasury.spending();
            let budgets = applied.iter().map(|applied| &applied.budget);
            budgets.map(|budget| spending.account(budget.id, budget.measure)).collect()
        };
        let known = Arc::new(Known {
            accounts,
            span: span(&applied, now),
            applied,
            budget: key.and_then(|key| key.budget.clone()),
            labels: key.map(|key| key.labels.clone()).unwrap_or_default(),
        });
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.map(|key| key.id), Arc::clone(&known));
        Ok(known)
    }
}

/// The time in which no period of any account ends or begins.
fn span(applied: &[Applied], now: Timestamp) -> (Timestamp, Timestamp) {
    let spans = applied.iter().filter_map(|applied| {
        let budget = &applied.budget;
        budget.period.span(&budget.time_zone, now)
    });
    spans.fold((Timestamp::MIN, Timestamp::MAX), |(from, until), span| {
        (from.max(span.start), until.min(span.end))
    })
}

/// Opens the accounts, and gives those that are open the limit that files say now.
async fn put(store: &dyn SliceStore, applied: &[Applied], now: Timestamp) -> Result<(), StoreError> {
    let mut ops = Vec::new();
    for Applied { budget, .. } in applied {
        ops.push(Op::OpenBudget(Box::new(budget.clone())));
        // People change standing ones where they are kept.
        if !budget.standing {
            let raises = matches!(budget.scope, Scope::Gateway | Scope::Key);
            let (budget, limit, by) = (budget.id, budget.limit, BY.to_owned());
            ops.push(Op::Slice(SliceOp::Limit { budget, limit, raises, by, at: now }));
        }
    }
    if ops.is_empty() {
        return Ok(());
    }
    store.commit(Batch { fence: None, ops }).await.map(drop)
}
