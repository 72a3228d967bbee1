//! How long a sandbox has to live, and what is done when that is up.
//!
//! **Architecture Invariant:** whether its time is up is decided once, under the lock that more time is given under:
//! who was told that it has more has it, and after its end was decided nobody is told that.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// What is done when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Kill,
    Pause,
}

/// What of a sandbox's life changes.
#[derive(Debug)]
pub(crate) struct Life {
    ends: Timestamp,
    deadline: Instant,
    /// The last time that was asked for.
    span: Duration,
    /// The longest that it may be paused on end, as it may be given to run.
    longest: Duration,
    state: State,
    at_end: AtEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    /// It was decided that it ends.
    Over,
}

/// Its end was decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Over;

/// What is due when its time is up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Pause,
    /// It is over, and why.
    End(&'static str),
}

impl Life {
    /// One that begins now.
    pub(crate) fn new(now: Timestamp, span: Duration, longest: Duration, at_end: AtEnd) -> Life {
        Life {
            ends: later(now, span),
            deadline: Instant::now() + span,
            span,
            longest,
            state: State::Running,
            at_end,
        }
    }

    /// When its time is up, by the wall's clock.
    pub(crate) fn ends(&self) -> Timestamp {
        self.ends
    }

    /// The same by the clock that nobody sets.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn at_end(&self) -> AtEnd {
        self.at_end
    }

    /// Whether it is paused.
    ///
    /// # Errors
    /// When it is over.
    pub(crate) fn is_paused(&self) -> Result<bool, Over> {
        match self.state {
            State::Running => Ok(false),
            State::Paused => Ok(true),
            State::Over => Err(Over),
        }
    }

    /// Gives it `span` from now on; only more than it has where `only_more`. What is paused has it once it goes on.
    ///
    /// # Errors
    /// When it is over.
    pub(crate) fn give(&mut self, span: Duration, now: Timestamp, only_more: bool) -> Result<(), Over> {
        let deadline = Instant::now() + span;
        if self.is_paused()? {
            self.span = span;
        } else if !only_more || deadline >= self.deadline {
            (self.deadline, self.ends, self.span) = (deadline, later(now, span), span);
        }
        Ok(())
    }

    /// It was paused: its time stands still, and another begins.
    pub(crate) fn paused(&mut self, now: Timestamp) {
        self.state = State::Paused;
        (self.deadline, self.ends) = (Instant::now() + self.longest, later(now, self.longest));
    }

    /// It goes on, with `span` or as much as it was given last.
    pub(crate) fn resumed(&mut self, span: Option<Duration>, now: Timestamp) {
        let span = span.unwrap_or(self.span);
        self.state = State::Running;
        (self.deadline, self.ends, self.span) = (Instant::now() + span, later(now, span), span);
    }

    /// What is due, if its time is up. Nothing but its end follows a pause.
    pub(crate) fn due(&mut self) -> Option<Due> {
        if Instant::now() < self.deadline {
            return None;
        }
        let why = match (self.state, self.at_end) {
            (State::Over, _) => return None,
            (State::Running, AtEnd::Pause) => return Some(Due::Pause),
            (State::Running, AtEnd::Kill) => "timeout",
            (State::Paused, _) => "paused for too long",
        };
        Some(self.end(why))
    }

    /// It is over from now on.
    pub(crate) fn end(&mut self, why: &'static str) -> Due {
        self.state = State::Over;
        Due::End(why)
    }
}

fn later(now: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| now.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn life(at_end: AtEnd) -> Life {
        Life::new(Timestamp::UNIX_EPOCH, SPAN, SPAN * 6, at_end)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_that_it_has_more_time_has_it() {
        let mut life = life(AtEnd::Kill);
        tokio::time::advance(SPAN).await;
        // Its timer has rung, and somebody was sooner.
        life.give(SPAN, Timestamp::UNIX_EPOCH, false).unwrap();
        assert_eq!(life.due(), None);
        tokio::time::advance(SPAN).await;
        assert_eq!(life.due(), Some(Due::End("timeout")));
        assert_eq!(life.give(SPAN, Timestamp::UNIX_EPOCH, false), Err(Over));
        assert_eq!(life.give(SPAN, Timestamp::UNIX_EPOCH, true), Err(Over));
        assert_eq!(life.is_paused(), Err(Over));
        assert_eq!(life.due(), None, "it ends once");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_but_its_end_follows_a_pause() {
        let mut life = life(AtEnd::Pause);
        tokio::time::advance(SPAN).await;
        assert_eq!(life.due(), Some(Due::Pause));
        life.paused(Timestamp::UNIX_EPOCH);
        life.give(SPAN * 2, Timestamp::UNIX_EPOCH, false).unwrap();
        tokio::time::advance(SPAN * 6).await;
        life.resumed(None, Timestamp::UNIX_EPOCH);
        assert_eq!(life.due(), None, "it went on before anybody looked");
        tokio::time::advance(SPAN * 2).await;
        assert_eq!(life.due(), Some(Due::Pause), "what it was given while it was paused is over");
        life.paused(Timestamp::UNIX_EPOCH);
        tokio::time::advance(SPAN * 6).await;
        assert_eq!(life.due(), Some(Due::End("paused for too long")));
    }
}
