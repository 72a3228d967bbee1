//! One call's part in the cache: what it is looked up and kept under at each of its ways.
//!
//! Owns when a call has a part in it. The body is read and hashed once, however many ways there are; without
//! a cache nothing of this is done.

use std::sync::Arc;

use super::Ask;
use super::candidate::Candidate;
use crate::cache::{
    Asked, Cache, Control, Entry, HEADER, Kept, Key, Lookup, Print, Scope, Towards, is_kept, not_kept,
};
use crate::dialect::Endpoint;
use crate::dialect::request::Request;
use crate::error::GatewayError;
use crate::gateway::Shared;
use crate::ledger::Recorded;
use crate::route::Provider;
use crate::telemetry;
use crate::usage::Usage;

/// A call's part in the cache.
pub(super) struct Part {
    cache: Cache,
    space: Arc<str>,
    print: Print,
    control: Control,
}

/// Where the answer of one attempt is kept.
pub(crate) struct Slot {
    cache: Cache,
    key: Key,
}

/// What a client is told of an answer that did not come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// There is no cache.
    Nothing,
    Miss,
    Bypass,
}

impl Said {
    /// The header's value.
    pub(super) fn value(self) -> Option<(&'static str, &'static str)> {
        match self {
            Said::Nothing => None,
            Said::Miss => Some((HEADER, "miss")),
            Said::Bypass => Some((HEADER, "bypass")),
        }
    }
}

impl Part {
    /// The part of a call, if it has one.
    ///
    /// # Errors
    /// When the client wants nothing but a kept answer, and there can be none.
    pub(super) fn of(
        shared: &Shared,
        ask: &Ask,
        request: &Request,
    ) -> Result<(Option<Part>, Said), GatewayError> {
        let Some(cache) = &shared.cache else { return Ok((None, Said::Nothing)) };
        let control = Control::read(&ask.headers);
        let part = match ask.caller.space() {
            _ if control.no_store => Err("the request says `no-store`"),
            _ if !is_kept_at(ask.endpoint) => Err("answers of its endpoint are not kept"),
            None => Err("its caller wants no kept answers"),
            Some(space) => {
                let headers = crate::upstream::request_headers(&ask.headers);
                let print = Print::of(
                    request,
                    &headers,
                    &ask.body,
                    cache.settings().sampled,
                    cache.settings().scope != Scope::Caller,
                );
                print.map(|print| Part { cache: cache.clone(), space: Arc::clone(space), print, control })
            }
        };
        match part {
            Ok(part) => Ok((Some(part), Said::Miss)),
            Err(why) => {
                cache.bypassed();
                telemetry::uncached(why);
                match control.only_if_cached {
                    true => Err(GatewayError::from_refusal(not_kept(), &request.model)),
                    false => Ok((None, Said::Bypass)),
                }
            }
        }
    }

    /// The question of the call.
    pub(super) fn lookup(&self, places: Vec<Kept>) -> Lookup {
        Lookup::new(&self.cache, self.control, places)
    }

    /// Where the answer of a candidate would be kept.
    pub(super) fn place(&self, ask: &Ask, at: &Candidate<'_>) -> Option<Kept> {
        let (provider, model) = (at.provider.name.clone(), at.request.model.clone());
        Some(Kept { key: self.key(ask, at)?, provider, model, hold: at.hold() })
    }

    /// Whether the client takes a kept answer at all.
    pub(super) fn reads(&self) -> bool {
        self.control.reads()
    }

    /// Where the answer of a candidate is kept; nowhere if it is asked for less than the client asks for.
    pub(super) fn slot(&self, ask: &Ask, at: &Candidate<'_>) -> Option<Slot> {
        if at.is_cut() {
            return None;
        }
        self.key(ask, at).map(|key| Slot { cache: self.cache.clone(), key })
    }

    fn key(&self, ask: &Ask, at: &Candidate<'_>) -> Option<Key> {
        // A model that searches by itself answers by what it finds.
        if at.price.as_ref().is_none_or(|price| price.searches) || at.provider.usable().is_err() {
            return None;
        }
        let uri = at.provider.endpoint(&at.suffix, ask.query.as_deref())?.to_string();
        let towards = Towards {
            provider: &at.provider.name,
            uri: &uri,
            model: &at.request.model,
            credentials: at.provider.api_key.as_ref(),
            limit: at.written(),
        };
        Some(self.print.at(&self.cache.settings().namespace, &self.space, &towards))
    }
}

impl Slot {
    /// The most bytes of a body that is kept.
    pub(super) fn limit(&self) -> usize {
        self.cache.settings().max_entry_bytes
    }

    /// What is kept of an answer, if it is one that may be given again.
    pub(super) fn entry(
        &self,
        asked: Asked,
        recorded: &Recorded,
        usage: Option<&Usage>,
        uncertain: bool,
        provider: &Provider,
    ) -> Option<Entry> {
        let kept = recorded.body.len() <= self.limit()
            && is_kept(asked, recorded, usage, uncertain, provider.api_key.as_ref());
        kept.then(|| Entry {
            headers: Entry::headers(&recorded.headers),
            body: recorded.body.clone(),
            usage: usage.cloned().unwrap_or_default(),
            cost: recorded.cost,
            ..Entry::default()
        })
    }

    /// Keeps it.
    pub(super) fn keep(&self, shared: &Shared, entry: Entry) {
        if let Some(rest) = self.cache.put(&self.key, entry) {
            // A drain waits for it as for a call.
            shared.run(Some(shared.counted(rest)));
        }
    }
}

/// Whether answers of an endpoint are kept at all: those that are billed, and known.
fn is_kept_at(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Chat
        | Endpoint::Responses
        | Endpoint::Embeddings
        | Endpoint::Messages
        | Endpoint::Generate
        | Endpoint::StreamGenerate
        | Endpoint::Rerank => true,
        Endpoint::CountTokens | Endpoint::Passthrough | Endpoint::Models => false,
    }
}
