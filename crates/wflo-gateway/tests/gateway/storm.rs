//! Everything at once: gateways that share one budget, clients that come and go, providers that answer, break,
//! lie and refuse, in every dialect. In the end the sum of what is settled is what the providers billed and the
//! holds of what is not known, to the nano-dollar, and nothing is held. `WFLO_TEST_SEED` runs one again.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use wflo_core::money::NanoUsd;
use wflo_testkit::model_server::{Answer, Fault};

use crate::gone::until;
use crate::ledger::{Call, Entry, MemoryLedger};
use crate::shapes::{SHAPES, Shape};
use crate::world::{World, deadlines, send, start};

/// A generator of its own, so that a seed tells all.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn seed() -> u64 {
    let given = std::env::var("WFLO_TEST_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) * 7_919)
}

/// What a call must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// To what the provider billed.
    Bill,
    /// To its hold, marked.
    Hold,
    /// To nothing.
    Nothing,
}

fn fault(random: &mut Random, shape: Shape) -> (Option<Fault>, Comes) {
    let status = |status| Some(Fault::Status(status, "{\"error\":{}}".to_owned(), None));
    let options = [
        (None, Comes::Bill),
        (None, Comes::Bill),
        (Some(Fault::Delay(Duration::from_millis(2))), Comes::Bill),
        (Some(Fault::Slow(Duration::from_millis(1))), Comes::Bill),
        (status(429), Comes::Nothing),
        (status(500), Comes::Nothing),
        (status(529), Comes::Nothing),
        (Some(Fault::UsageMissing), Comes::Hold),
        (Some(Fault::Garbage), Comes::Hold),
        (Some(Fault::Close), Comes::Hold),
        (Some(Fault::ResetAfter(if shape.streams { 3 } else { 0 })), Comes::Hold),
        (Some(Fault::EndAfter(3)), if shape.streams { Comes::Hold } else { Comes::Bill }),
        (Some(Fault::ErrorEvent(2)), if shape.streams { Comes::Hold } else { Comes::Bill }),
        // What is no stream has no end mark.
        (shape.streams.then_some(Fault::UsageAfterDone), Comes::Bill),
    ];
    options[random.below(options.len())].clone()
}

/// One gateway with a provider of its own, that is called so many times. What its calls must come to.
async fn calls(
    ledger: Arc<MemoryLedger>,
    mut random: Random,
    who: usize,
    count: usize,
) -> Vec<(Shape, Comes)> {
    let world = World::with(Arc::clone(&ledger), deadlines());
    let (port, mut come) = (world.port, Vec::new());
    for nth in 0..count {
        let shape = SHAPES[random.below(SHAPES.len())];
        let (fault, comes) = fault(&mut random, shape);
        if let Some(fault) = fault.clone() {
            world.mock.fault_next(fault);
        }
        world.mock.answer_next(Answer { text: Some("a b c d e f".to_owned()), ..Answer::billed(10, 5) });
        let body = shape.body(&format!("gateway {who} call {nth}"));
        let own = |calls: &[Call]| -> Vec<Call> {
            calls.iter().filter(|call| is_of(call, &world)).cloned().collect()
        };
        let goes = random.below(4);
        match goes {
            // It goes before the answer.
            0 => {
                world.mock.hold();
                let client = tokio::spawn(async move { send(port, "POST", shape.path, &[], &body).await });
                until("sent", || world.mock.counts().requests == nth as u64 + 1).await;
                client.abort();
                let _ = client.await;
                world.mock.release();
            }
            // In its middle, or behind its end.
            1 => {
                let mut response = start(port, "POST", shape.path, &[], &body).await;
                let _ = response.body_mut().frame().await;
            }
            _ => drop(send(port, "POST", shape.path, &[], &body).await),
        }
        let ended = |call: &Call| !matches!(call.entry, Entry::Running);
        ledger.until("ended", |calls| own(calls).len() == nth + 1 && own(calls).iter().all(ended)).await;
        assert_eq!(world.mock.counts().requests, nth as u64 + 1, "call {nth} of {who}: {shape:?}");
        let call = own(&ledger.calls()).remove(nth);
        let Entry::Closed(outcome) = &call.entry else { panic!("{call:?}") };
        let (settled, wanted) = match comes {
            Comes::Bill => (outcome.settled.nanos(), (shape.bill(10, 5), false)),
            Comes::Hold => (outcome.settled.nanos(), (call.intent.hold.nanos(), true)),
            Comes::Nothing => (outcome.settled.nanos(), (0, false)),
        };
        let what = format!("call {nth} of {who}: {shape:?} {fault:?} {goes} {outcome:?}");
        assert_eq!((settled, outcome.uncertain), wanted, "{what}");
        come.push((shape, comes));
    }
    assert_eq!(world.gateway.overshoots(), 0);
    come
}

/// Whether a call went to the provider of this world.
fn is_of(call: &Call, world: &World) -> bool {
    let port = format!(":{}", world.mock.port());
    call.intent.address.split('/').any(|part| part.ends_with(&port))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_the_books_hold_what_was_billed_and_what_is_not_known() {
    let (seed, ledger) = (seed(), MemoryLedger::with_limit(NanoUsd::from_nanos(i64::MAX / 2)));
    println!("WFLO_TEST_SEED={seed}");
    let gateways = (0..4).map(|who| {
        let random = Random(seed.wrapping_add(who as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        tokio::spawn(calls(Arc::clone(&ledger), random, who, 60))
    });
    let mut come = Vec::new();
    for gateway in gateways.collect::<Vec<_>>() {
        come.extend(gateway.await.unwrap());
    }
    let (mut certain, mut uncertain, mut free) = (0, Vec::new(), 0);
    for call in ledger.calls() {
        match call.entry {
            Entry::Closed(outcome) if outcome.uncertain => {
                assert_eq!(outcome.settled, call.intent.hold, "{outcome:?}");
                uncertain.push(outcome.settled.nanos());
            }
            Entry::Closed(outcome) => {
                certain += outcome.settled.nanos();
                free += usize::from(outcome.settled == NanoUsd::ZERO);
            }
            other => panic!("{other:?}"),
        }
    }
    let of = |wanted| come.iter().filter(move |(_, comes)| *comes == wanted);
    let billed: i64 = of(Comes::Bill).map(|(shape, _)| shape.bill(10, 5)).sum();
    assert_eq!(certain, billed);
    assert_eq!((uncertain.len(), free), (of(Comes::Hold).count(), of(Comes::Nothing).count()));
    assert_eq!((ledger.settled(), ledger.held()), (billed + uncertain.iter().sum::<i64>(), 0));
}
