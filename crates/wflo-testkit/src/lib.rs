//! wflo-testkit.
