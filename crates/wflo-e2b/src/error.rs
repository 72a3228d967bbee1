//! What a request, or the server itself, can fail with.

use std::net::SocketAddr;

use wflo_core::error::{Code, Coded};
use wflo_core::size::Bytes;

use crate::fault::{Fault, Kind};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Others could read what is sent.
    #[error(
        "{address} can be reached from other machines, and no certificate is given: keys, files and programs would be sent in clear"
    )]
    InClear {
        /// Where.
        address: SocketAddr,
    },
    /// The key is none that protects anything.
    #[error("the key in {variable} cannot be used: {why}")]
    Key {
        /// The variable that names it.
        variable: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What the server keeps cannot be kept.
    #[error("{} cannot be written: {source}", path.display())]
    Audit {
        /// The file or folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No sandbox can be made.
    #[error(transparent)]
    Sandbox(#[from] wflo_sandbox::Error),
    /// A rule of the network is none.
    #[error(transparent)]
    Rule(#[from] wflo_egress::RuleError),
    /// Requests that a rule names cannot be seen.
    #[error(transparent)]
    Sight(#[from] wflo_egress::inspect::roots::RootsError),
    /// The system has no random bytes, or no threads.
    #[error("the server cannot begin: {0}")]
    System(std::io::Error),
}

impl Coded for ServeError {
    fn code(&self) -> Code {
        match self {
            ServeError::Listen { .. } => Code(5301),
            ServeError::InClear { .. } => Code(5302),
            ServeError::Key { .. } => Code(5303),
            ServeError::Audit { .. } => Code(5306),
            ServeError::Sandbox(error) => error.code(),
            ServeError::Rule(error) => error.code(),
            ServeError::Sight(error) => error.code(),
            ServeError::System(_) => Code(9005),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ServeError::Listen { .. } => {
                "another program may have it: give another address with --listen, or port 0 for a free one"
                    .to_owned()
            }
            ServeError::InClear { .. } => {
                "give --tls-cert and --tls-key, or listen on 127.0.0.1 alone".to_owned()
            }
            ServeError::Key { .. } => {
                "set it to a long random text, or leave --api-key-env out: a key is then made and shown"
                    .to_owned()
            }
            ServeError::Audit { .. } => "give a folder that you may write with --data-dir".to_owned(),
            ServeError::Sandbox(error) => return error.hint(),
            ServeError::Rule(error) => return error.hint(),
            ServeError::Sight(error) => return error.hint(),
            ServeError::System(_) => return None,
        })
    }
}

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the request shows no key of this server")]
    NoKey,
    #[error("there is no sandbox {0}")]
    NoSandbox(String),
    #[error("there are {0} sandboxes already, as many as this server has room for")]
    TooMany(usize),
    #[error("the sandboxes that run have {0} of memory together, and there is none left for another")]
    NoMemory(Bytes),
    #[error(
        "there is no template `{0}`: this server has `base` and `code-interpreter-v1`, which are the same"
    )]
    NoTemplate(String),
    #[error("`{what}` cannot be had here: {why}")]
    NotHere { what: String, why: &'static str },
    #[error("this server does not offer {0}")]
    NotOffered(String),
    #[error("no sandbox could be made: {message}")]
    NotMade { code: Code, message: String },
    #[error("the request does not show this sandbox's access token")]
    NoToken,
    #[error("there is no user `{0}` in a sandbox: everything belongs to `user`")]
    NoUser(String),
    #[error("{0}")]
    Unclear(String),
    #[error("the idempotency key has made a sandbox for a request that was another one")]
    OtherRequest,
    #[error("the sandbox {0} is paused already")]
    Paused(String),
    #[error("the request's body has more than {0}")]
    TooLarge(Bytes),
    #[error("the client sent nothing more of its request for {0} s")]
    Slow(u64),
    #[error("the sandbox {0} does not answer as it should")]
    Broken(String),
    /// A sandbox that a request is for is not running. What is told is what clients look for.
    #[error("The sandbox {0} was not found: it has ended, or never was")]
    Gone(String),
    #[error("The sandbox {0} was not found among those that run: it is paused")]
    Asleep(String),
    #[error(
        "The sandbox {id} is running, but its port is not open: {port} is none that this server passes on"
    )]
    NoPort { id: String, port: String },
    /// What the agent said.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl ApiError {
    /// Why nothing could be handed to a sandbox's agent. That it takes no more for now is not its end.
    pub(crate) fn unsent(id: &str, error: &std::io::Error) -> ApiError {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN) => {
                ApiError::Gone(id.to_owned())
            }
            Some(
                Errno::AGAIN
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::TOOMANYREFS
                | Errno::MFILE
                | Errno::NFILE,
            ) => {
                let why = format!("the sandbox {id} has more requests than it takes: {error}");
                ApiError::Fault(Fault::new(Kind::ResourceExhausted, why))
            }
            _ => ApiError::Broken(id.to_owned()),
        }
    }

    /// A sandbox took nothing, or said nothing, for so long. What holds it up may be a program inside.
    pub(crate) fn late(id: &str, waited: std::time::Duration) -> ApiError {
        let why = format!("the sandbox {id} has not answered for {} s", waited.as_secs());
        ApiError::Fault(Fault::new(Kind::DeadlineExceeded, why))
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            ApiError::NoKey | ApiError::NoToken | ApiError::NoUser(_) => 401,
            ApiError::NoSandbox(_) | ApiError::NoTemplate(_) => 404,
            ApiError::TooMany(_) | ApiError::NoMemory(_) => 429,
            ApiError::NotHere { .. } | ApiError::Unclear(_) => 400,
            ApiError::NotOffered(_) => 501,
            ApiError::NotMade { .. } => 500,
            ApiError::Paused(_) | ApiError::OtherRequest => 409,
            ApiError::TooLarge(_) => 413,
            ApiError::Slow(_) => 408,
            ApiError::Broken(_) | ApiError::Gone(_) | ApiError::Asleep(_) | ApiError::NoPort { .. } => 502,
            ApiError::Fault(fault) => fault.code.status(),
        }
    }

    fn code(&self) -> Option<Code> {
        Some(match self {
            ApiError::NoKey => Code(5290),
            ApiError::NoSandbox(_) | ApiError::Gone(_) => Code(5291),
            ApiError::TooMany(_) | ApiError::NoMemory(_) => Code(5292),
            ApiError::NoTemplate(_) => Code(5293),
            ApiError::NotHere { .. } => Code(5294),
            ApiError::NotOffered(_) | ApiError::NoPort { .. } => Code(5295),
            ApiError::NotMade { code, .. } => *code,
            ApiError::NoToken => Code(5297),
            ApiError::NoUser(_) => Code(5298),
            ApiError::Unclear(_) | ApiError::OtherRequest => Code(5299),
            ApiError::Paused(_) | ApiError::Asleep(_) => Code(5300),
            ApiError::TooLarge(_) | ApiError::Slow(_) => Code(5304),
            ApiError::Broken(_) => Code(5305),
            ApiError::Fault(_) => return None,
        })
    }

    /// For people, the code at its end.
    pub(crate) fn told(&self) -> String {
        match self.code() {
            Some(code) => format!("{self} [{code}]"),
            None => self.to_string(),
        }
    }

    /// The same in the words of the Connect protocol.
    pub(crate) fn into_fault(self) -> Fault {
        let kind = match &self {
            ApiError::Fault(fault) => return fault.clone(),
            ApiError::NoKey | ApiError::NoToken => Kind::Unauthenticated,
            ApiError::NoUser(_) | ApiError::Unclear(_) | ApiError::NotHere { .. } => Kind::InvalidArgument,
            ApiError::NoSandbox(_) | ApiError::NoTemplate(_) => Kind::NotFound,
            ApiError::TooMany(_) | ApiError::NoMemory(_) | ApiError::TooLarge(_) => Kind::ResourceExhausted,
            ApiError::NotOffered(_) => Kind::Unimplemented,
            ApiError::Paused(_) | ApiError::OtherRequest => Kind::FailedPrecondition,
            ApiError::Slow(_) => Kind::DeadlineExceeded,
            ApiError::NotMade { .. } => Kind::Internal,
            ApiError::Broken(_) | ApiError::Gone(_) | ApiError::Asleep(_) | ApiError::NoPort { .. } => {
                Kind::Unavailable
            }
        };
        Fault::new(kind, self.told())
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::*;

    #[test]
    fn a_sandbox_that_takes_no_more_is_not_gone() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let refused = loop {
            if let Err(error) = send(&ours, b"R", flags) {
                break error;
            }
        };
        assert_eq!(ApiError::unsent("i", &refused.into()).status(), 429);
        drop(theirs);
        let gone = send(&ours, b"R", flags).unwrap_err();
        assert!(matches!(ApiError::unsent("i", &gone.into()), ApiError::Gone(_)), "{gone}");
    }
}
