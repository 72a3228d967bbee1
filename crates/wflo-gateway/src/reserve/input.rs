//! The most input tokens of a request, and the rates that they can be billed at.

use super::{BoundError, CACHE_DIMENSIONS};
use crate::dialect::request::Request;
use crate::dialect::{Dialect, Endpoint};
use crate::price::{Dimension, Price, Template};

/// What a provider's template adds to the text, in tokens. Each is above what the provider
/// documents or was seen to bill; a message's own JSON (`{"role":"user","content":""}`, 28 bytes)
/// is counted as text besides.
struct Overhead {
    /// Once per request.
    request: u64,
    /// Per message.
    message: u64,
    /// Once when there are tools: Anthropic's tool preamble is documented as up to 804 tokens.
    any_tool: u64,
    /// Per tool.
    tool: u64,
    /// Per tool with a definition of the provider's own: `text_editor` 700, `computer` 735.
    predefined_tool: u64,
    /// Per image in the body, whatever its size and detail. OpenAI's documented worst is gpt-4o-mini's 2,833 +
    /// 8 tiles of 5,667; Anthropic's is 4,784.
    image: u64,
}

/// The same for models of OpenAI's of which more is documented: twice the most that an image can have, 85 + 8
/// tiles of 170, or 1,536 patches of 2.46 tokens. Twice, because documents and bills were seen to differ (by
/// 1.2 and by 1.35); for the same reason no size is read from an image.
const IMAGES: [(&str, u64); 10] = [
    ("gpt-4o", 2_900),
    ("gpt-4.1", 2_900),
    ("o1", 2_900),
    ("o3", 2_900),
    ("gpt-5", 2_900),
    ("gpt-4.1-mini", 7_600),
    ("gpt-4.1-nano", 7_600),
    ("o4-mini", 7_600),
    ("gpt-5-mini", 7_600),
    ("gpt-5-nano", 7_600),
];

/// The most tokens of an image in the body.
fn image(request: &Request, price: &Price, overhead: &Overhead) -> u64 {
    // As it is, or by its date: other models that begin so are others.
    let is = |name: &str| {
        let rest = request.model.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("-20"))
    };
    let known =
        IMAGES.iter().find(|(name, _)| is(name)).filter(|_| price.template == Template::OpenAi && price.own);
    known.map_or(overhead.image, |(_, tokens)| *tokens)
}

/// How much longer tools and schemas can become in the template's own notation than in the
/// request's JSON, in tokens per byte.
const SCHEMA_EXPANSION: u64 = 3;

/// Tokens of an image that is embedded, beside the bytes of its data: the most that a provider documents.
const EMBEDDED_IMAGE: u64 = 6_000;

const OPENAI: Overhead =
    Overhead { request: 32, message: 8, any_tool: 64, tool: 32, predefined_tool: 0, image: 50_000 };
const ANTHROPIC: Overhead =
    Overhead { request: 64, message: 8, any_tool: 1_024, tool: 64, predefined_tool: 1_536, image: 6_000 };

/// Google's tokenizer falls back to a token a byte; an image is at most 258 tokens for each of its tiles,
/// or 2,240 at the highest resolution that can be asked for. Its template is not documented: the allowances
/// are above the longest that is, Anthropic's.
const GOOGLE: Overhead =
    Overhead { request: 64, message: 16, any_tool: 1_024, tool: 128, predefined_tool: 0, image: 26_000 };
/// Its billed units leave the template out; these are for what the models of its own add to text.
const COHERE: Overhead =
    Overhead { request: 64, message: 16, any_tool: 1_024, tool: 128, predefined_tool: 0, image: 6_000 };

/// What a server of the operator's adds beside what is stated of it: the longest of the others'.
const STATED: Overhead =
    Overhead { request: 0, message: 16, any_tool: 1_024, tool: 128, predefined_tool: 0, image: 50_000 };

/// `spared`: by how much the text, where it is counted, has fewer tokens than bytes.
pub(super) fn limit(request: &Request, price: &Price, spared: u64) -> Result<u64, BoundError> {
    let facts = &request.facts;
    let pictures = if price.own { facts.picture_bytes } else { 0 };
    let less = facts.escapes.saturating_add(pictures).saturating_add(spared);
    let text = request.body_bytes.saturating_add(facts.written_anew).saturating_sub(less);
    let window = match (price.context_tokens, request.longer_context) {
        (Some(usual), Some(longer)) => Some(usual.max(longer)),
        (usual, _) => usual,
    };
    let unknown = |because: String| BoundError::NoInputLimit { model: request.model.clone(), because };
    let whole = |because: String| window.ok_or_else(|| unknown(because));
    let unsizable = request.facts.unsizable.map(|what| format!(", and the request holds {what}"));
    match (request.endpoint, unsizable) {
        (Endpoint::Embeddings, None) => {
            // No template: text alone, with a mark or two around each input. The window is each input's,
            // not the request's, so it bounds nothing here.
            let marks = request.messages.saturating_mul(4).saturating_add(8);
            let images = EMBEDDED_IMAGE.saturating_mul(request.facts.inline_images);
            return Ok(text.saturating_add(marks).saturating_add(images));
        }
        // What a document is read as is within the window of each input.
        (Endpoint::Embeddings, Some(because)) => {
            return Ok(whole(because)?.saturating_mul(request.messages.max(1)));
        }
        // Each document is read together with the query, which is within the body.
        (Endpoint::Rerank, _) => return Ok(text.saturating_mul(request.messages.max(1))),
        (_, Some(because)) => return Ok(again(whole(because)?, request)),
        (_, None) => {}
    }
    if request.tools.rounds > 0 {
        return Ok(again(whole(", and what a tool of the provider's finds".to_owned())?, request));
    }
    let overhead = match price.template {
        Template::OpenAi => OPENAI,
        Template::Anthropic => ANTHROPIC,
        Template::Google => GOOGLE,
        Template::Cohere => COHERE,
        Template::Stated(tokens) => Overhead { request: tokens, ..STATED },
        Template::Unknown => {
            return window.ok_or_else(|| unknown(", and neither is its prompt template".to_owned()));
        }
    };
    let tools = request.tools;
    let parts = [
        text,
        overhead.request,
        overhead.message.saturating_mul(request.messages),
        if tools.count > 0 { overhead.any_tool } else { 0 },
        overhead.tool.saturating_mul(tools.count),
        overhead.predefined_tool.saturating_mul(tools.predefined),
        // Once as text is in the body's bytes already.
        tools.bytes.saturating_mul(SCHEMA_EXPANSION - 1),
        image(request, price, &overhead).saturating_mul(request.facts.inline_images),
    ];
    let by_size = parts.into_iter().fold(0, u64::saturating_add);
    Ok(window.map_or(by_size, |window| window.min(by_size)))
}

/// A conversation that fills the window each time that the provider lets the model read it.
fn again(window: u64, request: &Request) -> u64 {
    window.saturating_mul(request.tools.rounds.saturating_add(1))
}

/// What the input can be billed as. A provider that caches by itself may bill any of its cache
/// rates; Anthropic writes to its cache only where the request asks.
pub(super) fn dimensions(request: &Request, price: &Price) -> Vec<Dimension> {
    let mut dimensions = if request.dialect == Dialect::Anthropic && price.template == Template::Anthropic {
        let mut asked = vec![Dimension::Input, Dimension::CacheRead];
        if request.facts.cached {
            asked.push(Dimension::CacheWrite);
        }
        if request.facts.cached_long {
            asked.push(Dimension::CacheWriteLong);
        }
        asked
    } else {
        let mut all = CACHE_DIMENSIONS.to_vec();
        if request.dialect == Dialect::Anthropic || request.facts.cached_long {
            all.extend([Dimension::CacheWriteLong, Dimension::CacheWriteLongest]);
        }
        all
    };
    if request.facts.inline_images > 0 || request.facts.unsizable.is_some() {
        dimensions.push(Dimension::ImageInput);
    }
    if request.facts.audio || request.facts.unsizable.is_some() {
        dimensions.extend([Dimension::AudioInput, Dimension::AudioCacheRead, Dimension::VideoInput]);
    }
    dimensions
}
