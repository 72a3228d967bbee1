//! What tests of several crates share: services on loopback that behave as the real ones do, and a log to read.
//!
//! It is a dependency of tests only, and knows no crate of wflo.

pub mod log;
pub mod model_server;
pub mod redis_server;
