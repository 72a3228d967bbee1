//! The cloud whose sandboxes a run's steps are in: decided when it is submitted, kept with it, never with a key.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wflo_sandbox::e2b::{Cloud, Error, INSIDE, Key};

/// Where a run's steps are, for as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InCloud {
    /// Which cloud, and of what its sandboxes are made.
    pub cloud: Cloud,
    /// The SDK on this host, which is brought along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<PathBuf>,
}

/// Which cloud the settings of this process name, and the key to it.
///
/// **Architecture Invariant:** a run says where it is and holds no key; the process that drives it says to which
/// cloud its key belongs, so a run that somebody has brought along has it shown nowhere else.
pub trait Clouds: Send + Sync + 'static {
    /// The cloud for new runs.
    ///
    /// # Errors
    /// What is wrong with its address.
    fn named(&self) -> Result<Cloud, Error>;

    /// The key to a cloud; blocks.
    ///
    /// # Errors
    /// That the settings name another cloud, or why the key cannot be had.
    fn key(&self, cloud: &Cloud) -> Result<Key, Error>;
}

/// No cloud.
#[derive(Debug, Default)]
pub struct NoClouds;

impl Clouds for NoClouds {
    fn named(&self) -> Result<Cloud, Error> {
        Err(none())
    }

    fn key(&self, _: &Cloud) -> Result<Key, Error> {
        Err(none())
    }
}

fn none() -> Error {
    Error::NoKey { reason: "this process names no cloud".to_owned(), hint: "set E2B_API_KEY".to_owned() }
}

/// Where the SDK is in a sandbox of a cloud.
pub(crate) fn sdk() -> PathBuf {
    PathBuf::from(INSIDE).join("sdk")
}

/// Where the runner for JavaScript is there.
pub(crate) fn node() -> PathBuf {
    PathBuf::from(INSIDE).join("node")
}
