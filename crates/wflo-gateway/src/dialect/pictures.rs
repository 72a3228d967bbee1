//! Pictures whose bytes are certainly no text.
//!
//! Owns finding them. `facts` counts everything that looks like a picture, wherever it stands; here are only
//! those that stand exactly where the provider's own servers take a picture, in exactly its shape, so that
//! whatever their base64 says it is read as a picture or refused. Of these the bytes need not be bounded as
//! text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Dialect;

/// The base64 of a body's pictures, in bytes.
pub(super) fn bytes(dialect: Dialect, body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default, alias = "input", alias = "contents")]
        messages: Option<&'a RawValue>,
    }
    let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
    let list = body.and_then(|body| body.messages);
    let messages = list.map(|list| list_of(list.get())).unwrap_or_default();
    messages.into_iter().map(|message| of_message(dialect, message)).sum()
}

fn list_of(json: &str) -> Vec<&RawValue> {
    serde_json::from_str(json).unwrap_or_default()
}

/// The parts of a message, of a result of a tool in one, or of a turn.
fn of_message(dialect: Dialect, message: &RawValue) -> u64 {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow, default, alias = "parts")]
        content: Option<&'a RawValue>,
    }
    let message: Option<Message<'_>> = serde_json::from_str(message.get()).ok();
    let content = message.and_then(|message| message.content);
    let parts = content.map(|content| list_of(content.get())).unwrap_or_default();
    let bytes = |part: &RawValue| match dialect {
        Dialect::OpenAi | Dialect::Cohere => by_url(part),
        Dialect::Anthropic => by_source(part).or_else(|| of_result(part)),
        Dialect::Google => inline(part),
    };
    parts.into_iter().filter_map(bytes).sum()
}

/// The pictures that a tool of Anthropic's dialect gave.
fn of_result(part: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Result<'a> {
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        content: Option<&'a RawValue>,
    }
    let result: Result<'_> = serde_json::from_str(part.get()).ok()?;
    let parts = list_of(result.content.filter(|_| result.kind == "tool_result")?.get());
    Some(parts.into_iter().filter_map(by_source).sum())
}

/// `{"type": "image_url", "image_url": {"url": "data:…"}}`, and a response's
/// `{"type": "input_image", "image_url": "data:…"}`.
fn by_url(part: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part<'a> {
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        image_url: &'a RawValue,
        #[serde(borrow, default, rename = "detail")]
        _detail: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ImageUrl<'a> {
        #[serde(borrow)]
        url: &'a str,
        #[serde(borrow, default, rename = "detail")]
        _detail: Option<&'a RawValue>,
    }
    let part: Part<'_> = serde_json::from_str(part.get()).ok()?;
    let url: &str = match &*part.kind {
        "image_url" => serde_json::from_str::<ImageUrl<'_>>(part.image_url.get()).ok()?.url,
        "input_image" => serde_json::from_str(part.image_url.get()).ok()?,
        _ => return None,
    };
    let (kind, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    picture(kind, data)
}

/// `{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "…"}}`.
fn by_source(part: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part<'a> {
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        source: Source<'a>,
        #[serde(borrow, default, rename = "cache_control")]
        _cache_control: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Source<'a> {
        #[serde(rename = "type")]
        kind: Cow<'a, str>,
        media_type: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a str,
    }
    let Part { kind, source, .. } = serde_json::from_str(part.get()).ok()?;
    (kind == "image" && source.kind == "base64").then(|| picture(&source.media_type, source.data))?
}

/// `{"inlineData": {"mimeType": "image/png", "data": "…"}}`.
fn inline(part: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part<'a> {
        #[serde(borrow, rename = "inlineData", alias = "inline_data")]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Data<'a> {
        #[serde(rename = "mimeType", alias = "mime_type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a str,
    }
    let Part { data } = serde_json::from_str(part.get()).ok()?;
    picture(&data.kind, data.data)
}

/// The bytes of a picture of a kind that every provider reads.
fn picture(kind: &str, data: &str) -> Option<u64> {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let known = matches!(kind, "image/png" | "image/jpeg" | "image/gif" | "image/webp");
    (known && data.bytes().all(base64)).then_some(data.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dialect: Dialect, body: &str) -> u64 {
        bytes(dialect, body.as_bytes())
    }

    const URL: &str =
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAABBBB","detail":"low"}}"#;
    const SOURCE: &str =
        r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAAABBBB"}}"#;

    #[test]
    fn a_picture_is_found_where_its_provider_takes_one() {
        let chat = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"a"}},{URL},{URL}]}}]}}"#
        );
        assert_eq!(
            (of(Dialect::OpenAi, &chat), of(Dialect::Cohere, &chat), of(Dialect::Google, &chat)),
            (16, 16, 0)
        );
        let response =
            r#"{"input":[{"content":[{"type":"input_image","image_url":"data:image/webp;base64,AAAA"}]}]}"#;
        assert_eq!(of(Dialect::OpenAi, response), 4);
        let result = format!(
            r#"{{"messages":[{{"content":[{SOURCE},{{"type":"tool_result","tool_use_id":"a","content":[{SOURCE}]}}]}}]}}"#
        );
        assert_eq!(of(Dialect::Anthropic, &result), 16);
        for name in ["inlineData", "inline_data"] {
            let turn = format!(
                r#"{{"contents":[{{"parts":[{{"{name}":{{"mimeType":"image/gif","data":"AAAA"}}}}]}}]}}"#
            );
            assert_eq!(of(Dialect::Google, &turn), 4);
        }
    }

    #[test]
    fn what_a_model_may_read_as_text_is_none() {
        let message = |part: &str| format!(r#"{{"messages":[{{"content":[{part}]}}]}}"#);
        for text in [
            URL.replace("image/png", "image/svg+xml"),
            URL.replace("AAAA", "AAAA not base64 "),
            URL.replace("data:image/png;base64,", ""),
            URL.replace("\"type\":\"image_url\"", "\"type\":\"text\",\"text\":\"a\""),
            URL.replace("\"type\":\"image_url\"", "\"type\":\"image_url\",\"type\":\"text\""),
            URL.replace("\"detail\":\"low\"", "\"text\":\"a\""),
            format!(r#"{{"type":"tool_use","input":{URL}}}"#),
            format!(r#"{{"type":"text","text":"a","x":[{URL}]}}"#),
        ] {
            assert_eq!(of(Dialect::OpenAi, &message(&text)), 0, "{text}");
        }
        for text in [
            SOURCE.replace("base64", "text"),
            format!(r#"{{"type":"tool_use","content":[{SOURCE}]}}"#),
            format!(r#"{{"type":"tool_use","input":{SOURCE}}}"#),
        ] {
            assert_eq!(of(Dialect::Anthropic, &message(&text)), 0, "{text}");
        }
        assert_eq!(of(Dialect::OpenAi, &format!(r#"{{"tools":[{{"content":[{URL}]}}]}}"#)), 0);
        assert_eq!(of(Dialect::OpenAi, &format!(r#"{{"messages":"{}"}}"#, "[".repeat(9))), 0);
    }
}
