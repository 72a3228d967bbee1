//! Any order of openings, holds, bills, releases and top-ups, beside a model that fits on a page.

use proptest::prelude::*;
use wflo_core::budget::{Amount, Amounts, Budget, Measure, Period, Scope, Standing};
use wflo_core::id::HoldId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, StoreError};

use super::ground::*;

#[derive(Debug, Clone)]
enum Act {
    Hold {
        on: Vec<usize>,
        takes: [i64; 3],
    },
    Settle {
        hold: usize,
        takes: [i64; 3],
    },
    Release {
        hold: usize,
    },
    TopUp {
        on: usize,
        amount: i64,
    },
    /// Of the standing budget whose account is the last.
    Set {
        limit: i64,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Books {
    /// Limit, settled, held.
    accounts: Vec<(i64, i64, i64)>,
    /// On which accounts, how much of the measure of each, still open.
    holds: Vec<(Vec<usize>, [i64; 3], bool)>,
    /// The limit that the standing budget was set to last.
    set: i64,
    overruns: u64,
}

impl Books {
    /// The books after an act, or `None` when it must be refused.
    fn after(&self, act: &Act) -> Option<Books> {
        let mut books = self.clone();
        match act {
            Act::Hold { on, takes } => {
                for &n in on {
                    let (limit, settled, held) = &mut books.accounts[n];
                    *held += takes[n];
                    if *settled + *held > *limit {
                        return None;
                    }
                }
                books.holds.push((on.clone(), *takes, true));
            }
            Act::Settle { hold, takes } => {
                let (on, held, open) = &mut books.holds[*hold];
                if std::mem::take(open) {
                    on.iter().for_each(|&n| books.accounts[n].1 += takes[n]);
                    on.iter().for_each(|&n| books.accounts[n].2 -= held[n]);
                    // Money over its hold is one even where no account counts money.
                    let over = takes[0] > held[0] || on.iter().any(|&n| takes[n] > held[n]);
                    books.overruns += u64::from(over);
                }
            }
            Act::Release { hold } => {
                let (on, held, open) = &mut books.holds[*hold];
                if std::mem::take(open) {
                    on.iter().for_each(|&n| books.accounts[n].2 -= held[n]);
                }
            }
            Act::TopUp { on, amount } => books.raise(*on, *amount),
            Act::Set { limit } => {
                let difference = limit - std::mem::replace(&mut books.set, *limit);
                books.raise(2, difference);
            }
        }
        Some(books)
    }

    fn raise(&mut self, on: usize, amount: i64) {
        let (limit, settled, held) = &mut self.accounts[on];
        let floor = if amount < 0 { (*settled + *held).min(*limit) } else { i64::MIN };
        *limit = (*limit + amount).max(floor);
    }
}

fn act() -> impl Strategy<Value = Act> {
    let on = proptest::sample::subsequence(vec![0_usize, 1, 2], 1..=3);
    // Small numbers, so that limits are met and missed by one.
    let takes = |most: i64| proptest::array::uniform3(0..most);
    prop_oneof![
        4 => (on, takes(12)).prop_map(|(on, takes)| Act::Hold { on, takes }),
        3 => (0..8_usize, takes(13)).prop_map(|(hold, takes)| Act::Settle { hold, takes }),
        1 => (0..60_i64).prop_map(|limit| Act::Set { limit }),
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
    let account = |scope, measure| Budget { measure, ..budget("key", scope, "0.00000003") };
    let standing = Standing {
        scope: Scope::Org,
        key: "key".to_owned(),
        period: Period::Month,
        time_zone: "Europe/Berlin".parse().unwrap(),
        measure: Measure::ToolCalls,
        limit: Amount::from_units(30),
        action_on_exceeded: None,
        alert_thresholds: Vec::new(),
        min_output_tokens: None,
    };
    let month = Budget {
        period: standing.period,
        period_start: Period::Month.start(&standing.time_zone, at(1)),
        time_zone: standing.time_zone.clone(),
        standing: true,
        ..account(Scope::Org, Measure::ToolCalls)
    };
    let accounts = [account(Scope::Run, Measure::Cost), account(Scope::Run, Measure::Tokens), month];
    let set = |limit: i64| {
        let standing = Standing { limit: Amount::from_units(limit), ..standing.clone() };
        Op::SetStanding { standing: Box::new(standing), by: "me".to_owned(), at: at(1) }
    };
    commit(&*store, vec![set(30)]).await.unwrap();
    let ops = accounts.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    commit(&*store, ops).await.unwrap();
    let mut books = Books { accounts: vec![(30, 0, 0); 3], holds: Vec::new(), set: 30, overruns: 0 };
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
            let amounts = |takes: &[i64; 3]| Amounts {
                cost: NanoUsd::from_nanos(takes[0]),
                tokens: takes[1].unsigned_abs(),
                tool_calls: takes[2].unsigned_abs(),
                ..Amounts::default()
            };
            ops.push(match &act {
                Act::Hold { on, takes } => {
                    batch_ids.push(hold_id());
                    let budgets = on.iter().map(|&n| accounts[n].id).collect();
                    let id = batch_ids[batch_ids.len() - 1];
                    Op::Hold { id, run: run.id, budgets, amounts: amounts(takes) }
                }
                Act::Settle { hold, takes } => {
                    Op::Settle { id: batch_ids[*hold], actual: amounts(takes), at: at(1) }
                }
                Act::Release { hold } => Op::ReleaseHold { id: batch_ids[*hold] },
                Act::TopUp { on, amount } => {
                    let (budget, amount) = (accounts[*on].id, Amount::from_units(*amount));
                    Op::TopUp { budget, amount, by: "me".to_owned(), at: at(1) }
                }
                Act::Set { limit } => set(*limit),
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
            read.iter().map(|b| (b.limit.units(), b.settled.units(), b.held.units())).collect();
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
