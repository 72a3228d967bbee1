//! The nouns of wflo and the pure machine that drives a run.
//!
//! **Architecture Invariant:** this crate does no I/O, reads no clock, draws no randomness, spawns
//! nothing and depends on no async runtime. Time and ids arrive inside commands; the outside world
//! stands behind the traits of [`ports`].

pub mod error;
pub mod id;
pub mod money;
pub mod size;
