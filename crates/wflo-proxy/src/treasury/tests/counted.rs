//! Calls that do not fit by their bytes, and do once their text is counted.

use std::sync::RwLock;

use wflo_core::definition::{BudgetSpec, Per};
use wflo_gateway::cache::Lookup;
use wflo_gateway::closer::Closer;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::gone::Gone;
use wflo_gateway::ledger::{CallIntent, CallPath, Caller, Ledger as _, Opened, Refusal, Ticket};
use wflo_gateway::reserve::Bound;
use wflo_gateway::turn::Turn;

use super::*;
use crate::accounts::Directory;
use crate::ledger::{Patience, Queues, SliceLedger};
use crate::metrics::Metrics;
use crate::rules::Rules;

/// The ledger of a process whose calls may cost so much together.
fn ledger(process: &Running, limit: i64) -> SliceLedger {
    let max_cost_usd = Some(NanoUsd::from_nanos(limit));
    let spec = BudgetSpec { max_cost_usd, per: Per::Gateway, ..BudgetSpec::default() };
    let rules = Rules { budgets: vec![spec], org: None };
    SliceLedger {
        treasury: Arc::clone(&process.treasury),
        directory: RwLock::new(Arc::new(Directory::new(rules, Vec::new()))),
        clock: Arc::clone(&process.treasury.options.clock),
        metrics: Arc::new(Metrics::default()),
        patience: Patience { room: Duration::from_secs(30) },
        queues: Queues::default(),
    }
}

/// A call that holds so much by its bytes, and so much once somebody has counted it.
struct Call {
    by_bytes: i64,
    counted: i64,
    asked: Arc<AtomicU64>,
}

impl Call {
    fn new(by_bytes: i64, counted: i64) -> Call {
        Call { by_bytes, counted, asked: Arc::default() }
    }

    /// How often it was counted.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn open(&self, ledger: &SliceLedger) -> Opened {
        let (asked, cost) = (Arc::clone(&self.asked), NanoUsd::from_nanos(self.counted));
        let closer = Closer::new(move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Some(Bound { cost, input_tokens: 5, output_tokens: 100, write: None })
        });
        let intent = CallIntent {
            caller: Caller::new("test", ()),
            path: CallPath { dialect: Dialect::OpenAi, endpoint: Endpoint::Chat },
            model: "m".into(),
            provider: "p".into(),
            address: "openai http://127.0.0.1:1/v1".into(),
            not_ready: None,
            fingerprint: "00".repeat(32),
            body: bytes::Bytes::new(),
            retry_of: None,
            hold: NanoUsd::from_nanos(self.by_bytes),
            max_input_tokens: 50,
            max_output_tokens: 100,
            positional: None,
            since: Instant::now(),
            request_bytes: 50,
            stream: false,
            closer: Some(closer),
            shorter: None,
            cheaper: false,
            turn: Turn::free(),
            gone: Gone::never(),
            cached: Lookup::none(),
            place: None,
            circle: None,
        };
        ledger.open(intent).await.unwrap()
    }

    async fn dispatched(&self, ledger: &SliceLedger) -> Ticket {
        match self.open(ledger).await {
            Opened::Dispatch { ticket, output_limit: None } => ticket,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_call_without_room_is_counted_and_one_with_room_is_not() {
    let world = World::new(&[]).await;
    // What it has at hand it keeps.
    let process = world.process_folding(Duration::from_secs(3_600)).await;
    let ledger = ledger(&process, 1_000);
    let all = Call::new(1_000, 1_000).dispatched(&ledger).await;
    ledger.release(all).await.unwrap();
    // Counted, it is still more than there is.
    let large = Call::new(9_000, 1_001);
    let refused = large.open(&ledger).await;
    assert!(matches!(refused, Opened::Refused(Refusal::Budget(_))), "{refused:?}");
    assert_eq!(large.asked(), 1);
    let fits = Call::new(400, 1);
    let first = fits.dispatched(&ledger).await;
    assert_eq!(fits.asked(), 0, "who fits pays no time for it");
    let counted = Call::new(9_000, 500);
    let second = counted.dispatched(&ledger).await;
    assert_eq!(counted.asked(), 1, "once");
    // What is held is what was counted: the rest is there to the last nano.
    let last = Call::new(100, 1);
    let third = last.dispatched(&ledger).await;
    assert_eq!(last.asked(), 0);
    for ticket in [first, second, third] {
        ledger.release(ticket).await.unwrap();
    }
    process.stop().await;
    let books = world.store.all_budgets().await.unwrap();
    assert_eq!(books.len(), 1);
    assert_eq!((books[0].settled, books[0].held), (Amount::ZERO, Amount::ZERO));
}

/// It would otherwise wait for what runs, although there is room for it.
#[tokio::test]
async fn a_call_is_counted_before_it_waits() {
    let world = World::new(&[]).await;
    let process = world.process().await;
    let ledger = ledger(&process, 1_000);
    let running = Call::new(900, 900).dispatched(&ledger).await;
    let counted = Call::new(101, 100).dispatched(&ledger).await;
    for ticket in [running, counted] {
        ledger.release(ticket).await.unwrap();
    }
    process.stop().await;
}
