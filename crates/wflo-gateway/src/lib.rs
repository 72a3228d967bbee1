//! wflo-gateway.
