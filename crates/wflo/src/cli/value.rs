//! Value parsers that several commands share.

use wflo_core::money::NanoUsd;

/// An amount in USD that is not negative.
pub(super) fn usd(text: &str) -> Result<NanoUsd, String> {
    let amount: NanoUsd =
        text.strip_prefix('$').unwrap_or(text).parse().map_err(|error| format!("{error}"))?;
    if amount.is_negative() { Err("an amount cannot be negative".to_owned()) } else { Ok(amount) }
}

/// The digits of an id without its prefix.
const DIGITS: usize = 32;
/// Fewer digits are a slip of the keyboard, not the beginning of an id.
const FEWEST: usize = 4;

/// Whether a text is the beginning of an id as it is printed.
pub(super) fn is_beginning(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        (FEWEST..DIGITS).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}
