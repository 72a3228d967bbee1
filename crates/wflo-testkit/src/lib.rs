//! What tests of several crates share: services on loopback that behave as the real ones do, a log to read, and
//! programs that are made to be run.
//!
//! It is a dependency of tests only, and knows no crate of wflo.

pub mod executable;
pub mod log;
pub mod model_server;
pub mod redis_server;
