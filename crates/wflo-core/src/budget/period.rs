//! Periods of budgets: where each begins and ends, in the time zone that the budget is kept in.
//!
//! Owns the calendar and nothing else. A period is known by the instant at which it began, so a clock that is
//! set forward and back again comes back to the same account: no period is counted twice, and none is lost.

use jiff::Timestamp;
use jiff::Zoned;
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

/// Over which span a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Without end.
    #[default]
    Total,
    /// A clock hour.
    Hour,
    /// A day.
    Day,
    /// A week from Monday.
    Week,
    /// A month.
    Month,
}

/// A time zone by its IANA name, known to exist. The names are compiled in: every machine knows the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

/// A text that names no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone: write an IANA name, such as Europe/Berlin or UTC")]
pub struct UnknownZone(String);

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone("UTC".to_owned())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether this is UTC.
    pub fn is_utc(&self) -> bool {
        self.0 == "UTC"
    }

    fn zone(&self) -> TimeZone {
        // It was found when this was made.
        TimeZoneDatabase::bundled().get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::utc()
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Zone, UnknownZone> {
        let unknown = || UnknownZone(text.to_owned());
        let found = TimeZoneDatabase::bundled().get(text).map_err(|_| unknown())?;
        // Names are found in any case, and one zone must not be two budgets.
        found.iana_name().map(|name| Zone(name.to_owned())).ok_or_else(unknown)
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(text: String) -> Result<Zone, UnknownZone> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.0
    }
}

/// One period: from its start, up to and without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub start: Timestamp,
    /// The first instant of the next one.
    pub end: Timestamp,
}

impl Period {
    /// The name in files and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Period::Total => "total",
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }

    /// The period in which `at` lies; `None` for `total`, and past the end of the calendar.
    pub fn span(self, zone: &Zone, at: Timestamp) -> Option<Span> {
        let zoned = at.to_zoned(zone.zone());
        let (start, end) = match self {
            Period::Total => return None,
            Period::Hour => hour(&zoned)?,
            Period::Day => {
                let start = zoned.start_of_day().ok()?;
                let end = day_after(&start, 1)?;
                (start, end)
            }
            Period::Week => {
                let back = zoned.weekday().since(Weekday::Monday);
                let start = day_after(&zoned, -i64::from(back))?;
                let end = day_after(&start, 7)?;
                (start, end)
            }
            Period::Month => {
                let start = zoned.first_of_month().ok()?.start_of_day().ok()?;
                let next = start.checked_add(jiff::Span::new().months(1)).ok()?;
                let end = next.first_of_month().ok()?.start_of_day().ok()?;
                (start, end)
            }
        };
        Some(Span { start: start.timestamp(), end: end.timestamp() })
    }

    /// When the period of `at` began, as accounts keep it: RFC 3339 in UTC, empty for `total`.
    pub fn start(self, zone: &Zone, at: Timestamp) -> String {
        self.span(zone, at).map(|span| span.start.to_string()).unwrap_or_default()
    }
}

/// The first instant of the day that is `days` after this one's: some days do not begin at midnight.
fn day_after(zoned: &Zoned, days: i64) -> Option<Zoned> {
    let date = zoned.date().checked_add(jiff::Span::new().days(days)).ok()?;
    date.to_zoned(zoned.time_zone().clone()).ok()?.start_of_day().ok()
}

/// The clock hour. When clocks go back, the hour that they show twice is two; where they go by half an hour, an
/// hour is cut or prolonged so that hours neither overlap nor leave a gap.
fn hour(zoned: &Zoned) -> Option<(Zoned, Zoned)> {
    let since = |zoned: &Zoned| {
        jiff::SignedDuration::from_secs(i64::from(zoned.minute()) * 60 + i64::from(zoned.second()))
            + jiff::SignedDuration::from_nanos(i64::from(zoned.subsec_nanosecond()))
    };
    let zone = zoned.time_zone();
    let mut start = zoned.checked_sub(since(zoned)).ok()?;
    let mut end = start.checked_add(jiff::SignedDuration::from_hours(1)).ok()?;
    if let Some(change) = zone.following(start.timestamp()).next().map(|change| change.timestamp()) {
        if change <= zoned.timestamp() {
            start = change.to_zoned(zone.clone());
        } else if change < end.timestamp() {
            end = change.to_zoned(zone.clone());
        }
    }
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(period: Period, zone: &str, at: &str) -> (String, String) {
        let span = period.span(&zone.parse().unwrap(), at.parse().unwrap()).unwrap();
        (span.start.to_string(), span.end.to_string())
    }

    fn is(period: Period, zone: &str, at: &str, start: &str, end: &str) {
        assert_eq!(
            span(period, zone, at),
            (start.to_owned(), end.to_owned()),
            "{period:?} of {at} in {zone}"
        );
    }

    #[test]
    fn periods_begin_and_end_where_the_calendar_of_the_zone_says() {
        let now = "2026-11-21T10:24:42Z";
        is(Period::Hour, "UTC", now, "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z");
        is(Period::Day, "UTC", now, "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z");
        is(Period::Week, "UTC", now, "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z");
        is(Period::Month, "UTC", now, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        is(
            Period::Day,
            "Europe/Berlin",
            "2026-11-21T23:30:00Z",
            "2026-11-21T23:00:00Z",
            "2026-11-22T23:00:00Z",
        );
        is(Period::Month, "Europe/Berlin", now, "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
        is(
            Period::Week,
            "America/New_York",
            "2026-11-16T04:59:59Z",
            "2026-11-09T05:00:00Z",
            "2026-11-16T05:00:00Z",
        );
        assert_eq!(Period::Total.span(&Zone::utc(), now.parse().unwrap()), None);
    }

    #[test]
    fn days_of_a_change_of_clocks_are_shorter_and_longer_and_every_hour_is_one() {
        is(
            Period::Day,
            "Europe/Berlin",
            "2026-03-29T10:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
        is(
            Period::Day,
            "Europe/Berlin",
            "2026-10-25T10:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        );
        // Clocks show 02:30 twice.
        is(
            Period::Hour,
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:00:00Z",
            "2026-10-25T01:00:00Z",
        );
        is(
            Period::Hour,
            "Europe/Berlin",
            "2026-10-25T01:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
        );
        // A day that begins at one in the morning.
        is(
            Period::Day,
            "America/Asuncion",
            "2023-10-01T12:00:00Z",
            "2023-10-01T04:00:00Z",
            "2023-10-02T03:00:00Z",
        );
        is(
            Period::Hour,
            "Asia/Kolkata",
            "2026-11-21T10:24:42Z",
            "2026-11-21T09:30:00Z",
            "2026-11-21T10:30:00Z",
        );
    }

    #[test]
    fn periods_follow_one_another_without_a_gap_in_every_zone() {
        for zone in [
            "UTC",
            "Europe/Berlin",
            "Australia/Lord_Howe",
            "America/Asuncion",
            "Asia/Kolkata",
            "Pacific/Apia",
        ] {
            let zone: Zone = zone.parse().unwrap();
            for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
                let mut at: Timestamp = "2011-12-20T00:00:00Z".parse().unwrap();
                for _ in 0..600 {
                    let span = period.span(&zone, at).unwrap();
                    assert!(span.start <= at && at < span.end, "{period:?} {zone} {at}: {span:?}");
                    let last = span.end.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap();
                    assert_eq!(period.span(&zone, span.start), Some(span), "{period:?} {zone}");
                    assert_eq!(period.span(&zone, last), Some(span), "{period:?} {zone}");
                    at = span.end;
                }
            }
        }
    }

    #[test]
    fn a_zone_is_known_by_one_name() {
        assert_eq!("europe/berlin".parse::<Zone>().unwrap().name(), "Europe/Berlin");
        assert!("Middle/Earth".parse::<Zone>().is_err() && "".parse::<Zone>().is_err());
    }
}
