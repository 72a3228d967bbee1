//! What a cloud can answer instead of a sandbox: codes 5307 to 5319.

use std::io;
use wflo_core::error::{Code, Coded};

/// A sandbox of a cloud could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No key is named, or the one that is named cannot be had (WFLO-5307).
    #[error("the API key of the sandboxes' cloud cannot be had: {reason}")]
    NoKey {
        /// Why.
        reason: String,
        /// What helps.
        hint: String,
    },
    /// Nobody answers, or not in time (WFLO-5308).
    #[error("the cloud at {address} does not answer: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the attempt said.
        reason: String,
    },
    /// The key is not the cloud's (WFLO-5309).
    #[error("the cloud at {address} refuses the API key (status {status})")]
    Key {
        /// Where it was shown.
        address: String,
        /// What was answered.
        status: u16,
    },
    /// The cloud refuses something else (WFLO-5310).
    #[error("the cloud could not {what} the sandbox (status {status}){}", told(said))]
    Refused {
        /// A verb: `make`, `fill`.
        what: &'static str,
        /// The answer's status.
        status: u16,
        /// Its words.
        said: String,
    },
    /// The cloud does not know the template (WFLO-5311).
    #[error("the cloud has no template `{template}`{}", told(said))]
    NoTemplate {
        /// As it was named.
        template: String,
        /// Its words.
        said: String,
    },
    /// There are as many sandboxes as there may be (WFLO-5312).
    #[error("the cloud makes no further sandbox now{}", told(said))]
    TooMany {
        /// Its words.
        said: String,
    },
    /// The cloud says what no such cloud says (WFLO-5313).
    #[error("the cloud's answer is not understood: {what}")]
    Answer {
        /// What is wrong with it.
        what: String,
    },
    /// wflo's own program did not come up there, or went away (WFLO-5314).
    #[error("wflo's program in the cloud's sandbox {what}{}", told(words))]
    Keeper {
        /// What happened to it.
        what: &'static str,
        /// What it wrote to its standard error.
        words: String,
    },
    /// What runs there is not what was brought there (WFLO-5315).
    #[error("the program that runs in the cloud's sandbox is not the one that was brought there")]
    OtherProgram,
    /// A setting that a cloud cannot keep (WFLO-5316).
    #[error("{setting} cannot be kept in a sandbox of a cloud: {why}")]
    Unkept {
        /// Its name.
        setting: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The cloud's address is none (WFLO-5317).
    #[error("`{given}` is no address of a cloud: {why}")]
    Address {
        /// As it was given.
        given: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Connections cannot be kept apart from other users of this host (WFLO-5318).
    #[error("connections of a cloud's sandbox cannot be taken in privately here: {reason}")]
    NotPrivate {
        /// Why there is no network namespace.
        reason: String,
    },
    /// What is needed on this host could not be prepared (WFLO-5319).
    #[error("the cloud's sandbox could not be prepared: {what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn told(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it said: {words}") }
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code(match self {
            Error::NoKey { .. } => 5307,
            Error::Unreachable { .. } => 5308,
            Error::Key { .. } => 5309,
            Error::Refused { .. } => 5310,
            Error::NoTemplate { .. } => 5311,
            Error::TooMany { .. } => 5312,
            Error::Answer { .. } => 5313,
            Error::Keeper { .. } => 5314,
            Error::OtherProgram => 5315,
            Error::Unkept { .. } => 5316,
            Error::Address { .. } => 5317,
            Error::NotPrivate { .. } => 5318,
            Error::Io { .. } => 5319,
        })
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::NoKey { hint, .. } => return Some(hint.clone()),
            Error::Unreachable { .. } => {
                "check E2B_API_URL, E2B_SANDBOX_URL and E2B_DOMAIN, and that this machine may reach them"
            }
            Error::Key { .. } => {
                "set E2B_API_KEY to a key of that cloud, and look at E2B_API_URL and E2B_DOMAIN"
            }
            Error::Refused { .. } | Error::Answer { .. } => {
                "`wflo sandbox doctor` says whether the cloud answers; its own logs say more"
            }
            Error::NoTemplate { .. } => "name one that it has: template under [sandbox.e2b], or --template",
            Error::TooMany { .. } => "end some of its sandboxes, or run fewer steps at a time",
            Error::Keeper { .. } => {
                "the template must be Linux on this machine's kind of processor, with /bin/sh and a /tmp that \
                 programs may be started from"
            }
            Error::OtherProgram => "try again; if it happens again, do not trust this cloud",
            Error::Unkept { .. } => "leave it out, or use the backend \"native\" or \"docker\"",
            Error::Address { .. } => {
                "write it like https://api.example.org; without TLS only this machine is meant"
            }
            Error::NotPrivate { .. } => "run as root, or allow user namespaces",
            Error::Io { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
