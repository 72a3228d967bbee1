//! Logs and folds that are not as their process meant them.

use super::*;

#[tokio::test]
async fn a_torn_end_of_the_log_was_never_acted_on() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    let ended = process.hold(&accounts, 100).await.unwrap();
    process.settle(ended, 30);
    process.hold(&accounts, 50).await.unwrap();
    process.die().await;
    let log = std::fs::read_dir(world.data_dir().join("gateway")).unwrap().next().unwrap().unwrap().path();
    let length = std::fs::metadata(&log).unwrap().len();
    // The kill came while the last intent was being written, so its call was not sent.
    std::fs::File::options().write(true).open(&log).unwrap().set_len(length - 1).unwrap();
    world.recover("this boot").await;
    assert_eq!(world.books().await, [(30, 0)]);
}

#[tokio::test]
async fn counts_beyond_counting_are_stored_and_keep_nobody_out() {
    let world = World::new(&[1_000, 1_000]).await;
    let process = world.process().await;
    let (first, second) = (process.accounts(&world.budgets[..1]), process.accounts(&world.budgets[1..]));
    for _ in 0..2 {
        let lie = process.hold(&second, 10).await.unwrap();
        let most = u64::MAX;
        let end = End { input_tokens: most, cached_tokens: most, output_tokens: most, took_us: most, ..END };
        process.settle_as(lie, end);
    }
    let good = process.hold(&first, 10).await.unwrap();
    process.settle(good, 7);
    process.stop().await;
    assert_eq!(world.books().await, [(7, 0), (0, 0)]);
    // Sums that are full already take more of it.
    let process = world.process().await;
    let second = process.accounts(&world.budgets[1..]);
    let lie = process.hold(&second, 10).await.unwrap();
    process.settle_as(lie, End { input_tokens: u64::MAX, cost: NanoUsd::MAX, ..END });
    process.die().await;
    assert_eq!(world.recover("this boot").await, 1);
    let lines = world.store.calls_lines().await.unwrap();
    assert_eq!(lines.iter().map(|line| line.sum.calls).sum::<u64>(), 4);
    let process = world.process().await;
    assert!(is_short(&process.hold(&process.accounts(&world.budgets[1..]), 1).await));
    process.hold(&process.accounts(&world.budgets[..1]), 1).await.unwrap();
}

#[tokio::test]
async fn calls_that_cannot_be_stored_are_charged_as_their_sum_and_listed() {
    let world = World::new(&[1_000]).await;
    let odd = End { at_ms: i64::MAX, cost: NanoUsd::from_nanos(30), ..END };
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
    let held = process.hold(&accounts, 100).await.unwrap();
    process.settle_as(held, odd);
    let deadline = Instant::now() + Duration::from_secs(120);
    while process.treasury.quarantined() == 0 {
        assert!(Instant::now() < deadline, "the fold never came");
        tokio::task::yield_now().await;
    }
    assert!(process.treasury.is_well());
    let held = process.hold(&accounts, 100).await.unwrap();
    process.settle_as(held, odd);
    process.die().await;
    assert_eq!(world.recover("this boot").await, 1);
    assert_eq!(world.books().await, [(60, 0)]);
    let uncertain = world.store.uncertain_calls().await.unwrap();
    assert_eq!(uncertain.iter().map(|(_, call)| call.cost.nanos()).collect::<Vec<_>>(), [30, 30]);
}

#[tokio::test]
async fn a_damaged_log_charges_what_is_not_known_to_be_settled() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("emptied", |log| log.clear()),
        ("its first record changed", |log| log[20] ^= 1),
        ("a byte in the middle changed", |log| {
            let middle = log.len() / 2;
            log[middle] ^= 0x10;
        }),
        ("noise", |log| log.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7))),
        ("cut before the position", |log| log.truncate(14)),
        ("more behind its end", |log| log.extend([0xff; 40])),
    ];
    for (what, damage) in damages {
        let world = World::new(&[1_000_000]).await;
        let process = world.process().await;
        let accounts = process.accounts(&world.budgets);
        let early = process.hold(&accounts, 100).await.unwrap();
        process.settle(early, 60);
        let deadline = Instant::now() + Duration::from_secs(120);
        while world.books().await[0].0 != 60 {
            assert!(Instant::now() < deadline, "no fold in 120 s");
            tokio::task::yield_now().await;
        }
        process.hold(&accounts, 70).await.unwrap();
        process.hold(&accounts, 80).await.unwrap();
        process.die().await;
        let [(settled, held)] = world.books().await[..] else { panic!() };
        let log = std::fs::read_dir(world.data_dir().join("gateway")).unwrap().next().unwrap().unwrap();
        let mut text = std::fs::read(log.path()).unwrap();
        damage(&mut text);
        std::fs::write(log.path(), text).unwrap();
        assert_eq!(world.recover("this boot").await, 1, "{what}");
        assert_eq!(world.books().await, [(settled + held, 0)], "{what}");
        assert_eq!(world.store.uncertain_calls().await.unwrap().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_keeps_nobody_from_starting() {
    let world = World::new(&[1_000]).await;
    let process = world.process().await;
    process.hold(&process.accounts(&world.budgets), 100).await.unwrap();
    process.die().await;
    let log = std::fs::read_dir(world.data_dir().join("gateway")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let next = world.process().await;
    let [(settled, held)] = world.books().await[..] else { panic!() };
    assert!(settled >= 100 && held == 0, "{settled} {held}");
    next.stop().await;
}

#[tokio::test]
async fn who_cannot_record_calls_is_not_well_until_it_can_again() {
    let (world, process, accounts) = World::alone(&[1_000]).await;
    let held = process.hold(&accounts, 10).await.unwrap();
    process.settle(held, 10);
    process.treasury.spending().fill_disk();
    assert!(matches!(process.hold(&accounts, 10).await, Err(Denied::Log(_))));
    let is_well = || process.treasury.is_well();
    assert!(!process.treasury.spending().is_mute() || !is_well());
    // The next file is on a disk that has room.
    until(is_well).await;
    let held = process.hold(&accounts, 10).await.unwrap();
    process.settle(held, 10);
    process.die().await;
    world.recover("this boot").await;
    assert_eq!(world.books().await, [(20, 0)]);
}
