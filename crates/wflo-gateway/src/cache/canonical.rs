//! Which request bodies ask the same.
//!
//! Two bodies are the same if they differ in white space, in how a text is escaped, in the order of the names
//! of the body itself, of a message, or of a part of a message, and in the fields of [`IGNORED_FIELDS`].
//! Nothing else is: numbers count as they are written (`1` and `1.0` are not the same to every server), and the
//! order of names counts inside of everything that a model reads as text of its own, such as the schema of a
//! tool, after which answers are written in that order.
//!
//! Refused here, with a word why, is what asks for an answer that the body alone does not decide.

mod contained;

use std::borrow::Cow;

use serde_json::value::RawValue;

use self::contained::is_contained;
use crate::dialect::json::{Field, Fields};
use crate::dialect::request::Request;
use crate::dialect::{Dialect, Endpoint};

/// Fields that do not change an answer, and that are no part of what makes two requests the same where a caller
/// shares with nobody.
pub const IGNORED_FIELDS: [(Dialect, &[&str]); 4] = [
    (
        Dialect::OpenAi,
        &["user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention"],
    ),
    (Dialect::Anthropic, &["metadata"]),
    (Dialect::Google, &[]),
    (Dialect::Cohere, &[]),
];

/// Fields with which an answer is not kept, unless they are `null`, `false` or empty: they make the provider
/// keep something, name what it keeps, or let it do more than answer.
pub const NEVER_KEPT: [&str; 17] = [
    "store",
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "context_management",
    "container",
    "mcp_servers",
    "cachedContent",
    "audio",
    "modalities",
    "moderation",
    "access_programs",
    "cyber",
    "web_search_options",
    "plugins",
    "fallbacks",
];

/// Written for the model, in an order of its own; and whatever a link is in there, nobody follows it.
const DATA: [&str; 13] = [
    "tools",
    "functions",
    "response_format",
    "text",
    "output_config",
    "generationConfig",
    "arguments",
    "functionCall",
    "functionResponse",
    "function_call",
    "function_response",
    "tool_calls",
    "result",
];

/// A larger body is not looked at.
const MOST: usize = 4 << 20;

/// What asks for an answer that the body alone does not decide.
pub(super) type Why = &'static str;

/// Something in it stands elsewhere.
const OUTSIDE: Why = "it has something that is not known to stand in it, such as a file or an address";

/// The body as all that ask the same have it. `all`: of its fields none is ignored.
pub(super) fn canonical(request: &Request, body: &[u8], all: bool) -> Result<Vec<u8>, Why> {
    if body.len() > MOST {
        return Err("it is larger than 4 MiB");
    }
    // What nobody here has heard of may do anything.
    if request.unknown_field.is_some() {
        return Err("it has a field that wflo does not know");
    }
    let tools = &request.tools;
    if tools.searches > 0 || tools.file_searches > 0 || tools.rounds > 0 || tools.grounded {
        return Err("a tool of it runs at the provider");
    }
    let unreadable = |_| "it cannot be read";
    let fields = match request.dialect {
        Dialect::Google => Fields::read_proto(body).map_err(unreadable)?,
        _ => Fields::read(body).map_err(unreadable)?,
    };
    // A response is stored unless its request says that it is not to be.
    let stored = fields.get("store").is_none_or(|store| store.value != "false");
    if request.endpoint == Endpoint::Responses && stored {
        return Err("its response is stored by the provider");
    }
    let ignored = IGNORED_FIELDS.iter().find(|(dialect, _)| *dialect == request.dialect);
    let ignored = ignored.map_or(&[][..], |(_, names)| names);
    let mut kept: Vec<&Field<'_>> = Vec::with_capacity(16);
    for field in fields.iter() {
        let name = field.name.as_str();
        let says_nothing = matches!(field.value, "null" | "false" | "[]" | "{}");
        match name {
            _ if NEVER_KEPT.contains(&name) && !says_nothing => {
                return Err("it asks for more than an answer");
            }
            // Both are read already; the model is a part of the key by the name that it has at its provider.
            "model" | "stream" => {}
            "store" => {}
            _ if !all && ignored.contains(&name) => {}
            _ if !is_contained(name, field.value) => return Err(OUTSIDE),
            _ => kept.push(field),
        }
    }
    let mut out = Writer { out: Vec::with_capacity(body.len()), outside: false };
    out.sorted(
        kept.into_iter().map(|field| (field.name.as_str(), field.value)),
        |out, name, value| match name {
            "messages" | "contents" | "input" => out.list(value, Writer::message),
            "system" | "content" => out.list(value, Writer::part),
            "systemInstruction" => out.object(value, Writer::inside_message),
            _ => out.text(value, !DATA.contains(&name)),
        },
    )?;
    if out.outside {
        return Err(OUTSIDE);
    }
    Ok(out.out)
}

/// Whether a request leaves nothing to chance, as far as it says.
pub(super) fn is_certain(request: &Request, body: &[u8]) -> bool {
    if matches!(request.endpoint, Endpoint::Embeddings | Endpoint::Rerank) {
        return true;
    }
    let zero = |fields: &Fields<'_>| {
        fields
            .get("temperature")
            .is_some_and(|field| field.value.parse::<f64>().is_ok_and(|value| value == 0.0))
    };
    match request.dialect {
        Dialect::Google => Fields::read_proto(body).is_ok_and(|fields| {
            let config = fields.get("generationConfig");
            config.is_some_and(|config| {
                Fields::read_proto(config.value.as_bytes()).is_ok_and(|config| zero(&config))
            })
        }),
        _ => Fields::read(body).is_ok_and(|fields| zero(&fields)),
    }
}

type Step = fn(&mut Writer, &str, &str) -> Result<(), Why>;

/// Writes JSON so that what is the same is written the same.
struct Writer {
    out: Vec<u8>,
    /// Something in it stands elsewhere.
    outside: bool,
}

impl Writer {
    /// Names in their order, each with what `step` makes of its value.
    fn sorted<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a str, &'a str)>,
        step: Step,
    ) -> Result<(), Why> {
        let mut fields: Vec<(&str, &str)> = fields.collect();
        // Stable: of a name that stands there twice, the first stays the first.
        fields.sort_by_key(|(name, _)| *name);
        self.out.push(b'{');
        for (name, value) in fields {
            self.quoted(name);
            self.out.push(b':');
            step(self, name, value)?;
            self.out.push(b',');
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A list, each of whose objects is written by `step`.
    fn list(&mut self, text: &str, step: fn(&mut Writer, &str) -> Result<(), Why>) -> Result<(), Why> {
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return self.text(text, true) };
        self.out.push(b'[');
        for item in items {
            step(self, item.get())?;
            self.out.push(b',');
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, text: &str, step: Step) -> Result<(), Why> {
        if !text.starts_with('{') {
            return self.text(text, true);
        }
        let fields: Pairs<'_> = serde_json::from_str(text).map_err(|_| "it cannot be read")?;
        self.sorted(fields.0.iter().map(|(name, value)| (name.as_ref(), value.get())), step)
    }

    fn message(&mut self, text: &str) -> Result<(), Why> {
        self.object(text, Writer::inside_message)
    }

    fn part(&mut self, text: &str) -> Result<(), Why> {
        self.object(text, |out, name, value| {
            // What a tool was called with is the model's own text.
            let is_data = DATA.contains(&name) || name == "input";
            out.text(value, !is_data)
        })
    }

    fn inside_message(&mut self, name: &str, value: &str) -> Result<(), Why> {
        match name {
            "content" | "parts" => self.list(value, Writer::part),
            // An answer that the provider keeps.
            "audio" if value != "null" => {
                self.outside = true;
                Ok(())
            }
            _ => self.text(value, !DATA.contains(&name)),
        }
    }

    /// A value as it is written, without white space and with every text escaped alike.
    fn text(&mut self, text: &str, look: bool) -> Result<(), Why> {
        let bytes = text.as_bytes();
        // The name that a value stands under, if it is one that a link stands under.
        let mut under: Under = Under::Nothing;
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                b'"' => {
                    let (end, escaped) = end_of_text(bytes, at).ok_or("it cannot be read")?;
                    let inner: Cow<'_, str> = match escaped {
                        false => Cow::Borrowed(text.get(at + 1..end).unwrap_or_default()),
                        true => {
                            let quoted = text.get(at..=end).unwrap_or_default();
                            let decoded = serde_json::from_str::<String>(quoted);
                            Cow::Owned(decoded.map_err(|_| "a text of it is none")?)
                        }
                    };
                    if look {
                        let rest = bytes.get(end + 1..).unwrap_or_default().trim_ascii_start();
                        match rest.first() {
                            Some(b':') => under = Under::of(&inner),
                            _ => self.outside |= under.stands_elsewhere(&inner),
                        }
                    }
                    match escaped {
                        false => self.out.extend_from_slice(bytes.get(at..=end).unwrap_or_default()),
                        true => self.quoted(&inner),
                    }
                    at = end + 1;
                }
                _ => {
                    self.out.push(*byte);
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn quoted(&mut self, text: &str) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut self.out, text);
    }
}

/// Where a text that begins at a quote ends, and whether anything in it is escaped.
fn end_of_text(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    let (mut at, mut escaped) = (start + 1, false);
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// What a value says by standing under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Nothing,
    /// Data or an address.
    Link,
    /// What the provider keeps.
    Reference,
    Kind,
}

impl Under {
    fn of(name: &str) -> Under {
        match name {
            "url" | "image_url" => Under::Link,
            "file_id" | "file_ids" | "file_url" | "file_uri" | "fileUri" | "video_url"
            | "vector_store_ids" => Under::Reference,
            "type" => Under::Kind,
            _ => Under::Nothing,
        }
    }

    fn stands_elsewhere(self, value: &str) -> bool {
        match self {
            Under::Nothing => false,
            Under::Link => !value.starts_with("data:"),
            Under::Reference => true,
            Under::Kind => matches!(value, "item_reference" | "container_upload"),
        }
    }
}

/// The fields of an object, as they are written.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> serde::de::Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    pairs.push((Cow::Owned(name), value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
