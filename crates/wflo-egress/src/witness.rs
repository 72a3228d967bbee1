//! Who is told of every connection, before it begins and when it has ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wflo_core::ports::BoxFuture;

use crate::host::Target;
use crate::limits::Flow;
use crate::refusal::Refusal;

/// A connection that is about to leave this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Counts the connections of a sandbox from 1.
    pub id: u64,
    /// Where to.
    pub target: Target,
    /// How.
    pub way: Way,
    /// Method and path of a request that can be seen; never its query.
    pub request: Option<String>,
    /// The secrets whose values it carries, by name.
    pub secrets: Vec<String>,
}

/// The most of a path that is recorded.
const RECORDED: usize = 200;

/// A request as it is shown and recorded: never its query.
pub(crate) fn shown(method: &str, path: &str) -> String {
    let path: String = path.chars().take(RECORDED).collect();
    format!("{method} {path}")
}

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// TLS that the client and the host speak with each other.
    Tls,
    /// One request of plain HTTP.
    Http,
    /// One request of TLS that is ended on the way.
    Https,
    /// Any bytes.
    Tcp,
}

impl Way {
    /// Its name in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Way::Tls => "tls",
            Way::Http => "http",
            Way::Https => "https",
            Way::Tcp => "tcp",
        }
    }
}

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// As it was opened.
    pub opening: Opening,
    /// What was dialled, if it came so far.
    pub address: Option<IpAddr>,
    /// Bytes sent to the host.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
    /// How long it lasted.
    pub lasted: Duration,
    /// How it ended.
    pub end: End,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Both sides were done.
    Done,
    /// It was refused, or failed.
    Refused(Refusal),
    /// Nothing passed for too long, or it lasted too long.
    TimedOut,
    /// One side broke it off.
    Broken,
    /// The sandbox ended first.
    Cut,
}

/// What is opened cannot be held, so it must not be opened.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be recorded")]
pub struct Unrecorded;

/// Who is told of connections.
pub trait Witness: Send + Sync + 'static {
    /// Resolves once a connection is recorded such that a crash does not lose it; nothing of it has left
    /// this host before.
    fn opens<'a>(&'a self, opening: &'a Opening) -> BoxFuture<'a, Result<(), Unrecorded>>;

    /// A connection that was opened has ended. Does not block.
    fn ended(&self, ended: Ended);

    /// Something was refused before it was opened; `target` is what it asked for, where that could be read.
    /// Does not block, and is called as often as a hostile program likes.
    fn refused(&self, target: Option<&Target>, refusal: &Refusal);
}

/// A connection that is recorded as open, until this is dropped.
pub(crate) struct Open {
    witness: Arc<dyn Witness>,
    opening: Option<Opening>,
    flow: Arc<Flow>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) end: End,
}

impl Open {
    /// Records it.
    pub(crate) async fn record(
        witness: &Arc<dyn Witness>,
        opening: Opening,
        flow: Arc<Flow>,
    ) -> Result<Open, Refusal> {
        witness.opens(&opening).await.map_err(|Unrecorded| Refusal::Unrecorded)?;
        Ok(Open { witness: Arc::clone(witness), opening: Some(opening), flow, address: None, end: End::Cut })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(opening) = self.opening.take() else { return };
        let ((sent, received), lasted) = (self.flow.bytes(), self.flow.lasted());
        let end = std::mem::replace(&mut self.end, End::Cut);
        self.witness.ended(Ended { opening, address: self.address, sent, received, lasted, end });
    }
}
