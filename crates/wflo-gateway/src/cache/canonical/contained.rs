//! Whether all that a message says stands in it.
//!
//! **Architecture Invariant:** these are lists of what is known to be self-contained: texts, data in base64 or
//! as `data:` URLs, calls of tools and their results. What is not on them, whether a kind of part, a field, or
//! an address where data belongs, may lead to something that changes, and its answer is not kept.

use serde_json::value::RawValue;

use super::Pairs;

/// What a field may hold.
#[derive(Clone, Copy)]
enum What {
    /// A text, a number or a mark.
    Plain,
    /// JSON of a model's or a tool's own, which the provider hands on as text.
    Data,
    /// Bytes in base64, or a `data:` URL.
    Bytes,
    /// A `data:` URL, or an object with one.
    Url,
    /// A text, or a list of parts.
    Parts,
    /// What Anthropic takes an image or a document from.
    Source,
    Object(Fields),
}

use What::{Bytes, Data, Object, Parts, Plain, Source, Url};

type Fields = &'static [(&'static str, What)];

/// Kinds of parts, with their fields beside `type`.
const PARTS: &[(&str, Fields)] = &[
    ("text", &[("text", Plain), ("citations", ENABLED), CACHE]),
    ("input_text", &[("text", Plain)]),
    ("output_text", &[("text", Plain)]),
    ("summary_text", &[("text", Plain)]),
    ("reasoning_text", &[("text", Plain)]),
    ("refusal", &[("refusal", Plain)]),
    ("image_url", &[("image_url", Url), CACHE]),
    ("input_image", &[("image_url", Url), ("detail", Plain)]),
    ("input_audio", &[("input_audio", Object(&[("data", Bytes), ("format", Plain)]))]),
    ("file", &[("file", Object(FILE)), CACHE]),
    ("input_file", FILE),
    ("image", &[("source", Source), CACHE]),
    (
        "document",
        &[
            ("source", Source),
            ("title", Plain),
            ("context", Plain),
            ("citations", ENABLED),
            ("document", Object(&[("id", Plain), ("data", Data)])),
            CACHE,
        ],
    ),
    ("tool_use", &[("id", Plain), ("name", Plain), ("input", Data), CACHE]),
    ("tool_result", &[("tool_use_id", Plain), ("content", Parts), ("is_error", Plain), CACHE]),
    ("thinking", &[("thinking", Parts), ("signature", Plain)]),
    ("redacted_thinking", &[("data", Plain)]),
];

/// Fields of a part without `type`.
const UNTYPED: Fields = &[
    ("text", Plain),
    ("thought", Plain),
    ("thoughtSignature", Plain),
    ("thought_signature", Plain),
    ("inlineData", Object(BLOB)),
    ("inline_data", Object(BLOB)),
    ("functionCall", Object(CALL)),
    ("function_call", Object(CALL)),
    ("functionResponse", Object(RESPONSE)),
    ("function_response", Object(RESPONSE)),
];

const CACHE: (&str, What) = ("cache_control", Data);
const ENABLED: What = Object(&[("enabled", Plain)]);
const FILE: Fields = &[("file_data", Bytes), ("filename", Plain), ("detail", Plain)];
const BLOB: Fields = &[("mimeType", Plain), ("mime_type", Plain), ("data", Bytes)];
const CALL: Fields = &[("id", Plain), ("name", Plain), ("args", Data)];
const RESPONSE: Fields = &[("id", Plain), ("name", Plain), ("response", Data)];

/// Fields of a message.
const MESSAGE: Fields = &[
    ("role", Plain),
    ("name", Plain),
    ("content", Parts),
    ("parts", Parts),
    ("tool_calls", Data),
    ("tool_call_id", Plain),
    ("function_call", Data),
    ("refusal", Plain),
    ("reasoning", Plain),
    ("reasoning_content", Plain),
    ("tool_plan", Plain),
    ("prefix", Plain),
];

/// Kinds of items of a Responses request, with their fields beside `type`. Each has an id that may be said, and
/// says beside it what stands under that.
const ITEMS: &[(&str, Fields)] = &[
    ("message", &[("id", Plain), ("role", Plain), ("content", Parts), ("status", Plain)]),
    (
        "function_call",
        &[("id", Plain), ("call_id", Plain), ("name", Plain), ("arguments", Plain), ("status", Plain)],
    ),
    ("function_call_output", &[("id", Plain), ("call_id", Plain), ("output", Parts), ("status", Plain)]),
    (
        "custom_tool_call",
        &[("id", Plain), ("call_id", Plain), ("name", Plain), ("input", Plain), ("status", Plain)],
    ),
    ("custom_tool_call_output", &[("id", Plain), ("call_id", Plain), ("output", Parts), ("status", Plain)]),
    (
        "reasoning",
        &[
            ("id", Plain),
            ("summary", Parts),
            ("content", Parts),
            ("encrypted_content", Plain),
            ("status", Plain),
        ],
    ),
];

/// What an item must say, or it is no more than the name of one that is kept elsewhere.
const SAID: [&str; 5] = ["content", "arguments", "output", "input", "encrypted_content"];

/// Whether all of the field of this name of a body stands in the body, as far as it is one of messages.
pub(super) fn is_contained(name: &str, value: &str) -> bool {
    match name {
        "messages" | "contents" | "input" | "inputs" => messages(value),
        "systemInstruction" => messages(value),
        "system" => parts(value),
        "content" if value.starts_with('{') => messages(value),
        "content" => parts(value),
        // Google's, many in one.
        "requests" => each(value, |item| {
            pairs(item)
                .is_some_and(|fields| fields.iter().all(|(name, value)| name != "content" || messages(value)))
        }),
        // Cohere's, of an embedding.
        "images" => each(value, |item| holds(Url, item)),
        _ => true,
    }
}

/// A text, a message, or a list of these.
fn messages(value: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'{') => message(value),
        Some(b'[') => each(value, |item| match item.as_bytes().first() {
            Some(b'{') => message(item),
            // A text as numbers.
            Some(b'[') => !item.contains('{'),
            _ => true,
        }),
        _ => true,
    }
}

fn message(value: &str) -> bool {
    let Some(fields) = pairs(value) else { return false };
    match kind(&fields) {
        Kind::None => all(&fields, MESSAGE),
        Kind::Of(kind) => known(ITEMS, &kind).is_some_and(|known| {
            let says = |(name, value): &(String, &str)| {
                SAID.contains(&name.as_str()) && (!says_nothing(value) || *value == "\"\"")
            };
            all(&fields, known)
                && fields.iter().any(says)
                // What was thought stands in no text of it.
                && (kind != "reasoning" || fields.iter().any(|(name, value)| {
                    name == "encrypted_content" && !says_nothing(value)
                }))
        }),
        Kind::Unclear => false,
    }
}

fn parts(value: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'[') => each(value, |item| match item.as_bytes().first() {
            Some(b'{') => part(item),
            first => first != Some(&b'['),
        }),
        Some(b'{') => part(value),
        _ => true,
    }
}

fn part(value: &str) -> bool {
    let Some(fields) = pairs(value) else { return false };
    match kind(&fields) {
        Kind::None => all(&fields, UNTYPED),
        Kind::Of(kind) => known(PARTS, &kind).is_some_and(|known| all(&fields, known)),
        Kind::Unclear => false,
    }
}

fn holds(what: What, value: &str) -> bool {
    if says_nothing(value) {
        return true;
    }
    let first = value.as_bytes().first();
    match what {
        Data => true,
        Plain => !matches!(first, Some(b'{' | b'[')),
        Parts => parts(value),
        Bytes => text(value).is_some_and(|text| is_data_url(&text) || is_base64(&text)),
        Url if first == Some(&b'{') => holds(Object(&[("url", Url), ("detail", Plain)]), value),
        Url => text(value).is_some_and(|text| is_data_url(&text)),
        Object(known) => pairs(value).is_some_and(|fields| all(&fields, known)),
        Source => pairs(value).is_some_and(|fields| match kind(&fields) {
            Kind::Of(kind) => {
                let known: Fields = match kind.as_str() {
                    "base64" => &[("media_type", Plain), ("data", Bytes)],
                    "text" => &[("media_type", Plain), ("data", Plain)],
                    "content" => &[("content", Parts)],
                    _ => return false,
                };
                all(&fields, known)
            }
            _ => false,
        }),
    }
}

/// Whether every field is on the list, `type` aside, and holds what it may; every one of a name that stands
/// there twice.
fn all(fields: &[(String, &str)], known: Fields) -> bool {
    fields.iter().all(|(name, value)| {
        let what = known.iter().find(|(known, _)| known == name);
        name == "type" || says_nothing(value) || what.is_some_and(|(_, what)| holds(*what, value))
    })
}

enum Kind {
    None,
    Of(String),
    Unclear,
}

fn kind(fields: &[(String, &str)]) -> Kind {
    let mut kinds = fields.iter().filter(|(name, _)| name == "type");
    match (kinds.next(), kinds.next()) {
        (None, _) => Kind::None,
        (Some((_, value)), None) => text(value).map_or(Kind::Unclear, Kind::Of),
        _ => Kind::Unclear,
    }
}

fn known(table: &[(&str, Fields)], kind: &str) -> Option<Fields> {
    table.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields)
}

fn each(value: &str, is: impl Fn(&str) -> bool) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(value).is_ok_and(|items| items.iter().all(|item| is(item.get())))
}

fn pairs(value: &str) -> Option<Vec<(String, &str)>> {
    let pairs: Pairs<'_> = serde_json::from_str(value).ok()?;
    Some(pairs.0.into_iter().map(|(name, value)| (name.into_owned(), value.get())).collect())
}

fn text(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

fn says_nothing(value: &str) -> bool {
    matches!(value, "null" | "false" | "\"\"" | "[]" | "{}")
}

fn is_data_url(text: &str) -> bool {
    text.starts_with("data:")
}

fn is_base64(text: &str) -> bool {
    let is = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_\r\n".contains(&byte);
    text.bytes().all(is)
}
