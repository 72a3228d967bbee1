//! A call that does not fit is sent with less output, if its ledger says so; and nothing else changes.

use wflo_core::money::NanoUsd;
use wflo_testkit::model_server::Answer;

use crate::ledger::MemoryLedger;
use crate::shapes::SHAPES;
use crate::world::{World, chat, message, streamed};

/// What the mock saw of a request's limit.
fn sent(world: &World, name: &str) -> u64 {
    let seen = world.mock.seen();
    let body: serde_json::Value = serde_json::from_slice(&seen[seen.len() - 1].body).unwrap();
    let limit = if name == "maxOutputTokens" { &body["generationConfig"][name] } else { &body[name] };
    limit.as_u64().unwrap_or_else(|| panic!("no {name} in {body}"))
}

#[tokio::test]
async fn a_call_is_cut_to_what_is_left_and_the_rest_of_it_stays_as_it_was() {
    let plain = r#"{"model":"gpt-5-mini", "messages":[{"role":"user","content":"caf\u00e9"}]}"#.to_owned();
    for (body, path, name) in [
        (chat("hi"), "/openai/v1/chat/completions", "max_completion_tokens"),
        (streamed("hi"), "/openai/v1/chat/completions", "max_completion_tokens"),
        (
            chat("hi").replace("max_completion_tokens", "max_tokens"),
            "/openai/v1/chat/completions",
            "max_tokens",
        ),
        (plain, "/openai/v1/chat/completions", "max_completion_tokens"),
        (message("hi"), "/anthropic/v1/messages", "max_tokens"),
        (SHAPES[3].body("hi"), SHAPES[3].path, "max_output_tokens"),
        (r#"{"model":"gpt-5-mini","input":"hi"}"#.to_owned(), "/v1/responses", "max_output_tokens"),
        (SHAPES[7].body("hi"), SHAPES[7].path, "maxOutputTokens"),
        (r#"{"contents":[]}"#.to_owned(), SHAPES[6].path, "maxOutputTokens"),
        (SHAPES[10].body("hi"), SHAPES[10].path, "max_tokens"),
    ] {
        let whole = World::new(MemoryLedger::unlimited());
        whole.post(path, &body).await;
        let hold = whole.ledger.calls()[0].intent.hold.nanos();
        let limit = hold * 9 / 10;
        let world = World::new(MemoryLedger::with_floor(NanoUsd::from_nanos(limit), 10));
        world.mock.answer_always(Answer::billed(10, 1_000_000));
        let got = world.post(path, &body).await;
        assert_eq!(got.status, 200, "{body}: {}", got.text());
        let tokens = sent(&world, name);
        let granted = world.ledger.calls()[0].intent.hold.nanos();
        assert!(tokens >= 10 && granted <= limit, "{body}: {tokens} tokens for {granted} of {limit}");
        // One token more would not have fitted.
        let shorter = whole.ledger.calls()[0].intent.shorter.clone().unwrap();
        assert_eq!(shorter.at(tokens).unwrap().cost.nanos(), granted);
        assert!(shorter.at(tokens + 1).unwrap().cost.nanos() > limit);
        assert!(world.ledger.settled() <= granted && world.ledger.held() == 0);
        assert_eq!(world.gateway.overshoots(), 0);
        let seen = world.mock.seen();
        let upstream = String::from_utf8(seen[0].body.to_vec()).unwrap();
        let unlimited = String::from_utf8(whole.mock.seen()[0].body.to_vec()).unwrap();
        let was = sent(&whole, name);
        assert_eq!(
            upstream,
            unlimited.replace(&format!(":{was}"), &format!(":{tokens}")),
            "only the limit differs"
        );
    }
}

#[tokio::test]
async fn a_call_is_not_cut_below_the_floor_nor_into_its_thinking() {
    let hold = {
        let world = World::new(MemoryLedger::unlimited());
        world.chat(&chat("hi")).await;
        world.ledger.calls()[0].intent.hold.nanos()
    };
    let world = World::new(MemoryLedger::with_floor(NanoUsd::from_nanos(hold * 9 / 10), 99));
    assert_eq!(world.chat(&chat("hi")).await.status, 402);
    let thinking = r#"{"model":"claude-sonnet-4-5","max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":3900},"messages":[{"role":"user","content":"hi"}]}"#;
    let whole = World::new(MemoryLedger::unlimited());
    whole.messages(thinking).await;
    let shorter = whole.ledger.calls()[0].intent.shorter.clone().unwrap();
    assert!(shorter.at(3_899).is_none(), "the provider refuses a limit below the thinking budget");
    assert!(shorter.at(3_950).unwrap().cost < whole.ledger.calls()[0].intent.hold);
    assert_eq!(shorter.longest(10, |_| true), None);
    assert!(world.mock.seen().is_empty());
}

/// A coding agent: a context that grows with every turn and is compacted, answers of very different
/// lengths, each of which may have 32,000 tokens. Its session ends at the first refusal.
async fn session(ledger: std::sync::Arc<MemoryLedger>) -> (usize, f64) {
    let world = World::new(ledger);
    let (mut context, mut turns, mut random) = (12_000_usize, 0, 7_u64);
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let output = 200 + (random >> 33) % 3_800;
        let body = serde_json::json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 32_000,
            "messages": [{"role": "user", "content": "x".repeat(context)}],
        });
        world.mock.answer_next(Answer::billed(context as u64 / 4, output));
        let got = world.messages(&body.to_string()).await;
        if got.status == 402 {
            assert_eq!((world.ledger.held(), world.gateway.overshoots()), (0, 0));
            return (turns, world.ledger.settled() as f64 / 25e9);
        }
        assert_eq!(got.status, 200, "{}", got.text());
        turns += 1;
        context = if context > 80_000 { 12_000 } else { context + 4 * output as usize / 2 };
    }
}

#[tokio::test]
async fn a_coding_agent_with_25_dollars_spends_97_percent_of_them_before_it_is_stopped() {
    let budget: NanoUsd = "25".parse().unwrap();
    let (turns, spent) = session(MemoryLedger::with_floor(budget, 1_024)).await;
    let (turns_without, without) = session(MemoryLedger::with_limit(budget)).await;
    println!("a floor of 1,024 tokens: {turns} turns, {:.2} % spent", spent * 100.0);
    println!("no floor: {turns_without} turns, {:.2} % spent", without * 100.0);
    assert!((0.97..=1.0).contains(&spent) && turns > turns_without, "{spent} in {turns}");
}
