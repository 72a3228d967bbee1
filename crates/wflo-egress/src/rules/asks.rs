//! Rules that say what people are asked about, although another rule allows it.
//!
//! Owns which of them stands before a tunnel or a request, and what a yes to it stands for. Who is asked is
//! [`crate::ask`]'s.

use super::rule::Rule;
use super::{Change, Denied, Rules, Through};
use crate::host::Target;

impl Rules {
    /// The rule that a tunnel to `target` waits for, as what a yes stands for; `answered` are those that people have
    /// said yes to for this very connection.
    ///
    /// # Errors
    /// That they keep it out.
    pub fn before_tunnel(&self, target: &Target, answered: &[Rule]) -> Result<Option<Rule>, Denied> {
        if self.keep_out(target) {
            return Err(Denied::Said);
        }
        let through = self.allowed_through(target).ok();
        // What cannot be told from the rest of its host goes with it.
        let goes_along = |part: &&Rule| match through {
            Some(Through::Inspected) => false,
            Some(Through::Raw) => part.touches(target),
            Some(Through::Tls) | None => part.lets_tls_to(target) && !self.see(target),
        };
        if self.kept_out_parts().any(|part| goes_along(&part)) {
            return Err(Denied::Said);
        }
        let is_seen = through == Some(Through::Inspected);
        for ask in self.asks.iter().filter(|ask| ask.touches(target)) {
            let stands = match () {
                // It is judged request by request.
                () if !ask.is_whole_host() => !is_seen && through.is_some(),
                // Over a tunnel of any bytes goes everything; else it is no way through the tunnel.
                () => ask.through(target, true).is_some() || through == Some(Through::Raw),
            };
            if stands && let Some(rule) = self.open(whole_at(target, ask, through), target, answered)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// The rule that a request waits for; as [`Rules::before_tunnel`]. A request of TLS has come through a tunnel
    /// already, and what names its whole host is behind it.
    ///
    /// # Errors
    /// That people keep it out, or that its path could be read in two ways where a rule names paths.
    pub fn before_request(
        &self,
        (target, secure): (&Target, bool),
        (method, path): (&str, &str),
        answered: &[Rule],
    ) -> Result<Option<Rule>, Denied> {
        if self.keep_out(target) || self.keep_out_part((target, secure), (method, path))? {
            return Err(Denied::Said);
        }
        for ask in self.asks.iter().filter(|ask| ask.lets(target, secure)) {
            if ask.is_whole_host() {
                if secure {
                    continue;
                }
                let rule = Rule::at("http", target, 80);
                if let Some(rule) = self.open(rule, target, answered)? {
                    return Ok(Some(rule));
                }
                continue;
            }
            // What a body asks for is not looked at: each request to this path is asked about.
            let fits = ask.is_about(method, path).map_err(Denied::Path)?;
            if fits && let Some(rule) = self.open(ask.of_host(&target.host), target, answered)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// `rule`, unless people have said yes to it: to the connection at hand, or since the run began.
    fn open(&self, rule: Rule, target: &Target, answered: &[Rule]) -> Result<Option<Rule>, Denied> {
        let is_same = |other: &Rule| other.to_string() == rule.to_string();
        if answered.iter().any(is_same) {
            return Ok(None);
        }
        for Change { rule: said, allowed, .. } in self.changes.iter().rev() {
            // A whole host that was let in is no answer about a part that is asked about by itself.
            let is_answer = is_same(said) || rule.is_whole_host() && said.covers(&rule);
            match allowed {
                true if is_answer => return Ok(None),
                false if is_answer || said.is_whole_host() && said.keeps_out(target) => {
                    return Err(Denied::Said);
                }
                _ => {}
            }
        }
        Ok(Some(rule))
    }

    /// Whether requests to `target` are asked about by what their method and path are.
    pub(super) fn asks_by_request(&self, target: &Target, secure: bool) -> bool {
        self.asks.iter().any(|ask| !ask.is_whole_host() && ask.lets(target, secure))
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
    fn kept_out_parts(&self) -> impl Iterator<Item = &Rule> {
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
    fn keep_out_part(
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

/// The rule that a yes to a tunnel stands for: this host and port, by the way that the tunnel is made for.
fn whole_at(target: &Target, ask: &Rule, through: Option<Through>) -> Rule {
    match through.or_else(|| ask.through(target, false)) {
        Some(Through::Raw) => Rule::at("tcp", target, 0),
        _ => Rule::at("https", target, 443),
    }
}

#[cfg(test)]
mod tests;
