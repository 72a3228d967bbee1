//! The embedded driver: runs the machine on a store, on one host.
//!
//! Owns scheduling, timers, leases, workers and the effect broker. It decides nothing about a run that
//! [`wflo_core::machine`] decides: it tells the machine what happened, commits what the machine says,
//! and carries out what is outstanding.
//!
//! **Architecture Invariant:** only the holder of a run's lease appends its events; anybody else leaves
//! a message in the run's inbox.
//! **Architecture Invariant:** nothing is carried out before the events that ask for it are durable.

pub mod ask;
mod at_hand;
mod broker;
pub mod budgets;
mod calls;
mod chain;
pub mod changes;
pub mod clock;
pub mod clouds;
pub mod console;
mod containers;
pub mod discovery;
pub mod driver;
mod egress;
pub mod engine;
pub mod error;
pub mod executor;
pub mod failpoint;
pub mod hosts;
pub mod images;
pub mod inbox;
pub mod interpreter;
pub mod journal;
pub mod launch;
pub mod ledger;
pub mod live;
mod made;
pub mod metrics;
mod outbox;
mod output;
mod policy;
pub mod program;
pub mod protocol;
pub mod recording;
pub mod retention;
mod retry;
pub mod rollback;
pub mod runtime;
pub mod sandboxed;
pub mod services;
pub mod snapshots;
mod standby;
pub mod steps;
pub mod submit;
mod timers;
mod waiters;
mod waits;

pub use engine::{Engine, Options};
pub use error::EngineError;
pub use recording::{Recording, RecordingError};
pub use retry::{Again, Outdated, Repeated, Retried};
pub use runtime::{Runtime, RuntimeOptions};
pub use submit::{Source, Submission};
pub use waiters::Progress;
