//! `wflo sandbox doctor`.
use crate::commands::Context;
use crate::commands::doctor::Check;
pub(crate) fn summary(_context: &Context<'_>) -> Vec<Check> {
    Vec::new()
}
