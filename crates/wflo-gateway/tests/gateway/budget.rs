//! Money never goes above the limit, and a refusal says what, how much and why.

use wflo_core::money::NanoUsd;
use wflo_testkit::model_server::Answer;

use crate::ledger::{Entry, MemoryLedger};
use crate::world::{World, chat, message, streamed};

/// The hold of `chat(text)`.
async fn hold_of(body: &str) -> i64 {
    let world = World::new(MemoryLedger::unlimited());
    world.chat(body).await;
    world.ledger.calls()[0].intent.hold.nanos()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_callers_on_a_budget_for_three_calls_get_three() {
    for body in [chat("same for all"), streamed("same for all")] {
        let hold = hold_of(&body).await;
        let world = World::new(MemoryLedger::with_limit(NanoUsd::from_nanos(3 * hold + hold / 2)));
        let full = world.ledger.clone();
        world.mock.answer_always(Answer::billed(100, 100));
        world.mock.hold();
        let (port, mut callers) = (world.port, tokio::task::JoinSet::new());
        for caller in 0..50 {
            // Each its own request: identical ones are tested elsewhere.
            let body = body.replace("same", &format!("s{caller:03}"));
            callers.spawn(async move {
                crate::world::send(port, "POST", "/openai/v1/chat/completions", &[], &body).await
            });
        }
        world.ledger.until("three dispatched", |calls| calls.len() == 3).await;
        let mut refused = 0;
        while refused < 47 {
            let got = callers.join_next().await.unwrap().unwrap();
            assert_eq!(got.status, 402, "{}", got.text());
            assert_eq!(got.headers["x-should-retry"], "false");
            refused += 1;
        }
        world.mock.release();
        while let Some(got) = callers.join_next().await {
            assert_eq!(got.unwrap().status, 200);
        }
        assert_eq!((world.mock.counts().billed, full.calls().len(), full.held()), (3, 3, 0));
        assert!(full.settled() <= 3 * hold);
        assert_eq!(world.gateway.overshoots(), 0);
    }
}

#[tokio::test]
async fn a_refusal_names_the_budget_what_is_left_and_what_the_call_could_cost() {
    let world = World::new(MemoryLedger::with_limit(NanoUsd::from_nanos(1_000)));
    let openai = world.chat(&chat("hi")).await;
    assert_eq!(openai.status, 402);
    let error = &openai.json()["error"];
    let message_text = error["message"].as_str().unwrap();
    assert!(message_text.contains("the run budget of 0.000001 USD has 0.000001 USD left"), "{message_text}");
    assert!(message_text.contains("gpt-5-mini could cost up to 0.000"), "{message_text}");
    assert_eq!((&error["type"], &error["code"]), (&"budget_exceeded".into(), &"WFLO-4001".into()));
    assert!(
        message_text.contains("lower max_tokens") && message_text.ends_with(" [WFLO-4001]"),
        "{message_text}"
    );
    // What counts where the client names no limit is what surprises it.
    let unlimited = world.chat(r#"{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}"#).await;
    let told = unlimited.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("names no max_tokens, so all 128008 output tokens"), "{told}");
    let anthropic = world.messages(&message("hi")).await;
    assert_eq!(anthropic.status, 402);
    assert_eq!(anthropic.json()["type"], "error");
    assert_eq!(anthropic.json()["error"]["type"], "budget_exceeded");
    assert!(world.mock.seen().is_empty());
}

#[tokio::test]
async fn what_is_settled_is_what_the_provider_billed_to_the_nano_dollar() {
    let world = World::new(MemoryLedger::unlimited());
    let mut expected = 0;
    for (body, input, cached, output) in [
        (chat("a"), 90, 30, 17),
        (streamed("b"), 33, 0, 99),
        (chat("c"), 1, 0, 1),
        (streamed("d"), 120, 120, 100),
    ] {
        world.mock.answer_next(Answer { cached_tokens: cached, ..Answer::billed(input, output) });
        assert_eq!(world.chat(&body).await.status, 200);
        // gpt-5-mini: 0.25, 0.025 and 2 USD per million are 250, 25 and 2000 nano-USD per token.
        expected += i64::try_from((input - cached) * 250 + cached * 25 + output * 2_000).unwrap();
    }
    assert_eq!(world.ledger.settled(), expected);
    for body in [chat("two"), streamed("two")] {
        world.mock.answer_next(Answer::billed(10, 7));
        let got = world.chat(&body.replacen('{', r#"{"n":2,"#, 1)).await;
        assert!(got.whole && got.status == 200);
        expected += 10 * 250 + 2 * 7 * 2_000;
    }
    assert_eq!(world.ledger.settled(), expected);
    for call in world.ledger.calls() {
        let Entry::Closed(outcome) = call.entry else { panic!("not closed") };
        assert!(!outcome.uncertain && outcome.settled <= call.intent.hold);
    }
}

#[tokio::test]
async fn an_unpriced_model_and_an_unboundable_request_are_refused_by_name() {
    let world = World::new(MemoryLedger::unlimited());
    let unpriced = world.chat(r#"{"model":"unheard-of","messages":[]}"#).await;
    assert_eq!(unpriced.status, 400);
    assert!(unpriced.text().contains("WFLO-4002") && unpriced.text().contains("[models.\\\"unheard-of\\\"]"));
    let tool = world.messages(
        r#"{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[],"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
    );
    assert!(tool.await.text().contains("WFLO-4003"));
    let twice =
        world.chat(r#"{"model":"gpt-5-mini","max_tokens":1,"max_tokens":100000,"messages":[]}"#).await;
    assert!(twice.text().contains("WFLO-4006"));
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}
