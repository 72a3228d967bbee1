//! Places where a test may kill a gateway: one at each boundary of a call's money.

pub(crate) use wflo_store::failpoint::pass;

/// Every place, in the order in which a call passes them first.
pub const ALL: [&str; 8] = [
    "gateway.slice.before",
    "gateway.slice.after",
    "gateway.intent.before",
    "gateway.intent.after",
    "gateway.settle.before",
    "gateway.settle.after",
    "gateway.fold.before",
    "gateway.fold.after",
];
