//! What a retry keeps of a failed generation, and whether there may be one.
//!
//! Kept: on the branch whose effect's error left the step, the finished effects before it; on every
//! other branch its finished effects; and so the waits that were cancelled there. A step whose own code raised keeps nothing. A committed data
//! write that is neither kept nor undone would be repeated: then there is no retry. What an earlier attempt of
//! the generation made was finished from its record before this one began (`crate::made`), so what is still
//! previewed was not made.

use std::collections::BTreeSet;

use wflo_core::definition::StepSpec;
use wflo_core::effect::{CancelledWait, EffectClass, EffectKind, EffectRecord, EffectState};
use wflo_core::error::{Code, Failure};

use crate::made;
use crate::protocol::On;

/// A retry would repeat a committed write.
const WOULD_REPEAT: Code = Code(3006);
/// Kinds of errors that a retry cannot mend.
const LASTING: [&str; 7] =
    ["WFLO-7003", "WFLO-7005", "WFLO-4001", "WFLO-3020", "WFLO-3025", "WFLO-3026", "WFLO-3032"];

/// Which finished effects the next generation keeps, and why there may be none.
pub(super) fn verdict(
    spec: &StepSpec,
    rows: &[EffectRecord],
    cancelled: &[CancelledWait],
    error: &Failure,
    left_by: Option<&On>,
) -> (Vec<(String, u32)>, Option<Failure>) {
    if LASTING.contains(&error.code.as_str()) {
        return (Vec::new(), Some(error.clone()));
    }
    let is_write = |row: &EffectRecord| row.kind == EffectKind::Db && row.attributes["write"] == true;
    let kept_place = |path: &str, seq: u32| match left_by {
        None => false,
        Some(on) if on.path == path => seq < on.seq,
        Some(_) => true,
    };
    let kept = |row: &EffectRecord| kept_place(&row.key.path, row.key.seq);
    let undone = |row: &EffectRecord| spec.rollback_enabled && is_write(row);
    let finished = rows
        .iter()
        .filter(|row| matches!(row.state, EffectState::Finished { .. }) && kept(row) && !undone(row))
        .map(|row| (row.key.path.clone(), row.key.seq));
    // A time-out that the kept answers follow is kept with them, save that of a write which was never made.
    let previewed = |wait: &&CancelledWait| {
        rows.iter().any(|row| row.is_previewed() && row.key.path == wait.path && row.key.seq == wait.seq)
    };
    let given_up = cancelled.iter().filter(|wait| !previewed(wait));
    let given_up = given_up.map(|wait| (wait.path.clone(), wait.seq));
    let keep: BTreeSet<(String, u32)> =
        finished.chain(given_up.filter(|(path, seq)| kept_place(path, *seq))).collect();
    let keep = keep.into_iter().collect();
    let harmless = spec.effect_class.is_some_and(|class| class != EffectClass::Guarded);
    let repeated = rows.iter().find(|row| {
        let happened = matches!(row.state, EffectState::Finished { .. } | EffectState::Intent);
        (happened || made::is_ambiguous(row)) && is_write(row) && !kept(row) && !undone(row) && !harmless
    });
    let no_retry = repeated.map(|row| {
        let what = row.request.field("sql").as_str().unwrap_or(&row.name);
        let what: String = what.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
        Failure::new(WOULD_REPEAT, format!("a retry would repeat a write that is committed: {what}")).with_hint(
            "set rollback_enabled=True on the step, or effect_class=\"idempotent\" if repeating it does no harm",
        )
    });
    (keep, no_retry)
}
