//! The ways in which one call may be made, and which is next after a failure.
//!
//! Owns the decision; making an attempt is `attempts`'. **Architecture Invariant:** a call makes at most as
//! many attempts as it has ways times [`crate::retry::Retry::attempts`].

use std::sync::Arc;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Ask;
use super::cached::{Part, Said, Slot};
use super::candidate::Candidate;
use super::open::retry_count;
use super::plan::{self, Way};
use crate::cache::Lookup;
use crate::dialect::Endpoint;
use crate::dialect::request::Request;
use crate::error::GatewayError;
use crate::gateway::Shared;
use crate::ledger::{Caller, Tried};
use crate::retry::{Asked, Retry};
use crate::routing::Place;
use crate::telemetry;

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
    /// The request is longer than the model reads.
    TooLong,
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

    /// Whether a refusal says that the request is too long for the model, in any provider's words.
    pub(super) fn is_too_long(status: StatusCode, body: &[u8]) -> bool {
        const SAID: [&str; 7] = [
            "context_length_exceeded",
            "maximum context length",
            "prompt is too long",
            "exceed context limit",
            "exceeds the maximum number of tokens",
            "too many tokens",
            "context window",
        ];
        let body = String::from_utf8_lossy(body).to_ascii_lowercase();
        matches!(status.as_u16(), 400 | 413 | 422) && SAID.iter().any(|said| body.contains(said))
    }
}

/// The next attempt: by which way, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    at: usize,
    pub(super) wait: Duration,
}

/// The ways of a call, and how far it has come.
pub(super) struct Course<'a> {
    request: Arc<Request>,
    route: Route,
    present: Candidate<'a>,
    /// A way that fails is left alone: the operator says so, or there is another.
    pub(super) guarded: bool,
    /// Cheaper models, the next one first.
    downgrade: std::slice::Iter<'a, Place>,
    pub(super) tried: Vec<Tried>,
    /// Its part in the cache.
    cached: Option<Part>,
    said: Said,
}

/// What the decision depends on.
#[derive(Debug, Clone)]
struct Route {
    ways: Vec<Way>,
    at: usize,
    retry: Retry,
    /// Attempts by the present way.
    here: u32,
}

impl Route {
    /// The next way that is open after such a failure.
    fn elsewhere(&self, how: How) -> Option<usize> {
        let longer = how == How::TooLong || self.ways[self.at].longer;
        (self.at + 1..self.ways.len()).find(|at| self.ways[*at].longer == longer)
    }

    fn again(&self, how: How) -> bool {
        self.here < self.retry.attempts && how != How::TooLong
    }

    /// Whether anything may come after this failure.
    fn may_go_on(&self, how: How) -> bool {
        (how != How::Unknown || self.retry.unanswered) && (self.again(how) || self.elsewhere(how).is_some())
    }

    /// What follows a failure. Who is out of room is left alone while there is somebody else.
    fn next(&self, how: How, asked: Asked, chance: u64, spare: impl FnOnce() -> bool) -> Option<Step> {
        if !self.may_go_on(how) {
            return None;
        }
        let elsewhere = self.elsewhere(how);
        if self.again(how) && !asked.never && !(elsewhere.is_some() && how == How::Limited) {
            let wait = self.retry.backoff(self.here, chance).max(asked.wait.unwrap_or_default());
            if wait <= self.retry.longest && spare() {
                return Some(Step { at: self.at, wait });
            }
        }
        elsewhere.map(|at| Step { at, wait: Duration::ZERO })
    }

    fn take(&mut self, step: Step) {
        self.here = if step.at == self.at { self.here + 1 } else { 1 };
        self.at = step.at;
    }
}

impl<'a> Course<'a> {
    /// The ways for a request, the best one first.
    pub(super) fn new(shared: &'a Shared, ask: &Ask, request: Request) -> Result<Course<'a>, GatewayError> {
        let request = Arc::new(request);
        let mut retry = shared.routes.routing().retry;
        let (ways, present) = if ask.endpoint == Endpoint::Passthrough {
            // Nobody knows what a repetition of it does, here or elsewhere.
            retry.attempts = 1;
            let present = Candidate::passed(shared, ask, &request)?;
            let place = Place { provider: Some(present.provider.name.clone()), model: request.model.clone() };
            (vec![Way { place, longer: false }], present)
        } else {
            let ways = plan::ways(shared, ask, &request);
            let present = Candidate::new(shared, ask, &request, &ways[0].place)?;
            (ways, present)
        };
        if retry_count(&ask.headers).is_some_and(|nth| nth > 0) {
            // The client repeats by itself: its repetitions and ours would multiply.
            retry.attempts = 1;
        }
        let (cached, said) = Part::of(shared, ask, &request)?;
        let downgrade = match ask.endpoint {
            Endpoint::Passthrough => [].iter(),
            _ => plan::downgrade(shared, &request).iter(),
        };
        let guarded = shared.routes.routing().breaker.is_some() || ways.len() > 1;
        let route = Route { ways, at: 0, retry, here: 1 };
        Ok(Course { request, route, present, guarded, downgrade, tried: Vec::new(), cached, said })
    }

    /// The candidate of the present attempt.
    pub(super) fn present(&self) -> &Candidate<'a> {
        &self.present
    }

    /// The question to the cache: under every way that the operator lets a draw, or what is fastest now, choose among.
    /// In the order of the settings, so that an equal request gets an equal answer whichever is drawn for it.
    pub(super) fn lookup(&self, shared: &'a Shared, ask: &Ask, caller: &Caller) -> Lookup {
        let Some(part) = &self.cached else { return Lookup::none() };
        let here = &self.route.ways[self.route.at].place;
        let alike = plan::alike(shared, ask, &self.request);
        if !part.reads() || !alike.iter().any(|share| share.place == *here) {
            return part.lookup(part.place(ask, &self.present).into_iter().collect());
        }
        let place = |place: &Place| {
            if place == here {
                return part.place(ask, &self.present);
            }
            let other = Candidate::new(shared, ask, &self.request, place).ok()?;
            part.place(ask, &other).filter(|_| caller.may_be_given(&place.model))
        };
        part.lookup(alike.iter().filter_map(|share| place(&share.place)).collect())
    }

    /// Where the answer of the present attempt is kept.
    pub(super) fn slot(&self, ask: &Ask) -> Option<Slot> {
        self.cached.as_ref()?.slot(ask, &self.present)
    }

    /// The model as the client wrote it.
    pub(super) fn asked(&self) -> &str {
        &self.request.model
    }

    /// Whether the model's chain of cheaper ones has any left.
    pub(super) fn has_cheaper(&self) -> bool {
        !self.downgrade.as_slice().is_empty()
    }

    /// Makes the call one of the next cheaper candidate, before its first attempt; leaves it as it is when
    /// there is none.
    pub(super) fn downgrade(&mut self, shared: &'a Shared, ask: &Ask) {
        // Cheaper by what it can cost: a chain may name what is dearer for this request.
        let cheaper = self.downgrade.by_ref().find_map(|place| {
            let place = plan::first(shared, ask, &self.request, place);
            let candidate = Candidate::new(shared, ask, &self.request, &place).ok()?;
            let fits = candidate.hold() < self.present.hold() && candidate.provider.usable().is_ok();
            fits.then_some((place, candidate))
        });
        if let Some((place, candidate)) = cheaper {
            telemetry::downgraded(&self.present.request.model, &candidate.request.model);
            shared.at(&candidate.provider.name).inspect(|at| at.downgraded());
            self.route.ways[self.route.at].place = place;
            self.present = candidate;
        }
    }

    /// Cuts the output of the present candidate; `false` when it cannot be told so.
    pub(super) fn cut(&mut self, tokens: u64) -> bool {
        self.present.cut(tokens)
    }

    /// Whether anything may come after this failure, so that its body is worth being kept back.
    pub(super) fn may_go_on(&self, how: How) -> bool {
        self.route.may_go_on(how)
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
        self.route.next(how, asked, chance, spare)
    }

    /// Passes a way over that cannot be used after all: what follows the failure instead.
    pub(super) fn instead(&mut self, step: Step, how: How) -> Option<Step> {
        if step.at != self.route.at {
            self.route.ways.remove(step.at);
        } else {
            self.route.retry.attempts = self.route.here;
        }
        self.route.next(how, Asked { wait: None, never: true }, 0, || false)
    }

    /// The candidate that a step leads to; `None` is the present one.
    ///
    /// # Errors
    /// When the call cannot be made there.
    pub(super) fn candidate(
        &self,
        shared: &'a Shared,
        ask: &Ask,
        step: Step,
    ) -> Result<Option<Candidate<'a>>, GatewayError> {
        if step.at == self.route.at {
            return Ok(None);
        }
        Candidate::new(shared, ask, &self.request, &self.route.ways[step.at].place).map(Some)
    }

    /// Takes the step to its candidate, after the attempt that failed.
    pub(super) fn take(&mut self, step: Step, candidate: Option<Candidate<'a>>, tried: Tried) {
        self.route.take(step);
        if let Some(candidate) = candidate {
            self.present = candidate;
        }
        self.tried.push(tried);
    }

    /// Whether the present attempt is the first one by its way.
    pub(super) fn is_new_here(&self) -> bool {
        self.route.here == 1
    }

    /// Attempts made, the present one included.
    pub(super) fn attempts(&self) -> usize {
        self.tried.len() + 1
    }

    /// Says in an answer's head who gave it, where that is not plain.
    pub(super) fn sign(&self, head: &mut Parts) {
        if let Some((name, value)) = self.said.value() {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        let present = self.present();
        if self.tried.is_empty() && self.route.ways.len() == 1 && present.request.model == self.request.model
        {
            return;
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(ways: &[bool], attempts: u32, unanswered: bool) -> Route {
        let ways = ways.iter().enumerate().map(|(nth, longer)| Way {
            place: Place { provider: None, model: nth.to_string() },
            longer: *longer,
        });
        let retry = Retry { attempts, unanswered, ..Retry::default() };
        Route { ways: ways.collect(), at: 0, retry, here: 1 }
    }

    const NONE: Asked = Asked { wait: None, never: false };

    #[test]
    fn who_is_out_of_room_is_left_for_the_next_and_who_failed_is_asked_again() {
        let route = route(&[false, false], 2, false);
        let next = |how| route.next(how, NONE, 0, || true).map(|step| step.at);
        assert_eq!(next(How::Limited), Some(1));
        assert_eq!(next(How::Failing), Some(0));
        assert_eq!(next(How::NeverSent), Some(0));
        assert_eq!(next(How::Unknown), None, "it may be billed");
        let told = Asked { wait: Some(Duration::from_secs(600)), never: false };
        assert_eq!(route.next(How::Failing, told, 0, || true).unwrap().at, 1, "too long a wait");
        assert_eq!(route.next(How::Failing, NONE, 0, || false).unwrap().at, 1, "no repetition to spare");
    }

    #[test]
    fn a_request_that_is_too_long_goes_to_who_reads_more_and_stays_there() {
        let mut route = route(&[false, false, true, true], 2, false);
        let step = route.next(How::TooLong, NONE, 0, || true).unwrap();
        assert_eq!(step.at, 2);
        route.take(step);
        assert_eq!(route.next(How::Limited, NONE, 0, || true).unwrap().at, 3);
        let other = self::route(&[false, true], 1, false);
        assert_eq!(other.next(How::Failing, NONE, 0, || true), None, "not for other failures");
    }

    fn how() -> impl Strategy<Value = How> {
        prop_oneof![
            Just(How::NeverSent),
            Just(How::Unknown),
            Just(How::Limited),
            Just(How::Failing),
            Just(How::TooLong)
        ]
    }

    proptest! {
        /// Whatever fails and however, the attempts of one call have their bound.
        #[test]
        fn the_attempts_of_a_call_are_bounded(
            longer in proptest::collection::vec(any::<bool>(), 0..6),
            attempts in 1_u32..6,
            unanswered: bool,
            fails in proptest::collection::vec((how(), any::<u64>(), any::<bool>()), 200),
        ) {
            let ways: Vec<bool> = std::iter::once(false).chain(longer).collect();
            let mut route = route(&ways, attempts, unanswered);
            let mut made = 1;
            for (how, chance, spare) in fails {
                let Some(step) = route.next(how, NONE, chance, || spare) else { break };
                route.take(step);
                made += 1;
            }
            prop_assert!(made <= ways.len() * attempts as usize, "{made}");
        }
    }
}
