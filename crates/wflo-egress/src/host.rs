//! Hosts as they are written, in the one form that everything else compares.
//!
//! A host is a name of letters, digits and hyphens, in lower case, or an address. Whatever could be read
//! in two ways is refused here: other scripts (write the A-label), escapes, a trailing dot, numbers that
//! some parsers take for an IPv4 address (`0x7f.1`, `017700000001`, `127.1`), zone ids, addresses that
//! stand for another one. What a resolver, a TLS client and a rule see is therefore the same text.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The longest name (RFC 1035, without the root's dot).
const LONGEST: usize = 253;
/// The longest label.
const LABEL: usize = 63;

/// A host that has one reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// There is none.
    #[error("the host is missing")]
    Missing,
    /// It has a character that a host does not have.
    #[error(
        "a host has letters, digits, hyphens and dots only; names of other scripts are written in their ASCII form (xn--)"
    )]
    Character,
    /// It ends with a dot.
    #[error("a host is written without a dot at its end")]
    TrailingDot,
    /// One of its labels is empty, too long, or has a hyphen at an end.
    #[error("one of the host's labels is empty, longer than 63, or has a hyphen at an end")]
    Label,
    /// It is too long.
    #[error("a host has at most 253 characters")]
    Long,
    /// It ends in a number and is no IPv4 address of four decimal numbers.
    #[error("an IPv4 address is four decimal numbers without leading zeros")]
    Number,
    /// It is no IPv6 address in brackets.
    #[error("an IPv6 address stands in brackets, without a zone, and not for an IPv4 address")]
    Ipv6,
}

impl Host {
    /// Reads a host; IPv6 in brackets.
    ///
    /// # Errors
    /// Why it is none, or has more than one reading.
    pub fn parse(text: &str) -> Result<Host, HostError> {
        if let Some(rest) = text.strip_prefix('[') {
            let inside = rest.strip_suffix(']').ok_or(HostError::Ipv6)?;
            let address: Ipv6Addr = inside.parse().map_err(|_| HostError::Ipv6)?;
            // `::ffff:1.2.3.4` and `::1.2.3.4` are IPv4 addresses in disguise; `::` and `::1` are not.
            let stands_for_another = address.to_ipv4_mapped().is_some() || inside.contains('.');
            return if stands_for_another { Err(HostError::Ipv6) } else { Ok(Host::Address(address.into())) };
        }
        if text.is_empty() {
            return Err(HostError::Missing);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
            return Err(HostError::Character);
        }
        if text.ends_with('.') {
            return Err(HostError::TrailingDot);
        }
        if text.len() > LONGEST {
            return Err(HostError::Long);
        }
        let sound = |label: &str| {
            !label.is_empty() && label.len() <= LABEL && !label.starts_with('-') && !label.ends_with('-')
        };
        if !text.split('.').all(sound) {
            return Err(HostError::Label);
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        if is_number(last) {
            // `Ipv4Addr` reads four decimal numbers without leading zeros, and nothing else.
            return match text.parse() {
                Ok(address) => Ok(Host::Address(IpAddr::V4(address))),
                Err(_) => Err(HostError::Number),
            };
        }
        Ok(Host::Name(text.to_ascii_lowercase()))
    }

    /// Whether it is a name that `suffix`, which begins with a dot, ends.
    pub fn is_below(&self, suffix: &str) -> bool {
        match self {
            Host::Name(name) => name.len() > suffix.len() && name.ends_with(suffix),
            Host::Address(_) => false,
        }
    }
}

/// What a parser of URLs takes for the end of an IPv4 address (WHATWG URL, "ends in a number").
fn is_number(label: &str) -> bool {
    if label.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
}

/// Why a text is no host with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Its host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Its port.
    #[error("a port is a number from 1 to 65535, without leading zeros")]
    Port,
    /// It has a user's name in front.
    #[error("a user's name in front of a host is not taken")]
    User,
}

impl Target {
    /// Reads `host:port`, or `host` where there is a usual port.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str, usual: Option<u16>) -> Result<Target, TargetError> {
        if text.contains('@') {
            return Err(TargetError::User);
        }
        let at = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').map_or(text.len(), |end| end + 2),
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(at.min(text.len()));
        let port = match rest.strip_prefix(':') {
            Some(digits) => port(digits).ok_or(TargetError::Port)?,
            None if rest.is_empty() => usual.ok_or(TargetError::Port)?,
            None => return Err(HostError::Ipv6.into()),
        };
        Ok(Target { host: Host::parse(host)?, port })
    }
}

/// A port in its one spelling.
pub(crate) fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_one_text() {
        for (text, is) in [
            ("API.GitHub.com", "api.github.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("r3---sn-4g5e.googlevideo.com", "r3---sn-4g5e.googlevideo.com"),
            ("1.2.3.4", "1.2.3.4"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("localhost", "localhost"),
            ("1.2.3.4.example", "1.2.3.4.example"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), is);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_host() {
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            ".a",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a b",
            "a\0.b",
            "a%2eb",
            "bücher.example",
            "ｅxample.com",
            "example。com",
            "a@b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a:1",
            "127.1",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "2130706433",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.04",
            "0x",
            "a.0x7f",
            "a.1",
            "1.2.3.0x4",
            "[::1",
            "::1",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[1.2.3.4]",
            "[]",
            "[::1]x",
            "a\r\nb",
            "a\tb",
            "\u{202e}a.b",
            "a\u{ad}b.c",
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}");
        }
        assert!(Host::parse(&format!("{}.b", "a".repeat(64))).is_err());
        assert!(Host::parse(&"a.".repeat(126).repeat(2)).is_err());
    }

    #[test]
    fn a_target_has_one_port() {
        let target = |text| Target::parse(text, None).map(|target| target.to_string());
        assert_eq!(target("Example.org:443").unwrap(), "example.org:443");
        assert_eq!(target("[::1]:8080").unwrap(), "[::1]:8080");
        for text in [
            "a.example",
            "a.example:",
            "a.example:0",
            "a.example:00443",
            "a.example:65536",
            "a.example:+1",
            "a.example: 1",
            "a.example:1:2",
            "a.example:443/",
            "user@a.example:1",
            "user:pass@a.example:1",
            "[::1]",
            "[::1]443",
            "[::1]]:1",
            ":443",
            "a.example:4 43",
            "a.example:٤٤٣",
        ] {
            assert!(target(text).is_err(), "{text:?}");
        }
        assert_eq!(Target::parse("a.example", Some(80)).unwrap().to_string(), "a.example:80");
    }

    proptest! {
        #[test]
        fn what_is_a_host_is_read_the_same_again(text in "\\PC{0,40}|[a-zA-Z0-9.:\\[\\]%@-]{1,60}|[0-9a-fxX.]{1,24}") {
            if let Ok(host) = Host::parse(&text) {
                let again = host.to_string();
                prop_assert_eq!(Host::parse(&again).unwrap(), host.clone());
                prop_assert_eq!(again.to_ascii_lowercase(), again.clone());
                if let Host::Name(name) = host {
                    prop_assert!(name.parse::<IpAddr>().is_err());
                    prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'));
                }
            }
        }

        #[test]
        fn a_target_is_read_the_same_again(text in "[a-z0-9.:\\[\\]@%-]{1,40}") {
            if let Ok(target) = Target::parse(&text, None) {
                prop_assert_eq!(Target::parse(&target.to_string(), None).unwrap(), target.clone());
                prop_assert!(target.port > 0);
            }
        }
    }
}
