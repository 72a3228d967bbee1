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
//! | `tcp://db.example.org:5432` | any bytes to this port |
//! | `127.0.0.1:8080` | this address, although it is not a public one |
//!
//! What no rule allows is refused.

mod path;
mod rule;

use std::net::IpAddr;

use crate::address::Net;
use crate::error::RuleError;
use crate::host::{Host, Target};

pub use self::path::{PathError, Segments};
pub use self::rule::Rule;

/// Everything that one sandbox may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Addresses that names may stand for although they are not public.
    addresses: Vec<Net>,
}

/// How an allowed tunnel is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// TLS, to this host by its own name.
    Tls,
    /// Any bytes.
    Raw,
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
}

impl Rules {
    /// Reads rules and addresses.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse<T: AsRef<str>>(rules: &[T], addresses: &[T]) -> Result<Rules, RuleError> {
        let rules = rules.iter().map(|rule| rule.as_ref().parse()).collect::<Result<Vec<Rule>, _>>()?;
        let addresses = addresses.iter().map(|net| net.as_ref().parse()).collect::<Result<Vec<Net>, _>>()?;
        Ok(Rules { rules, addresses })
    }

    /// Whether nothing may be reached.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether everything that `wanted` allows is allowed by one of these rules.
    pub fn cover(&self, wanted: &Rule) -> bool {
        self.rules.iter().any(|rule| rule.covers(wanted))
    }

    /// Whether a tunnel to `target` may be made.
    ///
    /// # Errors
    /// Why not.
    pub fn tunnel(&self, target: &Target) -> Result<Through, Denied> {
        let named = || self.rules.iter().filter(|rule| rule.names(&target.host));
        if named().any(|rule| rule.lets_bytes(target.port)) {
            return Ok(Through::Raw);
        }
        if named().any(|rule| rule.lets_tls(target.port)) {
            return Ok(Through::Tls);
        }
        Err(if named().next().is_some() { Denied::Port } else { Denied::Host })
    }

    /// Whether a request of plain HTTP may be sent; `path` is without its query.
    ///
    /// # Errors
    /// Why not.
    pub fn request(&self, target: &Target, method: &str, path: &str) -> Result<(), Denied> {
        let mut seen = Denied::Host;
        for rule in self.rules.iter().filter(|rule| rule.names(&target.host)) {
            if !rule.lets_http(target.port) {
                seen = if seen == Denied::Host { Denied::Port } else { seen };
                continue;
            }
            if rule.is_whole_host() {
                return Ok(());
            }
            match Segments::read(path) {
                Ok(segments) if rule.lets_request(method, &segments) => return Ok(()),
                Ok(_) => seen = Denied::Request,
                Err(error) => seen = Denied::Path(error),
            }
        }
        Err(seen)
    }

    /// Whether a request to `target` is allowed only by what its method and path are.
    pub fn is_by_request(&self, target: &Target) -> bool {
        let letting =
            self.rules.iter().filter(|rule| rule.names(&target.host) && rule.lets_http(target.port));
        letting.clone().count() > 0 && !letting.clone().any(Rule::is_whole_host)
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

    fn rules(texts: &[&str]) -> Rules {
        Rules::parse(texts, &[]).unwrap()
    }

    fn target(text: &str) -> Target {
        Target::parse(text, None).unwrap()
    }

    #[test]
    fn nothing_is_allowed_by_nobody() {
        assert_eq!(Rules::default().tunnel(&target("a.example:443")), Err(Denied::Host));
        assert_eq!(Rules::default().request(&target("a.example:80"), "GET", "/"), Err(Denied::Host));
    }

    #[test]
    fn a_host_is_itself_on_the_usual_ports() {
        let rules = rules(&["API.example.org"]);
        assert_eq!(rules.tunnel(&target("api.example.org:443")), Ok(Through::Tls));
        assert_eq!(rules.request(&target("api.example.org:80"), "PUT", "/a//b/../c"), Ok(()));
        assert_eq!(rules.tunnel(&target("api.example.org:80")), Err(Denied::Port));
        assert_eq!(rules.tunnel(&target("api.example.org:22")), Err(Denied::Port));
        assert_eq!(rules.request(&target("api.example.org:443"), "GET", "/"), Err(Denied::Port));
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
        assert!(rules.request(&target("a.example:80"), "GET", "/").is_err());
        assert!(rules.request(&target("b.example:8080"), "GET", "/").is_ok());
        assert!(rules.request(&target("b.example:80"), "GET", "/").is_err());
        assert!(rules.tunnel(&target("b.example:8080")).is_err());
        assert!(
            rules.tunnel(&target("c.example:9000")).is_ok()
                && rules.tunnel(&target("c.example:443")).is_err()
        );
        assert!(rules.request(&target("c.example:9000"), "GET", "/").is_ok());
        assert_eq!(rules.tunnel(&target("d.example:22")), Ok(Through::Raw));
        assert!(rules.request(&target("d.example:22"), "GET", "/").is_err());
    }

    #[test]
    fn methods_and_paths_are_compared_as_a_server_reads_them() {
        let rules = rules(&["GET,HEAD http://a.example/repos/**", "http://a.example/one/*/end"]);
        let asked = |method, path| rules.request(&target("a.example:80"), method, path);
        for (method, path) in
            [("GET", "/repos/x/y"), ("HEAD", "/repos"), ("GET", "/%72epos/x"), ("DELETE", "/one/x/end")]
        {
            assert_eq!(asked(method, path), Ok(()), "{method} {path}");
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
        ] {
            assert!(matches!(asked("GET", path), Err(Denied::Path(_))), "{path}");
        }
        assert!(rules.is_by_request(&target("a.example:80")));
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
            "GET https://a.example/x",
            "https://a.example/x",
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
            ("tcp://x.example.org:443", false),
        ] {
            assert_eq!(granted.cover(&wanted.parse().unwrap()), covered, "{wanted}");
        }
    }
}
