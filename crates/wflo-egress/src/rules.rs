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
//! **Architecture Invariant:** no answer to a question lets through what neither the question named nor the rules allow; a
//! yes to a host of which the rules allow a part lets through that part. A no to a part is one to that part, and needs it
//! to be seen.

mod asks;
mod calls;
mod path;
mod rule;
mod websocket;

use std::net::IpAddr;

use crate::address::Net;
use crate::error::RuleError;
use crate::host::{Host, Target};

pub(crate) use self::calls::MOST;
pub use self::calls::{CallError, Calls, Glob, Kind};
pub use self::path::{PathError, Segments};
pub use self::rule::Rule;
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
struct Counting<'a> {
    /// Those that allow, the latest word first.
    rules: Vec<&'a Rule>,
    /// Answers that allow what was asked about.
    answers: Vec<&'a Rule>,
    /// Somebody keeps the target out where none of them lets it in.
    barred: bool,
}

impl<'a> Counting<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Rule> {
        self.answers.iter().chain(&self.rules).copied()
    }
}

/// How an allowed tunnel is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// TLS, to this host by its own name.
    Tls,
    /// TLS that is ended on the way, so that its requests are judged one by one.
    Inspected,
    /// Any bytes.
    Raw,
}

/// On what an allowed request depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permit {
    /// On nothing else.
    Whole,
    /// On what its body asks for: one of these has to allow it.
    Calls(Vec<Calls>),
}

/// Why no rule allows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// No rule names the host.
    Host,
    /// The host is named, for other ports or another scheme.
    Port,
    /// The host and port are named, for other methods or paths.
    Request,
    /// A path could be read in two ways, where rules name paths.
    Path(PathError),
    /// People keep it out.
    Said,
    /// Nobody has answered whether it may be reached.
    Unanswered,
    /// A rule says that people are asked.
    Asked,
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

    /// These, with what was said since, the latest last.
    #[must_use]
    pub fn with(mut self, changes: impl IntoIterator<Item = Change>) -> Rules {
        self.changes.extend(changes);
        self
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

    /// These, for a connection to which people have said yes to these questions. Whatever else is said stands
    /// before that.
    #[must_use]
    pub fn answered(&self, questions: &[Rule]) -> Rules {
        let yes = |rule: &Rule| Change { rule: rule.clone(), allowed: true, is_answer: true };
        let changes = questions.iter().map(yes).chain(self.changes.iter().cloned());
        Rules { changes: changes.collect(), ..self.clone() }
    }

    /// The rules that count for `target`.
    fn counting(&self, target: &Target) -> Counting<'_> {
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

    /// Whether encrypted requests to `target` are seen.
    pub fn see(&self, target: &Target) -> bool {
        let Some(seen) = &self.seen else { return false };
        let counting = self.counting(target);
        let kept_out = self.changes.iter().filter(|change| !change.allowed).map(|change| &change.rule);
        let parts = counting.all().chain(&self.asks).chain(kept_out).filter(|rule| rule.needs_sight());
        seen.iter().chain(parts).any(|rule| rule.lets_tls_to(target))
    }

    /// Whether people keep `target` out.
    pub fn keep_out(&self, target: &Target) -> bool {
        let counting = self.counting(target);
        let lets = |rule: &Rule| rule.through(target, true).is_some() || rule.lets_http_to(target);
        counting.barred && !counting.all().any(lets)
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

    /// Whether a tunnel to `target` may be made without anybody being asked.
    ///
    /// # Errors
    /// Why not.
    pub fn tunnel(&self, target: &Target) -> Result<Through, Denied> {
        match self.before_tunnel(target, &[])? {
            Some(_) => Err(Denied::Asked),
            None => self.allowed_through(target),
        }
    }

    /// Whether a rule lets a tunnel to `target` through, or each request within it is asked about.
    pub(crate) fn allowed_through(&self, target: &Target) -> Result<Through, Denied> {
        match self.ruled_through(target) {
            // Nothing goes through it but what people say yes to, request by request.
            Err(Denied::Host | Denied::Port) if self.see(target) && self.asks_by_request(target, true) => {
                Ok(Through::Inspected)
            }
            through => through,
        }
    }

    /// Whether a rule that allows something lets a tunnel to `target` through.
    pub(crate) fn ruled_through(&self, target: &Target) -> Result<Through, Denied> {
        let (is_seen, counting) = (self.see(target), self.counting(target));
        let found: Vec<Through> = counting.all().filter_map(|rule| rule.through(target, is_seen)).collect();
        match found.as_slice() {
            all if all.contains(&Through::Raw) => Ok(Through::Raw),
            [first, ..] => Ok(*first),
            [] if counting.barred => Err(Denied::Said),
            // A part of it is allowed, and cannot be told from the rest here.
            [] if counting.all().any(|rule| rule.lets_tls_to(target)) => Err(Denied::Request),
            [] if counting.all().any(|rule| rule.names(&target.host)) => Err(Denied::Port),
            [] => Err(Denied::Host),
        }
    }

    /// Whether a request that can be seen may be sent without anybody being asked; `path` is without its query,
    /// `secure` whether it goes over TLS.
    ///
    /// # Errors
    /// Why not.
    pub fn request(&self, target: &Target, secure: bool, method: &str, path: &str) -> Result<Permit, Denied> {
        match self.before_request((target, secure), (method, path), &[])? {
            Some(_) => Err(Denied::Asked),
            None => self.allowed_request(target, secure, method, path),
        }
    }

    /// Whether a rule allows a request.
    pub(crate) fn allowed_request(
        &self,
        target: &Target,
        secure: bool,
        method: &str,
        path: &str,
    ) -> Result<Permit, Denied> {
        let counting = self.counting(target);
        for rule in counting.answers.iter().filter(|rule| rule.lets(target, secure)) {
            // A path fits as it does where it is asked about.
            if rule.is_about(method, path) == Ok(true) {
                return Ok(Permit::Whole);
            }
        }
        let (mut seen, mut calls) = (if counting.barred { Denied::Said } else { Denied::Host }, Vec::new());
        for rule in counting.rules.into_iter().filter(|rule| rule.names(&target.host)) {
            if !rule.lets(target, secure) {
                seen = if seen == Denied::Host { Denied::Port } else { seen };
                continue;
            }
            if rule.is_whole_host() {
                return Ok(Permit::Whole);
            }
            // Where none is named, how a path may be read does not matter.
            if rule.is_by_method() {
                if rule.lets_method(method) {
                    return Ok(Permit::Whole);
                }
                seen = Denied::Request;
                continue;
            }
            match Segments::read(path) {
                Ok(segments) if rule.lets_request(method, &segments) => match rule.calls() {
                    None => return Ok(Permit::Whole),
                    Some(named) => calls.push(named.clone()),
                },
                Ok(_) => seen = Denied::Request,
                Err(error) => seen = Denied::Path(error),
            }
        }
        if calls.is_empty() { Err(seen) } else { Ok(Permit::Calls(calls)) }
    }

    /// Whether a request to `target` is allowed, asked about or kept out by what its method and path are.
    pub fn is_by_request(&self, target: &Target, secure: bool) -> bool {
        let counting = self.counting(target);
        let mut letting = counting.all().filter(|rule| rule.lets(target, secure)).peekable();
        let allowed = letting.peek().is_some() && !letting.any(Rule::is_whole_host);
        allowed || self.asks_by_request(target, secure) || self.keep_out_parts(target, secure)
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

    fn unasked(text: &str, allowed: bool) -> Change {
        Change { rule: text.parse().unwrap(), allowed, is_answer: false }
    }

    #[test]
    fn what_clients_ask_without_the_proxy_is_known() {
        let is_direct = |text: &str| text.parse::<Rule>().unwrap().is_asked_directly();
        for text in ["127.0.0.1:8080", "localhost", "http://[::1]:8080", "GET http://localhost:1/x"] {
            assert!(is_direct(text), "{text}");
        }
        assert!(!is_direct("127.0.0.2:8080") && !is_direct("api.example.org"));
        assert!(!is_direct("tcp://127.0.0.1:5432"), "no client comes to it by variables");
        let given = crate::client_env("3128");
        assert!(given.contains(&("NO_PROXY".to_owned(), "127.0.0.1,localhost,::1".to_owned())), "{given:?}");
    }

    #[test]
    fn nothing_is_allowed_by_nobody() {
        assert_eq!(Rules::default().tunnel(&target("a.example:443")), Err(Denied::Host));
        assert_eq!(Rules::default().request(&target("a.example:80"), false, "GET", "/"), Err(Denied::Host));
    }

    #[test]
    fn a_host_is_itself_on_the_usual_ports() {
        let rules = rules(&["API.example.org"]);
        assert_eq!(rules.tunnel(&target("api.example.org:443")), Ok(Through::Tls));
        assert_eq!(
            rules.request(&target("api.example.org:80"), false, "PUT", "/a//b/../c"),
            Ok(Permit::Whole)
        );
        assert_eq!(rules.tunnel(&target("api.example.org:80")), Err(Denied::Port));
        assert_eq!(rules.tunnel(&target("api.example.org:22")), Err(Denied::Port));
        assert_eq!(rules.request(&target("api.example.org:443"), false, "GET", "/"), Err(Denied::Port));
        for other in [
            "example.org:443",
            "x.api.example.org:443",
            "api.example.org.evil.example:443",
            "xapi.example.org:443",
        ] {
            assert_eq!(rules.tunnel(&target(other)), Err(Denied::Host), "{other}");
        }
    }

    #[test]
    fn a_wildcard_is_every_name_below_and_not_the_name_itself() {
        let rules = rules(&["*.example.org"]);
        for allowed in ["a.example.org:443", "a.b.example.org:443"] {
            assert!(rules.tunnel(&target(allowed)).is_ok(), "{allowed}");
        }
        for other in ["example.org:443", "aexample.org:443", "a.example.org.evil.example:443", "1.2.3.4:443"]
        {
            assert_eq!(rules.tunnel(&target(other)), Err(Denied::Host), "{other}");
        }
    }

    #[test]
    fn schemes_and_ports_narrow() {
        let rules =
            rules(&["https://a.example", "http://b.example:8080", "c.example:9000", "tcp://d.example:22"]);
        assert!(rules.tunnel(&target("a.example:443")).is_ok());
        assert!(rules.request(&target("a.example:80"), false, "GET", "/").is_err());
        assert!(rules.request(&target("b.example:8080"), false, "GET", "/").is_ok());
        assert!(rules.request(&target("b.example:80"), false, "GET", "/").is_err());
        assert!(rules.tunnel(&target("b.example:8080")).is_err());
        assert!(
            rules.tunnel(&target("c.example:9000")).is_ok()
                && rules.tunnel(&target("c.example:443")).is_err()
        );
        assert!(rules.request(&target("c.example:9000"), false, "GET", "/").is_ok());
        assert_eq!(rules.tunnel(&target("d.example:22")), Ok(Through::Raw));
        assert!(rules.request(&target("d.example:22"), false, "GET", "/").is_err());
    }

    #[test]
    fn methods_and_paths_are_compared_as_a_server_reads_them() {
        let rules = rules(&["GET,HEAD http://a.example/repos/**", "http://a.example/one/*/end"]);
        let asked = |method, path| rules.request(&target("a.example:80"), false, method, path);
        for (method, path) in [
            ("GET", "/repos/x/y"),
            ("HEAD", "/repos"),
            ("GET", "/%72epos/x"),
            ("GET", "/repos/b%C3%BCcher"),
            ("DELETE", "/one/x/end"),
        ] {
            assert_eq!(asked(method, path), Ok(Permit::Whole), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/repos/x"),
            ("get", "/repos/x"),
            ("GET", "/reposx"),
            ("GET", "/one/x/y/end"),
            ("GET", "/"),
        ] {
            assert_eq!(asked(method, path), Err(Denied::Request), "{method} {path}");
        }
        for path in [
            "/repos/../admin",
            "/repos/%2e%2e/admin",
            "/repos//x",
            "/repos/x%2fy",
            "/repos/%5c..%5cx",
            "/repos/%00",
            "/repos/%252e%252e/x",
            "/repos/%zz",
            "/repos/.",
            "/repos/a;b",
            // A dot and a slash in more bytes than they have.
            "/repos/%c0%ae%c0%ae/admin",
            "/repos/%E0%80%AE%E0%80%AE/admin",
            "/repos/..%c0%af..",
            "/repos/%ff",
        ] {
            assert!(matches!(asked("GET", path), Err(Denied::Path(_))), "{path}");
        }
        assert!(rules.is_by_request(&target("a.example:80"), false));
    }

    #[test]
    fn methods_alone_leave_a_path_to_the_server() {
        let rules = rules(&["GET,HEAD http://a.example"]);
        let asked = |method, path| rules.request(&target("a.example:80"), false, method, path);
        assert_eq!(asked("GET", "/projects/group%2Fname/simple"), Ok(Permit::Whole));
        assert_eq!(asked("POST", "/projects/group%2Fname/simple"), Err(Denied::Request));
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
    fn a_part_of_what_is_encrypted_is_allowed_where_it_can_be_seen() {
        let blind = rules(&[
            "GET https://a.example/repos/**",
            "b.example",
            "POST https://m.example/mcp tools=search",
        ]);
        assert!(blind.need_sight());
        let unseen = Err(Denied::Request);
        assert_eq!(blind.tunnel(&target("a.example:443")), unseen, "unseen it is no whole host");
        let seeing = blind.seeing(vec!["c.example".parse().unwrap()]);
        assert_eq!(seeing.tunnel(&target("a.example:443")), Ok(Through::Inspected));
        assert_eq!(seeing.tunnel(&target("b.example:443")), Ok(Through::Tls));
        assert_eq!(seeing.tunnel(&target("c.example:443")), Err(Denied::Host), "seen is not let in");
        let asked = |host: &str, method, path| seeing.request(&target(host), true, method, path);
        assert_eq!(asked("a.example:443", "GET", "/repos/x"), Ok(Permit::Whole));
        assert_eq!(asked("a.example:443", "POST", "/repos/x"), Err(Denied::Request));
        assert!(matches!(asked("a.example:443", "GET", "/repos/%2e%2e/x"), Err(Denied::Path(_))));
        assert_eq!(seeing.request(&target("a.example:80"), false, "GET", "/repos/x"), Err(Denied::Port));
        assert!(matches!(asked("m.example:443", "POST", "/mcp"), Ok(Permit::Calls(_))));
        assert_eq!(asked("m.example:443", "POST", "/other"), Err(Denied::Request));
        let more = seeing.clone().with([unasked("c.example", true)]);
        assert_eq!(more.tunnel(&target("c.example:443")), Ok(Through::Inspected));
    }

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

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "*",
            "*.org",
            "*.",
            "a.*.example",
            "*a.example.org",
            "**.example.org",
            "ftp://a.example",
            "https:/a.example",
            "tcp://a.example",
            "tcp://a.example:1/x",
            "a.example:0",
            "a.example:*",
            "get http://a.example",
            "GET  http://a.example",
            "http://a.example/../x",
            "http://a.example/a//b",
            "http://a.example/%61",
            "http://a.example/a**",
            "http://a.example/**/b",
            "http://a.example/x?y",
            "http://u@a.example",
            "0x7f.1",
            "*.1.2.3.4",
            "GET a.example",
            "a.example tools=x",
            "https://a.example tools=",
            "https://a.example graphql=write:x",
            "https://a.example tools=x tools=y",
            "GET POST https://a.example/x",
            "a.example/x",
            "http://a.example/x#y",
            "1.2.3.4/8",
        ] {
            assert!(Rules::parse(&[text], &[]).is_err(), "{text}");
        }
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
