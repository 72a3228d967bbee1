//! The three-way decision about one path. Pure.

use super::super::attributes::Attributes;
use super::super::manifest::{Entry, Kind};

/// What is to happen to a path of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// The project has the run's version.
    Already,
    /// The project gets this.
    Become(Option<Entry>),
    /// Both changed it, and differently.
    Conflict,
}

/// Decides from what was there at submission (`base`), what the project has (`theirs`) and what the
/// run has (`ours`). Content, mode and each attribute are merged separately.
pub(super) fn decide(base: Option<&Entry>, theirs: Option<&Entry>, ours: Option<&Entry>) -> Decision {
    if theirs == ours {
        return Decision::Already;
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        // One of them has nothing there: fine only if the project still has what was sealed.
        return if same(theirs, base) { Decision::Become(ours.cloned()) } else { Decision::Conflict };
    };
    let Some(kind) = merge_kind(base.map(|base| &base.kind), &theirs.kind, &ours.kind) else {
        return Decision::Conflict;
    };
    let modes_matter =
        base.is_some_and(|base| same_type(&base.kind, &ours.kind) && same_type(&base.kind, &theirs.kind));
    let base_mode = base.filter(|_| modes_matter).map_or(theirs.mode, |base| base.mode);
    let mode = match () {
        () if ours.mode == base_mode && modes_matter => theirs.mode,
        () if theirs.mode == base_mode || theirs.mode == ours.mode => ours.mode,
        () => return Decision::Conflict,
    };
    // Of something that both have made anew, or into something else, nothing was there before.
    let none = Attributes::default();
    let was = base.filter(|_| modes_matter).map_or(&none, |base| &base.attributes);
    let attributes = match same_type(&theirs.kind, &ours.kind) {
        // Most programs write a file anew beside it and rename it over: what is gone by that nobody took away.
        true if base.is_some_and(|base| base.kind != ours.kind && modes_matter) => {
            Attributes::merged(was, &theirs.attributes, &ours.attributes.over(was))
        }
        true => Attributes::merged(was, &theirs.attributes, &ours.attributes),
        false => Some(ours.attributes.clone()),
    };
    let Some(attributes) = attributes else { return Decision::Conflict };
    let merged = Entry { kind, mode, attributes };
    if merged == *theirs { Decision::Already } else { Decision::Become(Some(merged)) }
}

fn merge_kind(base: Option<&Kind>, theirs: &Kind, ours: &Kind) -> Option<Kind> {
    let changed_here = base != Some(ours);
    if !changed_here {
        return Some(theirs.clone());
    }
    (base == Some(theirs) || theirs == ours).then(|| ours.clone())
}

fn same(a: Option<&Entry>, b: Option<&Entry>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same_content(b),
        _ => false,
    }
}

fn same_type(a: &Kind, b: &Kind) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

#[cfg(test)]
mod tests {
    use super::super::super::attributes::tests::set;
    use super::super::super::manifest::Digest;
    use super::*;

    fn file(mode: u32, content: &str) -> Entry {
        Entry::file(mode, content.len() as u64, Digest::of(content.as_bytes()))
    }

    #[test]
    fn merges_only_what_one_side_changed() {
        let (a, b, c) = (file(0o644, "a"), file(0o644, "b"), file(0o644, "c"));
        let (ax, bx) = (file(0o755, "a"), file(0o755, "b"));
        let some = |entry: &Entry| Decision::Become(Some(entry.clone()));
        let (at, bt, cu) = (
            file(0o644, "a").with(set(&[("user.t", "1")])),
            file(0o644, "b").with(set(&[("user.t", "1")])),
            file(0o644, "a").with(set(&[("user.t", "2")])),
        );
        for (base, theirs, ours, expected) in [
            (Some(&a), Some(&a), Some(&b), some(&b)),
            (Some(&a), Some(&b), Some(&b), Decision::Already),
            (Some(&a), Some(&c), Some(&b), Decision::Conflict),
            (Some(&a), Some(&a), None, Decision::Become(None)),
            (Some(&a), Some(&b), None, Decision::Conflict),
            (Some(&a), None, Some(&b), Decision::Conflict),
            (Some(&a), None, None, Decision::Already),
            (None, None, Some(&a), some(&a)),
            (None, Some(&b), Some(&a), Decision::Conflict),
            (None, Some(&ax), Some(&a), some(&a)),
            // One changed the content, the other the mode: both hold.
            (Some(&a), Some(&b), Some(&ax), some(&bx)),
            (Some(&a), Some(&ax), Some(&b), some(&bx)),
            (Some(&a), Some(&file(0o600, "a")), Some(&ax), Decision::Conflict),
            (Some(&a), Some(&Entry::dir(0o755)), Some(&b), Decision::Conflict),
            (Some(&a), Some(&a), Some(&Entry::dir(0o755)), some(&Entry::dir(0o755))),
            // As are attributes; one of the project's file that the run has not touched stays.
            (Some(&a), Some(&b), Some(&at), some(&bt)),
            (Some(&a), Some(&at), Some(&b), some(&bt)),
            (Some(&a), Some(&cu), Some(&at), Decision::Conflict),
            (Some(&at), Some(&at), Some(&a), some(&a)),
            (Some(&at), Some(&a), Some(&at), Decision::Already),
            (Some(&at), Some(&cu), Some(&a), Decision::Conflict),
            // A file that was written anew has none of its own, which is no word about them.
            (Some(&at), Some(&at), Some(&b), some(&bt)),
            (Some(&at), Some(&bt), Some(&b), Decision::Already),
            (Some(&at), Some(&cu), None, Decision::Become(None)),
            (None, Some(&at), Some(&a), Decision::Already),
            (Some(&at), Some(&at), Some(&Entry::dir(0o755)), some(&Entry::dir(0o755))),
        ] {
            assert_eq!(decide(base, theirs, ours), expected, "{base:?} {theirs:?} {ours:?}");
        }
    }
}
