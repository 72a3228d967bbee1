//! Numbers that a provider wrote, and that may be anything.
//!
//! Owns reading them without a panic and without an overflow. A count that is no count is `None`: the
//! caller decides whether the whole is then unknown or only a part of it.

use serde_json::Value;
use wflo_core::money::PicoUsd;

/// No call uses more of anything than this; what says so is no count.
const MOST: u64 = 1_000_000_000_000;

/// A whole count: a number of zero or more, rounded up, or a text of digits (some servers write those).
pub(super) fn count(value: &Value) -> Option<u64> {
    let count = match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) if text.len() <= 20 => text.parse().ok(),
        _ => None,
    };
    count.filter(|count| *count <= MOST)
}

/// A time in seconds, as milliseconds rounded up.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    // Noise of binary floating point below a microsecond must not round a time up by a millisecond.
    whole((value.as_f64()? * 1e6).round() / 1e3).filter(|count| *count <= MOST)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> Option<u64> {
    // `as` saturates, so what is larger than any count is the largest one.
    (number.is_finite() && number >= 0.0).then(|| number.ceil() as u64)
}

/// An amount in USD, read by its digits, what is below a pico-USD rounded up.
pub(super) fn usd(value: &Value) -> Option<PicoUsd> {
    let number = value.as_f64()?;
    // Nothing costs a million a call; what says so is no price.
    if !(0.0..1e6).contains(&number) {
        return None;
    }
    // Display prints the shortest decimal that reads back as this float: the digits that were written.
    let text = format!("{number}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let kept = &fraction[..fraction.len().min(12)];
    let rest = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let whole: i128 = whole.parse().ok()?;
    let part: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let scale = 10_i128.pow(12 - u32::try_from(kept.len()).ok()?);
    Some(PicoUsd(whole * 1_000_000_000_000 + part * scale + i128::from(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_are_whole_and_never_below_zero() {
        for (value, wanted) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!(6.2), Some(7)),
            (json!("12"), Some(12)),
            (json!(MOST), Some(MOST)),
            (json!(MOST + 1), None),
            (json!(u64::MAX), None),
            (json!("18446744073709551615"), None),
            (json!(1e300), None),
            (json!(-1), None),
            (json!(-0.5), None),
            (json!("12 tokens"), None),
            (json!(null), None),
            (json!([1]), None),
            (json!(true), None),
        ] {
            assert_eq!(count(&value), wanted, "{value}");
        }
    }

    #[test]
    fn money_is_read_by_its_digits() {
        assert_eq!(usd(&json!(0.000_014)), Some(PicoUsd(14_000_000)));
        assert_eq!(usd(&json!(0.1)), Some(PicoUsd(100_000_000_000)));
        assert_eq!(usd(&json!(3)), Some(PicoUsd(3_000_000_000_000)));
        assert_eq!(usd(&json!(1e-13)), Some(PicoUsd(1)));
        assert_eq!(usd(&json!(-0.1)), None);
        assert_eq!(usd(&json!(1e9)), None);
        assert_eq!(usd(&json!("free")), None);
    }

    #[test]
    fn times_are_in_milliseconds() {
        assert_eq!(seconds(&json!(12.34)), Some(12_340));
        assert_eq!(seconds(&json!(0.1 + 0.2)), Some(300));
        assert_eq!(seconds(&json!(0.0001)), Some(1));
    }
}
