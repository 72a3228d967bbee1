//! Where a path stands in a step: before it, after it, or in its middle where a crash left it.
//!
//! Owns the comparison of what is found with what a journal says; it reads and changes nothing.

use super::super::super::attributes::Attributes;
use super::super::super::manifest::{Entry, Kind};
use super::super::journal::{Op, State};

/// What a folder's mode has in addition while attributes are set that it would not take.
pub(super) const OPEN: u32 = 0o700;

/// With what mode a folder is made, before it has its own.
pub(super) const MADE: u32 = 0o700;

pub(super) fn matches(now: Option<&Entry>, state: Option<&State>) -> bool {
    match (now, state) {
        (None, None) => true,
        (Some(now), Some(state)) => same(now, &state.entry),
        _ => false,
    }
}

pub(super) fn same(a: &Entry, b: &Entry) -> bool {
    let alike = a.mode == b.mode && a.attributes == b.attributes;
    a.same_content(b) && (alike || matches!(a.kind, Kind::Symlink { .. }))
}

/// Whether a path is as one end of a step says. A folder in a step about its mode alone may lack attributes: the step
/// before it met a refusal.
pub(super) fn stands(now: Option<&Entry>, op: &Op, end: Option<&State>) -> bool {
    let lacks = || match (now, end) {
        (Some(now), Some(end)) if op.from.is_some() && op.to.is_some() && !is_tagging(op) => {
            let folders = now.is_dir() && end.entry.is_dir();
            let fewer = now.attributes.is_between(&Attributes::default(), &end.entry.attributes);
            folders && fewer && now.mode == end.entry.mode
        }
        _ => false,
    };
    matches(now, end) || lacks()
}

/// Whether a step changes attributes.
pub(super) fn is_tagging(op: &Op) -> bool {
    let none = Attributes::default();
    let [from, to] = attributes_of(op, &none);
    from != to
}

/// Before and after a step.
fn attributes_of<'a>(op: &'a Op, none: &'a Attributes) -> [&'a Attributes; 2] {
    [&op.from, &op.to].map(|state| state.as_ref().map_or(none, |state| &state.entry.attributes))
}

/// Whether a folder is what a crash in the middle of the step leaves: each attribute as before or as after, and the
/// mode of before or of after, that of its making, or, where attributes change, one in which they can be set: a crash
/// on the way back leaves that of the other end.
pub(super) fn is_under_way(now: &Entry, op: &Op) -> bool {
    let sides = [op.from.as_ref(), op.to.as_ref()];
    let folders = sides.into_iter().flatten().all(|state| state.entry.is_dir());
    if !now.is_dir() || !folders {
        return false;
    }
    let none = Attributes::default();
    let [from, to] = attributes_of(op, &none);
    let mut modes = sides.into_iter().flatten().map(|state| state.entry.mode);
    let fresh = sides.iter().any(Option::is_none) && now.mode == MADE;
    let is_mode = |mode: u32| mode == now.mode || (from != to && mode | OPEN == now.mode);
    now.attributes.is_between(from, to) && (fresh || modes.any(is_mode))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::attributes::tests::set;
    use super::*;

    fn folder(mode: u32, tags: &[(&str, &str)]) -> State {
        State { entry: Entry::dir(mode).with(set(tags)), content: None, link: None }
    }

    #[test]
    fn a_folder_that_was_opened_for_its_attributes_is_under_way_in_both_directions() {
        let tagging = Op {
            path: "d".parse().unwrap(),
            from: Some(folder(0o555, &[])),
            to: Some(folder(0o511, &[("user.a", "1")])),
            may_stay: false,
        };
        let mode_alone = Op { to: Some(folder(0o511, &[])), ..tagging.clone() };
        for op in [tagging.clone(), tagging.reversed()] {
            for (mode, expected) in
                [(0o555, true), (0o755, true), (0o711, true), (0o511, true), (0o777, false)]
            {
                assert_eq!(is_under_way(&Entry::dir(mode), &op), expected, "{mode:o}");
            }
        }
        assert!(!is_under_way(&Entry::dir(0o755), &mode_alone), "nothing opens it there: that is somebody's");
    }

    #[test]
    fn a_step_about_a_mode_alone_goes_on_where_attributes_were_refused() {
        let tags = [("user.a", "1"), ("user.b", "1")];
        let op = Op {
            path: "d".parse().unwrap(),
            from: Some(folder(0o755, &tags)),
            to: Some(folder(0o555, &tags)),
            may_stay: false,
        };
        let (bare, some) = (Entry::dir(0o755), Entry::dir(0o755).with(set(&tags[..1])));
        let other = Entry::dir(0o755).with(set(&[("user.a", "2")]));
        assert!(stands(Some(&bare), &op, op.from.as_ref()) && stands(Some(&some), &op, op.from.as_ref()));
        assert!(!stands(Some(&other), &op, op.from.as_ref()) && !stands(Some(&bare), &op, op.to.as_ref()));
        let tagging = Op { from: Some(folder(0o755, &[])), ..op };
        assert!(!stands(Some(&bare), &tagging, tagging.to.as_ref()), "they are what it is to set");
    }
}
