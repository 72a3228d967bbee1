//! Any order of openings, holds, bills, releases and top-ups, beside a model that fits on a page.

use proptest::prelude::*;
use wflo_core::budget::Scope;
use wflo_core::id::HoldId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, StoreError};

use super::ground::*;

#[derive(Debug, Clone)]
enum Act {
    Hold { on: Vec<usize>, amount: i64 },
    Settle { hold: usize, actual: i64 },
    Release { hold: usize },
    TopUp { on: usize, amount: i64 },
}

#[derive(Debug, Clone, PartialEq)]
struct Books {
    /// Limit, settled, held.
    accounts: Vec<(i64, i64, i64)>,
    /// On which accounts, how much, still open.
    holds: Vec<(Vec<usize>, i64, bool)>,
    overruns: u64,
}

impl Books {
    /// The books after an act, or `None` when it must be refused.
    fn after(&self, act: &Act) -> Option<Books> {
        let mut books = self.clone();
        match act {
            Act::Hold { on, amount } => {
                for &n in on {
                    let (limit, settled, held) = &mut books.accounts[n];
                    *held += amount;
                    if *settled + *held > *limit {
                        return None;
                    }
                }
                books.holds.push((on.clone(), *amount, true));
            }
            Act::Settle { hold, actual } => {
                let (on, amount, open) = &mut books.holds[*hold];
                if std::mem::take(open) {
                    on.iter().for_each(|&n| books.accounts[n].1 += actual);
                    on.iter().for_each(|&n| books.accounts[n].2 -= *amount);
                    books.overruns += u64::from(*actual > *amount);
                }
            }
            Act::Release { hold } => {
                let (on, amount, open) = &mut books.holds[*hold];
                if std::mem::take(open) {
                    on.iter().for_each(|&n| books.accounts[n].2 -= *amount);
                }
            }
            Act::TopUp { on, amount } => {
                let (limit, settled, held) = &mut books.accounts[*on];
                let floor = if *amount < 0 { (*settled + *held).min(*limit) } else { i64::MIN };
                *limit = (*limit + amount).max(floor);
            }
        }
        Some(books)
    }
}

fn act() -> impl Strategy<Value = Act> {
    let on = proptest::sample::subsequence(vec![0_usize, 1, 2], 1..=3);
    // Small numbers, so that limits are met and missed by one.
    prop_oneof![
        4 => (on, 0..12_i64).prop_map(|(on, amount)| Act::Hold { on, amount }),
        3 => (0..8_usize, 0..14_i64).prop_map(|(hold, actual)| Act::Settle { hold, actual }),
        1 => (0..8_usize).prop_map(|hold| Act::Release { hold }),
        1 => (0..3_usize, -20..20_i64).prop_map(|(on, amount)| Act::TopUp { on, amount }),
    ]
}

/// Batches of acts give what the model says, whole or not at all.
pub fn any_order_of_calls_keeps_the_books(fixture: impl Fn() -> Fixture) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches = proptest::collection::vec(proptest::collection::vec(act(), 1..4), 1..16);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(batches in batches)| {
        let fixture = fixture();
        runtime.block_on(follow(&fixture, batches))?;
    });
}

async fn follow(fixture: &Fixture, batches: Vec<Vec<Act>>) -> Result<(), TestCaseError> {
    let (store, run) = accepted(fixture).await;
    let scopes = [Scope::Run, Scope::Step, Scope::Agent];
    let accounts: Vec<_> = scopes.map(|scope| budget("key", scope, "0.00000003")).to_vec();
    let ops = accounts.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    commit(&*store, ops).await.unwrap();
    let mut books = Books { accounts: vec![(30, 0, 0); 3], holds: Vec::new(), overruns: 0 };
    let mut ids: Vec<HoldId> = Vec::new();
    for batch in batches {
        let (mut ops, mut expected, mut batch_ids) = (Vec::new(), Some(books.clone()), ids.clone());
        for mut act in batch {
            // A hold that the batch has not reached would be another test.
            let known = expected.as_ref().map_or(batch_ids.len(), |books| books.holds.len());
            match &mut act {
                Act::Settle { hold, .. } | Act::Release { hold } if known > 0 => *hold %= known,
                Act::Settle { .. } | Act::Release { .. } => continue,
                _ => {}
            }
            let nanos = NanoUsd::from_nanos;
            ops.push(match &act {
                Act::Hold { on, amount } => {
                    batch_ids.push(hold_id());
                    let budgets = on.iter().map(|&n| accounts[n].id).collect();
                    Op::Hold {
                        id: batch_ids[batch_ids.len() - 1],
                        run: run.id,
                        budgets,
                        amount: nanos(*amount),
                    }
                }
                Act::Settle { hold, actual } => {
                    Op::Settle { id: batch_ids[*hold], actual: nanos(*actual), at: at(1) }
                }
                Act::Release { hold } => Op::ReleaseHold { id: batch_ids[*hold] },
                Act::TopUp { on, amount } => Op::TopUp { budget: accounts[*on].id, amount: nanos(*amount) },
            });
            expected = expected.and_then(|books| books.after(&act));
        }
        match (commit(&*store, ops).await, expected) {
            (Ok(_), Some(after)) => (books, ids) = (after, batch_ids),
            (Err(StoreError::Short(_)), None) => {}
            (outcome, expected) => prop_assert!(false, "{outcome:?}, expected {expected:?}"),
        }
        let read = store.budgets(vec!["key".to_owned()]).await.unwrap();
        let read: Vec<_> =
            read.iter().map(|b| (b.limit.nanos(), b.settled.nanos(), b.held.nanos())).collect();
        prop_assert_eq!(&read, &books.accounts);
        prop_assert_eq!(store.overruns().await.unwrap(), books.overruns);
        if books.overruns == 0 {
            prop_assert!(read.iter().all(|(limit, settled, held)| settled + held <= *limit));
        }
        for (id, (_, _, open)) in ids.iter().zip(&books.holds) {
            prop_assert_eq!(store.hold(*id).await.unwrap().is_some(), *open);
        }
    }
    Ok(())
}
