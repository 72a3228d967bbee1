//! Whether a tunnel or a request is let through, and why not.
//!
//! Owns how the rules that count for a target are weighed against each other. How one rule is compared is `rule`'s; which
//! of them count beside what people said is `change`'s.

use super::Rules;
use super::calls::Calls;
use super::path::{PathError, Segments};
use super::rule::Rule;
use crate::host::Target;

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
    /// It was allowed, and the rules about it are others now.
    Changed,
    /// People keep it out.
    Said,
    /// Nobody has answered whether it may be reached.
    Unanswered,
    /// A rule says that people are asked.
    Asked,
}

impl Rules {
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
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rules, target, unasked};
    use super::*;

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
}
