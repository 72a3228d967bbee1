//! Who calls by which key, and until when.

use std::collections::BTreeMap;

use wflo_core::id::KeyId;

use super::made::{PREFIX, prefix_of};
use super::*;

fn row(secret: &str) -> VirtualKey {
    VirtualKey {
        id: KeyId::from_uuid(uuid::Uuid::nil()),
        name: "ci".into(),
        hash: blake3::hash(secret.as_bytes()).to_hex().to_string(),
        prefix: prefix_of(secret),
        models: Vec::new(),
        budget: None,
        labels: BTreeMap::new(),
        requests_per_minute: None,
        metrics: false,
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
    }
}

fn headers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
}

#[test]
fn a_key_counts_wherever_a_client_puts_one_and_only_whole() {
    let keys = Keys::new(vec![row("sk-wflo-1")], true, &Keys::default());
    let now = Timestamp::UNIX_EPOCH;
    let asked = |headers: HeaderMap, query: Option<&str>| keys.caller(&headers, query, now).err();
    for (name, value) in [
        ("authorization", "Bearer sk-wflo-1"),
        ("authorization", "bearer sk-wflo-1"),
        ("x-api-key", "sk-wflo-1"),
        ("api-key", "sk-wflo-1"),
        ("x-goog-api-key", "sk-wflo-1"),
    ] {
        assert_eq!(asked(headers(name, value), None), None, "{name}");
    }
    assert_eq!(asked(HeaderMap::new(), Some("alt=sse&key=sk-wflo-1")), None);
    assert_eq!(asked(HeaderMap::new(), None), Some(NoCaller::Missing));
    assert_eq!(asked(headers("cookie", "sk-wflo-1"), None), Some(NoCaller::Missing));
    assert_eq!(asked(headers("authorization", "Bearer "), None), Some(NoCaller::Missing));
    assert_eq!(asked(headers("x-api-key", "sk-wflo-"), None), Some(NoCaller::Unknown));
    assert_eq!(asked(headers("x-api-key", "sk-wflo-11"), None), Some(NoCaller::Unknown));
    assert_eq!(asked(HeaderMap::new(), Some("mykey=sk-wflo-1")), Some(NoCaller::Missing));
}

#[test]
fn a_key_is_cut_from_everything_that_would_go_on() {
    let keys = Keys::new(vec![row("sk-wflo-1")], true, &Keys::default());
    let mut request = http::Request::get("/v1/x?alt=sse&KEY=sk-wflo-1&key=sk-wflo-1&a=1;key=sk-wflo-1&b=2")
        .header("authorization", "Bearer sk-wflo-1")
        .header("x-litellm-api-key", "Bearer sk-wflo-1")
        .header("x-other", "sk-wflo-2")
        .body(())
        .unwrap();
    keys.cut(&mut request);
    assert_eq!(request.uri(), "/v1/x?alt=sse&b=2");
    let mut names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "x-other"]);
}

#[test]
fn anybody_calls_only_where_no_key_was_ever_made() {
    let now = Timestamp::UNIX_EPOCH;
    let none = Keys::new(Vec::new(), true, &Keys::default());
    assert!(none.caller(&HeaderMap::new(), None, now).is_ok());
    assert!(Keys::new(Vec::new(), false, &none).caller(&HeaderMap::new(), None, now).is_err());
    let revoked = VirtualKey { revoked_at: Some(now), ..row("sk-wflo-1") };
    let keys = Keys::new(vec![revoked], true, &none);
    let why = keys.caller(&headers("x-api-key", "sk-wflo-1"), None, now).unwrap_err();
    assert_eq!(why, NoCaller::Refused(KeyRefusal::Revoked));
    assert_eq!(keys.caller(&HeaderMap::new(), None, now).unwrap_err(), NoCaller::Missing);
}

#[test]
fn a_pace_is_kept_over_any_minute_and_over_a_change_of_other_keys() {
    let row = VirtualKey { requests_per_minute: Some(2), ..row("sk-wflo-1") };
    let keys = Keys::new(vec![row.clone()], true, &Keys::default());
    let at = |seconds: i64| Timestamp::from_second(1_000 + seconds).unwrap();
    let pace = |keys: &Keys, seconds| {
        let (client, _) = keys.by_hash.values().next().unwrap();
        client.pace(at(seconds))
    };
    assert_eq!([pace(&keys, 0), pace(&keys, 1), pace(&keys, 2)][..2], [Pace::Good, Pace::Good]);
    let keys = Keys::new(vec![row], true, &keys);
    let Pace::TooFast(2, wait) = pace(&keys, 3) else { panic!("two in a minute") };
    // Two in a minute are one in 30 s; 3 s of them are over.
    assert_eq!(wait.as_secs(), 27);
    assert_eq!(pace(&keys, 40), Pace::Good);
    assert!(matches!(pace(&keys, 20), Pace::TooFast(2, _)), "a clock that goes back gives nothing");
}

/// Calls that are under way know their key as it was when they began.
#[test]
fn a_key_that_ends_ends_for_calls_under_way() {
    let now = Timestamp::UNIX_EPOCH;
    let row = VirtualKey { expires_at: Some(Timestamp::from_second(60).unwrap()), ..row("sk-wflo-1") };
    let begun = |keys: &Keys| Arc::clone(&keys.by_hash.values().next().unwrap().0);
    let keys = Keys::new(vec![row.clone()], true, &Keys::default());
    let client = begun(&keys);
    assert_eq!(client.refused(now), None);
    assert_eq!(client.refused(Timestamp::from_second(60).unwrap()), Some(KeyRefusal::Expired));
    // A change of something else ends nothing.
    let slower = VirtualKey { requests_per_minute: Some(1), ..row.clone() };
    let keys = Keys::new(vec![slower.clone()], true, &keys);
    assert_eq!(client.refused(now), None);
    let first = client;
    let client = begun(&keys);
    let rotated = VirtualKey { hash: blake3::hash(b"sk-wflo-2").to_hex().to_string(), ..slower };
    let keys = Keys::new(vec![rotated.clone()], true, &keys);
    assert_eq!(client.refused(now), Some(KeyRefusal::Revoked));
    assert_eq!(first.refused(now), Some(KeyRefusal::Revoked), "it is the same secret");
    let client = begun(&keys);
    Keys::new(vec![VirtualKey { revoked_at: Some(now), ..rotated }], true, &keys);
    assert_eq!(client.refused(now), Some(KeyRefusal::Revoked));
}

/// An end that is moved holds for calls that began before, both ways.
#[test]
fn an_end_that_is_moved_is_moved_for_calls_under_way() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let until = |end: Option<i64>| VirtualKey { expires_at: end.map(at), ..row("sk-wflo-1") };
    let keys = Keys::new(vec![until(Some(60))], true, &Keys::default());
    let client = Arc::clone(&keys.by_hash.values().next().unwrap().0);
    let keys = Keys::new(vec![until(Some(30))], true, &keys);
    assert_eq!((client.refused(at(29)), client.refused(at(30))), (None, Some(KeyRefusal::Expired)));
    let keys = Keys::new(vec![until(None)], true, &keys);
    assert_eq!(client.refused(at(90)), None);
    Keys::new(Vec::new(), true, &keys);
    assert_eq!(client.refused(at(0)), Some(KeyRefusal::Revoked));
}

#[test]
fn a_rotated_key_is_another_secret_of_the_same_key() {
    let first = row("sk-wflo-1");
    let made = rotated(first.clone()).unwrap();
    assert!(made.secret.starts_with(PREFIX) && made.secret.len() == PREFIX.len() + 48);
    assert_ne!(made.key.hash, first.hash);
    assert_eq!(made.key.id, first.id);
    assert!(!format!("{:?}", made.key).contains(&made.secret));
    assert_eq!(made.rotation().of(first), made.key);
}
