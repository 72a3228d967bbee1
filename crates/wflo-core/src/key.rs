//! Virtual keys: what a client of the gateway shows instead of a provider's key.
//!
//! Owns what a key may do. The key itself is shown once and kept nowhere: only its BLAKE3 hash is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::budget::{Period, Zone};
use crate::id::KeyId;
use crate::money::NanoUsd;

/// What a key may spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBudget {
    /// At most this much, in USD.
    #[serde(rename = "limit_usd")]
    pub limit: NanoUsd,
    /// In each of these.
    pub period: Period,
    /// Which begin in this time zone.
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    pub time_zone: Zone,
}

/// A key as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualKey {
    /// Its id: safe to show.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// BLAKE3 of the key, in hex.
    pub hash: String,
    /// The key's first characters, by which people recognise it.
    pub prefix: String,
    /// Models that it may call; all when empty. `*` at the end of a name stands for anything.
    pub models: Vec<String>,
    /// What it may spend.
    pub budget: Option<KeyBudget>,
    /// Labels of everything that it calls.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Requests that it may make in a minute.
    pub requests_per_minute: Option<u32>,
    /// It reads all metrics of a gateway, and calls nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub metrics: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Since when it is good for nothing.
    pub revoked_at: Option<Timestamp>,
}

impl VirtualKey {
    /// Why it cannot be used at `now`; `None` when it can.
    pub fn refused(&self, now: Timestamp) -> Option<KeyRefusal> {
        if self.revoked_at.is_some_and(|at| at <= now) {
            return Some(KeyRefusal::Revoked);
        }
        self.expires_at.is_some_and(|at| at <= now).then_some(KeyRefusal::Expired)
    }

    /// Whether it may call `model`.
    pub fn may_call(&self, model: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => model.starts_with(start),
            None => model == pattern,
        };
        !self.metrics && (self.models.is_empty() || self.models.iter().any(fits))
    }
}

/// What becomes another of a key; what is `None` stays as it is. Two changes at once are both made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Another secret: its hash, and its first characters.
    pub secret: Option<(String, String)>,
    /// Models that it may call; all when empty.
    pub models: Option<Vec<String>>,
    /// What it may spend; `Some(None)` takes its limit away.
    pub budget: Option<Option<KeyBudget>>,
    /// Labels to give it.
    pub labels: BTreeMap<String, String>,
    /// Labels to take from it, before those that are given.
    pub without_labels: Vec<String>,
    /// Requests that it may make in a minute.
    pub requests_per_minute: Option<Option<u32>>,
    /// Until when.
    pub expires_at: Option<Option<Timestamp>>,
}

impl KeyChange {
    /// The key as it is then.
    #[must_use]
    pub fn of(self, mut key: VirtualKey) -> VirtualKey {
        if let Some((hash, prefix)) = self.secret {
            (key.hash, key.prefix) = (hash, prefix);
        }
        key.models = self.models.unwrap_or(key.models);
        key.budget = self.budget.unwrap_or(key.budget);
        key.labels.retain(|name, _| !self.without_labels.contains(name));
        key.labels.extend(self.labels);
        key.requests_per_minute = self.requests_per_minute.unwrap_or(key.requests_per_minute);
        key.expires_at = self.expires_at.unwrap_or(key.expires_at);
        key
    }
}

/// Why a key that is known cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(models: &[&str]) -> VirtualKey {
        VirtualKey {
            id: KeyId::from_uuid(uuid::Uuid::nil()),
            name: "ci".into(),
            hash: String::new(),
            prefix: String::new(),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            budget: None,
            labels: BTreeMap::new(),
            requests_per_minute: None,
            metrics: false,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_calls_what_it_names_and_no_more() {
        assert!(key(&[]).may_call("anything"));
        let some = key(&["gpt-5-mini", "claude-*"]);
        assert!(some.may_call("gpt-5-mini") && some.may_call("claude-sonnet-4-5"));
        assert!(!some.may_call("gpt-5-mini-2") && !some.may_call("gpt-5") && !some.may_call("xclaude-"));
    }

    #[test]
    fn a_change_changes_what_it_names_and_nothing_else() {
        let limit = NanoUsd::from_nanos(5);
        let budget = KeyBudget { limit, period: Period::Day, time_zone: Zone::default() };
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let before = VirtualKey {
            budget: Some(budget),
            labels: labels(&[("team", "search"), ("user", "anna")]),
            requests_per_minute: Some(60),
            expires_at: Some(Timestamp::from_second(100).unwrap()),
            ..key(&["gpt-*"])
        };
        assert_eq!(KeyChange::default().of(before.clone()), before);
        let change = KeyChange {
            budget: Some(None),
            labels: labels(&[("user", "bert")]),
            without_labels: vec!["team".to_owned()],
            expires_at: Some(None),
            ..KeyChange::default()
        };
        let after = change.of(before.clone());
        assert_eq!((&after.budget, after.expires_at), (&None, None));
        assert_eq!(after.labels, labels(&[("user", "bert")]));
        assert_eq!((after.models, after.requests_per_minute), (before.models, Some(60)));
    }

    #[test]
    fn the_moment_of_an_end_is_its_end() {
        let at = Timestamp::from_second(100).unwrap();
        let before = Timestamp::from_second(99).unwrap();
        let expiring = VirtualKey { expires_at: Some(at), ..key(&[]) };
        assert_eq!((expiring.refused(before), expiring.refused(at)), (None, Some(KeyRefusal::Expired)));
        let revoked = VirtualKey { revoked_at: Some(at), ..expiring };
        assert_eq!(revoked.refused(at), Some(KeyRefusal::Revoked));
    }
}
