//! The books of several processes on one store, whatever ends at whatever moment.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use wflo_core::budget::{Amount, Amounts, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::cost::PromptCache;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::Store as _;
use wflo_store::{SqliteStore, StoreOptions};

use super::*;
use crate::log::{End, Intent};
use crate::spending::{Accounts, Answer, Denied, Held, Seq, Wanted};

mod counted;
mod damage;
mod death;
mod measures;
mod room;

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

    /// A world with one process, and all its accounts.
    async fn alone(limits: &[i64]) -> (World, Running, Accounts) {
        let world = World::new(limits).await;
        let process = world.process().await;
        let accounts = process.accounts(&world.budgets);
        (world, process, accounts)
    }

    async fn process(&self) -> Running {
        self.process_folding(FOLD).await
    }

    async fn process_folding(&self, fold_every: Duration) -> Running {
        let options = TreasuryOptions {
            store: Arc::clone(&self.store) as _,
            data_dir: self.dir.path().to_path_buf(),
            clock: Arc::clone(&self.clock) as _,
            pid: std::process::id(),
            fold_every,
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
    uncounted: false,
    status: 200,
    input_tokens: 1,
    cached_tokens: 0,
    output_tokens: 1,
    took_us: 1,
    prompt_cache: PromptCache { written_tokens: 0, saved: NanoUsd::ZERO },
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
        budgets.iter().map(|budget| spending.account(budget.id, budget.measure)).collect()
    }

    async fn hold(&self, accounts: &Accounts, nanos: i64) -> Answer {
        self.hold_all(accounts, NanoUsd::from_nanos(nanos).into()).await
    }

    /// Asks for a hold beside whatever else is done.
    fn holding(self: &Arc<Self>, accounts: &Accounts, nanos: i64) -> JoinHandle<Answer> {
        let (process, accounts) = (Arc::clone(self), Arc::clone(accounts));
        tokio::spawn(async move { process.hold(&accounts, nanos).await })
    }

    async fn hold_all(&self, accounts: &Accounts, amounts: Amounts) -> Answer {
        let wanted = Wanted { accounts: Arc::clone(accounts), intent: intent(amounts) };
        let answer = {
            let mut spending = self.treasury.spending();
            match spending.hold(wanted) {
                Held::Asked(answer) => return answer,
                Held::NoRoom(wanted) => spending.wait(wanted),
            }
        };
        self.treasury.wake();
        tokio::time::timeout(Duration::from_secs(120), answer).await.expect("no answer in 120 s").unwrap()
    }

    /// Asks for a hold as calls do, and gives up after this time: what is granted in that very moment is heard.
    async fn hold_within(&self, patience: Duration, accounts: &Accounts, nanos: i64) -> Option<Answer> {
        let intent = intent(NanoUsd::from_nanos(nanos).into());
        let answer = {
            let mut spending = self.treasury.spending();
            match spending.hold(Wanted { accounts: Arc::clone(accounts), intent }) {
                Held::Asked(answer) => return Some(answer),
                Held::NoRoom(wanted) => spending.wait(wanted),
            }
        };
        self.treasury.wake();
        let mut hope = self.treasury.hope(answer);
        match tokio::time::timeout(patience, hope.answered()).await {
            Ok(answer) => answer,
            Err(_) => hope.give_up(),
        }
    }

    fn settle(&self, seq: Seq, nanos: i64) {
        self.settle_as(seq, End { cost: NanoUsd::from_nanos(nanos), ..END });
    }

    fn settle_as(&self, Seq(seq): Seq, end: End) {
        self.treasury.spending().end(seq, Some(end));
        self.treasury.wake();
    }
}

fn intent(amounts: Amounts) -> Intent {
    Intent {
        seq: 0,
        at_ms: 1,
        amounts,
        key: None,
        budgets: Vec::new(),
        provider: "p".into(),
        model: "m".into(),
    }
}

fn is_short(answer: &Answer) -> bool {
    matches!(answer, Err(Denied::Short(_)))
}

async fn until(mut ready: impl FnMut() -> bool) {
    let wait = async {
        while !ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.expect("it did not come in 120 s");
}
