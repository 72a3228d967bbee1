//! What the settings of the cache promise.

use std::time::Duration;

use wflo_gateway::cache::{CachePlace, CacheSettings, Scope};

use super::*;

#[test]
fn nothing_is_kept_until_it_is_asked_for() {
    assert_eq!(Here::with("").load(&[]).unwrap().cache, None);
    let least = Here::with("[cache]\nbackend = \"memory\"\n").load(&[]).unwrap().cache;
    assert_eq!(least, Some(CacheSettings::default()));
    let usual = least.unwrap();
    assert_eq!((usual.scope, usual.ttl), (Scope::Caller, Duration::from_secs(3_600)));
}

#[test]
fn every_setting_is_read() {
    let text = "[cache]\nbackend = \"memory\"\nscope = \"workflow\"\nttl_seconds = \"10m\"\nmax_bytes = \"64m\"\n\
        max_entry_bytes = \"64k\"\nsampled = false\n";
    let cache = Here::with(text).load(&[]).unwrap().cache.unwrap();
    assert_eq!((cache.scope, cache.ttl, cache.sampled), (Scope::Workflow, Duration::from_secs(600), false));
    assert_eq!((cache.place, cache.max_entry_bytes), (CachePlace::Memory { max_bytes: 64 << 20 }, 64 << 10));
}

#[test]
fn a_redis_is_found_by_its_address_and_a_password_comes_from_the_environment() {
    let text =
        "[cache]\nbackend = \"redis\"\nnamespace = \"team-a\"\nwait_seconds = 0.2\nscope = \"everyone\"\n";
    let url = ("WFLO_CACHE__URL", "redis://:s3cret-w0rd@cache.internal:6379/1");
    let settings = Here::with(text).load(&[url]).unwrap();
    let cache = settings.cache.clone().unwrap();
    let CachePlace::Redis { address, patience } = &cache.place else { panic!("{cache:?}") };
    assert_eq!(
        (address.to_string().as_str(), *patience),
        ("redis://cache.internal:6379/1", Duration::from_millis(200))
    );
    assert_eq!((cache.namespace.as_str(), cache.scope), ("team-a", Scope::Everyone));
    assert!(!format!("{settings:?}").contains("s3cret"), "settings show no password");
}

#[test]
fn what_cannot_be_is_refused_and_no_password_is_said() {
    for (text, said) in [
        ("ttl_seconds = 5\n", "backend"),
        ("backend = \"disk\"\n", "memory"),
        ("backend = \"memory\"\nurl = \"redis://h\"\n", "url"),
        ("backend = \"memory\"\nttl_seconds = 0\n", "longer than nothing"),
        ("backend = \"memory\"\nmax_bytes = 0\n", "more than nothing"),
        ("backend = \"memory\"\nmax_entry_bytes = \"1g\"\n", "at most 256m"),
        ("backend = \"redis\"\nurl = \"redis://h\"\n", "namespace"),
        ("backend = \"redis\"\nurl = \"redis://h\"\nnamespace = \"a:b\"\n", "at most 64 letters"),
        (
            "backend = \"redis\"\nnamespace = \"a\"\nurl = \"http://u:s3cret-w0rd@h\"\n",
            "the address of a Redis",
        ),
        ("backend = \"redis\"\nnamespace = \"a\"\nmax_bytes = 5\nurl = \"redis://h\"\n", "max_bytes"),
    ] {
        let error = Here::with(&format!("[cache]\n{text}")).load(&[]).unwrap_err();
        let all = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(all.contains(said) && !all.contains("s3cret"), "{text}: {all}");
    }
}
