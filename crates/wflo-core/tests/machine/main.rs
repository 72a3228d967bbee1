//! The machine's promises, under any order of commands that can happen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod driver;
mod property;
mod questions;
mod runs;
