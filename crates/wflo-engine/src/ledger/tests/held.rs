//! What an attempt holds in memory of what was journaled.

use wflo_core::effect::{EffectKind, Kept, memory_of};
use wflo_core::size::Bytes;

use super::*;
use crate::outbox::{Outbox, Told};
use crate::protocol::EffectCall;

const LARGE: usize = 1 << 20;

fn drawn(seq: u32) -> EffectCall {
    EffectCall {
        path: "0".into(),
        seq,
        kind: EffectKind::Random,
        name: "bytes".into(),
        request: json!({"kind": "bytes", "n": LARGE, "aside": "x".repeat(LARGE)}),
        after: 0,
    }
}

/// The memory of all values that the rows of a journal hold.
fn held(journal: &Journal) -> usize {
    let of = |kept: &Kept| kept.here().map_or(0, memory_of);
    let rows = journal.all();
    let values = rows.iter().map(|row| {
        let answer = match &row.state {
            EffectState::Finished { result, .. } => of(result),
            EffectState::Previewed { outcome: Ok(result), .. } => of(result),
            _ => 0,
        };
        answer + of(&row.request) + memory_of(&row.attributes)
    });
    values.sum()
}

/// A broker over a fresh journal of the attempt, as a new attempt has it.
async fn broker(attempt: &Attempt, services: &Arc<Services>, meters: &Meters) -> Broker {
    let (store, clock) = (Arc::clone(&services.store), Arc::clone(&services.clock));
    let meter = meters.of(store.as_ref(), attempt.run).await.unwrap();
    let journal = Journal::load(store, clock, attempt.fence(), &attempt.step, attempt.generation).await;
    Broker::new(attempt.clone(), Arc::new(journal.unwrap().metered(meter)), Arc::clone(services))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_stays_in_memory_and_a_resume_reads_it_when_it_is_sent() {
    let world = world().await;
    let services = Arc::clone(&world.acting.services);
    world.on(move |attempt, _, _| {
        let services = Arc::clone(&services);
        async move {
            let meters = Meters::new(Bytes(u64::MAX));
            let live = broker(&attempt, &services, &meters).await;
            let (sink, _line) = Outbox::new();
            let mut first = Vec::new();
            for seq in 0..12 {
                let answered = live.perform(drawn(seq), &sink).await.ok().unwrap();
                first.push(serde_json::to_value(answered.answer.unwrap()).unwrap());
            }
            assert!(held(&live.journal) < 12 * 1_500, "{}", held(&live.journal));
            let again = broker(&attempt, &services, &meters).await;
            assert!(held(&again.journal) < 12 * 1_500);
            for (seq, told) in (0..12).zip(first) {
                let answered = again.perform(drawn(seq), &sink).await.ok().unwrap();
                assert_eq!(answered.order, Some(seq + 1));
                assert!(matches!(answered.told(&sink), Told::Recorded));
                let on = On { path: "0".into(), seq };
                let read = again.recorded(&on).await.unwrap().unwrap();
                assert_eq!(serde_json::to_value(read).unwrap(), told);
            }
            assert_eq!(sink.held(), 0);
            done(json!("ok"))
        }
    });
    let run = world.submit(&json!({})).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_and_says_the_same_on_a_resume() {
    let world = world().await;
    let services = Arc::clone(&world.acting.services);
    world.on(move |attempt, _, _| {
        let services = Arc::clone(&services);
        async move {
            let (sink, _line) = Outbox::new();
            // Each takes 2.4 MB: the third crosses the limit, and is kept.
            let limit = Bytes(6 << 20);
            let live = broker(&attempt, &services, &Meters::new(limit)).await;
            let mut codes = Vec::new();
            for seq in 0..5 {
                let answered = live.perform(drawn(seq), &sink).await.ok().unwrap();
                codes.push(serde_json::to_value(answered.answer.unwrap()).unwrap()["error"]["code"].clone());
            }
            let full = json!("WFLO-3032");
            assert_eq!(codes, [json!(null), json!(null), json!(null), full.clone(), full]);
            // Of another process, which counts what is there; and whose settings allow more by now.
            for limit in [limit, Bytes(u64::MAX)] {
                let again = broker(&attempt, &services, &Meters::new(limit)).await;
                assert_eq!(again.journal.meter().reached().is_some(), limit.0 < u64::MAX);
                for (seq, code) in (0..5).zip(&codes) {
                    let answered = again.perform(drawn(seq), &sink).await.ok().unwrap();
                    assert_eq!(answered.order, Some(seq + 1));
                    let on = On { path: "0".into(), seq };
                    let read = again.recorded(&on).await.unwrap().unwrap();
                    assert_eq!(&serde_json::to_value(read).unwrap()["error"]["code"], code);
                }
            }
            // Nobody journals refusals for ever.
            let mut ended = None;
            for seq in 5..200 {
                if let Err(Unanswered::Failed(failure)) = live.perform(drawn(seq), &sink).await {
                    ended = Some((seq, failure.code));
                    break;
                }
            }
            assert_eq!(ended, Some((103, "WFLO-3032".to_owned())));
            done(json!("ok"))
        }
    });
    let run = world.submit(&json!({})).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_was_not_kept_is_made_again_from_its_record() {
    let world = world().await;
    let services = Arc::clone(&world.acting.services);
    world.on(move |attempt, _, _| {
        let services = Arc::clone(&services);
        async move {
            let live = broker(&attempt, &services, &Meters::new(Bytes(u64::MAX))).await;
            let (sink, _line) = Outbox::new();
            let chat =
                EffectCall { kind: EffectKind::Llm, name: "chat".into(), request: request(), ..drawn(0) };
            let answered = live.perform(chat, &sink).await.ok().unwrap();
            let told = serde_json::to_value(answered.answer.unwrap()).unwrap();
            assert!(told["ok"]["text"].is_string(), "{told}");
            let read = live.recorded(&On { path: "0".into(), seq: 0 }).await.unwrap().unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), told);
            done(json!("ok"))
        }
    });
    let run = world.submit(&json!({})).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.mock.seen().len(), 1, "it is not asked for again");
}
