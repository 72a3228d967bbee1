//! The ways in which one call may be made, and which is next after a failure.
//!
//! Owns the candidates and the decision; making an attempt is `attempts`'. **Architecture Invariant:** a
//! call makes at most as many attempts as it has candidates times [`crate::retry::Retry::attempts`].

use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Ask;
use super::candidate::Candidate;
use super::open::retry_count;
use crate::dialect::request::Request;
use crate::error::GatewayError;
use crate::gateway::Shared;
use crate::ledger::Tried;
use crate::retry::{Asked, Retry};

/// The headers that say who answered, where more than one attempt or candidate was there.
pub(super) const PROVIDER: &str = "wflo-provider";
pub(super) const MODEL: &str = "wflo-model";
pub(super) const ATTEMPTS: &str = "wflo-attempts";

/// How an attempt failed, as far as what comes next depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Not a byte of it was sent.
    NeverSent,
    /// It was sent and may be billed.
    Unknown,
    /// The provider has too many requests.
    Limited,
    /// The provider failed.
    Failing,
}

impl How {
    /// What an answer's status means; `None` is an answer, good or bad, that stands.
    pub(super) fn of(status: StatusCode) -> Option<How> {
        match status.as_u16() {
            429 => Some(How::Limited),
            // 408: the provider gave up reading; 529: Anthropic is overloaded.
            408 | 500 | 502 | 503 | 504 | 529 => Some(How::Failing),
            _ => None,
        }
    }
}

/// The next attempt: where, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    at: usize,
    pub(super) wait: Duration,
}

/// The candidates of a call, and how far it has come.
pub(super) struct Course<'a> {
    candidates: Vec<Candidate<'a>>,
    at: usize,
    retry: Retry,
    /// Attempts at the present candidate.
    here: u32,
    pub(super) tried: Vec<Tried>,
}

impl<'a> Course<'a> {
    /// The ways for a request, the best one first.
    pub(super) fn new(shared: &'a Shared, ask: &Ask, request: Request) -> Result<Course<'a>, GatewayError> {
        let candidates = vec![Candidate::new(shared, ask, request)?];
        let mut retry = shared.routes.routing().retry;
        if retry_count(&ask.headers).is_some_and(|nth| nth > 0) {
            // The client repeats by itself: its repetitions and ours would multiply.
            retry.attempts = 1;
        }
        Ok(Course { candidates, at: 0, retry, here: 1, tried: Vec::new() })
    }

    /// The candidate of the present attempt.
    pub(super) fn present(&self) -> &Candidate<'a> {
        &self.candidates[self.at]
    }

    /// Cuts the output of the present candidate; `false` when it cannot be told so.
    pub(super) fn cut(&mut self, tokens: u64) -> bool {
        self.candidates[self.at].cut(tokens)
    }

    /// Whether anything may come after this failure, so that its body is worth being kept back.
    pub(super) fn may_go_on(&self, how: How) -> bool {
        (how != How::Unknown || self.retry.unanswered)
            && (self.here < self.retry.attempts || self.at + 1 < self.candidates.len())
    }

    /// What follows a failure, or `None` when nothing does. `spare` takes one repetition of the
    /// provider's budget.
    pub(super) fn next(
        &self,
        how: How,
        asked: Asked,
        chance: u64,
        spare: impl FnOnce() -> bool,
    ) -> Option<Step> {
        if !self.may_go_on(how) {
            return None;
        }
        let elsewhere = self.at + 1 < self.candidates.len();
        // Who is out of room is left alone while there is somebody else.
        let here = self.here < self.retry.attempts && !asked.never && !(elsewhere && how == How::Limited);
        if here {
            let wait = self.retry.backoff(self.here, chance).max(asked.wait.unwrap_or_default());
            if wait <= self.retry.longest && spare() {
                return Some(Step { at: self.at, wait });
            }
        }
        elsewhere.then(|| Step { at: self.at + 1, wait: Duration::ZERO })
    }

    /// The candidate that a step leads to.
    pub(super) fn candidate(&self, step: Step) -> &Candidate<'a> {
        &self.candidates[step.at]
    }

    /// Takes the step, after the attempt that failed.
    pub(super) fn take(&mut self, step: Step, tried: Tried) {
        self.here = if step.at == self.at { self.here + 1 } else { 1 };
        self.at = step.at;
        self.tried.push(tried);
    }

    /// Whether the present attempt is the first one at its candidate.
    pub(super) fn is_new_here(&self) -> bool {
        self.here == 1
    }

    /// Attempts made, the present one included.
    pub(super) fn attempts(&self) -> usize {
        self.tried.len() + 1
    }

    /// Says in an answer's head who gave it, where that is not plain.
    pub(super) fn sign(&self, head: &mut Parts) {
        if self.tried.is_empty() && self.candidates.len() == 1 {
            return;
        }
        let present = self.present();
        let mut say = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                head.headers.insert(name, value);
            }
        };
        say(PROVIDER, &present.provider.name);
        say(MODEL, &present.request.model);
        say(ATTEMPTS, &self.attempts().to_string());
    }

    /// Says in the head of the last failure that the client need not repeat what was repeated here.
    pub(super) fn discourage(&self, headers: &mut HeaderMap) {
        if self.attempts() > 1 {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
    }
}
