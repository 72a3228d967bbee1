//! What the head of an answer says of its cost.
//!
//! Owns the two headers. They are for the clients of a gateway alone: what a run is told must be the same when it
//! is resumed, and a stream that is given again has a cost where it had a hold.

use http::{HeaderMap, HeaderName, HeaderValue};
use wflo_core::money::NanoUsd;

/// What the call was charged, in USD.
const COST: HeaderName = HeaderName::from_static("wflo-cost-usd");
/// What it is held at while it runs: the most that it can cost, in USD.
const HELD: HeaderName = HeaderName::from_static("wflo-held-usd");

/// What is known of a call's cost before its answer goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Charge {
    /// It is none that is charged.
    Nothing,
    /// All of it.
    Cost(NanoUsd),
    /// The most that it can be.
    Held(NanoUsd),
}

impl Charge {
    /// Says it.
    pub(crate) fn say(self, headers: &mut HeaderMap) {
        let (name, amount) = match self {
            Charge::Nothing => return,
            Charge::Cost(amount) => (COST, amount),
            Charge::Held(amount) => (HELD, amount),
        };
        headers.insert(name, value(amount));
    }
}

/// The amount as it is written everywhere, by hand because every answer has one: at least two decimals, at most nine.
fn value(amount: NanoUsd) -> HeaderValue {
    const POINT: usize = 20;
    let nanos = amount.nanos().unsigned_abs();
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
    let (mut whole, mut fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let mut text = [b'.'; POINT + 10];
    for at in (POINT + 1..text.len()).rev() {
        text[at] = digit(fraction);
        fraction /= 10;
    }
    let mut from = POINT;
    loop {
        from -= 1;
        text[from] = digit(whole);
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    let zeros = text[POINT + 3..].iter().rev().take_while(|digit| **digit == b'0').count();
    let kept = &text[from..text.len() - zeros];
    HeaderValue::from_bytes(kept).unwrap_or(HeaderValue::from_static("0.00"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_amount_is_written_as_everywhere(nanos in prop_oneof![0..=i64::MAX, 0_i64..5_000_000_000]) {
            let amount = NanoUsd::from_nanos(nanos);
            let written = value(amount);
            prop_assert_eq!(written.to_str().unwrap(), amount.to_string());
        }
    }
}
