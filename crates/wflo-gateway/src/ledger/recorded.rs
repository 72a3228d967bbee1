//! An answer as it was given, and how it stands in a journal.

use bytes::Bytes;
use wflo_core::money::NanoUsd;

use crate::usage::Usage;

/// An answer as it was given: enough to give it again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Recorded {
    /// HTTP status.
    pub status: u16,
    /// The headers that clients read, lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body as the client got it: JSON, or the events of a stream.
    #[serde(with = "body_text")]
    pub body: Bytes,
    /// The answer broke off: `body` is its prefix, and giving it again ends in an error.
    pub interrupted: bool,
    /// How it broke off, so that the error is the same when it is given again; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke: Option<String>,
    /// What was used, when the provider said so.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: NanoUsd,
}

/// Text where the bytes are text, base64 where they are not, so that a journal stays readable.
mod body_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Body {
        Text(String),
        Base64(String),
    }

    pub(super) fn serialize<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(body) {
            Ok(text) => Body::Text(text.to_owned()),
            Err(_) => Body::Base64(STANDARD.encode(body)),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        match Body::deserialize(deserializer)? {
            Body::Text(text) => Ok(text.into()),
            Body::Base64(text) => STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom),
        }
    }
}
