//! The `wflo` command.
fn main() {}
