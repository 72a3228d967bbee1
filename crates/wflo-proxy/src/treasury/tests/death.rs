//! What a process leaves that ends without saying so.

use super::*;

#[tokio::test]
async fn what_ended_is_settled_and_what_did_not_is_charged_in_full_after_a_kill() {
    let world = World::new(&[1_000, 500]).await;
    let process = world.process().await;
    let (both, one) = (process.accounts(&world.budgets), process.accounts(&world.budgets[..1]));
    let ended = process.hold(&both, 100).await.unwrap();
    process.settle(ended, 30);
    let Seq(released) = process.hold(&both, 100).await.unwrap();
    process.treasury.spending().end(released, None);
    process.hold(&both, 50).await.unwrap();
    process.hold(&one, 7).await.unwrap();
    process.die().await;
    assert_eq!(world.recover("this boot").await, 1);
    assert_eq!(world.books().await, [(30 + 50 + 7, 0), (30 + 50, 0)]);
    let uncertain = world.store.uncertain_calls().await.unwrap();
    assert_eq!(uncertain.iter().map(|(_, call)| call.cost.nanos()).collect::<Vec<_>>(), [50, 7]);
    assert_eq!(world.recover("this boot").await, 0);
    assert_eq!(world.books().await, [(87, 0), (80, 0)]);
}

#[tokio::test]
async fn what_was_folded_before_a_kill_is_not_charged_again() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    let (early, late) =
        (process.hold(&accounts, 100).await.unwrap(), process.hold(&accounts, 10).await.unwrap());
    process.settle(early, 60);
    // The fold comes by itself.
    let deadline = Instant::now() + Duration::from_secs(120);
    while world.books().await[0].0 != 60 {
        assert!(Instant::now() < deadline, "no fold in 120 s");
        tokio::task::yield_now().await;
    }
    process.settle(late, 9);
    process.die().await;
    world.recover("this boot").await;
    assert_eq!(world.books().await, [(69, 0)]);
    let spender = world.store.calls_lines().await.unwrap();
    assert_eq!(spender.iter().map(|line| line.sum.calls).sum::<u64>(), 2);
}

#[tokio::test]
async fn after_a_loss_of_power_the_rest_of_every_slice_is_charged() {
    let world = World::new(&[1_000, 900]).await;
    let process = world.process().await;
    let both = process.accounts(&world.budgets);
    let ended = process.hold(&both, 100).await.unwrap();
    process.settle(ended, 30);
    let slices: Vec<i64> =
        world.store.slices().await.unwrap().iter().map(|slice| slice.amount.units()).collect();
    process.die().await;
    let before = world.books().await;
    // The log's end is gone with the power, and nobody knows how much of it there was.
    let log = std::fs::read_dir(world.data_dir().join("gateway")).unwrap().next().unwrap().unwrap().path();
    std::fs::File::options().write(true).open(&log).unwrap().set_len(20).unwrap();
    assert_eq!(world.recover("another boot").await, 1);
    let after = world.books().await;
    for ((before, after), slice) in before.iter().zip(&after).zip(slices) {
        assert_eq!(*after, (before.0 + before.1, 0), "all of the slice of {slice}");
    }
    assert_eq!(world.store.uncertain_calls().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_process_that_lives_loses_nothing_to_a_recovery() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    let held = process.hold(&accounts, 100).await.unwrap();
    assert_eq!(world.recover("another boot").await, 0);
    process.settle(held, 100);
    process.stop().await;
    assert_eq!(world.books().await, [(100, 0)]);
}

#[tokio::test]
async fn a_log_goes_on_in_another_file_with_what_is_open() {
    let (world, process, accounts) = World::alone(&[i64::MAX / 4]).await;
    let open = process.hold(&accounts, 5).await.unwrap();
    let files = || std::fs::read_dir(world.data_dir().join("gateway")).unwrap().count();
    let named = |end: &str| {
        let names = std::fs::read_dir(world.data_dir().join("gateway")).unwrap();
        names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(end)).count()
    };
    let mut calls = 0;
    while named(".1.log") == 0 || files() != 1 {
        let held = process.hold(&accounts, 3).await.unwrap();
        process.settle(held, 1);
        calls += 1;
        assert!(calls < 1_000_000, "the log never turns");
        tokio::task::yield_now().await;
    }
    let _ = open;
    process.die().await;
    world.recover("this boot").await;
    assert_eq!(world.books().await, [(calls + 5, 0)]);
}

/// Three processes that come, call, and die at any moment: in the end the books hold what was billed,
/// and in full what has no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_the_books_are_right() {
    let mut random = Random(seed());
    let world = World::new(&[200_000, 1_000_000]).await;
    let (mut billed, mut lost) = ([0, 0], [0, 0]);
    for _ in 0..12 {
        let processes = [world.process().await, world.process().await, world.process().await];
        for process in processes {
            let all = process.accounts(&world.budgets);
            let second = process.accounts(&world.budgets[1..]);
            for _ in 0..random.below(40) {
                let (accounts, from) = if random.below(2) == 0 { (&all, 0) } else { (&second, 1) };
                let amount = 1 + random.below(4_000) as i64;
                // What never ends stands in the way until its process does, and nobody waits for that here.
                let patience = Duration::from_millis(200);
                let seq = match process.hold_within(patience, accounts, amount).await {
                    Some(Ok(seq)) => seq,
                    Some(Err(Denied::Short(_))) | None => continue,
                    Some(Err(Denied::Log(error))) => panic!("{error}"),
                };
                let charged = match random.below(8) {
                    0 => {
                        lost.iter_mut().skip(from).for_each(|lost| *lost += amount);
                        continue;
                    }
                    1 => {
                        process.treasury.spending().end(seq.0, None);
                        0
                    }
                    _ => {
                        let cost = random.below(amount as u64 + 1) as i64;
                        process.settle(seq, cost);
                        cost
                    }
                };
                billed.iter_mut().skip(from).for_each(|billed| *billed += charged);
            }
            if random.below(2) == 0 { process.die().await } else { process.stop().await }
        }
        world.recover("this boot").await;
        let expected: Vec<_> = billed.iter().zip(lost).map(|(billed, lost)| (billed + lost, 0)).collect();
        assert_eq!(world.books().await, expected);
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// `WFLO_TEST_SEED=N` repeats a run.
fn seed() -> u64 {
    let given = std::env::var("WFLO_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) * 7_919);
    println!("WFLO_TEST_SEED={seed}");
    seed
}
