//! Accounts of calls and tokens beside money: one call is held on all of them or on none.

use super::*;

fn of(measure: Measure, budget: &Budget, limit: i64) -> Budget {
    Budget { measure, limit: Amount::from_units(limit), ..budget.clone() }
}

/// A world with a budget of money, one of calls, and one of tokens.
async fn world(limits: [i64; 3]) -> World {
    let mut world = World::new(&[0, 0, 0]).await;
    let measures = [Measure::Cost, Measure::ModelCalls, Measure::Tokens];
    let budgets = world.budgets.iter().zip(measures).zip(limits);
    world.budgets = budgets
        .map(|((budget, measure), limit)| {
            let id = BudgetId::from_uuid(uuid::Uuid::from_u128(budget.id.uuid().as_u128() + 10));
            Budget { id, key: measure.name().to_owned(), ..of(measure, budget, limit) }
        })
        .collect();
    let ops = world.budgets.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    world.store.commit(Batch { fence: None, ops }).await.unwrap();
    world
}

fn call(nanos: i64, tokens: u64) -> Amounts {
    Amounts { cost: NanoUsd::from_nanos(nanos), model_calls: 1, tokens, ..Amounts::default() }
}

fn end(nanos: i64, input_tokens: u64, output_tokens: u64) -> End {
    End { cost: NanoUsd::from_nanos(nanos), input_tokens, output_tokens, ..END }
}

#[tokio::test]
async fn each_account_is_held_and_settled_in_its_own_measure() {
    let world = world([1_000, 3, 500]).await;
    let process = world.process().await;
    let all = process.accounts(&world.budgets);
    let held = process.hold_all(&all, call(100, 200)).await.unwrap();
    process.settle_as(held, end(40, 60, 20));
    // Tokens that nobody counted are taken as they were held.
    let held = process.hold_all(&all, call(100, 50)).await.unwrap();
    process.settle_as(held, End { uncounted: true, ..end(10, 0, 0) });
    let answer = process.hold_all(&all, call(1, 371)).await;
    let Err(Denied::Short(short)) = answer else { panic!("{answer:?}") };
    assert_eq!((short.measure, short.left().units()), (Measure::Tokens, 370));
    let last = process.hold_all(&all, call(1, 370)).await.unwrap();
    process.settle_as(last, end(1, 1, 1));
    let answer = process.hold_all(&all, call(1, 1)).await;
    let Err(Denied::Short(short)) = answer else { panic!("{answer:?}") };
    assert_eq!(short.measure, Measure::ModelCalls);
    // What takes nothing of it is not in its way.
    let free = process.hold_all(&all, Amounts::default()).await.unwrap();
    process.settle_as(free, end(0, 9, 9));
    process.stop().await;
    assert_eq!(world.books().await, [(51, 0), (3, 0), (132, 0)]);
}

#[tokio::test]
async fn a_kill_charges_calls_and_tokens_as_money() {
    for (boot, whole) in [("this boot", false), ("another boot", true)] {
        let world = world([1_000, 100, 100_000]).await;
        let process = world.process().await;
        let all = process.accounts(&world.budgets);
        let ended = process.hold_all(&all, call(100, 200)).await.unwrap();
        process.settle_as(ended, end(30, 5, 6));
        process.hold_all(&all, call(50, 70)).await.unwrap();
        process.die().await;
        let slices: Vec<i64> = world.books().await.iter().map(|(settled, held)| settled + held).collect();
        assert_eq!(world.recover(boot).await, 1);
        let expected = if whole { slices } else { vec![80, 2, 81] };
        let expected: Vec<(i64, i64)> = expected.into_iter().map(|settled| (settled, 0)).collect();
        assert_eq!(world.books().await, expected, "{boot}");
    }
}

#[tokio::test]
async fn two_processes_share_a_budget_of_calls_to_the_last_one() {
    let world = world([i64::MAX / 4, 101, i64::MAX / 4]).await;
    let (one, other) = (world.process().await, world.process().await);
    let (first, second) = (one.accounts(&world.budgets), other.accounts(&world.budgets));
    let mut made = [0, 0];
    let mut short = [false, false];
    while short != [true, true] {
        for (n, (process, accounts)) in [(&one, &first), (&other, &second)].into_iter().enumerate() {
            match process.hold_all(accounts, call(3, 10)).await {
                Ok(held) => {
                    process.settle_as(held, end(1, 1, 1));
                    made[n] += 1;
                }
                Err(Denied::Short(_)) => short[n] = true,
                Err(Denied::Log(error)) => panic!("{error}"),
            }
        }
    }
    one.stop().await;
    other.stop().await;
    assert_eq!(made[0] + made[1], 101, "{made:?}");
    assert_eq!(world.books().await, [(101, 0), (101, 0), (202, 0)]);
}
