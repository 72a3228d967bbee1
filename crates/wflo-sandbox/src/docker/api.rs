//! The daemon: reaching it, what it says of itself, and its answers as errors.

use super::error::Error;
use bollard::errors::Error as ApiError;
use bollard::{API_DEFAULT_VERSION, Docker};
use std::time::Duration;

/// Where a daemon is when nobody says otherwise.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// How long it may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one request may take, in seconds: making a container on a slow disk.
const REQUEST: u64 = 120;

/// Connects, and agrees on a version of the API.
pub(super) async fn connect(host: &str) -> Result<Docker, Error> {
    let unreachable = |reason: String| Error::Unreachable { host: host.to_owned(), reason };
    let docker = if host.starts_with("unix://") {
        // The library looks whether the socket is there, and says it in words of its own.
        Docker::connect_with_unix(host, REQUEST, API_DEFAULT_VERSION)
    } else if host.starts_with("tcp://") || host.starts_with("http://") {
        Docker::connect_with_http(host, REQUEST, API_DEFAULT_VERSION)
    } else {
        return Err(unreachable("only unix:// and tcp:// are known".to_owned()));
    };
    let docker = docker.map_err(|error| unreachable(words(&error)))?;
    match tokio::time::timeout(PATIENCE, docker.negotiate_version()).await {
        Ok(negotiated) => negotiated.map_err(|error| unreachable(words(&error))),
        Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The HTTP status of an error that is the daemon's answer.
pub(super) fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// An error of the API in its own words, on one line and bounded.
pub(super) fn words(error: &ApiError) -> String {
    let text = match error {
        ApiError::DockerResponseServerError { message, .. } => message.clone(),
        ApiError::DockerStreamError { error } => error.clone(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            text
        }
    };
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(500).collect::<String>().trim().to_owned()
}

/// What the daemon's refusal is to a person.
pub(super) fn failed(what: &'static str, error: &ApiError) -> Error {
    Error::Refused { what, reason: words(error) }
}
