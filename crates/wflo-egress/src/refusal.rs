//! Why something did not go out, and what its client is told.
//!
//! A client gets a status whose reason stands in its first line, because many clients show nothing else
//! of an answer to CONNECT, and a short text. Neither says which address a name stands for.

use wflo_core::error::{Code, Coded};

use crate::address::Special;
use crate::hello::HelloError;
use crate::host::Target;
use crate::limits::Limit;
use crate::request::RequestError;
use crate::rules::{CallError, Denied, WebSocketError};
use crate::secrets::Misplaced;

/// Why something did not go out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read, or be read in two ways.
    #[error("the request is not taken: {0}")]
    Request(#[from] RequestError),
    /// Its head is too long.
    #[error("the request is not taken: its head is longer than 16 KiB")]
    Long,
    /// Its head did not arrive in time.
    #[error("the request is not taken: its head did not arrive in time")]
    Slow,
    /// No rule allows it.
    #[error("no rule allows {target}{}", denied(.why))]
    Denied {
        /// What was asked for.
        target: Target,
        /// Why no rule does.
        why: Denied,
    },
    /// The host is no public one.
    #[error("{target} is not reached: its address is {special}")]
    Address {
        /// What was asked for.
        target: Target,
        /// What its address is.
        special: Special,
    },
    /// TLS was not begun as it has to be.
    #[error("the tunnel to {target} was closed: {why}")]
    Hello {
        /// What was asked for.
        target: Target,
        /// Why.
        why: HelloError,
    },
    /// The client does not take the TLS that is ended here.
    #[error("TLS with the program was not made for {target}, whose requests are looked at: {why}")]
    Handshake {
        /// What was asked for.
        target: Target,
        /// Why.
        why: String,
    },
    /// The host does not prove who it is.
    #[error("TLS with {target} was not made: {why}")]
    Certificate {
        /// What was asked for.
        target: Target,
        /// Why.
        why: String,
    },
    /// Its body asks for something that no rule names.
    #[error("no rule allows this request to {target}: {why}")]
    Calls {
        /// What was asked for.
        target: Target,
        /// Why.
        why: CallError,
    },
    /// A placeholder stands where its secret does not belong.
    #[error("nothing was sent to {target}: {what}")]
    Misplaced {
        /// What was asked for.
        target: Target,
        /// Of which secret, and where.
        what: Misplaced,
    },
    /// It may not become a WebSocket.
    #[error("no WebSocket to {target}: {why}")]
    WebSocket {
        /// What was asked for.
        target: Target,
        /// Why.
        why: WebSocketError,
    },
    /// A limit of the sandbox.
    #[error("{0}")]
    Limit(#[from] Limit),
    /// The name stands for nothing.
    #[error("{target} has no address")]
    Unresolved {
        /// What was asked for.
        target: Target,
    },
    /// Nobody answers there.
    #[error("{target} cannot be connected to: {why}")]
    Unreachable {
        /// What was asked for.
        target: Target,
        /// Why.
        why: String,
    },
    /// What the host answered is no HTTP.
    #[error("{target} gave no answer: {why}")]
    NoAnswer {
        /// What was asked for.
        target: Target,
        /// Why.
        why: String,
    },
    /// It could not be recorded, so it was not begun.
    #[error("nothing is sent that cannot be recorded")]
    Unrecorded,
}

fn denied(why: &Denied) -> String {
    match why {
        Denied::Host => String::new(),
        Denied::Port => ", only other ports or ways of it".to_owned(),
        Denied::Request => " with this method and path".to_owned(),
        Denied::Path(error) => format!(" with this path: {error}"),
        Denied::Changed => " any more: the rules about it are others now".to_owned(),
        Denied::Said => ": people have said no".to_owned(),
        Denied::Unanswered | Denied::Asked => {
            ", and nobody has answered whether it may be reached".to_owned()
        }
    }
}

impl Coded for Refusal {
    fn code(&self) -> Code {
        Code(match self {
            Refusal::Denied { why: Denied::Said | Denied::Unanswered | Denied::Asked, .. } => 5209,
            Refusal::Denied { .. } => 5202,
            Refusal::Address { .. } => 5203,
            Refusal::Request(_) | Refusal::Long | Refusal::Slow => 5204,
            Refusal::Hello { .. } => 5205,
            Refusal::Misplaced { .. } => 5211,
            Refusal::Handshake { .. } => 5213,
            Refusal::Certificate { .. } => 5214,
            Refusal::Calls { .. } => 5215,
            Refusal::WebSocket { .. } => 5217,
            Refusal::Limit(_) => 5206,
            Refusal::Unresolved { .. } | Refusal::Unreachable { .. } | Refusal::NoAnswer { .. } => 5207,
            Refusal::Unrecorded => 5208,
        })
    }

    fn hint(&self) -> Option<String> {
        match self {
            Refusal::Denied { target, why } => Some(match why {
                Denied::Request | Denied::Path(_) => format!(
                    "its rules name methods and paths; `--allow-host {}` allows all of it (with `/` behind it, that one path)",
                    suggested(target)
                ),
                Denied::Said => "the user of wflo sees what was said with `wflo egress list`, and takes back what was said for always with `wflo egress forget HOST`".to_owned(),
                Denied::Unanswered | Denied::Asked => "the user of wflo answers where the run asks, or with `wflo egress allow RUN HOST`".to_owned(),
                _ => {
                    let rule = suggested(target);
                    format!("the user of wflo allows it with --allow-host {rule}, or allow_hosts under [sandbox] in wflo.toml")
                }
            }),
            Refusal::Handshake { .. } => Some(
                "the program has to trust the certificates at SSL_CERT_FILE and speak HTTP/1.1; one that trusts its own alone is let through whole, by a rule without methods and paths".to_owned(),
            ),
            Refusal::Certificate { .. } => Some(
                "the user of wflo names a company's own authority with ca_file under [sandbox] in wflo.toml".to_owned(),
            ),
            Refusal::Address { .. } => Some(
                "the user of wflo allows an address that is not public with allow_addresses under [sandbox] in wflo.toml"
                    .to_owned(),
            ),
            Refusal::WebSocket { target, why: WebSocketError::Unnamed } => {
                Some(format!("the user of wflo names it beside GET: GET,WEBSOCKET https://{}/PATH", target.host))
            }
            Refusal::WebSocket { .. } => Some(
                "the user of wflo lets the host through whole, by a rule without methods, paths and calls".to_owned(),
            ),
            _ => None,
        }
    }
}

/// The rule that would allow a target.
fn suggested(target: &Target) -> String {
    if matches!(target.port, 80 | 443) { target.host.to_string() } else { target.to_string() }
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Refusal::Denied { .. }
            | Refusal::Address { .. }
            | Refusal::Hello { .. }
            | Refusal::Handshake { .. }
            | Refusal::Calls { .. }
            | Refusal::WebSocket { .. }
            | Refusal::Misplaced { .. } => 403,
            Refusal::Certificate { .. } => 502,
            Refusal::Request(_) => 400,
            Refusal::Slow => 408,
            Refusal::Long => 431,
            Refusal::Limit(_) => 429,
            Refusal::Unresolved { .. } | Refusal::Unreachable { .. } | Refusal::NoAnswer { .. } => 502,
            Refusal::Unrecorded => 503,
        }
    }

    /// The whole answer.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let (status, code) = (self.status(), self.code());
        let hint = self.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        let body = format!("wflo: {self} [{code}]\n{hint}");
        // Every text in it is of characters that a first line may have.
        format!(
            "HTTP/1.1 {status} wflo: {self} [{code}]\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Should-Retry: false\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}
