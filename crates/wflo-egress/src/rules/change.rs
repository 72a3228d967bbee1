//! What people have said of hosts since the rules were written: what they let in, and what they keep out.
//!
//! Owns in which order it counts, before the rules and the later before the earlier, and how far an answer reaches.
//! What people are asked about is `asks`'.

use super::rule::Rule;
use super::{Denied, Rules};
use crate::host::Target;

/// A host that is let in, or kept out, whatever the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The host.
    pub rule: Rule,
    /// Whether it may be reached.
    pub allowed: bool,
    /// Whether it is the answer to a question: a yes lets through what the question named, and of a host of which the
    /// rules allow a part no more than that part. What is said unasked is meant as it stands.
    pub is_answer: bool,
}

/// The rules that count for a target.
#[derive(Default)]
pub(super) struct Counting<'a> {
    /// Those that allow, the latest word first.
    pub(super) rules: Vec<&'a Rule>,
    /// Answers that allow what was asked about.
    pub(super) answers: Vec<&'a Rule>,
    /// Somebody keeps the target out where none of them lets it in.
    pub(super) barred: bool,
}

impl<'a> Counting<'a> {
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Rule> {
        self.answers.iter().chain(&self.rules).copied()
    }
}

impl Rules {
    /// These, with what was said since, the latest last.
    #[must_use]
    pub fn with(mut self, changes: impl IntoIterator<Item = Change>) -> Rules {
        self.changes.extend(changes);
        self
    }

    /// These, for a connection to which people have said yes to these questions. Whatever else is said stands
    /// before that.
    #[must_use]
    pub fn answered(&self, questions: &[Rule]) -> Rules {
        let yes = |rule: &Rule| Change { rule: rule.clone(), allowed: true, is_answer: true };
        let changes = questions.iter().map(yes).chain(self.changes.iter().cloned());
        Rules { changes: changes.collect(), ..self.clone() }
    }

    /// The rules that count for `target`.
    pub(super) fn counting(&self, target: &Target) -> Counting<'_> {
        let mut found = Counting::default();
        for Change { rule, allowed, is_answer } in self.changes.iter().rev() {
            match (allowed, is_answer) {
                (true, false) => found.rules.push(rule),
                (true, true) if !self.allow_a_part(rule, target) => found.answers.push(rule),
                (true, true) => {}
                // A no to a part is one to that part.
                (false, _) if rule.is_whole_host() && rule.keeps_out(target) => {
                    found.barred = true;
                    return found;
                }
                (false, _) => {}
            }
        }
        found.rules.extend(&self.rules);
        found
    }

    /// Whether people keep `target` out.
    pub fn keep_out(&self, target: &Target) -> bool {
        let counting = self.counting(target);
        let lets = |rule: &Rule| rule.through(target, true).is_some() || rule.lets_http_to(target);
        counting.barred && !counting.all().any(lets)
    }

    /// Whether the rules allow a part of what a yes to `answer` would let through to `target`: then it is the way to that
    /// part, and the rest stays closed as it was.
    pub(super) fn allow_a_part(&self, answer: &Rule, target: &Target) -> bool {
        let is_its = |rule: &Rule| {
            answer.lets_tls_to(target) && rule.lets_tls_to(target)
                || answer.lets_http_to(target) && rule.lets_http_to(target)
                || answer.lets_bytes(target.port) && rule.touches(target)
        };
        answer.is_whole_host() && self.rules.iter().any(|rule| !rule.is_whole_host() && is_its(rule))
    }

    /// The parts of hosts that people keep out, and have not let in since.
    pub(super) fn kept_out_parts(&self) -> impl Iterator<Item = &Rule> {
        self.changes.iter().enumerate().filter_map(|(at, Change { rule, allowed, .. })| {
            let lets_in =
                |later: &Change| later.allowed && !later.rule.is_whole_host() && later.rule.covers(rule);
            let is_kept = || !self.changes.iter().skip(at + 1).any(lets_in);
            (!allowed && !rule.is_whole_host() && is_kept()).then_some(rule)
        })
    }

    /// Whether people keep a part of `target` out.
    pub(super) fn keep_out_parts(&self, target: &Target, secure: bool) -> bool {
        self.kept_out_parts().any(|part| part.lets(target, secure))
    }

    /// Whether people keep out what a request is, by a part of its host; the later word before the earlier.
    pub(super) fn keep_out_part(
        &self,
        (target, secure): (&Target, bool),
        (method, path): (&str, &str),
    ) -> Result<bool, Denied> {
        for Change { rule, allowed, .. } in self.changes.iter().rev() {
            if rule.is_whole_host() || !rule.lets(target, secure) {
                continue;
            }
            match (rule.is_about(method, path), allowed) {
                (Ok(true), false) => return Ok(true),
                // What depends on a body lets in no whole request.
                (Ok(true), true) if rule.calls().is_none() => return Ok(false),
                (Err(why), false) => return Err(Denied::Path(why)),
                _ => {}
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rules, target, unasked};
    use super::super::{Permit, Through};
    use super::*;

    #[test]
    fn what_was_said_since_counts_and_the_later_before_the_earlier() {
        let change = unasked;
        let base = rules(&["a.example", "*.b.example", "tcp://a.example:22"]);
        let denied = base.clone().with([change("a.example", false)]);
        for at in ["a.example:443", "a.example:22", "a.example:8080"] {
            assert_eq!(denied.tunnel(&target(at)), Err(Denied::Said), "{at}");
            assert!(denied.keep_out(&target(at)));
        }
        assert_eq!(denied.request(&target("a.example:80"), false, "GET", "/"), Err(Denied::Said));
        assert!(denied.tunnel(&target("x.b.example:443")).is_ok());
        let again = denied.with([change("https://a.example", true)]);
        assert_eq!(again.tunnel(&target("a.example:443")), Ok(Through::Tls));
        assert_eq!(again.request(&target("a.example:80"), false, "GET", "/"), Err(Denied::Said));
        let more = base.clone().with([change("c.example", true), change("*.b.example", false)]);
        assert!(more.tunnel(&target("c.example:443")).is_ok());
        assert!(more.request(&target("c.example:80"), false, "GET", "/").is_ok());
        assert_eq!(more.tunnel(&target("x.b.example:443")), Err(Denied::Said));
        assert!(!base.keep_out(&target("nobody.example:443")));
        // A part that is let in after the whole was kept out is let in, and the rest is not.
        let part = rules(&["http://a.example"])
            .with([change("a.example", false), change("GET http://a.example/x/**", true)]);
        assert_eq!(part.request(&target("a.example:80"), false, "GET", "/x/y"), Ok(Permit::Whole));
        assert_eq!(part.request(&target("a.example:80"), false, "GET", "/y"), Err(Denied::Request));
        assert!(
            part.is_by_request(&target("a.example:80"), false) && !part.keep_out(&target("a.example:80"))
        );
        let one_port = base.with([change("a.example:22", false)]);
        assert_eq!(one_port.tunnel(&target("a.example:22")), Err(Denied::Said));
        assert!(one_port.tunnel(&target("a.example:443")).is_ok());
    }
}
