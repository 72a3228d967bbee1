//! One rule.

use std::fmt;
use std::str::FromStr;

use super::Through;
use super::calls::Calls;
use super::path::{PathError, Pattern, Segments};
use crate::DIRECT;
use crate::error::RuleError;
use crate::host::{Host, Target, TargetError};

/// One thing that may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    hosts: Hosts,
    port: Option<u16>,
    scheme: Scheme,
    /// Empty is every method.
    methods: Vec<String>,
    path: Option<Pattern>,
    /// What a body may ask for.
    calls: Option<Calls>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    One(Host),
    /// Every name that ends with this, which begins with a dot.
    Below(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// TLS, and plain HTTP.
    Web,
    Https,
    Http,
    /// Any bytes.
    Tcp,
}

impl Rule {
    /// Whether it is a host and perhaps a port, and says nothing of how.
    pub fn is_only_a_host(&self) -> bool {
        self.scheme == Scheme::Web && self.is_whole_host()
    }

    /// All of one host and port, by this scheme, whose usual port is `usual`.
    pub(crate) fn at(scheme: &str, Target { host, port }: &Target, usual: u16) -> Rule {
        let text = match *port == usual {
            true => format!("{scheme}://{host}"),
            false => format!("{scheme}://{host}:{port}"),
        };
        let (written, scheme) = match scheme {
            "https" => (*port != usual, Scheme::Https),
            "http" => (*port != usual, Scheme::Http),
            _ => (true, Scheme::Tcp),
        };
        let port = written.then_some(*port);
        Rule {
            text,
            hosts: Hosts::One(host.clone()),
            port,
            scheme,
            methods: Vec::new(),
            path: None,
            calls: None,
        }
    }

    /// Whether it names a host that stock clients take for the sandbox's own loopback and never ask the proxy for. Who
    /// wants any bytes asks for a tunnel by itself, and heeds no `NO_PROXY`.
    pub fn is_asked_directly(&self) -> bool {
        self.scheme != Scheme::Tcp
            && DIRECT.iter().filter_map(|host| Host::parse(host).ok()).any(|host| self.names(&host))
    }

    pub(super) fn names(&self, host: &Host) -> bool {
        match &self.hosts {
            Hosts::One(own) => own == host,
            Hosts::Below(suffix) => host.is_below(suffix),
        }
    }

    /// How this lets a tunnel through, if it does. A part of a host is let through only where requests are seen.
    pub(super) fn through(&self, target: &Target, is_seen: bool) -> Option<Through> {
        match () {
            () if self.names(&target.host) && self.lets_bytes(target.port) => Some(Through::Raw),
            () if !self.lets_tls_to(target) => None,
            () if is_seen => Some(Through::Inspected),
            () => self.is_whole_host().then_some(Through::Tls),
        }
    }

    /// Whether a host that is kept out by this is the target's: whatever the way, and on every port unless it
    /// names one.
    pub(super) fn keeps_out(&self, target: &Target) -> bool {
        self.names(&target.host) && self.port.is_none_or(|port| port == target.port)
    }

    /// Whether it is about something that may go to `target`, on whatever way.
    pub(super) fn touches(&self, target: &Target) -> bool {
        let Target { host, port } = target;
        self.names(host) && (self.lets_bytes(*port) || self.lets_tls(*port) || self.lets_http(*port))
    }

    /// The same rule of this one host: that of a host by which a name below was meant.
    pub(super) fn of_host(&self, host: &Host) -> Rule {
        let Hosts::Below(suffix) = &self.hosts else { return self.clone() };
        let text = self.text.replacen(&format!("*{suffix}"), &host.to_string(), 1);
        Rule { text, hosts: Hosts::One(host.clone()), ..self.clone() }
    }

    pub(super) fn lets_bytes(&self, port: u16) -> bool {
        self.scheme == Scheme::Tcp && self.port == Some(port)
    }

    pub(super) fn lets_tls(&self, port: u16) -> bool {
        matches!(self.scheme, Scheme::Web | Scheme::Https) && port == self.port.unwrap_or(443)
    }

    pub(super) fn lets_http(&self, port: u16) -> bool {
        matches!(self.scheme, Scheme::Web | Scheme::Http) && port == self.port.unwrap_or(80)
    }

    pub(super) fn lets(&self, target: &Target, secure: bool) -> bool {
        if secure { self.lets_tls_to(target) } else { self.lets_http_to(target) }
    }

    pub(super) fn lets_http_to(&self, target: &Target) -> bool {
        self.names(&target.host) && self.lets_http(target.port)
    }

    pub(crate) fn lets_tls_to(&self, target: &Target) -> bool {
        self.names(&target.host) && self.lets_tls(target.port)
    }

    pub(super) fn is_whole_host(&self) -> bool {
        self.methods.is_empty() && self.path.is_none() && self.calls.is_none()
    }

    /// Whether it names a part of what is encrypted, which has to be seen for that.
    pub fn needs_sight(&self) -> bool {
        self.scheme == Scheme::Https && !self.is_whole_host()
    }

    pub(super) fn calls(&self) -> Option<&Calls> {
        self.calls.as_ref()
    }

    /// Whether it depends on the method of a request and on nothing else.
    pub(super) fn is_by_method(&self) -> bool {
        self.path.is_none() && self.calls.is_none()
    }

    pub(super) fn lets_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|own| own == method)
    }

    pub(super) fn lets_request(&self, method: &str, path: &Segments) -> bool {
        self.lets_method(method) && self.path.as_ref().is_none_or(|own| own.fits(path))
    }

    /// Whether people are asked about a request where this is what they are asked about.
    fn asks_about(&self, method: &str, path: &Segments) -> bool {
        self.lets_method(method) && self.path.as_ref().is_none_or(|own| own.fits_in_any_case(path))
    }

    /// Whether a request to a host of its is one of those that it names, as a server may read them; `path` is without its
    /// query.
    ///
    /// # Errors
    /// That the path could be read in two ways, where this names paths.
    pub(super) fn is_about(&self, method: &str, path: &str) -> Result<bool, PathError> {
        match self.is_whole_host() || self.is_by_method() {
            true => Ok(self.lets_method(method)),
            false => Ok(self.asks_about(method, &Segments::read(path)?)),
        }
    }

    /// Whether this allows everything that `other` allows.
    pub fn covers(&self, other: &Rule) -> bool {
        let hosts = match (&self.hosts, &other.hosts) {
            (Hosts::One(own), Hosts::One(other)) => own == other,
            (Hosts::Below(suffix), Hosts::One(host)) => host.is_below(suffix),
            (Hosts::Below(own), Hosts::Below(other)) => other.ends_with(own.as_str()),
            (Hosts::One(_), Hosts::Below(_)) => false,
        };
        let ways = |rule: &Rule| {
            let tls = matches!(rule.scheme, Scheme::Web | Scheme::Https).then(|| rule.port.unwrap_or(443));
            let http = matches!(rule.scheme, Scheme::Web | Scheme::Http).then(|| rule.port.unwrap_or(80));
            let tcp = rule.port.filter(|_| rule.scheme == Scheme::Tcp);
            [tls, http, tcp]
        };
        let has_ways =
            ways(self).iter().zip(ways(other)).all(|(own, other)| other.is_none() || *own == other);
        let has_methods = self.methods.is_empty()
            || !other.methods.is_empty() && other.methods.iter().all(|method| self.methods.contains(method));
        let has_paths = match (&self.path, &other.path) {
            (None, _) => true,
            (Some(own), Some(other)) => own.covers(other),
            (Some(_), None) => false,
        };
        let has_calls = self.calls.is_none() || self.calls == other.calls;
        hosts && has_ways && has_methods && has_paths && has_calls
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let rule = || text.to_owned();
        let mut parts: Vec<&str> = text.split(' ').collect();
        let is_calls = |part: &&str| part.starts_with("tools=") || part.starts_with("graphql=");
        let calls = match parts.pop_if(|last| is_calls(&&**last)) {
            Some(calls) => Some(Calls::parse(calls).ok_or_else(|| RuleError::Calls { rule: rule() })?),
            None => None,
        };
        let (methods, rest) = match parts.as_slice() {
            [rest] => (Vec::new(), *rest),
            [methods, rest] => {
                (read_methods(methods).ok_or_else(|| RuleError::Method { rule: rule() })?, *rest)
            }
            _ => return Err(RuleError::Method { rule: rule() }),
        };
        let (scheme, rest) = match rest.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some(_) => return Err(RuleError::Scheme { rule: rule() }),
            None => (Scheme::Web, rest),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => {
                let (authority, path) = rest.split_at(at);
                (authority, Some(Pattern::parse(path).ok_or_else(|| RuleError::Path { rule: rule() })?))
            }
            None => (rest, None),
        };
        let (hosts, port) = read_hosts(authority, text)?;
        if scheme == Scheme::Tcp && port.is_none() {
            return Err(RuleError::NoPort { rule: rule() });
        }
        let is_part = path.is_some() || !methods.is_empty() || calls.is_some();
        if is_part && !matches!(scheme, Scheme::Http | Scheme::Https) {
            return Err(RuleError::NoScheme { rule: rule() });
        }
        Ok(Rule { text: rule(), hosts, port, scheme, methods, path, calls })
    }
}

fn read_methods(text: &str) -> Option<Vec<String>> {
    let method = |method: &str| {
        let sound =
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        sound.then(|| method.to_owned())
    };
    text.split(',').map(method).collect()
}

fn read_hosts(authority: &str, rule: &str) -> Result<(Hosts, Option<u16>), RuleError> {
    let wrong = |why: TargetError| RuleError::Target { rule: rule.to_owned(), why };
    let wildcard = || RuleError::Wildcard { rule: rule.to_owned() };
    let bare = authority.strip_prefix("*.").unwrap_or(authority);
    if bare.contains('*') {
        return Err(wildcard());
    }
    // No port is 0: whether one was written is told by reading it with and without.
    let (target, port) = match Target::parse(bare, None) {
        Ok(target) => (target.clone(), Some(target.port)),
        Err(TargetError::Port) => (Target::parse(bare, Some(443)).map_err(wrong)?, None),
        Err(why) => return Err(wrong(why)),
    };
    if bare == authority {
        return Ok((Hosts::One(target.host), port));
    }
    match target.host {
        Host::Name(name) if name.contains('.') => Ok((Hosts::Below(format!(".{name}")), port)),
        _ => Err(wildcard()),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::*;

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
}
