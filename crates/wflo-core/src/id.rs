//! Typed ids: a prefix that names the noun and a UUIDv7 that sorts by time.
//!
//! The UUID's time and random bits are given by the caller ([`uuid::Uuid`] built outside), because
//! this crate reads no clock and draws no randomness.

use serde::{Deserialize, Serialize};

/// A text that is not an id of the wanted noun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {noun} id: it must look like {prefix}0190f2e4-…")]
pub struct ParseIdError {
    noun: &'static str,
    prefix: &'static str,
    given: String,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// What every id of this noun starts with.
            pub const PREFIX: &'static str = $prefix;

            /// The id with this UUID (version 7, made by the caller).
            pub const fn from_uuid(uuid: uuid::Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID without its prefix.
            pub const fn uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .and_then(|rest| uuid::Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError { noun: $noun, prefix: $prefix, given: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// One execution of a workflow version.
    RunId, "run", "run_"
);
typed_id!(
    /// A durable promise that people decide.
    ApprovalId, "approval", "apr_"
);
typed_id!(
    /// An account of money at a scope and a period.
    BudgetId, "budget", "bud_"
);
typed_id!(
    /// A reservation on every budget that applies to one call.
    HoldId, "hold", "hld_"
);
typed_id!(
    /// Workspace and data state at a step boundary.
    SnapshotId, "snapshot", "snp_"
);
typed_id!(
    /// One isolated environment.
    SandboxId, "sandbox", "sbx_"
);
typed_id!(
    /// One process that drives runs, or serves calls outside of them.
    EngineId, "engine", "eng_"
);
typed_id!(
    /// What a client of the gateway shows instead of a provider's key.
    KeyId, "key", "key_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_is_printed() {
        let id = RunId::from_uuid(uuid::Uuid::from_u128(0x0190_f2e4_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<RunId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn another_nouns_id_is_refused() {
        let id = ApprovalId::from_uuid(uuid::Uuid::nil()).to_string();
        assert!(id.parse::<RunId>().unwrap_err().to_string().contains("not a run id"));
    }
}
