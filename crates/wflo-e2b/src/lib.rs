//! An E2B-compatible API in front of sandboxes of this machine: the stock SDKs of E2B work with it.
//!
//! Two halves that share a few nouns. The server (`server`, `route`, `control`, `connect`, `transfer`, `code`)
//! speaks HTTP to clients: who may, how much, for how long, and on what record. The agent (`agent`) runs inside
//! each sandbox and does what is asked there: programs, terminals, files, code. Between them is a socket for each
//! request (`frame`, `ask`, `live`).
//!
//! **Architecture Invariant:** the server believes nothing of what an agent says, and never touches a file of a
//! sandbox itself: what is inside stays inside, whatever runs there.

#![cfg(target_os = "linux")]

mod access;
mod agent;
mod answer;
mod ask;
mod audit;
mod body;
mod code;
mod connect;
mod control;
mod conversation;
mod ending;
mod error;
mod fault;
mod form;
mod frame;
mod guests;
mod life;
mod live;
mod network;
mod quiet;
mod room;
mod route;
mod sandboxes;
mod secret;
mod server;
mod transfer;
mod turns;

use std::ffi::OsStr;
use std::process::ExitCode;

pub use access::Keys;
pub use error::ServeError;
pub use sandboxes::Each;
pub use secret::new_key;
pub use server::{Server, ServerOptions, threads};

/// The first argument of a process that is to be the agent in a sandbox.
const AGENT_ARGUMENT: &str = "--wflo-sandbox-agent";

/// Becomes the agent in a sandbox, or a program's terminal, where the first argument says so.
#[must_use]
pub fn inside(argument: &OsStr) -> Option<ExitCode> {
    if argument == AGENT_ARGUMENT {
        Some(agent::main())
    } else if argument == agent::TERMINAL_ARGUMENT {
        Some(agent::terminal_main())
    } else {
        None
    }
}
