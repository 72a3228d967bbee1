//! What a sandbox may reach: rules as an operator writes them, and the answer to one connection.
//!
//! A rule is `[METHODS ][scheme://]host[:port][/path]`:
//!
//! | rule | allows |
//! |---|---|
//! | `api.example.org` | TLS to port 443, and plain HTTP to port 80 |
//! | `*.example.org` | the same, of every name below `example.org`, at any depth, and not of `example.org` itself |
//! | `api.example.org:8443` | TLS or plain HTTP to this port |
//! | `https://api.example.org` | TLS only |
//! | `http://api.example.org` | plain HTTP only |
//! | `GET,HEAD http://api.example.org/status/**` | requests of these methods to these paths |
//! | `GET https://api.example.org/repos/**` | the same of TLS, which is ended on the way for that |
//! | `https://mcp.example.org/mcp tools=search,read_*` | calls of these tools of an MCP server |
//! | `https://api.example.org/graphql graphql=query,mutation:addStar` | these fields of GraphQL operations |
//! | `tcp://db.example.org:5432` | any bytes to this port |
//! | `127.0.0.1:8080` | this address, although it is not a public one |
//!
//! What no rule allows is refused.
//!
//! Rules of the same form say what people are asked about. Such a rule stands before all that allow something, and is
//! never passed without a question: only what people say of it lets through what it names ([`Rules::before_tunnel`],
//! [`Rules::before_request`]). What is kept out stands before it.
//!
//! Owns the set and what it covers. How one rule is compared is `rule`'s, what lets a connection through `verdict`'s, what
//! people are asked `asks`', and what they said since `change`'s.
//!
//! **Architecture Invariant:** no answer to a question lets through what neither the question named nor the rules allow; a
//! yes to a host of which the rules allow a part lets through that part. A no to a part is one to that part, and needs it
//! to be seen.

mod asks;
mod calls;
mod change;
mod path;
mod rule;
mod verdict;
mod websocket;

use std::net::IpAddr;

use crate::address::Net;
use crate::error::RuleError;
use crate::host::{Host, Target};

pub(crate) use self::calls::MOST;
pub use self::calls::{CallError, Calls, Glob, Kind};
pub use self::change::Change;
pub use self::path::{PathError, Segments};
pub use self::rule::Rule;
pub use self::verdict::{Denied, Permit, Through};
pub(crate) use self::websocket::METHOD as WEBSOCKET;
pub use self::websocket::WebSocketError;

/// Everything that one sandbox may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// What is asked about although a rule allows it.
    asks: Vec<Rule>,
    /// Addresses that names may stand for although they are not public.
    addresses: Vec<Net>,
    /// What was said since, the latest last: it counts before the rules, and the later before the earlier.
    changes: Vec<Change>,
    /// Hosts whose requests are seen, beside those of which a rule names a part; `None` where nothing can be seen.
    seen: Option<Vec<Rule>>,
}

impl Rules {
    /// Reads rules and addresses.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse<T: AsRef<str>>(rules: &[T], addresses: &[T]) -> Result<Rules, RuleError> {
        let rules = rules.iter().map(|rule| rule.as_ref().parse()).collect::<Result<Vec<Rule>, _>>()?;
        let addresses = addresses.iter().map(|net| net.as_ref().parse()).collect::<Result<Vec<Net>, _>>()?;
        Ok(Rules { rules, asks: Vec::new(), addresses, changes: Vec::new(), seen: None })
    }

    /// These, of which people are asked about what `asks` name.
    #[must_use]
    pub fn asking(mut self, asks: Vec<Rule>) -> Rules {
        self.asks.extend(asks);
        self
    }

    /// These, of a sandbox whose encrypted requests can be seen: of the hosts of which a rule names a part, and
    /// of `hosts`.
    #[must_use]
    pub fn seeing(mut self, hosts: Vec<Rule>) -> Rules {
        self.seen = Some(hosts);
        self
    }

    /// Whether a rule names a part of what is encrypted.
    pub fn need_sight(&self) -> bool {
        self.rules.iter().chain(&self.asks).any(Rule::needs_sight)
    }

    /// Whether encrypted requests to `target` are seen.
    pub fn see(&self, target: &Target) -> bool {
        let Some(seen) = &self.seen else { return false };
        let counting = self.counting(target);
        let kept_out = self.changes.iter().filter(|change| !change.allowed).map(|change| &change.rule);
        let parts = counting.all().chain(&self.asks).chain(kept_out).filter(|rule| rule.needs_sight());
        seen.iter().chain(parts).any(|rule| rule.lets_tls_to(target))
    }

    /// The rules that allow something of `target`, as they were written.
    pub(crate) fn about(&self, target: &Target) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.touches(target))
    }

    /// Whether nothing may be reached.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.asks.is_empty()
    }

    /// Whether everything that `wanted` allows is allowed, or asked about, by one of these rules, or was let in.
    pub fn cover(&self, wanted: &Rule) -> bool {
        let said = self.changes.iter().filter(|change| change.allowed).map(|change| &change.rule);
        self.rules.iter().chain(&self.asks).chain(said).any(|rule| rule.covers(wanted))
    }

    /// Whether `address`, which `host` stands for, may be dialled although it is not a public one: because a
    /// rule names this very address, or the operator allows it for names too.
    pub fn may_be_dialled(&self, host: &Host, address: IpAddr) -> bool {
        *host == Host::Address(address) || self.addresses.iter().any(|net| net.holds(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn rules(texts: &[&str]) -> Rules {
        Rules::parse(texts, &[]).unwrap()
    }

    pub(super) fn target(text: &str) -> Target {
        Target::parse(text, None).unwrap()
    }

    pub(super) fn unasked(text: &str, allowed: bool) -> Change {
        Change { rule: text.parse().unwrap(), allowed, is_answer: false }
    }

    #[test]
    fn an_address_is_reached_when_it_is_named() {
        let rules = Rules::parse(&["127.0.0.2:8080", "db.example"], &["10.1.0.0/16"]).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(rules.may_be_dialled(&Host::parse("127.0.0.2").unwrap(), ip("127.0.0.2")));
        let name = Host::parse("db.example").unwrap();
        assert!(rules.may_be_dialled(&name, ip("10.1.2.3")) && !rules.may_be_dialled(&name, ip("127.0.0.2")));
    }

    #[test]
    fn what_is_asked_for_is_covered_by_as_much_or_more() {
        let granted = rules(&[
            "*.example.org",
            "b.example:8443",
            "GET,HEAD http://c.example/a/**",
            "tcp://d.example:22",
        ]);
        for (wanted, covered) in [
            ("x.example.org", true),
            ("*.y.example.org", true),
            ("*.example.org", true),
            ("https://x.example.org", true),
            ("example.org", false),
            ("x.example.org:8443", false),
            ("x.example.org:443", false),
            ("https://x.example.org:443", true),
            ("b.example:8443", true),
            ("b.example", false),
            ("GET http://c.example/a/**", true),
            ("GET http://c.example/a/b", true),
            ("http://c.example/a/b", false),
            ("GET http://c.example/b", false),
            ("http://c.example", false),
            ("tcp://d.example:22", true),
            ("GET https://x.example.org/a", true),
            ("https://x.example.org tools=search", true),
            ("GET http://c.example/a/b tools=search", true),
            ("tcp://x.example.org:443", false),
        ] {
            assert_eq!(granted.cover(&wanted.parse().unwrap()), covered, "{wanted}");
        }
    }
}
