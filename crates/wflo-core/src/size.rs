//! Sizes and durations as users write them: `512m`, `10s`.

use serde::{Deserialize, Serialize};

/// A text that is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {what}: write {example}")]
pub struct ParseUnitError {
    what: &'static str,
    example: &'static str,
    given: String,
}

/// A number of bytes; `k`, `m`, `g`, `t` are powers of 1024, as in Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A span of time in milliseconds, written `250ms`, `10s`, `5m`, `1h`, `2d`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A share of the machine's processors in thousandths of a core: `0.5` is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MilliCpus(pub u64);

fn split_unit(text: &str) -> (&str, String) {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    (text[..at].trim(), text[at..].to_ascii_lowercase())
}

/// Reads a decimal and scales it, exactly; `None` when it is no decimal, negative, or too large.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let total = whole.checked_mul(u128::from(scale))?.checked_add(part * u128::from(scale) / denominator)?;
    u64::try_from(total).ok()
}

impl std::str::FromStr for Bytes {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let (number, unit) = split_unit(text.trim());
        let scale = match unit.as_str() {
            "" | "b" => Some(1),
            "k" | "kb" | "kib" => Some(1 << 10),
            "m" | "mb" | "mib" => Some(1 << 20),
            "g" | "gb" | "gib" => Some(1 << 30),
            "t" | "tb" | "tib" => Some(1 << 40),
            _ => None,
        };
        scale
            .and_then(|scale| scaled(number, scale))
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .map(Bytes)
            .ok_or_else(|| ParseUnitError {
                what: "size",
                example: "512m, 2g or 64k",
                given: text.to_owned(),
            })
    }
}

impl std::str::FromStr for Millis {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let (number, unit) = split_unit(text.trim());
        let scale = match unit.as_str() {
            "ms" => Some(1),
            "" | "s" => Some(1_000),
            "m" | "min" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        scale
            .and_then(|scale| scaled(number, scale))
            .filter(|millis| *millis <= 100 * 365 * 86_400_000)
            .map(Millis)
            .ok_or_else(|| ParseUnitError {
                what: "duration",
                example: "10s, 5m or 1h",
                given: text.to_owned(),
            })
    }
}

impl std::str::FromStr for MilliCpus {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        scaled(text.trim(), 1_000).filter(|cpus| (1..=1_000_000).contains(cpus)).map(MilliCpus).ok_or_else(
            || ParseUnitError { what: "number of CPUs", example: "0.5 or 2", given: text.to_owned() },
        )
    }
}

impl Millis {
    /// As the standard library's duration.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}b", self.0)
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (scale, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if self.0 != 0 && self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

impl std::fmt::Display for MilliCpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0 / 1_000, self.0 % 1_000);
        if part == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0'))
        }
    }
}

macro_rules! serde_as_text {
    ($name:ident, $expects:literal) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Reads the text form; a bare number is accepted as its base unit.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expects)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}

serde_as_text!(Bytes, "a size such as \"512m\"");
serde_as_text!(Millis, "a duration such as \"10s\" or a number of seconds");
serde_as_text!(MilliCpus, "a number of CPUs such as \"0.5\"");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_read_as_written() {
        assert_eq!("512m".parse::<Bytes>().unwrap(), Bytes(512 << 20));
        assert_eq!("1.5g".parse::<Bytes>().unwrap(), Bytes(3 << 29));
        assert_eq!("10s".parse::<Millis>().unwrap(), Millis(10_000));
        assert_eq!("0.25".parse::<Millis>().unwrap(), Millis(250));
        assert_eq!("0.5".parse::<MilliCpus>().unwrap(), MilliCpus(500));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for bad in ["", "-1s", "1x", "s", "1.2.3s", "99999999999999999999d", "∞"] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
        assert!("0".parse::<MilliCpus>().is_err());
        assert!("ten".parse::<Millis>().unwrap_err().to_string().contains("10s"));
    }

    proptest! {
        #[test]
        fn printed_units_read_back(n in 0_u64..(1 << 50)) {
            prop_assert_eq!(Bytes(n).to_string().parse::<Bytes>().unwrap(), Bytes(n));
            let millis = Millis(n % (365 * 86_400_000));
            prop_assert_eq!(millis.to_string().parse::<Millis>().unwrap(), millis);
        }
    }
}
