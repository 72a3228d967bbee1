//! One way in which a call may be made: to whom, at what price, with which body.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use wflo_core::money::NanoUsd;

use super::Ask;
use super::rename::renamed;
use crate::closer::Closer;
use crate::dialect::request::Request;
use crate::dialect::wire::Asked;
use crate::error::GatewayError;
use crate::gateway::Shared;
use crate::health::Way;
use crate::limits::Claim;
use crate::price::Price;
use crate::reserve::Bound;
use crate::route::Provider;
use crate::routing::{Place, Waits};
use crate::shorter::{Cut, Shorter, Whole};
use crate::turn::Turn;
use crate::upstream::Deadlines;

/// What counts as the output of a call that names no limit, for limits of tokens, until it is known.
const UNSAID: u64 = 1_024;

/// One way in which a call may be made.
pub(super) struct Candidate<'a> {
    pub(super) provider: &'a Provider,
    pub(super) health: Arc<Way>,
    /// `None` only for endpoints that are not billed.
    pub(super) price: Option<Arc<Price>>,
    /// The request as it is asked there, under the model's name there.
    pub(super) request: Arc<Request>,
    /// The path under the provider's address.
    pub(super) suffix: String,
    /// The client's body with that name.
    body: Bytes,
    bound: Option<Bound>,
    whole: Option<Arc<Whole>>,
    /// The body as it goes there, once it is asked for.
    ready: OnceLock<Bytes>,
    /// With less output than was asked for.
    cut: Option<Cut>,
    pub(super) deadlines: Deadlines,
}

impl<'a> Candidate<'a> {
    /// The call at a place; `request` is the client's own.
    pub(super) fn new(
        shared: &'a Shared,
        ask: &Ask,
        request: &Arc<Request>,
        place: &Place,
    ) -> Result<Candidate<'a>, GatewayError> {
        let route = shared.routes.locate(Some(ask.dialect), Some(ask.endpoint), place)?;
        let (suffix, body, request) = if place.model == request.model {
            (ask.suffix.clone(), ask.body.clone(), Arc::clone(request))
        } else {
            let (suffix, body) = renamed(&ask.suffix, &ask.body, &place.model)?;
            let request = Request::read(&Asked { suffix: &suffix, ..ask.asked() }, &body)?;
            (suffix, body, Arc::new(request))
        };
        let price = route.price.map(Arc::new);
        let bound = match (&price, ask.endpoint.is_billed()) {
            (Some(price), true) => Some(crate::reserve::upper_bound(&request, price)?),
            _ => None,
        };
        let whole = price.as_ref().filter(|_| bound.is_some()).map(|price| {
            Arc::new(Whole {
                dialect: ask.dialect,
                endpoint: ask.endpoint,
                suffix: suffix.clone(),
                query: ask.query.clone(),
                beta: ask.asked().beta.to_owned(),
                body: body.clone(),
                price: Arc::clone(price),
                spared: OnceLock::new(),
            })
        });
        let own = shared.routes.routing().models.get(&place.model);
        let own = own.map_or_else(Waits::default, |detour| detour.waits);
        let provider = route.provider;
        let deadlines = own.over(provider.waits.over(shared.deadlines));
        let health = shared.health.way(&provider.name, &place.model);
        Ok(Candidate {
            provider,
            health,
            price,
            request,
            suffix,
            body,
            bound,
            whole,
            ready: OnceLock::new(),
            cut: None,
            deadlines,
        })
    }

    /// The call at an endpoint that the gateway does not know: held at what its operator says.
    pub(super) fn passed(
        shared: &'a Shared,
        ask: &Ask,
        request: &Arc<Request>,
    ) -> Result<Candidate<'a>, GatewayError> {
        let through = shared.routes.passthrough(ask.dialect, &ask.suffix);
        let (provider, cost) = through.ok_or_else(|| GatewayError::UnknownEndpoint {
            method: ask.method.to_string(),
            path: ask.suffix.clone(),
        })?;
        let bound = Bound { cost, input_tokens: 0, output_tokens: 0, write: None };
        Ok(Candidate {
            provider,
            // For what its answer says that it used.
            price: shared.routes.price(provider, &request.model).map(Arc::new),
            health: shared.health.way(&provider.name, &request.model),
            request: Arc::clone(request),
            suffix: ask.suffix.clone(),
            body: ask.body.clone(),
            bound: Some(bound),
            whole: None,
            ready: OnceLock::new(),
            cut: None,
            deadlines: provider.waits.over(shared.deadlines),
        })
    }

    /// What an attempt here must wait for. `guarded`: its breaker may keep it back.
    pub(super) fn turn(&self, shared: &Shared, caller: &str, guarded: bool) -> Turn {
        let gate = shared.gate.as_ref().map(|gate| {
            let claim = Claim {
                provider: self.provider.name.clone(),
                model: self.request.model.clone(),
                caller: caller.to_owned(),
                tokens: self.request.body_bytes / 4 + self.request.max_output.unwrap_or(UNSAID),
            };
            (Arc::clone(gate), claim)
        });
        Turn::new(guarded.then(|| Arc::clone(&self.health)), gate)
    }

    /// The most that an attempt here can cost.
    pub(super) fn hold(&self) -> NanoUsd {
        self.bound().map_or(NanoUsd::ZERO, |bound| bound.cost)
    }

    /// The bound of an attempt here: as it is cut or counted, if it is.
    pub(super) fn bound(&self) -> Option<Bound> {
        let cut = self.cut.as_ref().map(|cut| cut.bound);
        cut.or_else(|| self.whole.as_ref()?.counted(&self.request)).or(self.bound)
    }

    /// The limit of its output that the gateway writes where the client names none that holds, uncut.
    pub(super) fn written(&self) -> Option<u64> {
        self.bound.and_then(|bound| bound.write).map(|(_, tokens)| tokens)
    }

    /// What counts its text.
    pub(super) fn closer(&self) -> Option<Closer> {
        self.whole.as_ref()?.closer(&self.request)
    }

    /// The body as it goes there.
    pub(super) fn outgoing(&self) -> Result<Bytes, GatewayError> {
        if let Some(ready) = self.cut.as_ref().map(|cut| &cut.body).or(self.ready.get()) {
            return Ok(ready.clone());
        }
        let write = self.bound.and_then(|bound| bound.write);
        let body = self.request.outgoing(&self.body, write).map_err(|e| GatewayError::Request(e.into()))?;
        Ok(self.ready.get_or_init(|| body).clone())
    }

    /// What it would hold with less output.
    pub(super) fn shorter(&self) -> Option<Shorter> {
        let (whole, bound) = self.whole.as_ref().zip(self.bound)?;
        Some(whole.shorter(&self.request, &bound))
    }

    /// Whether it is asked for less output than the client asks for.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Cuts its output; `false` when its server cannot be told so.
    pub(super) fn cut(&mut self, tokens: u64) -> bool {
        self.cut = self.whole.as_ref().and_then(|whole| whole.cut(&self.request, tokens));
        self.cut.is_some()
    }
}
