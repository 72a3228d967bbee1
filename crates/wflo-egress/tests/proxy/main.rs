//! The proxy on real sockets: what hostile clients get, and what the hosts behind see of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows tests, not what they call"
)]

mod ask;
mod forward;
mod inspect;
mod limits;
mod reuse;
mod tunnel;
mod websocket;
mod world;
