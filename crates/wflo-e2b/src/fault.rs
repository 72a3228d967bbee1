//! What goes wrong in a request, in the words of the Connect protocol.

use serde::{Deserialize, Serialize};

/// The kinds of errors that a client tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The request makes no sense.
    InvalidArgument,
    /// It has no user or no right token.
    Unauthenticated,
    /// What it names may not be touched.
    PermissionDenied,
    /// What it names is not there.
    NotFound,
    /// What it would make is there already.
    AlreadyExists,
    /// It cannot be done as things stand.
    FailedPrecondition,
    /// A limit is reached.
    ResourceExhausted,
    /// Its time was up.
    DeadlineExceeded,
    /// Nobody does this here.
    Unimplemented,
    /// The sandbox is gone.
    Unavailable,
    /// It is our own fault, or the kernel's.
    Internal,
}

impl Kind {
    /// The status of an answer that says only this (Connect protocol, "Error codes").
    pub(crate) const fn status(self) -> u16 {
        match self {
            Kind::InvalidArgument | Kind::FailedPrecondition => 400,
            Kind::Unauthenticated => 401,
            Kind::PermissionDenied => 403,
            Kind::NotFound => 404,
            Kind::AlreadyExists => 409,
            Kind::ResourceExhausted => 429,
            Kind::Internal => 500,
            Kind::Unimplemented => 501,
            Kind::Unavailable => 503,
            Kind::DeadlineExceeded => 504,
        }
    }
}

/// An error as a client is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    /// Its kind.
    pub(crate) code: Kind,
    /// For people.
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(code: Kind, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(Kind::InvalidArgument, message)
    }

    /// What the system refused, as far as a client can tell kinds of that apart.
    pub(crate) fn of_io(what: &str, error: &std::io::Error) -> Fault {
        use std::io::ErrorKind as Io;
        let code = match error.kind() {
            Io::NotFound => Kind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Kind::PermissionDenied,
            Io::AlreadyExists => Kind::AlreadyExists,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => Kind::ResourceExhausted,
            Io::NotADirectory | Io::IsADirectory | Io::InvalidInput | Io::InvalidFilename => {
                Kind::InvalidArgument
            }
            _ => Kind::Internal,
        };
        Fault::new(code, format!("{what}: {error}"))
    }
}
