//! Whether a cloud answers.

use super::api::{Api, STORE};
use super::cloud::{Cloud, Key};
use super::error::Error;
use crate::native::{Finding, State};
use wflo_core::error::Coded as _;

/// Asks the cloud for its list of sandboxes, which costs nothing; none is made. Without a key nothing is missing:
/// the native sandbox needs no cloud.
pub fn doctor(cloud: Result<(Cloud, Key), Error>) -> Finding {
    let finding = |state, detail: String, fix: Option<String>| Finding { name: "e2b", state, detail, fix };
    match cloud {
        Err(error @ Error::NoKey { .. }) => finding(State::Untested, error.to_string(), error.hint()),
        Err(error) => finding(State::Degraded, error.to_string(), error.hint()),
        Ok((cloud, key)) => match ask(&cloud, key) {
            Ok(()) => {
                let detail =
                    format!("the cloud at {} answers and takes the key; no sandbox was made", cloud.api);
                finding(State::Ok, detail, None)
            }
            Err(error) => finding(State::Degraded, error.to_string(), error.hint()),
        },
    }
}

fn ask(cloud: &Cloud, key: Key) -> Result<(), Error> {
    let io = |source| Error::Io { what: "starting a runtime", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let api = Api::new(cloud, key)?;
    // None has this, so one page is all.
    runtime.block_on(api.page((STORE, "none"), 1, None)).map(drop)
}
