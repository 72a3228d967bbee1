//! Virtual keys in memory: who a request comes from.
//!
//! Owns the look-up, by the hash of what a client shows: how long it takes says nothing about any
//! key. Whether a key is good is asked at each request; what the store has of keys is read anew whenever it
//! changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;
use wflo_core::id::KeyId;
use wflo_core::key::{KeyBudget, KeyRefusal, VirtualKey};
use wflo_core::ports::clock::Clock;
use wflo_gateway::ledger::Caller;

/// What every key begins with. Some clients insist on `sk-`.
const PREFIX: &str = "sk-wflo-";

/// Headers that hold an API key and nothing else.
const PLAIN: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Who calls: a key, or anybody as long as there are none.
#[derive(Debug)]
pub struct Client {
    /// The key.
    pub key: Option<VirtualKey>,
    /// Requests of the last minute.
    pace: Mutex<Bucket>,
    /// Its secret is good for nothing any more: shared by all that the key ever was under it.
    ended: Arc<AtomicBool>,
}

/// A bucket that fills with the permitted requests of a minute within a minute.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// In thousandths of a request.
    level: i64,
    filled_ms: i64,
}

/// Whether a request comes at the permitted pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Good,
    /// So many are permitted in a minute, and the next after this time.
    TooFast(u32, Duration),
}

impl Client {
    fn new(key: Option<VirtualKey>, ended: Arc<AtomicBool>) -> Client {
        let level = key.as_ref().and_then(|key| key.requests_per_minute).map_or(0, |n| i64::from(n) * 1_000);
        let pace = Mutex::new(Bucket { level, filled_ms: i64::MIN });
        Client { key, pace, ended }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or("", |key| &key.name)
    }

    /// Why its calls may not go on, if so.
    pub(crate) fn refused(&self, now: Timestamp) -> Option<KeyRefusal> {
        if self.ended.load(Ordering::Relaxed) {
            return Some(KeyRefusal::Revoked);
        }
        self.key.as_ref().and_then(|key| key.refused(now))
    }

    /// Counts one request.
    pub(crate) fn pace(&self, now: Timestamp) -> Pace {
        let Some(permitted) = self.key.as_ref().and_then(|key| key.requests_per_minute) else {
            return Pace::Good;
        };
        let (most, now) = (i64::from(permitted) * 1_000, now.as_millisecond());
        let mut bucket = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.filled_ms != i64::MIN {
            let since = now.saturating_sub(bucket.filled_ms).clamp(0, 60_000);
            bucket.level = (bucket.level + since * i64::from(permitted) / 60).min(most);
        }
        bucket.filled_ms = now;
        if bucket.level < 1_000 {
            let left = (1_000 - bucket.level) * 60;
            let wait = left.div_euclid(i64::from(permitted)) + 1;
            return Pace::TooFast(permitted, Duration::from_millis(wait.unsigned_abs()));
        }
        bucket.level -= 1_000;
        Pace::Good
    }
}

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCaller {
    /// It shows no key, and keys are wanted.
    Missing,
    /// It shows a key that nobody has made.
    Unknown,
    /// It shows a key that is good no longer.
    Refused(KeyRefusal),
}

/// All keys.
#[derive(Default)]
pub(crate) struct Keys {
    by_hash: HashMap<[u8; 32], (Arc<Client>, Caller)>,
    /// Whoever comes; only where no key was ever made.
    anybody: Option<Caller>,
}

impl Keys {
    /// The keys of the store. Those that `before` knows keep their pace. `open`: anybody may call as long
    /// as there is none.
    pub(crate) fn new(rows: Vec<VirtualKey>, open: bool, before: &Keys) -> Keys {
        let anybody = (open && rows.is_empty()).then(|| caller(&Arc::new(Client::new(None, Arc::default()))));
        let by_hash = rows.into_iter().filter_map(|row| {
            let hash: [u8; 32] = *blake3::Hash::from_hex(&row.hash).ok()?.as_bytes();
            let known = before.by_hash.get(&hash);
            let same = known.filter(|(client, _)| client.key.as_ref() == Some(&row));
            let entry = same.cloned().unwrap_or_else(|| {
                let ended = known.map(|(client, _)| Arc::clone(&client.ended)).unwrap_or_default();
                let client = Arc::new(Client::new(Some(row), ended));
                let caller = caller(&client);
                (client, caller)
            });
            Some((hash, entry))
        });
        let by_hash: HashMap<_, (Arc<Client>, Caller)> = by_hash.collect();
        for (hash, (client, _)) in &before.by_hash {
            let now = by_hash.get(hash).and_then(|(client, _)| client.key.as_ref());
            if now.is_none_or(|key| key.revoked_at.is_some()) {
                client.ended.store(true, Ordering::Relaxed);
            }
        }
        Keys { by_hash, anybody }
    }

    /// Whether some key can be used.
    pub(crate) fn has_a_good_one(&self, now: Timestamp) -> bool {
        let mut keys = self.by_hash.values().filter_map(|(client, _)| client.key.as_ref());
        keys.any(|key| key.refused(now).is_none())
    }

    /// Whether anybody may call.
    pub(crate) fn is_open(&self) -> bool {
        self.anybody.is_some()
    }

    /// Who sends a request with these headers and this query.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        now: Timestamp,
    ) -> Result<Caller, NoCaller> {
        if let Some(anybody) = &self.anybody {
            return Ok(anybody.clone());
        }
        let mut why = NoCaller::Missing;
        for shown in shown(headers, query) {
            let hash = *blake3::hash(shown).as_bytes();
            match self.by_hash.get(&hash) {
                None => why = NoCaller::Unknown,
                Some((client, caller)) => {
                    match client.refused(now) {
                        None => return Ok(caller.clone()),
                        Some(refusal) => why = NoCaller::Refused(refusal),
                    };
                }
            }
        }
        Err(why)
    }
}

impl Keys {
    /// Cuts the keys that a request shows from wherever else it has them: what is no credential by its
    /// name goes on to the provider.
    pub(crate) fn cut<B>(&self, request: &mut http::Request<B>) {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let secrets: Vec<Vec<u8>> = shown(request.headers(), Some(&query))
            .filter(|shown| self.by_hash.contains_key(blake3::hash(shown).as_bytes()))
            .map(<[u8]>::to_vec)
            .collect();
        let holds = |text: &[u8]| {
            secrets.iter().any(|secret| text.windows(secret.len()).any(|window| window == secret.as_slice()))
        };
        let is_credential = |name: &str| name == "authorization" || PLAIN.contains(&name);
        let headers = request.headers();
        let names =
            headers.iter().filter(|(name, value)| !is_credential(name.as_str()) && holds(value.as_bytes()));
        let names: Vec<http::HeaderName> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            request.headers_mut().remove(name);
        }
        if !holds(query.as_bytes()) {
            return;
        }
        let kept = query.split('&').filter(|pair| !holds(pair.as_bytes())).collect::<Vec<_>>().join("&");
        let path = request.uri().path();
        let cut = if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") };
        let mut parts = request.uri().clone().into_parts();
        if let Ok(cut) = cut.parse() {
            parts.path_and_query = Some(cut);
        }
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

fn caller(client: &Arc<Client>) -> Caller {
    let label = client.key.as_ref().map_or_else(|| "gateway".to_owned(), |key| key.id.to_string());
    let (caller, client) = (Caller::new(&label, Arc::clone(client)), Arc::clone(client));
    let caller = match &client.key {
        Some(key) => caller.called(&key.name).among_others(),
        None => caller,
    };
    match client.key.as_ref().is_some_and(|key| !key.models.is_empty()) {
        true => caller.seeing(move |model| client.key.as_ref().is_none_or(|key| key.may_call(model))),
        false => caller,
    }
}

/// Everything that may be a key, wherever a client of some dialect puts one.
fn shown<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> impl Iterator<Item = &'a [u8]> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
    });
    let plain = PLAIN.iter().flat_map(|name| headers.get_all(*name)).map(http::HeaderValue::as_bytes);
    let query = query.into_iter().flat_map(|query| query.split('&'));
    let query = query.filter_map(|pair| pair.strip_prefix("key=")).map(str::as_bytes);
    bearer.chain(plain).chain(query).filter(|shown| !shown.is_empty())
}

/// A key that was just made: the only moment at which it can be seen.
pub struct MadeKey {
    /// What is kept of it.
    pub key: VirtualKey,
    /// The key itself.
    pub secret: String,
}

/// What a new key may do.
#[derive(Debug, Clone, Default)]
pub struct KeyWish {
    /// What people call it.
    pub name: String,
    /// Models that it may call; all when empty.
    pub models: Vec<String>,
    /// What it may spend.
    pub budget: Option<KeyBudget>,
    /// Labels of everything that it calls.
    pub labels: BTreeMap<String, String>,
    /// Requests that it may make in a minute.
    pub requests_per_minute: Option<u32>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

impl KeyWish {
    /// Makes the key.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn make(self, clock: &dyn Clock) -> std::io::Result<MadeKey> {
        let secret = secret()?;
        let key = VirtualKey {
            id: KeyId::from_uuid(clock.uuid()),
            name: self.name,
            hash: blake3::hash(secret.as_bytes()).to_hex().to_string(),
            prefix: prefix_of(&secret),
            models: self.models,
            budget: self.budget,
            labels: self.labels,
            requests_per_minute: self.requests_per_minute,
            created_at: clock.now(),
            expires_at: self.expires_at,
            revoked_at: None,
        };
        Ok(MadeKey { key, secret })
    }
}

/// The same key with another secret: the old one is good for nothing from then on.
///
/// # Errors
/// When the system has no random bytes.
pub fn rotated(key: VirtualKey) -> std::io::Result<MadeKey> {
    let secret = secret()?;
    let hash = blake3::hash(secret.as_bytes()).to_hex().to_string();
    Ok(MadeKey { key: VirtualKey { hash, prefix: prefix_of(&secret), ..key }, secret })
}

fn prefix_of(secret: &str) -> String {
    secret.chars().take(PREFIX.len() + 4).collect()
}

fn secret() -> std::io::Result<String> {
    let mut bytes = [0_u8; 24];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
    Ok(PREFIX.to_owned() + &hex.collect::<String>())
}

#[cfg(test)]
mod tests {
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
        let mut request =
            http::Request::get("/v1/x?alt=sse&KEY=sk-wflo-1&key=sk-wflo-1&a=1;key=sk-wflo-1&b=2")
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

    #[test]
    fn a_rotated_key_is_another_secret_of_the_same_key() {
        let first = row("sk-wflo-1");
        let made = rotated(first.clone()).unwrap();
        assert!(made.secret.starts_with(PREFIX) && made.secret.len() == PREFIX.len() + 48);
        assert_ne!(made.key.hash, first.hash);
        assert_eq!(made.key.id, first.id);
        assert!(!format!("{:?}", made.key).contains(&made.secret));
    }
}
