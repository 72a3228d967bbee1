//! The standalone gateway: a drop-in LLM proxy for clients outside of runs.
//!
//! Owns connections from anywhere (TLS, HTTP/1 and 2), who may call (virtual keys), and the ledger
//! whose calls never wait for the disk: durable slices of budgets. What a call is, what it can cost and
//! where it goes is `wflo-gateway`'s; what is durable is `wflo-store`'s.
//!
//! **Architecture Invariant:** on every budget `settled + held <= limit`, whatever process ends at
//! whatever moment; an intent is in the log before its call is sent, its settlement before the answer's
//! last byte is given out ([ADR 0023](../../../docs/adr/0023-durable-slices.md)).

mod accounts;
#[doc(hidden)]
pub mod failpoint;
mod keys;
mod ledger;
mod log;
mod metrics;
mod rules;
mod scrape;
mod server;
mod spender;
mod spending;
mod treasury;

pub use keys::{Client, KeyWish, MadeKey, rotated};
pub use rules::{GATEWAY, Rules};
pub use scrape::{Maker, Scrape};
pub use server::{Browsers, Config, Notice, ProxyError, Server, ServerOptions, TlsFiles};
pub use spender::DeadSpenders;
pub use treasury::{TreasuryError, TreasuryOptions, recover_dead};
