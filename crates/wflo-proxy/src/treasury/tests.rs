//! The books of several processes on one store, whatever ends at whatever moment.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use wflo_core::budget::{Amount, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::Store as _;
use wflo_store::{SqliteStore, StoreOptions};

use super::*;
use crate::log::Intent;
use crate::spending::{Accounts, Answer, Denied, End, Held, Seq, Wanted};

/// Ids that no other test of this process has: a lock belongs to the process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A clock that stands.
struct Still {
    boot: String,
    ms: AtomicI64,
}

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.ms.load(Ordering::Relaxed)).unwrap()
    }
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), boot_ms: 0, boot_id: self.boot.clone() }
    }
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
    }
    fn draw(&self) -> f64 {
        0.0
    }
}

struct World {
    dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    budgets: Vec<Budget>,
    clock: Arc<Still>,
}

const FOLD: Duration = Duration::from_millis(20);

impl World {
    async fn new(limits: &[i64]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(dir.path().join("wflo.db"), StoreOptions::default()).unwrap());
        let budget = |(n, limit): (usize, &i64)| Budget {
            id: BudgetId::from_uuid(uuid::Uuid::from_u128(n as u128)),
            scope: Scope::Gateway,
            key: format!("k{n}"),
            period: Period::Total,
            period_start: String::new(),
            time_zone: Zone::utc(),
            standing: false,
            measure: Measure::Cost,
            limit: Amount::from_units(*limit),
            settled: Amount::ZERO,
            held: Amount::ZERO,
            action_on_exceeded: OnExceeded::Halt,
            alert_thresholds: vec![1_000],
        };
        let budgets: Vec<_> = limits.iter().enumerate().map(budget).collect();
        let ops = budgets.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
        store.commit(Batch { fence: None, ops }).await.unwrap();
        let clock = Still { boot: "this boot".into(), ms: AtomicI64::new(1) };
        World { dir, store, budgets, clock: Arc::new(clock) }
    }

    async fn process(&self) -> Running {
        let options = TreasuryOptions {
            store: Arc::clone(&self.store) as _,
            data_dir: self.dir.path().to_path_buf(),
            clock: Arc::clone(&self.clock) as _,
            pid: std::process::id(),
            fold_every: FOLD,
        };
        Treasury::start(options).await.unwrap()
    }

    fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    async fn recover(&self, boot: &str) -> usize {
        let now = Moment { boot_id: boot.to_owned(), ..self.clock.moment() };
        let mut recovered = 0;
        // A fold that was on its way when its process was ended here still arrives: the store lives on.
        loop {
            recovered += recover_dead(&*self.store, self.data_dir(), &now).await.unwrap();
            let spenders = self.store.spenders().await.unwrap();
            let lives = |id| wflo_store::lock::holder(self.data_dir(), id).unwrap().is_some();
            if spenders.iter().all(|spender| lives(spender.id)) {
                return recovered;
            }
        }
    }

    /// What is settled and held of each budget.
    async fn books(&self) -> Vec<(i64, i64)> {
        let ids = self.budgets.iter().map(|budget| budget.id).collect();
        let there = self.store.budgets_by_id(ids).await.unwrap();
        for budget in &there {
            assert!(budget.settled.saturating_add(budget.held) <= budget.limit, "{budget:?}");
        }
        there.iter().map(|budget| (budget.settled.units(), budget.held.units())).collect()
    }
}

const END: End = End {
    at_ms: 2,
    cost: NanoUsd::ZERO,
    uncertain: false,
    status: 200,
    input_tokens: 1,
    cached_tokens: 0,
    output_tokens: 1,
    took_us: 1,
};

impl Running {
    /// Ends as a kill does: nothing more is said or folded, and the kernel drops the lock.
    async fn die(self) {
        self.task.abort();
        let _ = self.task.await;
        drop(self.lock);
    }

    fn accounts(&self, budgets: &[Budget]) -> Accounts {
        let mut spending = self.treasury.spending();
        budgets.iter().map(|budget| spending.account(budget.id)).collect()
    }

    async fn hold(&self, accounts: &Accounts, nanos: i64) -> Answer {
        let intent = Intent {
            seq: 0,
            at_ms: 1,
            amount: NanoUsd::from_nanos(nanos),
            key: None,
            budgets: Vec::new(),
            provider: "p".into(),
            model: "m".into(),
        };
        let wanted = Wanted { accounts: Arc::clone(accounts), intent };
        let answer = {
            let mut spending = self.treasury.spending();
            match spending.hold(wanted) {
                Held::Asked(answer) => return answer,
                Held::NoRoom(wanted) => spending.wait(wanted),
            }
        };
        self.treasury.wake();
        tokio::time::timeout(Duration::from_secs(30), answer).await.expect("no answer in 30 s").unwrap()
    }

    fn settle(&self, seq: Seq, nanos: i64) {
        self.settle_as(seq, End { cost: NanoUsd::from_nanos(nanos), ..END });
    }

    fn settle_as(&self, Seq(seq): Seq, end: End) {
        self.treasury.spending().end(seq, Some(end));
        self.treasury.wake();
    }
}

fn is_short(answer: &Answer) -> bool {
    matches!(answer, Err(Denied::Short(_)))
}

#[tokio::test]
async fn a_budget_is_used_to_its_end_and_not_beyond() {
    let world = World::new(&[1_000]).await;
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
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
    let world = World::new(&[1_000]).await;
    let process = Arc::new(world.process().await);
    let accounts = process.accounts(&world.budgets);
    let running = process.hold(&accounts, 900).await.unwrap();
    let waits = |nanos| {
        let (process, accounts) = (Arc::clone(&process), Arc::clone(&accounts));
        tokio::spawn(async move { process.hold(&accounts, nanos).await })
    };
    let large = waits(500);
    until(|| process.treasury.spending().has_waiters()).await;
    // It would fit, but somebody waits.
    let small = waits(50);
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

async fn until(mut ready: impl FnMut() -> bool) {
    let wait = async {
        while !ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it did not come in 30 s");
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
    let world = World::new(&[1_000]).await;
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
    let (early, late) =
        (process.hold(&accounts, 100).await.unwrap(), process.hold(&accounts, 10).await.unwrap());
    process.settle(early, 60);
    // The fold comes by itself.
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.books().await[0].0 != 60 {
        assert!(Instant::now() < deadline, "no fold in 30 s");
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
        world.store.slices().await.unwrap().iter().map(|slice| slice.amount.nanos()).collect();
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
async fn a_torn_end_of_the_log_was_never_acted_on() {
    let world = World::new(&[1_000]).await;
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
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
async fn a_process_that_lives_loses_nothing_to_a_recovery() {
    let world = World::new(&[1_000]).await;
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
    let held = process.hold(&accounts, 100).await.unwrap();
    assert_eq!(world.recover("another boot").await, 0);
    process.settle(held, 100);
    process.stop().await;
    assert_eq!(world.books().await, [(100, 0)]);
}

#[tokio::test]
async fn a_log_goes_on_in_another_file_with_what_is_open() {
    let world = World::new(&[i64::MAX / 4]).await;
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
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
    let deadline = Instant::now() + Duration::from_secs(30);
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
async fn who_waits_for_one_budget_holds_up_nobody_on_another() {
    let world = World::new(&[100_000, 100]).await;
    let process = Arc::new(world.process().await);
    let (all, own) = (process.accounts(&world.budgets[..1]), process.accounts(&world.budgets));
    let running = process.hold(&own, 90).await.unwrap();
    let waits = {
        let (process, own) = (Arc::clone(&process), Arc::clone(&own));
        tokio::spawn(async move { process.hold(&own, 50).await })
    };
    until(|| process.treasury.spending().has_waiters()).await;
    for _ in 0..20 {
        let other = process.hold(&all, 1_000).await.unwrap();
        process.settle(other, 1_000);
    }
    assert!(!waits.is_finished());
    // Behind it on the same budget nobody overtakes.
    let behind = {
        let (process, own) = (Arc::clone(&process), Arc::clone(&own));
        tokio::spawn(async move { process.hold(&own, 5).await })
    };
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
        let deadline = Instant::now() + Duration::from_secs(30);
        while world.books().await[0].0 != 60 {
            assert!(Instant::now() < deadline, "no fold in 30 s");
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
async fn a_lowered_limit_binds_in_every_process() {
    let world = World::new(&[1_000_000]).await;
    let (one, other) = (world.process().await, world.process().await);
    let (first, second) = (one.accounts(&world.budgets), other.accounts(&world.budgets));
    let id = world.budgets[0].id;
    let limit = |nanos| {
        let op = SliceOp::Limit {
            budget: id,
            limit: NanoUsd::from_nanos(nanos),
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
    let deadline = Instant::now() + Duration::from_secs(30);
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
async fn who_cannot_record_calls_is_not_well_until_it_can_again() {
    let world = World::new(&[1_000]).await;
    let process = world.process().await;
    let accounts = process.accounts(&world.budgets);
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
                let seq = match tokio::time::timeout(patience, process.hold(accounts, amount)).await {
                    Ok(Ok(seq)) => seq,
                    Ok(Err(Denied::Short(_))) | Err(_) => continue,
                    Ok(Err(Denied::Log(error))) => panic!("{error}"),
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
