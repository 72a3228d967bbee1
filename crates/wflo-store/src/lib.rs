//! wflo-store.
