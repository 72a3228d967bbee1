//! Value parsers that several commands share.

use wflo_core::money::NanoUsd;

/// An amount in USD that is not negative.
pub(super) fn usd(text: &str) -> Result<NanoUsd, String> {
    let amount: NanoUsd =
        text.strip_prefix('$').unwrap_or(text).parse().map_err(|error| format!("{error}"))?;
    if amount.is_negative() { Err("an amount cannot be negative".to_owned()) } else { Ok(amount) }
}
