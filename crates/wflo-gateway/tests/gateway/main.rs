//! The gateway against a mock provider: what passes through, what is charged, what is refused.

mod bound;
mod budget;
mod context_llm;
mod faults;
mod identity;
mod ledger;
mod pass_through;
mod secrets;
mod wire;
mod world;
