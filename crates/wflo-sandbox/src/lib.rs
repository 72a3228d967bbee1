//! wflo-sandbox.
