//! The same request with less output: how a call that is too dear is made to fit.
//!
//! Owns the smaller request and nothing of the decision; whether a call may be cut, and how far, is the
//! ledger's. A cut request is read and bounded anew, as if its client had asked for so much, so its bound
//! is as true as any other.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use wflo_core::money::NanoUsd;

use crate::closer::Closer;
use crate::dialect::limit::OutputLimit;
use crate::dialect::request::Request;
use crate::dialect::wire::{Asked, wire};
use crate::dialect::{Dialect, Endpoint};
use crate::price::{End, Price};
use crate::reserve::{self, Bound};

/// What a call holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Money, rounded up.
    pub cost: NanoUsd,
    /// Input and output tokens together.
    pub tokens: u64,
}

/// What a call would hold if each of its answers ended earlier than it asks for.
#[derive(Clone)]
pub struct Shorter {
    wanted: u64,
    most: Arc<dyn Fn(u64) -> Option<Most> + Send + Sync>,
}

impl Shorter {
    /// A call whose answers have at most `wanted` tokens each, and what it holds with fewer: never more
    /// with fewer, and `None` where the server cannot be told so.
    pub fn new(wanted: u64, most: impl Fn(u64) -> Option<Most> + Send + Sync + 'static) -> Shorter {
        Shorter { wanted, most: Arc::new(most) }
    }

    /// The most tokens of one answer, as it was asked for.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// What is held when each answer ends after `tokens`.
    pub fn at(&self, tokens: u64) -> Option<Most> {
        (self.most)(tokens)
    }

    /// The longest answers, of at least `floor` tokens and fewer than were wanted, with which the call
    /// `fits`; `None` when it does not fit even with `floor`.
    pub fn longest(&self, floor: u64, fits: impl Fn(Most) -> bool) -> Option<u64> {
        let fits = |tokens: u64| self.at(tokens).is_some_and(&fits);
        let (mut good, mut bad) = (floor.max(1), self.wanted);
        if good >= bad || !fits(good) {
            return None;
        }
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) { good = middle } else { bad = middle }
        }
        Some(good)
    }
}

impl std::fmt::Debug for Shorter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shorter").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// A request that was cut.
pub(crate) struct Cut {
    /// Its bound.
    pub(crate) bound: Bound,
    /// What goes upstream.
    pub(crate) body: Bytes,
}

/// What a request is cut from.
pub(crate) struct Whole {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) suffix: String,
    pub(crate) query: Option<String>,
    pub(crate) beta: String,
    pub(crate) body: Bytes,
    pub(crate) price: Arc<Price>,
    /// By how much its text has fewer tokens than bytes, once it is counted.
    pub(crate) spared: OnceLock<u64>,
}

impl Whole {
    /// The request with at most `tokens` in each answer.
    pub(crate) fn cut(&self, request: &Request, tokens: u64) -> Option<Cut> {
        let name = match self.price.end {
            End::Told(name) => name,
            End::Provider if self.dialect == Dialect::OpenAi => OutputLimit::MaxCompletionTokens,
            End::Provider => OutputLimit::MaxTokens,
        };
        let edits = wire(self.dialect, self.endpoint).lowered(&self.body, name, tokens).ok()?;
        let body = crate::dialect::json::splice(&self.body, edits);
        let cut = Request::read(&self.asked(), &body).ok()?;
        // It would end before its thinking may: the provider refuses that.
        if cut.extra_output > request.extra_output {
            return None;
        }
        let bound = self.bound(&cut)?;
        let body = cut.outgoing(&body, bound.write).ok()?;
        Some(Cut { bound, body })
    }

    /// What it holds, by what is known of its text.
    fn bound(&self, request: &Request) -> Option<Bound> {
        let spared = self.spared.get().copied().unwrap_or(0);
        reserve::counted_bound(request, &self.price, spared).ok()
    }

    /// Its bound if its text is counted.
    pub(crate) fn counted(&self, request: &Request) -> Option<Bound> {
        self.spared.get().and_then(|_| self.bound(request))
    }

    /// What counts its text, where that can be.
    pub(crate) fn closer(self: &Arc<Self>, request: &Arc<Request>) -> Option<Closer> {
        let encoding = reserve::encoding(request, &self.price)?;
        let (whole, request) = (Arc::clone(self), Arc::clone(request));
        Some(Closer::new(move || {
            whole.spared.get_or_init(|| reserve::spared(&request, encoding, &whole.body));
            whole.counted(&request)
        }))
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            dialect: self.dialect,
            endpoint: self.endpoint,
            suffix: &self.suffix,
            query: self.query.as_deref(),
            beta: &self.beta,
        }
    }

    /// What the ledger may ask of it.
    pub(crate) fn shorter(self: &Arc<Self>, request: &Arc<Request>, bound: &Bound) -> Shorter {
        let (whole, request) = (Arc::clone(self), Arc::clone(request));
        Shorter::new(bound.output_tokens / request.choices.max(1), move |tokens| {
            let bound = whole.cut(&request, tokens)?.bound;
            Some(Most { cost: bound.cost, tokens: bound.input_tokens.saturating_add(bound.output_tokens) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::lookup;

    fn whole(host: &str, body: &str) -> (Arc<Whole>, Arc<Request>, Bound) {
        let price = lookup("openai", "gpt-5-mini").unwrap().at_host(host, OutputLimit::MaxCompletionTokens);
        let whole = Arc::new(Whole {
            dialect: Dialect::OpenAi,
            endpoint: Endpoint::Chat,
            suffix: String::new(),
            query: None,
            beta: String::new(),
            body: Bytes::from(body.to_owned()),
            price: Arc::new(price),
            spared: OnceLock::new(),
        });
        let request = Arc::new(Request::read(&whole.asked(), body.as_bytes()).unwrap());
        let bound = reserve::upper_bound(&request, &whole.price).unwrap();
        (whole, request, bound)
    }

    #[test]
    fn a_text_is_counted_once_it_is_asked_for_and_then_for_shorter_answers_too() {
        let text = "Nobody had seen the ferry since the storm of the night before. ".repeat(40);
        let body = serde_json::json!({"model": "gpt-5-mini", "max_completion_tokens": 1_000,
            "messages": [{"role": "user", "content": text}]})
        .to_string();
        let (whole, request, bound) = whole("api.openai.com", &body);
        let shorter = whole.shorter(&request, &bound);
        let before = shorter.at(500).unwrap();
        assert_eq!(whole.counted(&request), None, "nobody has asked");
        let counted = whole.closer(&request).unwrap().bound().unwrap();
        assert!(counted.input_tokens * 3 < bound.input_tokens, "{counted:?} of {bound:?}");
        assert!(counted.input_tokens > 40 * 12, "{counted:?}");
        assert_eq!((counted.output_tokens, counted.write), (bound.output_tokens, bound.write));
        assert_eq!(whole.counted(&request), Some(counted));
        let after = shorter.at(500).unwrap();
        assert_eq!(before.tokens - after.tokens, bound.input_tokens - counted.input_tokens);
        assert!(after.cost < before.cost && after.cost < counted.cost);
    }

    #[test]
    fn only_the_provider_itself_is_known_to_count_so() {
        let body = r#"{"model":"gpt-5-mini","messages":[{"role":"user","content":"hello there, you"}]}"#;
        for host in ["127.0.0.1", "mine.openai.azure.com", "api.openai.com.example"] {
            let (whole, request, _) = whole(host, body);
            assert!(whole.closer(&request).is_none(), "{host}");
        }
        let (there, request, _) = whole("us.api.openai.com", body);
        assert!(there.closer(&request).is_some());
        let image =
            body.replace("\"hello there, you\"", r#"[{"type":"image_url","image_url":{"url":"https://a"}}]"#);
        let (whole, request, _) = whole("api.openai.com", &image);
        assert!(whole.closer(&request).is_none(), "bounded by the window");
    }
}
