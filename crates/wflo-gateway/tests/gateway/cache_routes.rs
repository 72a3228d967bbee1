//! Kept answers of a model whose calls several providers share: any of them that was paid for is given again, and
//! where the operator prefers one, only its own.

use wflo_gateway::cache::CacheSettings;
use wflo_gateway::ledger::Caller;
use wflo_gateway::routing::Strategy;
use wflo_testkit::model_server::{Answer, Fault, ModelServer};

use crate::cache::{Cached, said};
use crate::routes::{Two, ask, spread, two};
use crate::world::{Got, send};

/// A gateway with a cache, whose providers say who they are; the first is drawn but once in four thousand million.
fn cached(strategy: Strategy, second: u32) -> (Cached, ModelServer) {
    let Two { world, b } = two(spread(strategy, [u32::MAX, second]));
    for (mock, name) in [(&world.mock, "of a"), (&b, "of b")] {
        mock.answer_always(Answer { text: Some(name.to_owned()), ..Answer::billed(10, 100) });
    }
    (Cached::over(world, CacheSettings::default(), |routes| routes), b)
}

/// Leaves an answer of the second provider: the first has failed once.
async fn answered_by_b(cached: &Cached) {
    cached.world.mock.fault_next(Fault::Status(500, "{}".to_owned(), None));
    let got = cached.ask(&[], &ask("both")).await;
    assert_eq!((said(&got), &got.headers["wflo-provider"]), ("miss", &"b".parse().unwrap()), "{got:?}");
}

fn text(got: &Got) -> String {
    got.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_is_found_whichever_provider_is_drawn_for_the_request() {
    for strategy in [Strategy::Weighted, Strategy::Latency] {
        let (cached, b) = cached(strategy, 1);
        answered_by_b(&cached).await;
        for _ in 0..5 {
            let got = cached.ask(&[], &ask("both")).await;
            assert_eq!((said(&got), text(&got)), ("hit", "of b".to_owned()));
            assert_eq!(got.headers["wflo-model"], "small");
        }
        assert_eq!((cached.world.mock.counts().requests, b.counts().requests), (1, 1));
        // The first of the settings comes first, once it has been paid for.
        let fresh = cached.ask(&[("cache-control", "no-cache")], &ask("both")).await;
        assert_eq!((said(&fresh), text(&fresh)), ("miss", "of a".to_owned()));
        let got = cached.ask(&[], &ask("both")).await;
        assert_eq!((said(&got), text(&got)), ("hit", "of a".to_owned()));
        let counts = cached.cache.stats();
        assert_eq!((counts.hits, counts.misses), (6, 2), "a question counts once");
    }
}

#[tokio::test]
async fn where_one_is_preferred_another_ones_answer_is_not_given_for_its_own() {
    for strategy in [Strategy::Priority, Strategy::Cost] {
        let (cached, _b) = cached(strategy, 1);
        // By price it is the second that is preferred.
        let preferred = if strategy == Strategy::Cost { "b" } else { "a" };
        let failing = if strategy == Strategy::Cost { &_b } else { &cached.world.mock };
        failing.fault_next(Fault::Status(500, "{}".to_owned(), None));
        let other = cached.ask(&[], &ask("both")).await;
        assert_ne!(other.headers["wflo-provider"], preferred);
        let got = cached.ask(&[], &ask("both")).await;
        assert_eq!((said(&got), &got.headers["wflo-provider"]), ("miss", &preferred.parse().unwrap()));
    }
}

#[tokio::test]
async fn nobody_is_given_an_answer_of_a_model_that_it_may_not_call() {
    let (cached, _b) = cached(Strategy::Weighted, 1);
    answered_by_b(&cached).await;
    for (seen, hits) in [("large", false), ("small", true), ("both", true)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let caller = Caller::new("key", ()).sharing("one").seeing(move |model| model == seen);
        let _door = cached.gateway.serve(listener, caller).unwrap();
        let got = send(port, "POST", "/openai/v1/chat/completions", &[], &ask("both")).await;
        assert_eq!((said(&got), text(&got) == "of b"), (if hits { "hit" } else { "miss" }, hits), "{seen}");
        if !hits {
            // What it was answered itself is nothing to the others.
            cached.hands.forward(3_601);
            answered_by_b(&cached).await;
        }
    }
}
