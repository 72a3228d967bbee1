//! What a container engine can answer instead of a sandbox: codes 5270 to 5289.

use std::io;
use wflo_core::error::{Code, Coded};

/// A container, or its image, could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers (WFLO-5270).
    #[error("the Docker daemon at {host} does not answer: {reason}")]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// What the attempt said.
        reason: String,
    },
    /// The image is not there, and is not to be fetched or is not to be had (WFLO-5271).
    #[error("the image `{image}` is not there: {reason}")]
    NoImage {
        /// As it was named.
        image: String,
        /// Why it was not fetched.
        reason: String,
    },
    /// The image could not be fetched (WFLO-5272).
    #[error("the image `{image}` could not be pulled: {reason}")]
    Pull {
        /// As it was named.
        image: String,
        /// What the daemon says.
        reason: String,
    },
    /// The daemon does not know the runtime (WFLO-5273).
    #[error("the Docker daemon has no runtime `{runtime}`; it has {known}")]
    NoRuntime {
        /// As it was named.
        runtime: String,
        /// Those that it has.
        known: String,
    },
    /// The daemon refused to make or start the container (WFLO-5274).
    #[error("Docker could not {what} the container: {reason}")]
    Refused {
        /// A verb: `create`, `start`.
        what: &'static str,
        /// What the daemon says.
        reason: String,
    },
    /// wflo's own pid 1 did not come up, or went away (WFLO-5275).
    #[error("wflo's pid 1 in the container {what}{}", said(words))]
    Keeper {
        /// What happened to it.
        what: &'static str,
        /// What it wrote to its standard error.
        words: String,
    },
    /// The image is another one than was named by its digest (WFLO-5276).
    #[error("the image `{image}` is {found}, and not the one that its digest names")]
    OtherDigest {
        /// As it was named.
        image: String,
        /// The id of what is there.
        found: String,
    },
    /// A scan is required and nothing scans (WFLO-5277).
    #[error("the image `{image}` has to be scanned, and there is neither trivy nor grype on the PATH")]
    NoScanner {
        /// As it was named.
        image: String,
    },
    /// What was found in the image is too bad (WFLO-5278).
    #[error("the image `{image}` has {count} known vulnerabilities of severity {severity}, such as {first}")]
    Vulnerable {
        /// As it was named.
        image: String,
        /// How many there are of that severity.
        count: u64,
        /// The worst severity found: `critical` or `high`.
        severity: &'static str,
        /// The name of one.
        first: String,
    },
    /// The scanner gave no result (WFLO-5279).
    #[error("{scanner} could not scan the image `{image}`: {reason}")]
    Scan {
        /// `trivy` or `grype`.
        scanner: &'static str,
        /// As it was named.
        image: String,
        /// What it says.
        reason: String,
    },
    /// Connections to other hosts cannot be kept apart from other users of this host (WFLO-5280).
    #[error("connections of a container cannot be taken in privately here: {reason}")]
    NotPrivate {
        /// Why there is no network namespace.
        reason: String,
    },
    /// A file that was to be shown holds something hidden, which a container engine cannot cover (WFLO-5281).
    #[error("{folder} holds files that are hidden from sandboxes, and Docker cannot show it without them")]
    HiddenInside {
        /// The folder that was to be shown.
        folder: String,
    },
    /// The folders that a container needs could not be prepared (WFLO-5282).
    #[error("the container could not be prepared: {what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it said: {words}") }
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code(match self {
            Error::Unreachable { .. } => 5270,
            Error::NoImage { .. } => 5271,
            Error::Pull { .. } => 5272,
            Error::NoRuntime { .. } => 5273,
            Error::Refused { .. } => 5274,
            Error::Keeper { .. } => 5275,
            Error::OtherDigest { .. } => 5276,
            Error::NoScanner { .. } => 5277,
            Error::Vulnerable { .. } => 5278,
            Error::Scan { .. } => 5279,
            Error::NotPrivate { .. } => 5280,
            Error::HiddenInside { .. } => 5281,
            Error::Io { .. } => 5282,
        })
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Unreachable { .. } => {
                "start Docker, or let your user use it (the group `docker`); DOCKER_HOST names another daemon"
            }
            Error::NoImage { .. } => {
                "build or import it with that name, or let it be fetched: pull = \"missing\" under [sandbox]"
            }
            Error::Pull { .. } => "check its name and the registry; `docker pull` says more",
            Error::NoRuntime { .. } => {
                "install it and name it under \"runtimes\" in the daemon's configuration, or leave runtime out"
            }
            Error::Refused { .. } => {
                "wflo needs a daemon on this machine that sees its files; `wflo sandbox doctor` tries one"
            }
            Error::Keeper { .. } => "`wflo sandbox doctor` starts a container and says what works here",
            Error::OtherDigest { .. } => "fetch it again, or name the digest that you mean",
            Error::NoScanner { .. } => "install trivy or grype, or leave require_scan out",
            Error::Vulnerable { .. } => "use a newer image, or leave require_scan out",
            Error::Scan { .. } => "run it yourself and see what it says",
            Error::NotPrivate { .. } => "run as root, or allow user namespaces; or leave allow_hosts out",
            Error::HiddenInside { .. } => "show a folder without them, or use backend = \"native\"",
            Error::Io { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
