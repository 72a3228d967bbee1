//! wflo-data.
