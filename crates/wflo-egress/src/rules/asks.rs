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
