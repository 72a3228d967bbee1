//! wflo-engine.
