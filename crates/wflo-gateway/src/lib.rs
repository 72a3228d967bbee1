//! The model gateway: every call to a model passes here, is bounded, reserved, forwarded, settled.
//!
//! Owns the providers' dialects, prices, the upper bound of a call, and the streaming proxy. It
//! keeps no money and no journal: that is the [`ledger::Ledger`], which the engine implements. It
//! reads no settings files and no environment: it is given resolved providers and secrets.
//!
//! **Architecture Invariant:** nothing is sent to a provider before the ledger has made its hold
//! durable, no answer ends before its settlement is durable, and a provider's key is in nothing but
//! the request to that provider.

pub mod array;
pub mod cache;
pub mod call;
pub mod closer;
pub mod counts;
pub mod dialect;
pub mod encoding;
pub mod env;
pub mod error;
mod exchange;
pub mod framing;
pub mod gateway;
pub mod gone;
pub mod health;
mod hop;
pub mod ledger;
pub mod limits;
pub mod post;
pub mod price;
pub mod repeats;
pub mod reserve;
pub mod retry;
pub mod route;
pub mod routing;
pub mod secret;
pub mod serve;
pub mod shorter;
pub mod sse;
mod telemetry;
pub mod together;
pub mod turn;
mod upstream;
pub mod usage;

pub use env::{KEY_VARIABLES, PLACEHOLDER_KEY, client_env, client_files};
pub use gateway::{Gateway, Limits};
pub use upstream::Deadlines;
