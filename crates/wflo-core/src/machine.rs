//! The pure machine: `apply` turns a command into events, `evolve` folds events into state, and
//! `outstanding` names everything that is asked for and not yet answered.
//!
//! **Architecture Invariant:** a crash needs nothing but the events: after any prefix of them
//! [`outstanding`] holds every unanswered action and no other.

mod action;
mod apply;
mod command;
mod evolve;
mod settle;
mod state;
mod variables;

pub use action::{Action, TimerKey, outstanding};
pub use apply::{apply, step};
pub use command::{Attempt, Command, CommandBody, Rejection};
pub use evolve::{evolve, replay};
pub use state::{AfterUndo, ApprovalState, HostChange, Outputs, RunState, StepState, StepStatus, object_of};
pub use variables::Changes;

/// An attempt that dies this many times in one generation without a word is not tried again.
pub const POISON_LIMIT: u32 = 5;

/// An attempt that this many engines in a row died with is not tried again. More than the other limit,
/// because a kill or a power cut says little about the step; and any answer that one of its effects got
/// in between begins the count anew, so that a step which gets on is never given up for it.
pub const CRASH_LIMIT: u32 = 10;
