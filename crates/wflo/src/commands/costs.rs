//! `wflo costs …`: what model calls were billed.

mod anomaly;
mod estimate;
mod invoice;
mod models;
mod price;
mod priced;
mod reconcile;
mod report;
mod spending;
mod trend;
mod update;

pub(crate) use estimate::estimate;
pub(crate) use models::models;
pub(crate) use price::price;
pub(crate) use reconcile::reconcile;
pub(crate) use report::report;
pub(crate) use update::update;
