//! Generated requests as each endpoint takes them.

use serde_json::json;
use wflo_gateway::dialect::{Dialect, Endpoint};

use super::{Asked, Model};

pub(crate) fn body(asked: &Asked, model: &Model) -> String {
    match (model.endpoint(asked), model.dialect) {
        (Endpoint::Embeddings, Dialect::Google) => json!({"content": {"parts": [{"text": asked.text}]}}),
        (Endpoint::Embeddings, Dialect::Cohere) => json!({"model": model.name, "texts": [asked.text, "b"]}),
        (Endpoint::Embeddings, _) => json!({"model": model.name, "input": [asked.text, "b"]}),
        (Endpoint::Rerank, _) => {
            let documents: Vec<&str> =
                std::iter::repeat_n(asked.text.as_str(), asked.tools * 60 + 1).collect();
            json!({"model": model.name, "query": "what", "documents": documents})
        }
        (Endpoint::Messages, _) => messages(asked, model),
        (Endpoint::Generate, _) => generate(asked),
        (Endpoint::Responses, _) => responses(asked, model),
        _ => chat(asked, model),
    }
    .to_string()
}

fn function(asked: &Asked) -> serde_json::Value {
    json!({"name": "f", "description": asked.text})
}

fn messages(asked: &Asked, model: &Model) -> serde_json::Value {
    let mut content = vec![json!({"type": "text", "text": asked.text})];
    if let Some(ttl) = asked.cached {
        content[0]["cache_control"] = json!({"type": "ephemeral", "ttl": ttl});
    }
    if asked.image {
        content.push(json!({"type": "image", "source": {"type": "base64", "data": "AAAA"}}));
    }
    if asked.remote {
        content
            .push(json!({"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}));
    }
    let mut tools: Vec<_> = (0..asked.tools).map(|_| function(asked)).collect();
    if asked.searches > 0 {
        tools.push(json!({"type": "web_search_20250305", "name": "web_search", "max_uses": asked.searches}));
    }
    let mut body = json!({"model": model.name, "messages": [{"role": "user", "content": content}]});
    if let Some(limit) = asked.max_tokens {
        body["max_tokens"] = limit.into();
    }
    if let Some(budget) = asked.thinking {
        body["thinking"] = json!({"type": "enabled", "budget_tokens": budget});
    }
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    if asked.fast {
        body["speed"] = "fast".into();
    }
    body
}

fn generate(asked: &Asked) -> serde_json::Value {
    let mut parts = vec![json!({"text": asked.text})];
    if asked.image {
        parts.push(json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}));
    }
    if asked.audio {
        parts.push(json!({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}));
    }
    if asked.remote {
        parts.push(json!({"fileData": {"fileUri": "https://example.org/a.mp4"}}));
    }
    let mut body = json!({"contents": [{"role": "user", "parts": parts}]});
    let mut config = json!({"candidateCount": asked.n});
    if let Some(limit) = asked.max_tokens {
        config["maxOutputTokens"] = limit.into();
    }
    if let Some(budget) = asked.thinking {
        config["thinkingConfig"] = json!({"thinkingBudget": budget});
    }
    body["generationConfig"] = config;
    let mut tools = Vec::new();
    if asked.tools > 0 {
        let declared: Vec<_> = (0..asked.tools).map(|_| function(asked)).collect();
        tools.push(json!({"functionDeclarations": declared}));
    }
    if asked.searches > 0 {
        tools.push(json!({"googleSearch": {}}));
    }
    body["tools"] = tools.into();
    if let Some(tier @ ("flex" | "priority")) = asked.tier {
        body["serviceTier"] = tier.into();
    }
    body
}

fn responses(asked: &Asked, model: &Model) -> serde_json::Value {
    let mut content = vec![json!({"type": "input_text", "text": asked.text})];
    if asked.image {
        content.push(json!({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}));
    }
    if asked.remote {
        content.push(json!({"type": "input_image", "image_url": "https://example.org/a.png"}));
    }
    let mut tools: Vec<_> = (0..asked.tools)
        .map(|_| json!({"type": "function", "name": "f", "description": asked.text}))
        .collect();
    let mut body = json!({"model": model.name, "input": [{"role": "user", "content": content}]});
    if asked.searches > 0 {
        tools.push(json!({"type": "web_search"}));
        tools.push(json!({"type": "file_search", "vector_store_ids": ["vs_1"]}));
        body["max_tool_calls"] = asked.searches.into();
    }
    body["tools"] = tools.into();
    if let Some(limit) = asked.max_tokens {
        body["max_output_tokens"] = limit.into();
    }
    if asked.thinking.is_some() {
        body["reasoning"] = json!({"effort": "high"});
    }
    if asked.cached.is_some() {
        body["prompt_cache_retention"] = "24h".into();
    }
    if let Some(tier) = asked.tier {
        body["service_tier"] = tier.into();
    }
    body
}

fn chat(asked: &Asked, model: &Model) -> serde_json::Value {
    if model.dialect == Dialect::Cohere {
        let mut body = json!({"model": model.name, "messages": [{"role": "user", "content": asked.text}]});
        if let Some(limit) = asked.max_tokens {
            body["max_tokens"] = limit.into();
        }
        if let Some(budget) = asked.thinking {
            body["thinking"] = json!({"type": "enabled", "token_budget": budget});
        }
        if asked.tools > 0 {
            let tools = (0..asked.tools).map(|_| json!({"type": "function", "function": function(asked)}));
            body["tools"] = tools.collect::<Vec<_>>().into();
        }
        return body;
    }
    let mut content = vec![json!({"type": "text", "text": asked.text})];
    if asked.image {
        content.push(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}));
    }
    if asked.audio {
        content.push(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}));
    }
    if asked.remote {
        content.push(json!({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}));
    }
    let tools: Vec<_> =
        (0..asked.tools).map(|_| json!({"type": "function", "function": function(asked)})).collect();
    let mut body =
        json!({"model": model.name, "messages": [{"role": "user", "content": content}], "n": asked.n});
    if let Some(limit) = asked.max_tokens {
        body["max_tokens"] = limit.into();
    }
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    if let Some(tier) = asked.tier {
        body["service_tier"] = tier.into();
    }
    if asked.thinking.is_some() {
        body["reasoning_effort"] = "high".into();
    }
    if asked.audio {
        body["modalities"] = json!(["text", "audio"]);
    }
    body
}
