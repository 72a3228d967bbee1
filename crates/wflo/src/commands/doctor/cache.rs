//! The cache: does its Redis answer.

use std::time::Duration;

use wflo_gateway::cache::CachePlace;

use crate::settings::Settings;

use super::{Check, Outcome};

const LIMIT: Duration = Duration::from_secs(3);

/// The check of a Redis, where there is one.
pub(super) fn check(settings: &Settings) -> Option<Check> {
    let Some(CachePlace::Redis { address, .. }) = settings.cache.as_ref().map(|cache| &cache.place) else {
        return None;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(address.ping(LIMIT)).map_err(|error| error.to_string()),
        Err(error) => Err(format!("no threads can be made: {error}")),
    };
    Some(match answer {
        Ok(()) => Check::new("cache", Outcome::Ok, format!("{address} answers")),
        // Calls are made without it.
        Err(reason) => Check::new("cache", Outcome::Note, reason)
            .fix("start it, or correct [cache] url in wflo.toml; until then every call is made"),
    })
}
