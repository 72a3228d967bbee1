//! `wflo costs …`: what model calls were billed.

mod anomaly;
mod invoice;
mod reconcile;
mod report;
mod spending;
mod trend;

pub(crate) use reconcile::reconcile;
pub(crate) use report::report;
