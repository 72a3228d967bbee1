//! What tests of several crates share: services on loopback that behave as the real ones do.
//!
//! It is a dependency of tests only, and knows no crate of wflo.

pub mod model_server;
pub mod redis_server;
