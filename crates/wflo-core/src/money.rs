//! Money: whole nano-USD, and pico-USD while a bill is being added up.
//!
//! **Architecture Invariant:** no float ever holds money. A price times a number of tokens is exact
//! in [`PicoUsd`]; a request is rounded up to [`NanoUsd`] once, at its end.

use serde::{Deserialize, Serialize};

/// An amount in nano-USD (1 USD = 1_000_000_000). Range about ±9.2 billion USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NanoUsd(i64);

/// An amount in pico-USD (1 USD = 10^12), wide enough for any sum of prices times tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PicoUsd(pub i128);

/// A text or number that is not an amount of money that wflo can hold exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an amount in USD: write a decimal such as 10 or 0.50, with at most {places} decimals"
)]
pub struct ParseMoneyError {
    given: String,
    places: u32,
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: NanoUsd = NanoUsd(0);
    /// The largest amount.
    pub const MAX: NanoUsd = NanoUsd(i64::MAX);

    /// This many nano-USD.
    pub const fn from_nanos(nanos: i64) -> Self {
        NanoUsd(nanos)
    }

    /// The amount in nano-USD.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The sum, or `None` past the range.
    pub fn checked_add(self, other: NanoUsd) -> Option<NanoUsd> {
        self.0.checked_add(other.0).map(NanoUsd)
    }

    /// The sum, held at the range's ends.
    #[must_use]
    pub fn saturating_add(self, other: NanoUsd) -> NanoUsd {
        NanoUsd(self.0.saturating_add(other.0))
    }

    /// The difference, held at the range's ends.
    #[must_use]
    pub fn saturating_sub(self, other: NanoUsd) -> NanoUsd {
        NanoUsd(self.0.saturating_sub(other.0))
    }

    /// The next amount of two digits that is no less: 0.0123 becomes 0.013. What is not above zero, or
    /// would leave the range, stays as it is.
    #[must_use]
    pub fn rounded_up(self) -> NanoUsd {
        let mut step = 1_i64;
        while self.0 / step >= 100 {
            step *= 10;
        }
        match self.0 % step {
            rest if rest > 0 => self.0.checked_add(step - rest).map_or(self, NanoUsd),
            _ => self,
        }
    }

    /// Whether this is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The amount from a JSON or TOML number, read by its decimal digits, never through binary
    /// floating point: `0.1` is exactly 100_000_000 nano-USD.
    ///
    /// # Errors
    /// [`ParseMoneyError`] when it is not finite, has more than nine decimals, or is out of range.
    pub fn from_number(number: f64) -> Result<NanoUsd, ParseMoneyError> {
        // Display prints the shortest decimal that reads back as this float: the digits the user wrote.
        format!("{number}").parse()
    }
}

impl PicoUsd {
    /// Nothing.
    pub const ZERO: PicoUsd = PicoUsd(0);

    /// Rounds up to whole nano-USD: a bill is never understated.
    #[must_use]
    pub fn ceil_nanos(self) -> NanoUsd {
        let nanos = self.0.div_euclid(1_000) + i128::from(self.0.rem_euclid(1_000) != 0);
        NanoUsd(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Price per token from a decimal text in USD per million tokens: `"0.10"` is 100_000 pico-USD.
    ///
    /// # Errors
    /// [`ParseMoneyError`] when it has more than six decimals or is not a decimal.
    pub fn per_token_from_usd_per_million(text: &str) -> Result<PicoUsd, ParseMoneyError> {
        // USD per million tokens × 10^12 / 10^6 = ×10^6, so six decimals are exact.
        parse_decimal(text, 6).map(PicoUsd)
    }
}

impl std::ops::Add for PicoUsd {
    type Output = PicoUsd;

    fn add(self, other: PicoUsd) -> PicoUsd {
        PicoUsd(self.0.saturating_add(other.0))
    }
}

impl std::ops::Mul<u64> for PicoUsd {
    type Output = PicoUsd;

    fn mul(self, count: u64) -> PicoUsd {
        PicoUsd(self.0.saturating_mul(i128::from(count)))
    }
}

/// Reads a plain decimal as an integer scaled by `10^places`.
fn parse_decimal(text: &str, places: u32) -> Result<i128, ParseMoneyError> {
    let refuse = || ParseMoneyError { given: text.to_owned(), places };
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction_kept = fraction.trim_end_matches('0');
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || !all_digits(whole)
        || !all_digits(fraction)
        || fraction_kept.len() > places as usize
        || whole.len() > 24
    {
        return Err(refuse());
    }
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction_kept.bytes()) {
        value =
            value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit - b'0'))).ok_or_else(refuse)?;
    }
    let missing = places - u32::try_from(fraction_kept.len()).map_err(|_| refuse())?;
    value = value.checked_mul(10_i128.pow(missing)).ok_or_else(refuse)?;
    Ok(if negative { -value } else { value })
}

impl std::str::FromStr for NanoUsd {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let nanos = parse_decimal(text, 9)?;
        i64::try_from(nanos).map(NanoUsd).map_err(|_| ParseMoneyError { given: text.to_owned(), places: 9 })
    }
}

impl std::fmt::Display for NanoUsd {
    /// A decimal in USD: at least two decimals, at most nine, no trailing zeros past two.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let digits = format!("{fraction:09}");
        let kept = digits.trim_end_matches('0').len().max(2);
        f.pad(&format!("{sign}{whole}.{}", &digits[..kept]))
    }
}

impl Serialize for NanoUsd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    /// Reads a decimal text; a number is accepted too, by its digits.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Whole(i64),
            Number(f64),
        }
        match Given::deserialize(deserializer)? {
            Given::Text(text) => text.parse(),
            Given::Whole(whole) => whole.to_string().parse(),
            Given::Number(number) => NanoUsd::from_number(number),
        }
        .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_rounded_up_to_two_digits() {
        for (given, rounded) in [
            ("0", "0"),
            ("0.000000007", "0.000000007"),
            ("0.000000101", "0.00000011"),
            ("0.0123456", "0.013"),
            ("2.30", "2.30"),
            ("2.300000001", "2.4"),
            ("99.01", "100"),
            ("-1.55", "-1.55"),
        ] {
            let given: NanoUsd = given.parse().unwrap();
            assert_eq!(given.rounded_up(), rounded.parse().unwrap(), "{given}");
        }
        assert_eq!(NanoUsd::MAX.rounded_up(), NanoUsd::MAX);
    }

    #[test]
    fn decimals_are_read_by_their_digits() {
        assert_eq!("0.1".parse::<NanoUsd>().unwrap().nanos(), 100_000_000);
        assert_eq!(NanoUsd::from_number(0.3).unwrap().nanos(), 300_000_000);
        assert_eq!("10".parse::<NanoUsd>().unwrap().to_string(), "10.00");
        assert_eq!("0.000000001".parse::<NanoUsd>().unwrap().to_string(), "0.000000001");
        assert_eq!(PicoUsd::per_token_from_usd_per_million("0.10").unwrap(), PicoUsd(100_000));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for bad in ["", ".", "1e3", "NaN", "0.0000000001", "1,5", "99999999999999", "--1", "0x1"] {
            assert!(bad.parse::<NanoUsd>().is_err(), "{bad}");
        }
        assert!(NanoUsd::from_number(f64::INFINITY).is_err());
    }

    proptest! {
        #[test]
        fn an_amount_reads_back_as_printed(nanos in any::<i64>()) {
            let amount = NanoUsd::from_nanos(nanos);
            prop_assert_eq!(amount.to_string().parse::<NanoUsd>().unwrap(), amount);
        }

        #[test]
        fn rounding_never_understates(pico in -1_000_000_000_000_000_i128..1_000_000_000_000_000) {
            let nanos = i128::from(PicoUsd(pico).ceil_nanos().nanos());
            prop_assert!(nanos * 1_000 >= pico && nanos * 1_000 - pico < 1_000);
        }
    }
}
