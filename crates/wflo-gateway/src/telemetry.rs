//! Spans and logs of a call, by the OpenTelemetry GenAI semantic conventions.
//!
//! Owns the one table of attribute names. **Architecture Invariant:** no prompt, answer, header or
//! key is ever an attribute.

use std::time::Duration;

use tracing::field::Empty;
use wflo_core::error::Coded as _;
use wflo_core::money::NanoUsd;

use crate::dialect::request::Request;
use crate::error::GatewayError;
use crate::exchange::Ask;
use crate::ledger::Tried;
use crate::route::Provider;
use crate::usage::Usage;

/// OpenTelemetry's name for what an endpoint does.
fn operation(ask: &Ask) -> &'static str {
    use crate::dialect::Endpoint;
    match ask.endpoint {
        Endpoint::Chat | Endpoint::Responses | Endpoint::Messages => "chat",
        Endpoint::Generate | Endpoint::StreamGenerate => "generate_content",
        Endpoint::Rerank => "rerank",
        Endpoint::Passthrough => "passthrough",
        Endpoint::Embeddings => "embeddings",
        Endpoint::CountTokens => "count_tokens",
        Endpoint::Models => "list_models",
    }
}

/// The span of one call. The attributes of `wflo.*` are ours; the others are OpenTelemetry's.
pub(crate) fn call_span(ask: &Ask) -> tracing::Span {
    tracing::info_span!(
        "gen_ai.call",
        "gen_ai.operation.name" = operation(ask),
        "gen_ai.system" = ask.dialect.name(),
        "gen_ai.provider.name" = Empty,
        "gen_ai.request.model" = Empty,
        "gen_ai.request.max_tokens" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
        "gen_ai.usage.output_tokens" = Empty,
        "http.response.status_code" = Empty,
        "error.type" = Empty,
        "wflo.caller" = ask.caller.label(),
        "wflo.key" = ask.caller.name(),
        "wflo.code" = Empty,
        "wflo.hold_usd" = Empty,
        "wflo.cost_usd" = Empty,
        "wflo.cost_uncertain" = Empty,
        "wflo.cache" = Empty,
        "wflo.saved_usd" = Empty,
    )
}

/// What is asked for, as the client names it.
pub(crate) fn asked(request: &Request) {
    tracing::Span::current().record("gen_ai.request.model", request.model.as_str());
}

/// A request that is refused before it is a call.
pub(crate) fn turned_away(key: Option<&str>, error: &GatewayError) {
    let span = tracing::info_span!(
        "gen_ai.call",
        "wflo.key" = key,
        "wflo.code" = %error.code(),
        "http.response.status_code" = error.status().as_u16(),
        "error.type" = error.kind(),
    );
    let _within = span.enter();
    tracing::info!("a request was refused");
}

pub(crate) fn bounded(request: &Request, provider: &Provider, hold: NanoUsd) {
    let span = tracing::Span::current();
    span.record("gen_ai.provider.name", provider.name.as_str());
    span.record("gen_ai.request.model", request.model.as_str());
    if let Some(limit) = request.max_output {
        span.record("gen_ai.request.max_tokens", limit);
    }
    span.record("wflo.hold_usd", tracing::field::display(hold));
}

pub(crate) fn settled(usage: Option<&Usage>, cost: NanoUsd, uncertain: bool, status: u16) {
    let span = tracing::Span::current();
    if let Some(usage) = usage {
        span.record("gen_ai.usage.input_tokens", usage.total_input());
        span.record("gen_ai.usage.output_tokens", usage.total_output());
    }
    span.record("http.response.status_code", status);
    span.record("wflo.cost_usd", tracing::field::display(cost));
    span.record("wflo.cost_uncertain", uncertain);
    if uncertain {
        tracing::warn!("the bill of this call is not known; its whole hold is charged");
    }
}

pub(crate) fn cached(age: Duration, saved: NanoUsd) {
    let span = tracing::Span::current();
    span.record("wflo.cache", "hit");
    span.record("wflo.saved_usd", tracing::field::display(saved));
    tracing::debug!(age_s = age.as_secs(), saved_usd = %saved, "a kept answer is given again");
}

pub(crate) fn uncached(why: &str) {
    tracing::Span::current().record("wflo.cache", "bypass");
    tracing::debug!(why, "no answer of this request is kept");
}

pub(crate) fn tried(tried: &Tried, wait: Duration) {
    let Tried { provider, model, failure, .. } = tried;
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(provider, model, failure, wait_ms, "an attempt failed; the call is tried again");
}

pub(crate) fn repeated(caller: &str, times: u32) {
    // Its own target: whoever sets `[repeats]` to warn is warned at any level.
    tracing::warn!(target: "wflo::repeats", caller, times, "a caller makes the same call again and again");
}

pub(crate) fn downgraded(from: &str, to: &str) {
    tracing::info!(from, to, "a budget has no room for the model, and a cheaper one is asked");
}

pub(crate) fn breaker_opened(provider: &str, model: &str) {
    tracing::warn!(provider, model, "too many calls have failed lately: the way is left alone for a while");
}

pub(crate) fn passed_over(place: &str, why: &str) {
    tracing::warn!(place, why, "a route cannot be used and is passed over");
}

pub(crate) fn not_again(why: &str) {
    tracing::info!(why, "the call is not tried again");
}

pub(crate) fn failed(error: &GatewayError) {
    let span = tracing::Span::current();
    span.record("error.type", error.kind());
    span.record("wflo.code", tracing::field::display(error.code()));
    span.record("http.response.status_code", error.status().as_u16());
    tracing::info!(code = %error.code(), kind = error.kind(), "the gateway ended a call");
}

pub(crate) fn not_believed(cost: NanoUsd, hold: NanoUsd) {
    tracing::error!(
        cost_usd = %cost, hold_usd = %hold,
        "an answer says that it used far more than is possible; the upper bound is charged"
    );
}

pub(crate) fn overshoot(cost: NanoUsd, hold: NanoUsd) {
    tracing::error!(cost_usd = %cost, hold_usd = %hold, "a call was billed more than its upper bound");
}
