//! What a provider asks of whoever it refused: how long to wait, or not to come back.
//!
//! Owns the reading of those headers. Times of day are read against the answer's own `date`, so that
//! neither clock has to be right.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// What a provider's answer says of a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// To wait this long.
    pub(crate) wait: Option<Duration>,
    /// Not to repeat it at all (`x-should-retry: false`).
    pub(crate) never: bool,
}

/// The longest wait that is believed: beyond a day a header is a mistake.
const LONGEST: f64 = 86_400.0;

impl Asked {
    /// Reads the headers of an answer: `retry-after-ms`, `retry-after`, else the reset of whichever limit
    /// of `x-ratelimit-*` or `anthropic-ratelimit-*` has nothing left.
    pub(crate) fn read(headers: &HeaderMap) -> Asked {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let now = text("date").and_then(http_date);
        let until = |time: Timestamp| {
            let nanos = time.as_nanosecond().checked_sub(now?.as_nanosecond())?.max(0);
            Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
                .filter(|wait| wait.as_secs_f64() <= LONGEST)
        };
        let after_ms = || seconds(text("retry-after-ms")?.parse::<f64>().ok()? / 1_000.0);
        let after = || {
            let text = text("retry-after")?;
            match text.parse::<f64>() {
                Ok(number) => seconds(number),
                Err(_) => until(http_date(text)?),
            }
        };
        let reset = || {
            let exhausted = headers.iter().filter_map(|(name, value)| {
                let (family, what) = name.as_str().split_once("-remaining-").or_else(|| {
                    let limit = name.as_str().strip_prefix("anthropic-ratelimit-")?;
                    Some(("anthropic-ratelimit", limit.strip_suffix("-remaining")?))
                })?;
                if value.to_str().ok()?.trim() != "0" {
                    return None;
                }
                match family {
                    "x-ratelimit" => duration(text(&format!("x-ratelimit-reset-{what}"))?),
                    "anthropic-ratelimit" => {
                        until(text(&format!("anthropic-ratelimit-{what}-reset"))?.parse().ok()?)
                    }
                    _ => None,
                }
            });
            exhausted.max()
        };
        Asked {
            wait: after_ms().or_else(after).or_else(reset),
            never: text("x-should-retry").is_some_and(|said| said.eq_ignore_ascii_case("false")),
        }
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

fn seconds(number: f64) -> Option<Duration> {
    (0.0..=LONGEST).contains(&number).then(|| Duration::try_from_secs_f64(number).ok())?
}

/// OpenAI's durations, Go's: `6m0s`, `1.5s`, `20ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(end);
        let unit_end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * factor;
        rest = &unit[unit_end..];
    }
    seconds(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Asked {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        Asked::read(&headers.collect())
    }

    #[test]
    fn every_way_of_asking_for_a_wait_is_understood() {
        let date = ("date", "Sun, 29 Nov 2026 04:00:00 GMT");
        for (headers, millis) in [
            (vec![("retry-after-ms", "250"), ("retry-after", "9")], 250),
            (vec![("retry-after", "7")], 7_000),
            (vec![("retry-after", "0.5")], 500),
            (vec![date, ("retry-after", "Sun, 29 Nov 2026 04:00:30 GMT")], 30_000),
            (vec![date, ("retry-after", "Sun, 29 Nov 2026 03:00:30 GMT")], 0),
            (
                vec![
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "1m2.5s"),
                    ("x-ratelimit-remaining-requests", "5"),
                    ("x-ratelimit-reset-requests", "2h"),
                ],
                62_500,
            ),
            (vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "120ms")], 120),
            (
                vec![
                    date,
                    ("anthropic-ratelimit-output-tokens-remaining", "0"),
                    ("anthropic-ratelimit-output-tokens-reset", "2026-11-29T04:00:03Z"),
                ],
                3_000,
            ),
        ] {
            assert_eq!(read(&headers).wait, Some(Duration::from_millis(millis)), "{headers:?}");
        }
    }

    #[test]
    fn what_is_no_wait_is_none() {
        for headers in [
            vec![],
            vec![("retry-after", "soon")],
            vec![("retry-after", "-1")],
            vec![("retry-after", "NaN")],
            vec![("retry-after", "1e12")],
            vec![("retry-after", "Sun, 29 Nov 2026 04:00:30 GMT")],
            vec![("x-ratelimit-remaining-tokens", "1"), ("x-ratelimit-reset-tokens", "1s")],
            vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1 fortnight")],
        ] {
            assert_eq!(read(&headers).wait, None, "{headers:?}");
        }
        assert!(read(&[("x-should-retry", "false")]).never);
        assert!(!read(&[("x-should-retry", "true")]).never);
    }
}
