//! A point to come back to.
//!
//! A snapshot copies nothing: it marks a place in the order of the database's recorded effects.
//! Restoring undoes what one step wrote after that place. Owns the token and the report on what
//! could be brought back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

const PREFIX: &str = "data1.";

/// A marked point, and what could be brought back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The tables it is about, sorted; `None` is all of them.
    pub tables: Option<Vec<String>>,
    /// The last recorded effect at that point.
    pub(crate) watermark: i64,
    /// For each table, whether writes to it could be undone.
    pub capabilities: BTreeMap<String, TableCapability>,
}

/// Whether writes to a table can be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCapability {
    /// Whether its rows can be brought back.
    pub undo: bool,
    /// Why not, or what stays different although they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    after: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tables: Option<Vec<String>>,
}

impl Snapshot {
    /// The snapshot as text, for the step to keep. It grants nothing: what a restore may touch is
    /// the scope that its caller gives.
    pub fn token(&self) -> String {
        let token = Token { after: self.watermark, tables: self.tables.clone() };
        // A struct of a number and a list of texts always serialises.
        format!("{PREFIX}{}", BASE64.encode(serde_json::to_vec(&token).unwrap_or_default()))
    }

    /// Reads a token back; the capabilities are not part of it.
    ///
    /// # Errors
    /// [`DataError::SnapshotInvalid`] when the text is not a token.
    pub fn from_token(text: &str) -> Result<Self, DataError> {
        let token: Token = text
            .strip_prefix(PREFIX)
            .and_then(|rest| BASE64.decode(rest).ok())
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(DataError::SnapshotInvalid)?;
        Ok(Snapshot { tables: token.tables, watermark: token.after, capabilities: BTreeMap::new() })
    }
}
