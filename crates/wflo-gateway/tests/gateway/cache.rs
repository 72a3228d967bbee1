//! Answers that are given again: whose, which, how long, and never one that was none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::{Clock, Moment};
use wflo_gateway::cache::{
    Cache, CachePlace, CacheSettings, IGNORED_FIELDS, IGNORED_HEADERS, IGNORED_PREFIXES, NEVER_KEPT, Scope,
    TRANSMISSION,
};
use wflo_gateway::ledger::Caller;
use wflo_gateway::repeats::{OnRepeat, Repeats};
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::routing::{Detour, Place, Routing};
use wflo_gateway::secret::Secret;
use wflo_gateway::serve::ServeHandle;
use wflo_gateway::{Gateway, Limits};
use wflo_testkit::model_server::{Answer, Fault};

use crate::ledger::MemoryLedger;
use crate::world::{Got, KEY, World, chat, deadlines, message, send, start, streamed};

/// A clock that goes when it is told to.
#[derive(Default)]
pub(crate) struct Hands(AtomicI64);

impl Hands {
    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + self.0.load(Ordering::Relaxed)).unwrap()
    }
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), boot_ms: 0, boot_id: String::new() }
    }
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
    fn draw(&self) -> f64 {
        0.0
    }
}

/// A gateway with a cache, and a door for each of two callers.
pub(crate) struct Cached {
    pub(crate) world: World,
    pub(crate) cache: Cache,
    pub(crate) hands: Arc<Hands>,
    pub(crate) gateway: Gateway,
    pub(crate) ports: [u16; 2],
    _doors: [ServeHandle; 2],
}

impl Cached {
    pub(crate) fn new(settings: CacheSettings) -> Cached {
        Cached::over(World::new(MemoryLedger::unlimited()), settings, |routes| routes)
    }

    pub(crate) fn over(
        world: World,
        settings: CacheSettings,
        change: impl FnOnce(Routes) -> Routes,
    ) -> Cached {
        let hands = Arc::new(Hands::default());
        let cache = Cache::new(settings, Arc::clone(&hands) as _);
        let (ledger, routes) = (Arc::clone(&world.ledger) as _, change(world.gateway.routes().clone()));
        let gateway = Gateway::caching(routes, ledger, Some(cache.clone()), deadlines(), Limits::default());
        let door = |space: &str| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            (port, gateway.serve(listener, Caller::new(space, ()).sharing(space)).unwrap())
        };
        let [(one, first), (other, second)] = [door("one"), door("other")];
        Cached { world, cache, hands, gateway, ports: [one, other], _doors: [first, second] }
    }

    pub(crate) async fn ask(&self, headers: &[(&str, &str)], body: &str) -> Got {
        send(self.ports[0], "POST", "/openai/v1/chat/completions", headers, body).await
    }

    /// Whether the same request is answered from the cache now.
    async fn hits(&self, body: &str) -> bool {
        let before = self.world.mock.counts().requests;
        let got = self.ask(&[], body).await;
        let (hit, sent) = (said(&got) == "hit", self.world.mock.counts().requests - before);
        assert_eq!(sent, u64::from(!hit), "{got:?}");
        hit
    }
}

pub(crate) fn said(got: &Got) -> &str {
    got.headers.get("wflo-cache").map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_is_given_again_and_costs_nothing() {
    let cached = Cached::new(CacheSettings::default());
    let first = cached.ask(&[], &chat("hi")).await;
    assert_eq!((first.status, said(&first)), (StatusCode::OK, "miss"));
    assert!(!first.headers.contains_key("age"));
    cached.hands.forward(7);
    // The same by another hand: spaces, order, escapes, and what is ignored.
    let again = r#"{ "user": "u", "max_completion_tokens": 100,
        "messages": [ { "content": "\u0068i", "role": "user" } ], "model": "gpt-5-mini" }"#;
    let again = cached.ask(&[("user-agent", "x"), ("idempotency-key", "y")], again).await;
    assert_eq!((again.status, said(&again)), (StatusCode::OK, "hit"));
    assert_eq!(again.headers["age"], "7");
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    assert_eq!(again.body, first.body);
    assert_eq!(cached.world.mock.counts().requests, 1);
    let (calls, hits) = (cached.world.ledger.calls(), cached.world.ledger.hits());
    assert_eq!((calls.len(), hits.len()), (1, 1));
    assert_eq!(hits[0].saved.nanos(), cached.world.ledger.settled(), "what it cost when it was paid for");
    assert_eq!((hits[0].recorded.cost, hits[0].age), (NanoUsd::ZERO, Duration::from_secs(7)));
    assert_eq!(cached.world.ledger.held(), 0);
    let stats = cached.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.bypassed, stats.stored, stats.entries), (1, 1, 0, 1, 1));
    assert_eq!(stats.saved, hits[0].saved);
}

#[tokio::test]
async fn a_stream_is_given_again_as_a_stream_byte_for_byte() {
    let cached = Cached::new(CacheSettings::default());
    let with_usage = streamed("hi").replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let mut bodies = Vec::new();
    for body in [streamed("hi"), with_usage, chat("hi")] {
        let first = cached.ask(&[], &body).await;
        assert_eq!(said(&first), "miss", "a stream with usage, one without, and no stream are three: {body}");
        let again = cached.ask(&[], &body).await;
        assert_eq!((said(&again), again.whole), ("hit", true));
        assert_eq!(
            (&again.body, &again.headers["content-type"]),
            (&first.body, &first.headers["content-type"])
        );
        bodies.push(first.body);
    }
    let usage = |body: &Bytes| memchr::memmem::find(body, b"\"usage\":{").is_some();
    assert_eq!([usage(&bodies[0]), usage(&bodies[1])], [false, true], "nobody sees what another asked for");
    assert!(bodies[0].ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test]
async fn every_dialect_is_answered_again() {
    let cached = Cached::new(CacheSettings::default());
    let generate =
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":50}}"#;
    let asked = [
        ("/openai/v1/chat/completions", chat("hi")),
        ("/openai/v1/embeddings", r#"{"model":"text-embedding-3-small","input":"hi"}"#.to_owned()),
        (
            "/openai/v1/responses",
            r#"{"model":"gpt-5-mini","input":"hi","store":false,"max_output_tokens":50}"#.to_owned(),
        ),
        ("/anthropic/v1/messages", message("hi")),
        ("/anthropic/v1/messages", message("hi").replacen('{', r#"{"stream":true,"#, 1)),
        ("/google/v1beta/models/gemini-2.5-flash:generateContent", generate.to_owned()),
        ("/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", generate.to_owned()),
        ("/google/v1beta/models/gemini-2.5-flash:streamGenerateContent", generate.to_owned()),
        (
            "/cohere/v2/chat",
            r#"{"model":"command-r-08-2024","messages":[{"role":"user","content":"hi"}],"max_tokens":50}"#
                .to_owned(),
        ),
        ("/cohere/v2/rerank", r#"{"model":"rerank-v3.5","query":"q","documents":["a","b"]}"#.to_owned()),
    ];
    for (path, body) in &asked {
        let ask = || send(cached.ports[0], "POST", path, &[("anthropic-version", "2023-06-01")], body);
        let (first, again) = (ask().await, ask().await);
        assert_eq!((first.status, said(&first)), (StatusCode::OK, "miss"), "{path}: {}", first.text());
        assert_eq!((said(&again), &again.body, again.whole), ("hit", &first.body, true), "{path}");
    }
    assert_eq!(cached.cache.stats().entries, asked.len() as u64);
    let free =
        send(cached.ports[0], "POST", "/anthropic/v1/messages/count_tokens", &[], &message("hi")).await;
    assert_eq!(said(&free), "bypass", "it costs nothing");
}

#[tokio::test]
async fn nobody_is_given_what_others_paid_for() {
    let cached = Cached::new(CacheSettings::default());
    cached.ask(&[], &chat("hi")).await;
    let other = send(cached.ports[1], "POST", "/openai/v1/chat/completions", &[], &chat("hi")).await;
    assert_eq!(said(&other), "miss", "another run, or another key");
    for (headers, body) in [
        (&[("anthropic-beta", "x")][..], chat("hi")),
        (&[("openai-organization", "x")], chat("hi")),
        (&[], chat("hi").replace("gpt-5-mini", "gpt-5-nano")),
        (&[], chat("hi").replace("100", "101")),
        (&[], chat("hi!")),
    ] {
        assert_eq!(said(&cached.ask(headers, &body).await), "miss", "{body}");
    }
    // The same store behind a gateway whose provider has another key.
    let World { mock, ledger, .. } = &cached.world;
    let key = Secret::new("sk-of-another-account");
    let provider =
        Provider::new("openai", cached.gateway.routes().providers()[0].dialect, &mock.openai_url(), key);
    let routes = Routes::new(vec![provider.unwrap()], Vec::new(), Default::default()).unwrap();
    let ledger = Arc::clone(ledger) as _;
    let elsewhere =
        Gateway::caching(routes, ledger, Some(cached.cache.clone()), deadlines(), Limits::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _door = elsewhere.serve(listener, Caller::new("one", ()).sharing("one")).unwrap();
    let got = send(port, "POST", "/openai/v1/chat/completions", &[], &chat("hi")).await;
    assert_eq!((got.status, said(&got)), (StatusCode::OK, "miss"), "{}", got.text());
    assert!(cached.hits(&chat("hi")).await);
}

#[tokio::test]
async fn who_shares_nothing_has_no_part_in_it() {
    let cached = Cached::new(CacheSettings::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _door = cached.gateway.serve(listener, Caller::new("one", ())).unwrap();
    for _ in 0..2 {
        let got = send(port, "POST", "/openai/v1/chat/completions", &[], &chat("hi")).await;
        assert_eq!(said(&got), "bypass");
    }
    assert_eq!(cached.cache.stats().entries, 0);
    // And where there is no cache, nothing is said of one.
    assert_eq!(said(&cached.world.chat(&chat("hi")).await), "");
}

#[tokio::test]
async fn an_answer_is_given_for_its_time_and_no_longer() {
    let cached = Cached::new(CacheSettings { ttl: Duration::from_secs(60), ..CacheSettings::default() });
    assert!(!cached.hits(&chat("hi")).await);
    cached.hands.forward(59);
    assert!(cached.hits(&chat("hi")).await);
    let young = cached.ask(&[("cache-control", "max-age=59")], &chat("hi")).await;
    assert_eq!(said(&young), "miss", "it is too old for this one, and is kept anew");
    cached.hands.forward(59);
    assert!(cached.hits(&chat("hi")).await);
    cached.hands.forward(1);
    assert!(!cached.hits(&chat("hi")).await);
    // Of one from the future nobody knows how old it is: it is kept anew.
    cached.hands.forward(-3_600);
    assert!(!cached.hits(&chat("hi")).await);
    assert!(cached.hits(&chat("hi")).await);
}

#[tokio::test]
async fn a_request_says_what_it_wants_of_the_cache() {
    let cached = Cached::new(CacheSettings::default());
    let ask = |says: &'static str| {
        let cached = &cached;
        async move { cached.ask(&[("cache-control", says)], &chat("hi")).await }
    };
    let none = ask("only-if-cached").await;
    assert_eq!(none.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(
        none.text().contains("WFLO-4100") && none.headers["x-should-retry"] == "false",
        "{}",
        none.text()
    );
    assert_eq!((cached.world.mock.counts().requests, cached.world.ledger.calls().len()), (0, 0));
    assert_eq!(said(&ask("no-store").await), "bypass");
    assert_eq!(cached.cache.stats().entries, 0, "nothing of it is kept");
    assert_eq!(said(&ask("no-cache").await), "miss");
    assert_eq!(said(&ask("only-if-cached").await), "hit", "what no-cache brought is kept");
    assert_eq!(said(&ask("no-store").await), "bypass", "nor is anything given");
    assert_eq!(ask("no-store, only-if-cached").await.status, StatusCode::GATEWAY_TIMEOUT);
    let unkept = chat("hi").replacen('{', r#"{"store":true,"#, 1);
    let refused = cached.ask(&[("cache-control", "only-if-cached")], &unkept).await;
    assert_eq!(refused.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn chance_can_be_left_out() {
    let cached = Cached::new(CacheSettings { sampled: false, ..CacheSettings::default() });
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "bypass");
    let certain = chat("hi").replacen('{', r#"{"temperature":0,"#, 1);
    assert_eq!(said(&cached.ask(&[], &certain).await), "miss");
    assert_eq!(said(&cached.ask(&[], &certain).await), "hit");
}

#[tokio::test]
async fn what_is_kept_has_its_bounds() {
    let place = CachePlace::Memory { max_bytes: 20_000 };
    let cached = Cached::new(CacheSettings { place, max_entry_bytes: 4_000, ..CacheSettings::default() });
    cached.world.mock.answer_always(Answer::text(&"long ".repeat(2_000)));
    for body in [chat("hi"), streamed("hi")] {
        for _ in 0..2 {
            let got = cached.ask(&[], &body).await;
            assert_eq!((said(&got), got.whole), ("miss", true), "too long to be kept");
        }
    }
    cached.world.mock.answer_always(Answer::text(&"short ".repeat(300)));
    for nth in 0..30 {
        cached.ask(&[], &chat(&nth.to_string())).await;
    }
    let stats = cached.cache.stats();
    assert!(stats.bytes <= 20_000 && (1..30).contains(&stats.entries), "{stats:?}");
    assert!(cached.hits(&chat("29")).await && !cached.hits(&chat("0")).await, "the oldest went");
}

#[tokio::test]
async fn what_failed_is_asked_again() {
    let cached = Cached::new(CacheSettings::default());
    let told = Bytes::from(format!(
        r#"{{"choices":[{{"message":{{"content":"{KEY}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1}}}}"#
    ));
    let failed = Bytes::from_static(
        br#"{"choices":[{"message":{"content":"x"},"finish_reason":"error"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    );
    let json = vec![("content-type", "application/json")];
    for (nth, fault) in [
        Fault::Status(500, "{}".into(), None),
        Fault::Status(400, r#"{"error":{"message":"no"}}"#.into(), None),
        Fault::Status(429, "{}".into(), None),
        Fault::Garbage,
        Fault::UsageMissing,
        Fault::UsageIs(r#"{"prompt_tokens":-1}"#),
        Fault::ResetAfter(1),
        Fault::Close,
        Fault::Verbatim(json.clone(), vec![failed]),
    ]
    .into_iter()
    .enumerate()
    {
        let body = chat(&format!("whole {nth}"));
        cached.world.mock.fault_next(fault);
        assert!(!cached.hits(&body).await);
        assert!(!cached.hits(&body).await, "{nth}: it was no answer");
        assert!(cached.hits(&body).await, "{nth}");
    }
    for (nth, fault) in [
        Fault::EndAfter(2),
        Fault::ErrorEvent(2),
        Fault::ResetAfter(2),
        Fault::UsageMissing,
        Fault::Status(503, "{}".into(), None),
    ]
    .into_iter()
    .enumerate()
    {
        let body = streamed(&format!("stream {nth}"));
        cached.world.mock.fault_next(fault);
        assert!(!cached.hits(&body).await);
        assert!(!cached.hits(&body).await, "{nth}: it was no answer");
        assert!(cached.hits(&body).await, "{nth}");
    }
    // A server that repeats its key: it is cut out of the answer, and whatever is left of it is no secret.
    cached.world.mock.fault_next(Fault::Verbatim(json, vec![told]));
    let body = chat("told");
    cached.ask(&[], &body).await;
    let again = cached.ask(&[], &body).await;
    assert!(!again.text().contains(KEY));
    assert_eq!(said(&again), "miss", "what was cut out of it is no part of an answer");
}

#[tokio::test]
async fn a_servers_word_is_obeyed_and_none_of_ours_is_taken_from_it() {
    let cached = Cached::new(CacheSettings::default());
    let good = Bytes::from_static(
        br#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    );
    let json = ("content-type", "application/json");
    for header in [("cache-control", "private, no-store"), ("content-encoding", "br")] {
        cached.world.mock.fault_next(Fault::Verbatim(vec![json, header], vec![good.clone()]));
        let body = chat(header.0);
        assert!(!cached.hits(&body).await && !cached.hits(&body).await, "{header:?}");
    }
    let ours = vec![json, ("wflo-cache", "hit"), ("age", "5"), ("wflo-provider", "evil")];
    cached.world.mock.fault_next(Fault::Verbatim(ours, vec![good]));
    for wanted in ["miss", "hit"] {
        let got = cached.ask(&[], &chat("ours")).await;
        assert_eq!(said(&got), wanted);
        assert!(!got.headers.contains_key("wflo-provider"), "{:?}", got.headers);
        assert!(got.headers.get("age").is_none_or(|age| age == "0"), "{:?}", got.headers);
    }
}

#[tokio::test]
async fn who_shares_answers_shares_those_of_equal_requests_alone() {
    let settings = CacheSettings { scope: Scope::Everyone, ..CacheSettings::default() };
    let cached = Cached::new(settings);
    assert!(!cached.hits(&chat("hi")).await && cached.hits(&chat("hi")).await);
    let named = chat("hi").replacen('{', r#"{"metadata":{"tags":["a"]},"#, 1);
    assert!(!cached.hits(&named).await, "a gateway behind this one may choose by it");
    for name in ["accept-language", "x-forwarded-host", "user-agent"] {
        assert_eq!(said(&cached.ask(&[(name, "x")], &chat("hi")).await), "miss", "{name}");
    }
    assert_eq!(said(&cached.ask(&[("x-request-id", "x")], &chat("hi")).await), "hit");
}

#[tokio::test]
async fn a_call_that_was_cut_to_its_budget_is_not_kept() {
    let rich = World::new(MemoryLedger::unlimited());
    let dear = chat("hi").replace("100", "4000");
    rich.chat(&dear).await;
    let hold = rich.ledger.calls()[0].intent.hold;
    let poor = MemoryLedger::with_floor(NanoUsd::from_nanos(hold.nanos() - 1), 10);
    let cached = Cached::over(World::new(poor), CacheSettings::default(), |routes| routes);
    let got = cached.ask(&[], &dear).await;
    assert_eq!((got.status, said(&got)), (StatusCode::OK, "miss"), "{}", got.text());
    assert_eq!(cached.cache.stats().entries, 0);
}

#[tokio::test]
async fn whoever_goes_changes_nothing_for_the_next() {
    let cached = Cached::new(CacheSettings { max_entry_bytes: 32 << 20, ..CacheSettings::default() });
    cached.world.mock.answer_always(Answer::text(&"word ".repeat(30_000)));
    let path = "/openai/v1/chat/completions";
    // In the middle of the first answer: it is read to its end, and kept.
    let response = start(cached.ports[0], "POST", path, &[], &streamed("hi")).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let kept = async {
        while cached.cache.stats().entries == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), kept).await.expect("it was not kept");
    // A repetition of a call that its client gave up is that call: its record answers, and not the cache.
    assert!(cached.ask(&[], &streamed("hi")).await.whole);
    // In the middle of a kept one: the next gets all of it.
    let response = start(cached.ports[0], "POST", path, &[], &streamed("hi")).await;
    assert_eq!(response.headers()["wflo-cache"], "hit");
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let whole = cached.ask(&[], &streamed("hi")).await;
    assert!(whole.whole && whole.body.ends_with(b"data: [DONE]\n\n") && said(&whole) == "hit");
    assert_eq!(cached.world.mock.counts().requests, 1);
}

#[tokio::test]
async fn a_clients_own_retry_is_the_same_call() {
    let cached = Cached::new(CacheSettings::default());
    cached.world.mock.fault_next(Fault::Status(503, "{}".into(), None));
    assert_eq!(cached.ask(&[], &chat("hi")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let retried = cached.ask(&[("x-stainless-retry-count", "1")], &chat("hi")).await;
    assert_eq!(said(&retried), "miss");
    assert!(cached.hits(&chat("hi")).await);
}

#[tokio::test]
async fn an_agent_that_goes_round_in_circles_for_nothing_is_stopped_all_the_same() {
    let repeats = Some(Repeats { same: 3, near: false, action: OnRepeat::Halt });
    let routing = Routing { repeats, ..Routing::default() };
    let world = World::new(MemoryLedger::unlimited());
    let cached =
        Cached::over(world, CacheSettings::default(), |routes| routes.with_routing(routing).unwrap());
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "miss");
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "hit");
    let stopped = cached.ask(&[], &chat("hi")).await;
    assert_eq!(stopped.status, StatusCode::FORBIDDEN, "{}", stopped.text());
}

#[tokio::test]
async fn an_alias_is_its_model_and_an_answer_of_a_fallback_is_the_fallbacks() {
    let mut routing = Routing::default();
    let place = |model: &str| Place { provider: None, model: model.to_owned() };
    routing.aliases.insert("quick".to_owned(), place("gpt-5-mini"));
    let detour = Detour { fallbacks: vec![place("gpt-5-nano")], ..Detour::default() };
    routing.models.insert("gpt-5".to_owned(), detour);
    let world = World::new(MemoryLedger::unlimited());
    let cached =
        Cached::over(world, CacheSettings::default(), |routes| routes.with_routing(routing).unwrap());
    assert_eq!(said(&cached.ask(&[], &chat("hi").replace("gpt-5-mini", "quick")).await), "miss");
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "hit");
    cached.world.mock.fault_next(Fault::Status(503, "{}".into(), None));
    let fallen = cached.ask(&[], &chat("ho").replace("gpt-5-mini", "gpt-5")).await;
    assert_eq!((fallen.status, said(&fallen)), (StatusCode::OK, "miss"), "{}", fallen.text());
    assert_eq!(fallen.headers["wflo-model"], "gpt-5-nano");
    let first = cached.ask(&[], &chat("ho").replace("gpt-5-mini", "gpt-5")).await;
    assert_eq!(said(&first), "miss", "the first route has not answered yet");
    let own = cached.ask(&[], &chat("ho").replace("gpt-5-mini", "gpt-5-nano")).await;
    assert_eq!((said(&own), &own.body), ("hit", &fallen.body), "what the fallback said is its own");
}

/// The names in backquotes of a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_guide_lists_what_is_ignored_and_what_is_not_kept() {
    let guide = include_str!("../../../../docs/guides/caching.md");
    for (dialect, fields) in IGNORED_FIELDS {
        let row = guide.lines().find(|line| line.starts_with(&format!("| {} |", dialect.name()))).unwrap();
        assert_eq!(quoted(row), fields, "{row}");
    }
    let between = |from: &str, to: &str| {
        let (_, rest) = guide.split_once(from).unwrap();
        rest.split_once(to).unwrap().0
    };
    assert_eq!(quoted(between("Ignored headers:", "and those that begin with")), IGNORED_HEADERS);
    assert_eq!(quoted(between("and those that begin with", "Every other header")), IGNORED_PREFIXES);
    assert_eq!(quoted(between("Of headers, there", "are ignored")), TRANSMISSION);
    assert_eq!(quoted(between("or one of these that says anything:", "(OpenAI stores")), NEVER_KEPT);
}
