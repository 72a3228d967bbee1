//! The hours in which a call was under way, by its provider's clock.
//!
//! Owns telling whether all of it fell into hours of lower prices. The clock is the provider's, from the `date`
//! of its answer: it bills by that one, and this host's need not be right. Providers differ in whether the
//! beginning of a call counts or its end, so both must be in those hours.

use std::time::Duration;

use http::{HeaderMap, header};
use tokio::time::Instant;

use crate::price::Price;

/// A call that takes longer may reach from one quiet time to the next.
const LONGEST: Duration = Duration::from_secs(3_600);

/// When a call began, and when its answer did.
pub(super) struct Hours {
    begun: Instant,
    /// By the provider's clock, in seconds since 1970, and by this host's.
    answered: Option<(i64, Instant)>,
}

impl Hours {
    pub(super) fn begin() -> Hours {
        Hours { begun: Instant::now(), answered: None }
    }

    /// The provider answers with these headers.
    pub(super) fn answered(&mut self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
        let said = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        self.answered = said.map(|said| (said.timestamp().as_second(), Instant::now()));
    }

    /// Whether the provider asks for less throughout.
    pub(super) fn are_quiet(&self, price: &Price) -> bool {
        let Some((said, at)) = self.answered.filter(|_| !price.windows.is_empty()) else { return false };
        // A second more on each side: the clock says whole ones.
        let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_add(1);
        let first = said.saturating_sub(whole(at.duration_since(self.begun)));
        let last = said.saturating_add(whole(at.elapsed()));
        self.begun.elapsed() <= LONGEST && price.is_off_peak(first) && price.is_off_peak(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::lookup;

    fn answered(date: &str) -> Hours {
        let mut hours = Hours::begin();
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, date.parse().unwrap());
        hours.answered(&headers);
        hours
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_a_call_must_be_in_the_quiet_hours() {
        let price = lookup("deepseek", "deepseek-v4-pro").unwrap();
        // A Tuesday: quiet from 10:00 on.
        assert!(!answered("Tue, 24 Nov 2026 08:30:00 GMT").are_quiet(&price));
        assert!(!answered("Tue, 24 Nov 2026 10:00:00 GMT").are_quiet(&price), "it began before");
        assert!(answered("Tue, 24 Nov 2026 10:00:30 GMT").are_quiet(&price));
        let long = answered("Tue, 24 Nov 2026 10:00:30 GMT");
        tokio::time::advance(LONGEST + Duration::from_secs(1)).await;
        assert!(!long.are_quiet(&price));
        // Quiet until one.
        let late = answered("Wed, 25 Nov 2026 00:59:00 GMT");
        assert!(late.are_quiet(&price));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!late.are_quiet(&price));
        assert!(!answered("no date").are_quiet(&price));
        assert!(!Hours::begin().are_quiet(&price));
        let steady = lookup("openai", "gpt-5-mini").unwrap();
        assert!(!answered("Tue, 24 Nov 2026 12:00:00 GMT").are_quiet(&steady));
    }
}
