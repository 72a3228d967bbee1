//! The nouns of wflo and the pure machine that drives a run.
//!
//! **Architecture Invariant:** this crate does no I/O, reads no clock, draws no randomness, spawns
//! nothing and depends on no async runtime. Time and ids arrive inside commands; the outside world
//! stands behind the traits of [`ports`].

pub mod approval;
pub mod budget;
pub mod canonical;
pub mod condition;
pub mod content;
pub mod cost;
pub mod definition;
pub mod effect;
pub mod error;
pub mod event;
pub mod exposition;
pub mod id;
pub mod key;
pub mod legible;
pub mod machine;
pub mod money;
pub mod ports;
pub mod resources;
pub mod run;
pub mod size;
pub mod slice;
