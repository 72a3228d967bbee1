//! The driver's promises, with the real store and scripted steps.
//!
//! Every run here ends in a known state whatever dies, fails or comes late in between, and no step
//! that has succeeded is carried out again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod ahead;
mod clock;
mod faults;
mod flow;
mod made;
mod random;
mod support;
mod takeover;
