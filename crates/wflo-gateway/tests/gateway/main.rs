//! The gateway against a mock provider: what passes through, what is charged, what is refused.

// Helpers of these tests fail as tests do; the lint knows only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attempts;
mod bound;
mod budget;
mod bytes;
mod cache;
mod cache_redis;
mod cache_routes;
mod context_llm;
mod dialects;
mod edits;
mod faults;
mod generated;
mod gone;
mod held_back;
mod hostile;
mod hostile_http;
mod hours;
mod identity;
mod ledger;
mod left_alone;
mod limits;
mod loops;
mod models;
mod pass_through;
mod passed;
mod prices;
mod routes;
mod secrets;
mod shapes;
mod shorter;
mod slow;
mod storm;
mod traffic;
mod wire;
mod world;
