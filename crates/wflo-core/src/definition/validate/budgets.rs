//! What is wrong with a budget of a definition.

use super::{BAD_NUMBER, BAD_STEP};
use crate::definition::{BudgetSpec, Per};
use crate::error::Failure;

/// Notes every problem of a budget.
pub(super) fn check(budget: &BudgetSpec, at: &str, on_step: bool, problems: &mut Vec<Failure>) {
    problems.extend(budget.wrong().into_iter().map(|wrong| Failure::new(BAD_NUMBER, wrong).at(at)));
    if on_step && !matches!(budget.per, Per::Run | Per::Step | Per::Agent) {
        problems.push(Failure::new(BAD_STEP, "a step's budget is per run, step or agent").at(at));
    }
    if matches!(budget.per, Per::Key | Per::Gateway) {
        let message = "a run has no API key: budgets per key and gateway are the gateway's, in wflo.toml";
        problems.push(Failure::new(BAD_STEP, message).at(at));
    }
}
