//! The server as clients of each protocol meet it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows tests, not what they call"
)]

mod calls;
mod dialects;
mod keys;
mod metrics;
mod slow;
mod tls;
mod world;
