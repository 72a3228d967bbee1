//! What the settings of routing promise.

use std::time::Duration;

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
    let waits = Here::with(text).load(&[]).unwrap().providers["p"].waits;
    assert_eq!(waits.first_byte, Some(Duration::from_secs(20)));
    assert_eq!(waits.idle, Some(Duration::from_secs(5)));
}

#[test]
fn what_is_wrong_in_routing_is_named() {
    for (text, message) in [
        ("[retry]\nattempts = 0\n", "`retry.attempts` must be from 1 to 10"),
        ("[retry]\nattempts = 2\nfirst_wait_seconds = 0\n", "longer than nothing"),
    ] {
        let (code, _, told, _) = refusal(text, &[]);
        assert_eq!(code, 8004);
        assert!(told.contains(message), "{told}");
    }
    let (.., hint) = refusal("[retry]\nattempt = 2\n", &[]);
    assert!(hint.contains("attempts"), "{hint}");
}
