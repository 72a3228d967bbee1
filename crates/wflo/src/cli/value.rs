//! Value parsers that several commands share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use wflo_core::money::NanoUsd;
use wflo_core::size::{Bytes, Millis, ParseUnitError};

use crate::settings::Ports;

/// An amount in USD that is not negative.
pub(super) fn usd(text: &str) -> Result<NanoUsd, String> {
    let amount: NanoUsd =
        text.strip_prefix('$').unwrap_or(text).parse().map_err(|error| format!("{error}"))?;
    if amount.is_negative() { Err("an amount cannot be negative".to_owned()) } else { Ok(amount) }
}

/// An amount of what a budget counts.
pub(super) fn counted(text: &str) -> Result<NanoUsd, String> {
    usd(text).map_err(|_| {
        format!(
            "`{text}` is not a number such as 20 or 0.50: USD, or calls, tokens or seconds, without a unit"
        )
    })
}

/// A day of the calendar.
pub(super) fn day(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| "write a day such as 2026-11-29".to_owned())
}

/// A moment.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time such as 2026-11-29T02:00:00Z".to_owned())
}

/// How long ago, with its unit: `--older-than 30` is meant in days by some and in seconds by others.
pub(super) fn age(text: &str) -> Result<Millis, String> {
    let said = |_| "write an age such as 12h or 30d".to_owned();
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        return Err(format!("{text} has no unit: write {text}d, {text}h or {text}m"));
    }
    text.parse().map_err(said)
}

/// A time such as `90s`, `15m`, `12h`, `30d` or `2w`, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "write a time such as 15m, 12h or 30d".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So many seconds from now.
    After(u64),
    /// At this moment.
    At(Timestamp),
}

/// A time such as `30d`, a day, or a moment with its offset. A day stands for its first moment in UTC.
pub(super) fn expiry(text: &str) -> Result<Expiry, String> {
    let day = || text.parse::<Date>().ok().filter(|_| !text.contains([':', 'T', 't']));
    let begins = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    if let Ok(seconds) = seconds(text) {
        return Ok(Expiry::After(seconds));
    }
    text.parse().ok().or_else(|| begins(day()?)).map(Expiry::At).ok_or_else(|| {
        match text.parse::<DateTime>() {
            Ok(_) => format!("write the offset too, such as {text}Z for UTC or {text}+02:00"),
            Err(_) => {
                "write a time such as 12h or 30d, a day such as 2027-01-31, or a moment such as 2027-01-31T18:00:00Z"
                    .to_owned()
            }
        }
    })
}

/// Seconds, as a number or as a time such as `90s` or `2m`.
pub(super) fn span(text: &str) -> Result<u64, String> {
    let number = text.parse().ok();
    number.map_or_else(
        || seconds(text).map_err(|_| "write seconds, or a time such as 90s or 2m".to_owned()),
        Ok,
    )
}

/// How many: 1 or more.
pub(super) fn count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a whole number of 1 or more, such as 60".to_owned())
}

/// The name of a model, or the beginning of one and a `*`.
pub(super) fn model(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() {
        return Err("name a model, or leave --models out for a key that may call all of them".to_owned());
    }
    match name.strip_suffix('*').unwrap_or(name).contains('*') {
        true => Err("a `*` stands only at the end of a name, such as gpt-5-*".to_owned()),
        false => Ok(name.to_owned()),
    }
}

/// The digits of an id without its prefix.
const DIGITS: usize = 32;
/// Fewer digits are a slip of the keyboard, not the beginning of an id.
const FEWEST: usize = 4;

/// Why a text is neither an id nor the beginning of one.
pub(super) fn not_an_id(prefix: &str, text: &str, noun: &str) -> String {
    let latest = match noun {
        "run" => "; `latest` is the one started last",
        "approval" => "; `latest` is the newest that waits",
        _ => "",
    };
    match text.strip_prefix(prefix) {
        Some(digits) if digits.len() < FEWEST && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("give at least {FEWEST} digits of the id, or see `wflo {noun}s list`{latest}")
        }
        _ => format!(
            "the id of {} {noun} is {prefix} and {DIGITS} digits, or its beginning (see `wflo {noun}s list`){latest}",
            if noun == "approval" { "an" } else { "a" }
        ),
    }
}

/// Whether a text is the beginning of an id as it is printed.
pub(super) fn is_beginning(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        (FEWEST..DIGITS).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// `IP:PORT`, an IP alone, a port alone, or `localhost` with or without a port. Other names are not looked up:
/// which address one leads to may change.
pub(super) fn address(text: &str, default: u16) -> Result<SocketAddr, String> {
    let ip = |text: &str| match text {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => {
            let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            plain.unwrap_or(text).parse().ok()
        }
    };
    let with_port = || {
        let (host, port) = text.rsplit_once(':')?;
        let ip = if host.is_empty() { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { ip(host) };
        Some(SocketAddr::new(ip?, port.parse().ok()?))
    };
    let alone = || Some(SocketAddr::new(ip(text)?, default));
    text.parse().ok().or_else(alone).or_else(with_port).ok_or_else(|| {
        format!("write an IP address and a port, such as 127.0.0.1:{default}, 0.0.0.0:443 or [::1]:{default}")
    })
}

/// Bytes in a second: some.
pub(super) fn rate(text: &str) -> Result<Bytes, String> {
    match text.parse() {
        Ok(Bytes(0)) => Err("write at least 1 byte a second".to_owned()),
        parsed => parsed.map_err(|error: ParseUnitError| error.to_string()),
    }
}

/// Where metrics are served when no port is named: what OpenTelemetry gives to Prometheus exporters.
const METRICS: u16 = 9464;

/// An address with a port or a range of them, such as `127.0.0.1:9464-9479`.
pub(crate) fn ports(text: &str) -> Result<Ports, String> {
    let range = || {
        let (before, last) = text.rsplit_once('-')?;
        Some((address(before, METRICS).ok()?, last.parse::<u16>().ok()?))
    };
    let (first, last) = match range() {
        Some((first, last)) if first.port() != 0 && first.port() <= last => (first, last),
        Some(_) => return Err("a range of ports ascends, such as 9464-9479".to_owned()),
        None => {
            let only = address(text, METRICS)?;
            (only, only.port())
        }
    };
    Ok(Ports { ip: first.ip(), ports: (first.port(), last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_from_now_a_day_or_a_moment() {
        let at = |text: &str| Ok(Expiry::At(text.parse().unwrap()));
        assert_eq!(expiry("30d"), Ok(Expiry::After(30 * 86_400)));
        assert_eq!(expiry("2027-01-31"), at("2027-01-31T00:00:00Z"));
        assert_eq!(expiry("2027-01-31T18:00:00Z"), at("2027-01-31T18:00:00Z"));
        assert_eq!(expiry("2027-01-31T18:00:00+02:00"), at("2027-01-31T16:00:00Z"));
        let told = |text: &str| expiry(text).unwrap_err();
        assert!(told("2027-01-31T18:00:00").contains("offset"));
        for text in ["", "soon", "30", "0d", "2027-02-30", "31.01.2027", "2027-01"] {
            assert!(told(text).contains("such as 12h or 30d"), "{text}");
        }
    }

    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(age("30d"), Ok(Millis(30 * 86_400_000)));
        assert_eq!(age("0s"), Ok(Millis(0)));
        assert!(age("30").unwrap_err().contains("30d"));
        assert!(age("foo").unwrap_err().contains("30d"));
    }

    #[test]
    fn an_address_may_leave_out_its_port_and_is_no_name() {
        for (text, meant) in [
            ("127.0.0.1:4000", "127.0.0.1:4000"),
            ("127.0.0.1", "127.0.0.1:4000"),
            ("0.0.0.0", "0.0.0.0:4000"),
            ("::1", "[::1]:4000"),
            ("[::1]", "[::1]:4000"),
            ("[::]:443", "[::]:443"),
            ("localhost", "127.0.0.1:4000"),
            ("localhost:0", "127.0.0.1:0"),
            (":8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text, 4000).unwrap(), meant.parse().unwrap(), "{text}");
        }
        for text in [
            "",
            "gateway.internal",
            "gateway.internal:80",
            "127.0.0.1:",
            "127.0.0.1:99999",
            "1.2.3:80",
            "[::1",
        ] {
            assert!(address(text, 4000).is_err(), "{text}");
        }
    }
}
