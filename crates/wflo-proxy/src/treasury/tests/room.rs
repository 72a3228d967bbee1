//! Room: who gets it, who waits for it, and what a lowered limit leaves.

use super::*;

#[tokio::test]
async fn a_budget_is_used_to_its_end_and_not_beyond() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    for _ in 0..9 {
        let held = process.hold(&accounts, 100).await.unwrap();
        process.settle(held, 100);
    }
    let last = process.hold(&accounts, 100).await.unwrap();
    process.settle(last, 37);
    assert!(is_short(&process.hold(&accounts, 64).await));
    let rest = process.hold(&accounts, 63).await.unwrap();
    process.settle(rest, 63);
    process.stop().await;
    assert_eq!(world.books().await, [(1_000, 0)]);
    assert!(world.store.spenders().await.unwrap().is_empty());
    assert_eq!(crate::log::writers(world.data_dir()).unwrap(), []);
}

#[tokio::test]
async fn a_call_waits_for_room_that_a_running_call_may_free_and_nobody_overtakes_it() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    let process = Arc::new(process);
    let running = process.hold(&accounts, 900).await.unwrap();
    let large = process.holding(&accounts, 500);
    until(|| process.treasury.spending().has_waiters()).await;
    // It would fit, but somebody waits.
    let small = process.holding(&accounts, 50);
    until(|| process.treasury.spending().waiters() == 2).await;
    assert!(!small.is_finished());
    process.settle(running, 100);
    let (large, small) = (large.await.unwrap().unwrap(), small.await.unwrap().unwrap());
    process.settle(large, 500);
    process.settle(small, 50);
    let process = Arc::into_inner(process).unwrap();
    process.stop().await;
    assert_eq!(world.books().await, [(650, 0)]);
}

#[tokio::test]
async fn two_processes_share_a_budget_to_the_nano() {
    let world = World::new(&[10_000]).await;
    let (one, other) = (world.process().await, world.process().await);
    let (first, second) = (one.accounts(&world.budgets), other.accounts(&world.budgets));
    // One holds a slice that it does not use; the other needs nearly all.
    let held = one.hold(&first, 2_000).await.unwrap();
    one.settle(held, 1);
    let mut spent = 1;
    loop {
        let answer = other.hold(&second, 999).await;
        if is_short(&answer) {
            break;
        }
        other.settle(answer.unwrap(), 999);
        spent += 999;
    }
    assert_eq!(spent, 1 + 999 * 10, "what one did not use, the other could");
    one.stop().await;
    other.stop().await;
    assert_eq!(world.books().await, [(spent, 0)]);
}

#[tokio::test]
async fn who_waits_for_one_budget_holds_up_nobody_on_another() {
    let world = World::new(&[100_000, 100]).await;
    let process = Arc::new(world.process().await);
    let (all, own) = (process.accounts(&world.budgets[..1]), process.accounts(&world.budgets));
    let running = process.hold(&own, 90).await.unwrap();
    let waits = process.holding(&own, 50);
    until(|| process.treasury.spending().has_waiters()).await;
    for _ in 0..20 {
        let other = process.hold(&all, 1_000).await.unwrap();
        process.settle(other, 1_000);
    }
    assert!(!waits.is_finished());
    // Behind it on the same budget nobody overtakes.
    let behind = process.holding(&own, 5);
    until(|| process.treasury.spending().waiters() == 2).await;
    process.settle(running, 10);
    let (first, second) = (waits.await.unwrap().unwrap(), behind.await.unwrap().unwrap());
    assert!(first.0 < second.0);
    process.settle(first, 50);
    process.settle(second, 5);
    Arc::into_inner(process).unwrap().stop().await;
    assert_eq!(world.books().await, [(20_065, 0), (65, 0)]);
}

#[tokio::test]
async fn a_lowered_limit_binds_in_every_process() {
    let world = World::new(&[1_000_000]).await;
    let (one, other) = (world.process().await, world.process().await);
    let (first, second) = (one.accounts(&world.budgets), other.accounts(&world.budgets));
    let id = world.budgets[0].id;
    let limit = |nanos| {
        let op = SliceOp::Limit {
            budget: id,
            limit: Amount::from_units(nanos),
            raises: true,
            by: "test".into(),
            at: world.clock.now(),
        };
        commit(&*world.store, op)
    };
    for (process, accounts) in [(&one, &first), (&other, &second)] {
        let held = process.hold(accounts, 1_000).await.unwrap();
        process.settle(held, 1_000);
    }
    // Both have slices at hand, of which nothing may be spent any more.
    limit(2_500).await.unwrap();
    one.treasury.retire(vec![id]).await.unwrap();
    assert!(is_short(&one.hold(&first, 501).await));
    // The other process gives its own back when it sees the change.
    let deadline = Instant::now() + Duration::from_secs(120);
    while !world.store.slices().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "slices are kept");
        tokio::task::yield_now().await;
    }
    assert!(is_short(&other.hold(&second, 501).await));
    let last = other.hold(&second, 500).await.unwrap();
    other.settle(last, 500);
    limit(5_000).await.unwrap();
    let more = one.hold(&first, 2_500).await.unwrap();
    one.settle(more, 2_500);
    one.stop().await;
    other.stop().await;
    assert_eq!(world.books().await, [(5_000, 0)]);
}

#[tokio::test]
async fn a_hold_that_nobody_hears_of_is_given_back() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    for gives_up in [true, false] {
        let running = process.hold(&accounts, 900).await.unwrap();
        let wait = || {
            let mut spending = process.treasury.spending();
            let wanted =
                Wanted { accounts: Arc::clone(&accounts), intent: intent(NanoUsd::from_nanos(500).into()) };
            let Held::NoRoom(wanted) = spending.hold(wanted) else { panic!("it fits") };
            spending.wait(wanted)
        };
        let hope = process.treasury.hope(wait());
        // Room is found for it, and it has not looked yet.
        process.settle(running, 0);
        until(|| process.treasury.spending().waiters() == 0).await;
        assert_eq!(process.treasury.spending().running(), 1);
        match gives_up {
            true => {
                let Some(Ok(heard)) = hope.give_up() else { panic!("it was answered") };
                process.settle(heard, 0);
            }
            false => drop(hope),
        }
        assert_eq!(process.treasury.spending().running(), 0);
    }
    process.stop().await;
    assert_eq!(world.books().await, [(0, 0)]);
}
