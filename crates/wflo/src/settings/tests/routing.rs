//! What the settings of routing promise.

use std::time::Duration;

use wflo_gateway::repeats::OnRepeat;

use super::*;

#[test]
fn retries_are_off_until_they_are_asked_for() {
    let usual = Here::with("").load(&[]).unwrap().routing.retry;
    assert_eq!((usual.attempts, usual.unanswered), (1, false));
    let text = "[retry]\nattempts = 3\nfirst_wait_seconds = 0.25\nlongest_wait_seconds = \"2m\"\nunanswered = true\n";
    let retry = Here::with(text).load(&[("WFLO_RETRY__EXTRA_PERCENT", "20")]).unwrap().routing.retry;
    assert_eq!((retry.attempts, retry.unanswered, retry.extra_percent), (3, true, 20));
    assert_eq!((retry.base, retry.longest), (Duration::from_millis(250), Duration::from_secs(120)));
}

#[test]
fn a_provider_has_waits_of_its_own() {
    let text = "[providers.p]\ndialect = \"openai\"\nfirst_byte_seconds = 20\nidle_seconds = 5\n";
    let waits = Here::with(text).load(&[]).unwrap().providers[0].1.waits;
    assert_eq!(waits.first_byte, Some(Duration::from_secs(20)));
    assert_eq!(waits.idle, Some(Duration::from_secs(5)));
}

#[test]
fn aliases_routes_and_fallbacks_are_read() {
    let text = r#"
[providers.azure]
dialect = "openai"
base_url = "http://127.0.0.1:1/v1"

[aliases]
fast = "gpt-5-mini"

[routes."gpt-5"]
strategy = "weighted"
targets = [{ provider = "openai", weight = 3 }, { provider = "azure", model = "gpt-5-eu" }]

[models."gpt-5"]
fallbacks = ["gpt-5-mini", "azure/gpt-5-eu", "meta/llama-3"]
downgrade = ["gpt-5-nano"]
first_byte_seconds = 20
"#;
    let routing = Here::with(text).load(&[]).unwrap().routing;
    assert_eq!(routing.aliases["fast"].to_string(), "gpt-5-mini");
    let spread = &routing.routes["gpt-5"];
    let shares: Vec<_> = spread.targets.iter().map(|share| (share.place.to_string(), share.weight)).collect();
    assert_eq!(shares, [("openai/gpt-5".to_owned(), 3), ("azure/gpt-5-eu".to_owned(), 1)]);
    let detour = &routing.models["gpt-5"];
    assert_eq!(detour.fallbacks[1].provider.as_deref(), Some("azure"));
    assert_eq!(detour.fallbacks[2].provider, None, "a model's own name may have a slash");
    assert_eq!((detour.downgrade.len(), detour.waits.first_byte), (1, Some(Duration::from_secs(20))));
}

#[test]
fn breakers_limits_and_repeats_are_read() {
    let text = r#"
[breaker]
failures = 3
open_seconds = 5

[limits.tokens]
provider = "openai"
model = "gpt-5"
tokens_per_minute = 200000
wait_seconds = "2m"

[limits.each]
per_caller = true
concurrent = 4
queue = 10

[repeats]
same = 5
action = "halt"
"#;
    let routing = Here::with(text).load(&[]).unwrap().routing;
    let breaker = routing.breaker.unwrap();
    assert_eq!((breaker.failures, breaker.percent, breaker.open), (3, 50, Duration::from_secs(5)));
    let named = |name: &str| routing.limits.iter().find(|limit| limit.name == name).unwrap();
    let (tokens, each) = (named("tokens"), named("each"));
    assert_eq!((tokens.tokens_per_minute, tokens.wait), (Some(200_000), Duration::from_secs(120)));
    assert_eq!((tokens.provider.as_deref(), tokens.model.as_deref()), (Some("openai"), Some("gpt-5")));
    assert_eq!((each.per_caller, each.concurrent, each.queue), (true, Some(4), 10));
    assert_eq!(routing.repeats.unwrap().same, 5);
}

#[test]
fn people_may_be_asked_about_circles() {
    let routing = Here::with("[repeats]\nsame = 5\naction = \"ask\"\n").load(&[]).unwrap().routing;
    assert_eq!(routing.repeats.unwrap().action, OnRepeat::Ask);
}

#[test]
fn half_a_price_is_none() {
    for text in
        ["[models.m]\ninput = \"1\"\n", "[models.m]\nfallbacks = [\"x\"]\noutput = \"1\"\n", "[models.m]\n"]
    {
        assert_eq!(refusal(text, &[]).0, 8004, "{text}");
    }
}

#[test]
fn what_is_wrong_in_routing_is_named() {
    for (text, message) in [
        ("[retry]\nattempts = 0\n", "`retry.attempts` must be from 1 to 10"),
        ("[retry]\nattempts = 2\nfirst_wait_seconds = 0\n", "longer than nothing"),
        ("[routes.m]\ntargets = []\n", "at least one provider"),
        ("[limits.l]\nprovider = \"p\"\n", "must be a limit"),
        ("[limits.l]\nconcurrent = 0\n", "at least 1"),
        ("[repeats]\nsame = 1\n", "from 2 to 64"),
        ("[routes.m]\ntargets = [{ provider = \"p\", weight = 0 }]\n", "from 1 to 1000000"),
        ("[routes.m]\nstrategy = \"luck\"\ntargets = [{ provider = \"p\" }]\n", "one of priority, weighted"),
    ] {
        let (code, _, told, _) = refusal(text, &[]);
        assert_eq!(code, 8004);
        assert!(told.contains(message), "{told}");
    }
    let (.., hint) = refusal("[retry]\nattempt = 2\n", &[]);
    assert!(hint.contains("attempts"), "{hint}");
}
