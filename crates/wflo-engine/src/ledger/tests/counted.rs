//! Calls that do not fit by their bytes, and do once their text is counted.

use std::sync::atomic::{AtomicU32, Ordering};

use wflo_gateway::closer::Closer;
use wflo_gateway::reserve::Bound;

use super::*;

/// Counts to `cost`, and how often it was asked.
fn counting(cost: i64, asked: &Arc<AtomicU32>) -> Option<Closer> {
    let asked = Arc::clone(asked);
    Some(Closer::new(move || {
        asked.fetch_add(1, Ordering::SeqCst);
        Some(Bound { cost: NanoUsd::from_nanos(cost), input_tokens: 5, output_tokens: 100, write: None })
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_room_is_counted_and_one_with_room_is_not() {
    let world = world().await;
    world.on(|_, calls, _| async move {
        let asked = Arc::new(AtomicU32::new(0));
        let at = |seq: u32, hold: i64, closer| CallIntent {
            positional: Some(("0".into(), seq)),
            hold: NanoUsd::from_nanos(hold),
            closer,
            ..intent(&calls)
        };
        let fits = RunLedger.open(at(0, EACH, counting(EACH / 2, &asked))).await.unwrap();
        assert!(matches!(fits, Opened::Dispatch { .. }) && asked.load(Ordering::SeqCst) == 0);
        let counted = RunLedger.open(at(1, 9 * EACH, counting(EACH, &asked))).await.unwrap();
        let Opened::Dispatch { ticket, output_limit: None } = counted else { panic!("{counted:?}") };
        assert_eq!(asked.load(Ordering::SeqCst), 1, "once");
        RunLedger.release(ticket).await.unwrap();
        let refused = RunLedger.open(at(2, 9 * EACH, counting(4 * EACH, &asked))).await;
        assert!(matches!(refused, Ok(Opened::Refused(_))), "{refused:?}");
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let rows = world.store.run_effects(run).await.unwrap();
    let held = |row: usize| rows[row].attributes["hold_usd"].clone();
    assert_eq!([held(0), held(1)], [json!(NanoUsd::from_nanos(EACH)), json!(NanoUsd::from_nanos(EACH))]);
}
