//! Keys that are being made.
//!
//! Owns the secret: what it looks like, where it comes from, and what is kept of it, which is its hash.

use std::collections::BTreeMap;

use jiff::Timestamp;
use wflo_core::id::KeyId;
use wflo_core::key::{KeyBudget, KeyChange, VirtualKey};
use wflo_core::ports::clock::Clock;

/// What every key begins with. Some clients insist on `sk-`.
pub(super) const PREFIX: &str = "sk-wflo-";

/// A key that was just made: the only moment at which it can be seen.
pub struct MadeKey {
    /// What is kept of it.
    pub key: VirtualKey,
    /// The key itself.
    pub secret: String,
}

impl MadeKey {
    /// What makes it of the key that it was before it was [`rotated`].
    pub fn rotation(&self) -> KeyChange {
        let secret = Some((self.key.hash.clone(), self.key.prefix.clone()));
        KeyChange { secret, ..KeyChange::default() }
    }
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
    /// It reads metrics, and calls nothing.
    pub metrics: bool,
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
            metrics: self.metrics,
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

pub(super) fn prefix_of(secret: &str) -> String {
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
