//! The proxy on real sockets: what hostile clients get, and what the hosts behind see of it.

mod forward;
mod limits;
mod tunnel;
mod world;
