//! Calls that go elsewhere: aliases, fallbacks, spread models, cheaper ones. Each time: who answered is
//! said, what is charged is that one's price, and nothing else of the request has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::retry::Retry;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::routing::{Detour, Place, Routing, Share, Spread, Strategy, Waits};
use wflo_gateway::secret::Secret;
use wflo_testkit::model_server::{Answer, Fault, ModelServer};

use crate::ledger::{Call, Entry, MemoryLedger};
use crate::world::{KEY, World, chat, deadlines, message, streamed};

/// A gateway before two providers: the world's own mock, `a`, and another, `b`.
pub(crate) struct Two {
    pub(crate) world: World,
    pub(crate) b: ModelServer,
}

fn place(text: &str) -> Place {
    Place::parse(text, |name| ["a", "b", "anthropic"].contains(&name))
}

pub(crate) fn two(routing: Routing) -> Two {
    two_within(routing, MemoryLedger::unlimited())
}

fn two_within(routing: Routing, ledger: Arc<MemoryLedger>) -> Two {
    let (a, b) = (ModelServer::start().unwrap(), ModelServer::start().unwrap());
    let provider = |name, dialect, url: &str| Provider::new(name, dialect, url, Secret::new(KEY)).unwrap();
    let providers = vec![
        provider("a", Dialect::OpenAi, &a.openai_url()),
        provider("b", Dialect::OpenAi, &b.openai_url()),
        provider("anthropic", Dialect::Anthropic, &a.anthropic_url()),
        provider("google", Dialect::Google, &a.root_url()),
    ];
    Two { world: World::routed(a, providers, routing, ledger, deadlines()), b }
}

fn detour(model: &str, detour: Detour) -> Routing {
    Routing { models: BTreeMap::from([(model.to_owned(), detour)]), ..Routing::default() }
}

fn falls_back(model: &str, to: &[&str]) -> Routing {
    let fallbacks = to.iter().map(|text| place(text)).collect();
    detour(model, Detour { fallbacks, ..Detour::default() })
}

pub(crate) fn ask(model: &str) -> String {
    chat("hi").replace("gpt-5-mini", model)
}

fn refusal(status: u16, body: &str) -> Fault {
    Fault::Status(status, body.to_owned(), None)
}

fn only(world: &World) -> Call {
    let mut calls = world.ledger.calls();
    assert_eq!((calls.len(), world.ledger.held()), (1, 0));
    calls.remove(0)
}

fn settled(call: &Call) -> i64 {
    match &call.entry {
        Entry::Closed(outcome) => outcome.settled.nanos(),
        other => panic!("{other:?}"),
    }
}

async fn hold_of_small() -> NanoUsd {
    let two = two(Routing::default());
    two.world.chat(&ask("small")).await;
    only(&two.world).intent.hold
}

#[tokio::test]
async fn an_alias_is_its_model_in_every_way_but_its_name() {
    let aliases = BTreeMap::from([("fast".to_owned(), place("small"))]);
    let two = two(Routing { aliases, ..Routing::default() });
    let got = two.world.chat(&ask("fast")).await;
    assert_eq!((got.status.as_u16(), &got.headers["wflo-model"]), (200, &"small".parse().unwrap()));
    let sent = &two.world.mock.seen()[0].body;
    assert_eq!(*sent, ask("small").replacen('{', r#"{"max_tokens":100,"#, 1), "nothing else is changed");
    assert_eq!(only(&two.world).intent.model, "small");
    let listed = crate::world::send(two.world.port, "GET", "/openai/v1/models", &[], "").await;
    assert!(listed.text().contains("\"fast\""), "{}", listed.text());
}

#[tokio::test]
async fn a_refused_call_falls_back_at_that_ones_price() {
    for (fault, failure) in
        [(refusal(500, "{}"), "500"), (refusal(429, r#"{"error":{"code":"insufficient_quota"}}"#), "429")]
    {
        let two = two(falls_back("large", &["b/small"]));
        two.world.mock.fault_always(Some(fault));
        two.b.answer_always(Answer::billed(10, 100));
        for body in [ask("large"), streamed("hi").replace("gpt-5-mini", "large")] {
            let got = two.world.chat(&body).await;
            assert_eq!(got.status, 200, "{}", got.text());
            assert_eq!(got.headers["wflo-provider"], "b");
            assert_eq!(got.headers["wflo-model"], "small");
        }
        let calls = two.world.ledger.calls();
        for call in &calls {
            assert_eq!((call.tried.len(), call.tried[0].failure.as_str()), (1, failure));
            assert_eq!((call.tried[0].charged_usd, call.intent.model.as_str()), (NanoUsd::ZERO, "small"));
            // 10 × 1 and 100 × 2 USD per million.
            assert_eq!(settled(call), 210_000);
        }
        assert_eq!(two.world.ledger.held(), 0);
    }
}

#[tokio::test]
async fn a_dearer_fallback_holds_its_own_bound_or_is_not_asked() {
    let hold = hold_of_small().await;
    for (limit, status) in [(NanoUsd::MAX, 200), (hold, 503)] {
        let two = two_within(falls_back("small", &["b/large"]), MemoryLedger::with_limit(limit));
        two.world.mock.fault_always(Some(refusal(503, "{}")));
        let got = two.world.chat(&ask("small")).await;
        assert_eq!(got.status.as_u16(), status);
        let call = only(&two.world);
        assert_eq!(two.b.counts().requests, u64::from(status == 200));
        assert_eq!(call.intent.hold > hold, status == 200, "ten times the price, ten times the hold");
    }
}

#[tokio::test]
async fn what_may_be_billed_is_not_given_to_another() {
    let two = two(falls_back("large", &["b/small"]));
    two.world.mock.fault_always(Some(Fault::Close));
    assert_eq!(two.world.chat(&ask("large")).await.status, 504);
    assert_eq!(two.b.counts().requests, 0);
}

#[tokio::test]
async fn an_answer_that_is_an_error_of_the_request_stands() {
    for status in [400, 401, 403, 404, 422] {
        let two = two(falls_back("large", &["b/small"]));
        two.world.mock.fault_always(Some(refusal(status, r#"{"error":{"message":"no"}}"#)));
        let got = two.world.chat(&ask("large")).await;
        assert_eq!((got.status.as_u16(), got.text()), (status, r#"{"error":{"message":"no"}}"#));
        assert_eq!((two.b.counts().requests, settled(&only(&two.world))), (0, 0));
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_goes_to_a_model_that_reads_more() {
    let context_fallbacks = vec![place("b/large")];
    let routing =
        || detour("small", Detour { context_fallbacks: context_fallbacks.clone(), ..Detour::default() });
    let two = two(routing());
    let said = r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#;
    two.world.mock.fault_always(Some(refusal(400, said)));
    let got = two.world.chat(&ask("small")).await;
    assert_eq!((got.status.as_u16(), &got.headers["wflo-model"]), (200, &"large".parse().unwrap()));
    two.world.mock.fault_always(Some(refusal(400, r#"{"error":{"message":"no such tool"}}"#)));
    assert_eq!(two.world.chat(&ask("small")).await.text(), r#"{"error":{"message":"no such tool"}}"#);
    two.world.mock.fault_always(Some(refusal(500, "{}")));
    assert_eq!(two.world.chat(&ask("small")).await.status, 500, "for nothing else");
    assert_eq!(two.b.counts().requests, 1);
}

#[tokio::test]
async fn every_way_is_tried_once_and_the_last_failure_told() {
    let retry = Retry { attempts: 2, base: Duration::ZERO, ..Retry::default() };
    let two = two(Routing { retry, ..falls_back("large", &["b/large", "a/small", "b/small"]) });
    two.world.mock.fault_always(Some(refusal(500, "a")));
    two.b.fault_always(Some(refusal(503, "b")));
    let got = two.world.chat(&ask("large")).await;
    assert_eq!(
        (got.status.as_u16(), got.text(), &got.headers["wflo-attempts"]),
        (503, "b", &"8".parse().unwrap())
    );
    assert_eq!(got.headers["x-should-retry"], "false");
    assert_eq!((two.world.mock.counts().requests, two.b.counts().requests), (4, 4));
    assert_eq!((only(&two.world).tried.len(), two.world.ledger.settled()), (7, 0));
}

pub(crate) fn spread(strategy: Strategy, weights: [u32; 2]) -> Routing {
    let targets = ["a/large", "b/small"].into_iter().zip(weights);
    let targets = targets.map(|(text, weight)| Share { place: place(text), weight }).collect();
    let routes = BTreeMap::from([("both".to_owned(), Spread { strategy, targets })]);
    Routing { routes, ..Routing::default() }
}

#[tokio::test]
async fn the_providers_of_a_model_share_its_calls_by_their_strategy() {
    let counts = |two: &Two| (two.world.mock.counts().requests, two.b.counts().requests);
    let first = two(spread(Strategy::Priority, [1, 1]));
    let cheapest = two(spread(Strategy::Cost, [1, 1]));
    let weighted = two(spread(Strategy::Weighted, [1, 3]));
    let quickest = two(spread(Strategy::Latency, [1, 1]));
    quickest.world.mock.fault_always(Some(Fault::Delay(Duration::from_secs(2))));
    for nth in 0..40 {
        for two in [&first, &cheapest, &weighted, &quickest] {
            let body = ask("both").replace("hi", &nth.to_string());
            assert_eq!(two.world.chat(&body).await.status, 200);
        }
    }
    assert_eq!((counts(&first), counts(&cheapest)), ((40, 0), (0, 40)));
    for nth in 40..100 {
        let body = ask("both").replace("hi", &nth.to_string());
        assert_eq!(weighted.world.chat(&body).await.status, 200);
    }
    // Both by chance: that the first of them is not asked in 100 draws happens once in 3,000,000,000,000 times.
    let (a, b) = counts(&weighted);
    assert!(a > 0 && b > 0 && a + b == 100, "{a} and {b}");
    assert_eq!(counts(&quickest), (1, 39), "each is tried, then the quicker one is kept to");
}

#[tokio::test]
async fn a_provider_that_asked_for_a_rest_is_asked_last() {
    let two = two(spread(Strategy::Priority, [1, 1]));
    two.world.mock.fault_next(Fault::Status(429, "{}".to_owned(), Some("60".to_owned())));
    for _ in 0..3 {
        assert_eq!(two.world.chat(&ask("both")).await.headers["wflo-provider"], "b");
    }
    assert_eq!((two.world.mock.counts().requests, two.b.counts().requests), (1, 3));
    two.b.fault_next(refusal(500, "{}"));
    assert_eq!(two.world.chat(&ask("both")).await.headers["wflo-provider"], "a", "but it is asked");
}

#[tokio::test]
async fn a_budget_that_says_so_is_met_by_a_cheaper_model() {
    let hold = hold_of_small().await;
    let chain = || detour("large", Detour { downgrade: vec![place("b/small")], ..Detour::default() });
    let ledger = MemoryLedger::with_limit(hold).downgrading();
    let lower = two_within(chain(), ledger);
    let got = lower.world.chat(&ask("large")).await;
    assert_eq!((got.status.as_u16(), &got.headers["wflo-model"]), (200, &"small".parse().unwrap()));
    assert_eq!((lower.world.mock.counts().requests, lower.b.counts().requests), (0, 1));
    let ledger = MemoryLedger::with_limit(NanoUsd::from_nanos(hold.nanos() - 1)).downgrading();
    let refused = two_within(chain(), ledger);
    assert_eq!(refused.world.chat(&ask("large")).await.status, 402, "when none fits, nothing is sent");
    assert_eq!(refused.b.counts().requests, 0);
}

#[tokio::test]
async fn a_model_has_waits_of_its_own() {
    let waits = Waits { first_byte: Some(Duration::from_millis(50)), idle: None };
    let two = two(detour("small", Detour { waits, ..Detour::default() }));
    two.world.mock.fault_next(Fault::Hang);
    assert_eq!(two.world.chat(&ask("small")).await.status, 504);
}

#[tokio::test]
async fn a_recorded_answer_is_given_whatever_route_made_it() {
    let made = two(falls_back("large", &["b/small"]));
    made.world.mock.fault_always(Some(refusal(500, "{}")));
    let first = made.world.chat(&ask("large")).await;
    let resumed = two_within(Routing::default(), MemoryLedger::resuming(&made.world.ledger));
    let again = resumed.world.chat(&ask("large")).await;
    assert_eq!((again.body, &again.headers["wflo-model"]), (first.body, &first.headers["wflo-model"]));
    assert_eq!(resumed.world.mock.counts().requests, 0);
}

#[test]
fn what_cannot_be_called_is_refused_at_the_start() {
    let provider = |name, dialect| Provider::new(name, dialect, "http://127.0.0.1:1/v1", None).unwrap();
    let with = |routing: Routing| {
        let providers = vec![provider("a", Dialect::OpenAi), provider("anthropic", Dialect::Anthropic)];
        let own = |name: &str| {
            let provider = Some(name.to_owned());
            wflo_gateway::price::ModelSettings { provider, ..World::price("1", "1") }
        };
        let models = BTreeMap::from([("x".to_owned(), own("a")), ("y".to_owned(), own("anthropic"))]);
        let routes = Routes::new(providers, Vec::new(), models).unwrap();
        routes.with_routing(routing).map(drop).unwrap_err().full_message()
    };
    let alias = |to: &str| Routing {
        aliases: BTreeMap::from([("f".to_owned(), place(to)), ("g".to_owned(), place("f"))]),
        ..Routing::default()
    };
    for (routing, said) in [
        (falls_back("x", &["nobody-knows"]), "nobody-knows"),
        (falls_back("x", &["y"]), "anthropic dialect"),
        (falls_back("x", &["x"]), "names itself"),
        (falls_back("x", &["a/x"]), "names itself"),
        (alias("x"), "another alias"),
        (
            Routing {
                routes: BTreeMap::from([(
                    "z".to_owned(),
                    Spread {
                        strategy: Strategy::Priority,
                        targets: ["x", "y"].map(|to| Share { place: place(to), weight: 1 }).to_vec(),
                    },
                )]),
                ..Routing::default()
            },
            "more than one dialect",
        ),
    ] {
        let message = with(routing);
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_downgrade_to_what_costs_more_is_told() {
    let provider = Provider::new("a", Dialect::OpenAi, "http://127.0.0.1:1/v1", None).unwrap();
    let models =
        [("x", "2", "2"), ("dear", "2", "3"), ("mixed", "1", "3"), ("same", "2", "2"), ("cheap", "1", "1")];
    let models = models.map(|(name, input, output)| {
        let provider = Some("a".to_owned());
        (name.to_owned(), wflo_gateway::price::ModelSettings { provider, ..World::price(input, output) })
    });
    let routes = Routes::new(vec![provider], Vec::new(), BTreeMap::from(models)).unwrap();
    let downgrade = ["dear", "mixed", "same", "cheap"].map(place).to_vec();
    let routes = routes.with_routing(detour("x", Detour { downgrade, ..Detour::default() })).unwrap();
    let doubts = routes.routing().doubts(&routes);
    assert!(matches!(&doubts[..], [only] if only.contains("names dear")), "{doubts:?}");
}

#[tokio::test]
async fn a_fallback_of_anthropic_is_asked_in_its_dialect() {
    let two = two(falls_back("claude-sonnet-4-5", &["claude-haiku-4-5"]));
    two.world.mock.fault_next(refusal(529, "{}"));
    let got = two.world.messages(&message("hi")).await;
    assert_eq!(
        (got.status.as_u16(), &got.headers["wflo-model"]),
        (200, &"claude-haiku-4-5".parse().unwrap())
    );
    let seen = two.world.mock.seen();
    assert!(std::str::from_utf8(&seen[1].body).unwrap().contains(r#""model":"claude-haiku-4-5""#));
    assert_eq!(seen[1].headers["x-api-key"], KEY);
}

#[tokio::test]
async fn a_fallback_of_google_is_asked_by_its_path() {
    let two = two(falls_back("gemini-x", &["gemini-y"]));
    two.world.mock.fault_next(refusal(503, "{}"));
    let body =
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":9}}"#;
    let got = two.world.post("/google/v1beta/models/gemini-x:generateContent", body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.headers["wflo-model"], "gemini-y");
    let seen = two.world.mock.seen();
    assert_eq!(seen[1].target, seen[0].target.replace("gemini-x:", "gemini-y:"));
    assert_eq!(seen[1].body, seen[0].body);
}
