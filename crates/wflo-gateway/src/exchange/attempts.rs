//! The attempts of one call: made, followed by another or settled.
//!
//! A call's sequence, with what a crash after each line leaves behind (ADR 0024 has it whole):
//! 1. intent and the first hold are one commit: charged in full;
//! 2. the attempt is sent: charged in full;
//! 3. it fails, and the wait before the next one goes by: charged in full, though it may be free;
//! 4. its charge and the next hold are one commit: the charge stays, the next hold is charged in full;
//! 5. as from 2, until an attempt answers: its bill and the answer are one commit.
//!
//! At each instant one hold is open, and it covers the one attempt that may be under way.

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use hyper::body::Incoming;
use tokio::time::Instant;
use wflo_core::money::NanoUsd;

use super::answer;
use super::candidate::Candidate;
use super::course::{Course, How, Step};
use super::{Ask, GAVE_UP, Live, error_record};
use crate::counts::Ended;
use crate::error::GatewayError;
use crate::gateway::Buffered;
use crate::ledger::{self, Further, Next, Tried};
use crate::retry::{Asked, RetryBudget, chance};
use crate::telemetry;
use crate::turn::Held;
use crate::upstream::{self, SendError};

/// An attempt that is not the answer, if another can be made.
enum Failure {
    /// Not a byte of it left this host.
    NeverSent(GatewayError),
    /// It was sent and may be billed.
    Unknown(GatewayError),
    /// Nobody waits for it any longer; it may be billed.
    GaveUp(GatewayError),
    /// The provider's refusal, read to its end; `None` is one that stands.
    Refused(Option<How>, Box<Refusal>),
}

/// A provider's answer that is kept back.
struct Refusal {
    head: Parts,
    body: Bytes,
    held: Buffered,
    charged: NanoUsd,
}

impl Failure {
    fn how(&self) -> Option<How> {
        match self {
            Failure::NeverSent(_) => Some(How::NeverSent),
            Failure::Unknown(_) => Some(How::Unknown),
            Failure::GaveUp(_) => None,
            Failure::Refused(how, _) => *how,
        }
    }

    fn asked(&self) -> Asked {
        match self {
            Failure::Refused(_, refusal) => Asked::read(&refusal.head.headers),
            _ => Asked::default(),
        }
    }

    /// What it is charged, of this hold.
    fn charged(&self, hold: NanoUsd) -> NanoUsd {
        match self {
            Failure::NeverSent(_) => NanoUsd::ZERO,
            Failure::Unknown(_) | Failure::GaveUp(_) => hold,
            Failure::Refused(_, refusal) => refusal.charged,
        }
    }

    fn said(&self) -> String {
        match self {
            Failure::NeverSent(_) => "never sent".to_owned(),
            Failure::Unknown(_) | Failure::GaveUp(_) => "no answer".to_owned(),
            Failure::Refused(_, refusal) => refusal.head.status.as_u16().to_string(),
        }
    }
}

impl<'a> Live<'a> {
    /// Makes attempts until one answers, which is given back, or none is left; then the call is settled.
    pub(super) async fn dispatch(
        mut self,
        ask: &Ask,
        course: &mut Course<'a>,
    ) -> Result<Option<(Live<'a>, Parts, Incoming)>, GatewayError> {
        loop {
            if let Some(budget) =
                self.shared.retries.get(&self.provider.name).filter(|_| course.is_new_here())
            {
                budget.earn();
            }
            let since = Instant::now();
            let failure = match self.attempt(ask, course.present()).await {
                Ok(response) => {
                    let (mut head, body) = response.into_parts();
                    crate::upstream::forget_ours(&mut head.headers);
                    if let Some(key) = &self.provider.api_key {
                        key.conceal_in(&mut head.headers);
                    }
                    course.present().health.learn(head.status, since.elapsed(), &head.headers);
                    self.count(Ended::with(head.status));
                    self.record(course, How::of(head.status) != Some(How::Failing));
                    match self.wanted(course, head.status) {
                        true => self.refused(head, body).await,
                        false => {
                            course.sign(&mut head);
                            if How::of(head.status).is_some() {
                                course.discourage(&mut head.headers);
                            }
                            return Ok(Some((self, head, body)));
                        }
                    }
                }
                Err(failure) => {
                    self.count(match failure {
                        Failure::NeverSent(_) => Ended::Unsent,
                        _ => Ended::Unanswered,
                    });
                    if !matches!(failure, Failure::GaveUp(_)) {
                        self.record(course, false);
                    }
                    failure
                }
            };
            if !self.goes_on(ask, course, &failure).await {
                return self.end(failure, course).await.map(|()| None);
            }
        }
    }

    /// Tells the breaker of the present way.
    fn record(&self, course: &Course<'_>, ok: bool) {
        let settings = self.shared.routes.routing().breaker.unwrap_or_default();
        if course.present().health.record(&settings, ok) {
            self.shared.at(&self.provider.name).inspect(|at| at.breaker_opened());
            telemetry::breaker_opened(&self.provider.name, &course.present().request.model);
        }
    }

    /// Counts an attempt.
    fn count(&self, ended: Ended) {
        self.shared.at(&self.provider.name).inspect(|at| at.ended(ended));
    }

    /// Whether a refusal's body must be read before it is known if another attempt follows.
    fn wanted(&self, course: &Course<'_>, status: StatusCode) -> bool {
        match How::of(status) {
            Some(how) => course.may_go_on(how),
            None => status.is_client_error() && course.may_go_on(How::TooLong),
        }
    }

    /// Sends the request once.
    async fn attempt(&self, ask: &Ask, at: &Candidate<'_>) -> Result<hyper::Response<Incoming>, Failure> {
        let provider = || at.provider.name.clone();
        let never = |reason| {
            let written = self.shared.routes.written_by(at.provider);
            Failure::NeverSent(GatewayError::Unreachable { provider: provider(), written, reason })
        };
        let body = at.outgoing().map_err(Failure::NeverSent)?;
        let uri = at.provider.endpoint(&at.suffix, ask.query.as_deref());
        let uri = uri.ok_or_else(|| never("its address does not join with the endpoint".to_owned()))?;
        let no_answer = |reason| GatewayError::NoAnswer { provider: provider(), reason };
        let told = |error| match error {
            SendError::NeverSent(reason) => never(reason),
            SendError::Unknown(reason) => Failure::Unknown(no_answer(reason)),
        };
        let mut request =
            upstream::request(at.provider, ask.method.clone(), uri, &ask.headers, body).map_err(told)?;
        self.shared.hop.sign(request.headers_mut());
        self.turn.0.sends();
        match self.until_gone(self.shared.upstream.send(request, self.deadlines.first_byte)).await {
            Some(sent) => sent.map_err(told),
            None => Err(Failure::GaveUp(no_answer(GAVE_UP.to_owned()))),
        }
    }

    /// Reads the rest of a refusal that may be followed by another attempt.
    async fn refused(&self, head: Parts, body: Incoming) -> Failure {
        let mut held = Buffered::answer(self.shared, self.share);
        let broke = |reason| GatewayError::Interrupted { provider: self.provider.name.clone(), reason };
        match self.until_gone(answer::collect(self, body, &mut held)).await {
            None => Failure::GaveUp(broke(GAVE_UP.to_owned())),
            Some(Err(reason)) => Failure::Unknown(broke(reason)),
            Some(Ok(body)) => {
                // A provider bills no error, unless it says what the error used.
                let charged = match answer::usage(self, &body) {
                    None => NanoUsd::ZERO,
                    used => self.bill(used.as_ref()).0,
                };
                let too_long = || How::is_too_long(head.status, &body).then_some(How::TooLong);
                let how = How::of(head.status).or_else(too_long);
                Failure::Refused(how, Box::new(Refusal { head, body, held, charged }))
            }
        }
    }

    /// Whether another attempt follows: waited for, charged and held. `self` is then of that attempt.
    async fn goes_on(&mut self, ask: &Ask, course: &mut Course<'a>, failure: &Failure) -> bool {
        let Some(how) = failure.how() else { return false };
        let shared = self.shared;
        let spare = || shared.retries.get(&self.provider.name).is_none_or(RetryBudget::take);
        let mut step = course.next(how, failure.asked(), chance(), spare);
        while let Some(towards) = step {
            match self.takes(ask, course, failure, towards).await {
                Ok(taken) => return taken,
                Err(why) => {
                    telemetry::not_again(&why);
                    step = course.instead(towards, how);
                }
            }
        }
        false
    }

    /// Takes one step; `false` when nobody waits for it any longer.
    ///
    /// # Errors
    /// Why the call cannot be made that way; another may do.
    async fn takes(
        &mut self,
        ask: &Ask,
        course: &mut Course<'a>,
        failure: &Failure,
        step: Step,
    ) -> Result<bool, String> {
        let charged = failure.charged(self.hold);
        let tried = Tried {
            provider: self.provider.name.clone(),
            model: course.present().request.model.clone(),
            failure: failure.said(),
            charged_usd: charged,
        };
        let other = course.candidate(self.shared, ask, step).map_err(|error| error.to_string())?;
        let at = other.as_ref().unwrap_or(course.present());
        at.provider.usable().map_err(|error| error.to_string())?;
        telemetry::tried(&tried, step.wait);
        // The slot is somebody else's while this call waits.
        self.turn.0.give_back();
        let turn = at.turn(self.shared, ask.caller.label(), course.guarded);
        let held = Held(turn.clone());
        let waited = tokio::select! {
            biased;
            () = self.parts.closed() => None,
            () = self.ended() => None,
            taken = async {
                tokio::time::sleep(step.wait).await;
                turn.take().await
            } => Some(taken),
        };
        let (Some(ticket), Some(taken)) = (self.ticket.as_ref(), waited) else { return Ok(false) };
        taken.map_err(|refusal| format!("{refusal:?}"))?;
        let next = Next {
            tried: course.tried.iter().cloned().chain([tried.clone()]).collect(),
            charged,
            provider: at.provider.name.clone(),
            address: at.provider.address(),
            model: at.request.model.clone(),
            hold: at.hold(),
            max_input_tokens: at.bound().map_or(0, |bound| bound.input_tokens),
            max_output_tokens: at.bound().map_or(0, |bound| bound.output_tokens),
        };
        let mut further = self.shared.ledger.again(ticket, next.clone()).await;
        if let Ok(Further::Refused(ledger::Refusal::Budget(_))) = &further
            && let Some(bound) = at.closer().and_then(|closer| closer.bound())
        {
            let next = Next { hold: bound.cost, max_input_tokens: bound.input_tokens, ..next };
            further = self.shared.ledger.again(ticket, next).await;
        }
        match further {
            Ok(Further::Dispatch) => {}
            Ok(Further::Refused(refusal)) => return Err(format!("{refusal:?}")),
            Err(error) => return Err(error.to_string()),
        }
        let counts = self.shared.at(&at.provider.name);
        counts.inspect(|counts| if other.is_some() { counts.fell_back() } else { counts.retried() });
        (self.provider, self.deadlines) = (at.provider, at.deadlines);
        (self.price, self.hold) = (at.price.clone(), at.hold());
        (self.choices, self.wants_usage) = (at.request.choices, at.request.wants_usage);
        self.turn = held;
        self.tier = at.request.tier.asked();
        self.before = self.before.saturating_add(charged);
        course.take(step, other, tried);
        self.slot = course.slot(ask);
        Ok(true)
    }

    /// Settles a call by its last failure.
    async fn end(mut self, failure: Failure, course: &Course<'_>) -> Result<(), GatewayError> {
        let attempts = course.attempts();
        let last = |error| match attempts {
            1 => error,
            _ => GatewayError::Exhausted { attempts, last: Box::new(error) },
        };
        match failure {
            Failure::NeverSent(error) if attempts == 1 => {
                if let Some(ticket) = self.ticket.take() {
                    self.shared.ledger.release(ticket).await?;
                }
                Err(error)
            }
            Failure::NeverSent(error) => {
                // Of an earlier attempt something was sent, or at least charged in the call's record.
                let error = last(error);
                self.close(error_record(&error, self.dialect), None, NanoUsd::ZERO, false).await?;
                Err(error)
            }
            Failure::Unknown(error) | Failure::GaveUp(error) => self.no_answer(last(error)).await,
            Failure::Refused(_, refusal) => {
                let Refusal { mut head, body, held, .. } = *refusal;
                course.sign(&mut head);
                course.discourage(&mut head.headers);
                answer::give(self, head, body, held).await
            }
        }
    }
}
