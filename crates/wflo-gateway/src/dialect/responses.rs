//! OpenAI responses.
//!
//! Owns reading a request's facts; `stream` reads its answer's events. The conversation
//! may stand at the provider: what the body only names is unsizable here, and what the provider would do
//! after its answer, or beside the model, is refused.

use serde::Deserialize;

use self::stream::Stream;
use super::errors::{self, Told};
use super::json::{BodyError, Edit, Fields};
use super::limit::{OutputLimit, Stated};
use super::openai::{refuse_unbounded, tier};
use super::request::{Request, RequestError, Tools};
use super::wire::{Asked, Events, Wire};
use super::{Dialect, facts, foreign, thoughts};
use crate::framing::Framing;

mod stream;

/// What this endpoint reads as the limit of its answer.
const LIMIT: &str = "max_output_tokens";

/// Fields that decide the cost, beside those of [`foreign`]: another spelling of one of them is refused.
const KNOWN: [&str; 15] = [
    "model",
    "input",
    "instructions",
    "stream",
    "tools",
    "text",
    "service_tier",
    "background",
    "previous_response_id",
    "conversation",
    "prompt",
    "context_management",
    "max_tool_calls",
    "reasoning",
    "truncation",
];

/// Further fields that leave the bound alone.
const HARMLESS: [&str; 6] =
    ["include", "background", "prompt_cache_options", "access_programs", "cyber", "moderation"];

/// Tools that search at the provider: `max_tool_calls` says how often at most.
const SEARCHES: [&str; 2] = ["web_search", "file_search"];

/// What the provider keeps and the body only names.
const REFERENCES: [(&str, &str); 3] = [
    ("previous_response_id", "an earlier response by its id"),
    ("conversation", "a conversation by its id"),
    ("prompt", "a stored prompt by its id"),
];

/// `responses`.
pub(super) struct Responses;

impl Wire for Responses {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAi
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        for known in [&KNOWN[..], &foreign::LIMITS, &foreign::CHOICES, &["max_tokens"]] {
            fields.refuse_other_spellings(known)?;
        }
        refuse_unbounded(&fields)?;
        let present =
            |name: &str| fields.get(name).is_some_and(|field| !matches!(field.value, "null" | "[]"));
        if fields.flag("background")?.unwrap_or(false) {
            return Err(unboundable(
                "`background` lets the response go on after its answer, where its bill is not seen",
                "Leave `background` out, and let your program wait for the response.",
            ));
        }
        if present("context_management") {
            return Err(unboundable(
                "`context_management` asks for compaction, a further model call inside this one",
                "Leave it out, or compact in your program.",
            ));
        }
        let model = fields.text("model")?.ok_or(RequestError::Missing("model"))?;
        let mut request = Request {
            stream: fields.flag("stream")?.unwrap_or(false),
            max_output: fields.count("max_tokens")?.max(foreign::largest(&fields, &foreign::LIMITS)?),
            stated: Stated { max_tokens: fields.count(LIMIT)?.is_some(), max_completion_tokens: false },
            unknown_field: foreign::unknown(&fields, &known_here()),
            thoughts: thoughts::read(&fields)?,
            choices: foreign::largest(&fields, &foreign::CHOICES)?.unwrap_or(1),
            messages: fields.get("input").map_or(0, |field| facts::elements(field.value).max(1)),
            tier: tier(&fields)?,
            ..Request::of(asked, model, body)?
        };
        for (_, what) in REFERENCES.into_iter().filter(|(name, _)| present(name)) {
            request.facts.unsizable = Some(what);
        }
        if let Some(text) = fields.get("text") {
            request.tools.bytes += text.value.len() as u64;
            request.tools.count += 1;
        }
        if let Some(field) = fields.get("tools").filter(|field| field.value != "null") {
            request.tools.bytes += field.value.len() as u64;
            let calls = fields.count("max_tool_calls")?;
            tools(field.value, calls, &mut request)?;
        }
        if let Some(field) = fields.get("input").filter(|field| field.value.starts_with('[')) {
            let stored = fields.flag("store")? != Some(false);
            items(field.value, stored, &mut request)?;
        }
        Ok(request)
    }

    fn end_at(&self, body: &[u8], _: OutputLimit, limit: u64) -> Result<Edit, BodyError> {
        Ok(Fields::read(body)?.set(LIMIT, &limit.to_string()))
    }

    fn lowered(&self, body: &[u8], _: OutputLimit, limit: u64) -> Result<Vec<Edit>, BodyError> {
        let fields = Fields::read(body)?;
        let mut edits = foreign::lowered(&fields, limit)?;
        if fields.count(LIMIT)?.is_none() {
            edits.push(fields.set(LIMIT, &limit.to_string()));
        }
        Ok(edits)
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Stream)
    }

    fn error_event(&self, _: Framing, told: Told<'_>) -> String {
        // Flat as it is documented, and with the object that the service sends: clients read either.
        let error = errors::object(told);
        let event = serde_json::json!({
            "type": "error", "sequence_number": 0, "code": told.code, "message": told.message, "param": null,
            "error": error,
        });
        format!("event: error\ndata: {event}\n\n")
    }
}

/// `responses/input_tokens`: the model is all that is read of it.
pub(super) struct InputTokens;

impl Wire for InputTokens {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAi
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        fields.refuse_other_spellings(&["model"])?;
        let model = fields.text("model")?.ok_or(RequestError::Missing("model"))?;
        Ok(Request::of(asked, model, body)?)
    }

    fn events(&self, choices: u64) -> Box<dyn Events> {
        Responses.events(choices)
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        Responses.error_event(framing, told)
    }
}

fn unboundable(what: &str, instead: &str) -> RequestError {
    RequestError::Unboundable { what: what.to_owned(), instead: instead.to_owned() }
}

fn known_here() -> Vec<&'static str> {
    KNOWN.into_iter().chain(HARMLESS).collect()
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow, default)]
    tools: Option<&'a serde_json::value::RawValue>,
    #[serde(default)]
    environment: Option<Environment>,
    #[serde(default)]
    execution: Option<String>,
}

#[derive(Deserialize)]
struct Environment {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Counts the tools of a list, and refuses those that run at the provider.
fn tools(list: &str, calls: Option<u64>, request: &mut Request) -> Result<(), RequestError> {
    let all: Vec<Tool<'_>> = serde_json::from_str(list)
        .map_err(|_| BodyError::WrongKind { field: "tools".to_owned(), wanted: "a list of tools" })?;
    request.tools = Tools { count: request.tools.count + all.len() as u64, ..request.tools };
    for tool in all {
        let kind = tool.kind.unwrap_or_default();
        let local = tool.environment.is_some_and(|environment| environment.kind.as_deref() == Some("local"));
        match kind.as_str() {
            "function" | "custom" => {}
            "namespace" => tools(tool.tools.map_or("[]", |tools| tools.get()), calls, request)?,
            "tool_search" if tool.execution.as_deref() == Some("client") => {}
            // They run in the client's program, and the provider writes their definitions, of a length
            // that is not documented.
            "local_shell" | "apply_patch" | "computer" | "computer_use_preview" => {
                request.facts.unsizable = Some("a tool that the provider defines");
            }
            "shell" if local => request.facts.unsizable = Some("a tool that the provider defines"),
            _ => {
                let search = SEARCHES.iter().any(|prefix| kind.starts_with(prefix));
                // `max_tool_calls` is of all tools of the provider's together.
                match calls.filter(|_| search) {
                    Some(calls) => {
                        request.tools.rounds = request.tools.rounds.max(calls);
                        let most = if kind.starts_with("file") {
                            &mut request.tools.file_searches
                        } else {
                            &mut request.tools.searches
                        };
                        *most = (*most).max(calls);
                    }
                    None => {
                        let instead = if search {
                            "Say how often at most: `max_tool_calls`."
                        } else {
                            "Use tools of the type `function`, which your program runs."
                        };
                        return Err(RequestError::Unboundable {
                            what: format!("the tool `{kind}` runs at the provider and is billed by use"),
                            instead: instead.to_owned(),
                        });
                    }
                }
            }
        }
    }
    Ok(())
}

/// Looks at the items of an input for what the body does not hold. What the provider stores it may read by an
/// item's id instead.
fn items(list: &str, stored: bool, request: &mut Request) -> Result<(), RequestError> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        role: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        id: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        encrypted_content: Option<serde::de::IgnoredAny>,
        #[serde(borrow, default)]
        tools: Option<&'a serde_json::value::RawValue>,
    }
    let all: Vec<Item<'_>> = serde_json::from_str(list).map_err(|_| BodyError::WrongKind {
        field: "input".to_owned(),
        wanted: "a text or a list of items",
    })?;
    for item in all {
        match item.kind.as_deref() {
            None if item.role.is_some() => {}
            Some(
                "message"
                | "function_call"
                | "function_call_output"
                | "custom_tool_call"
                | "custom_tool_call_output"
                | "local_shell_call"
                | "local_shell_call_output"
                | "shell_call"
                | "shell_call_output"
                | "apply_patch_call"
                | "apply_patch_call_output"
                | "computer_call"
                | "computer_call_output"
                | "tool_search_call",
            ) => {}
            Some("reasoning") if item.encrypted_content.is_some() && !(stored && item.id.is_some()) => {}
            Some("additional_tools") => {
                let given = item.tools.map_or("[]", |tools| tools.get());
                request.tools.bytes += given.len() as u64;
                tools(given, None, request)?;
            }
            Some("compaction_trigger") => {
                return Err(unboundable(
                    "an item asks for compaction, a further model call inside this one",
                    "Leave it out, or compact in your program.",
                ));
            }
            // An id, what the provider packed, or what nobody here has heard of.
            _ => request.facts.unsizable = Some("an item that the provider keeps"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Endpoint;
    use bytes::Bytes;

    fn request(body: &str) -> Result<Request, RequestError> {
        Request::parse(Dialect::OpenAi, Endpoint::Responses, body.as_bytes(), "")
    }

    #[test]
    fn what_the_body_does_not_show_is_unsizable() {
        for field in [
            r#""previous_response_id":"resp_1""#,
            r#""conversation":{"id":"conv_1"}"#,
            r#""prompt":{"id":"pmpt_1"}"#,
            r#""input":[{"type":"item_reference","id":"msg_1"}]"#,
            r#""input":[{"id":"msg_1"}]"#,
            r#""input":[{"type":"reasoning","id":"rs_1","summary":[]}]"#,
            r#""input":[{"type":"reasoning","id":"rs_1","encrypted_content":"x","summary":[]}]"#,
            r#""store":true,"input":[{"type":"reasoning","id":"rs_1","encrypted_content":"x"}]"#,
            r#""input":[{"type":"compaction","encrypted_content":"gAAA"}]"#,
            r#""input":[{"type":"unheard_of"}]"#,
            r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]"#,
            r#""tools":[{"type":"apply_patch"}]"#,
        ] {
            let read = request(&format!(r#"{{"model":"m",{field}}}"#)).unwrap();
            assert!(read.facts.unsizable.is_some(), "{field}");
        }
        for field in [
            r#""input":"hi""#,
            r#""input":[{"role":"user","content":"hi"},{"type":"function_call_output","call_id":"c","output":"4"}]"#,
            r#""store":false,"input":[{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA","summary":[]}]"#,
            r#""input":[{"type":"reasoning","encrypted_content":"gAAA","summary":[]}]"#,
            r#""previous_response_id":null"#,
        ] {
            assert_eq!(
                request(&format!(r#"{{"model":"m",{field}}}"#)).unwrap().facts.unsizable,
                None,
                "{field}"
            );
        }
    }

    #[test]
    fn what_runs_at_the_provider_is_refused_wherever_it_stands() {
        for field in [
            r#""background":true"#,
            r#""context_management":[{"type":"compaction"}]"#,
            r#""tools":[{"type":"web_search"}]"#,
            r#""tools":[{"type":"mcp","server_url":"x"}]"#,
            r#""tools":[{"type":"shell","environment":{"type":"container_auto"}}]"#,
            r#""tools":[{"type":"namespace","tools":[{"type":"code_interpreter"}]}]"#,
            r#""input":[{"type":"additional_tools","tools":[{"type":"file_search"}]}]"#,
            r#""input":[{"type":"compaction_trigger"}]"#,
            r#""Background":true"#,
        ] {
            assert!(request(&format!(r#"{{"model":"m",{field}}}"#)).is_err(), "{field}");
        }
        let ours = r#"{"model":"m","tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"}]}"#;
        assert_eq!(request(ours).unwrap().tools.count, 2);
    }

    #[test]
    fn its_own_name_for_the_limit_is_read_and_written() {
        let told = request(r#"{"model":"m","max_output_tokens":7}"#).unwrap();
        assert_eq!((told.max_output, told.stated.max_tokens), (Some(7), true));
        let other = request(r#"{"model":"m","max_tokens":7}"#).unwrap();
        assert_eq!((other.max_output, other.stated.max_tokens), (Some(7), false));
        for (before, after) in [
            (r#"{"model":"m"}"#, r#"{"max_output_tokens":9,"model":"m"}"#),
            (r#"{"max_output_tokens": null,"model":"m"}"#, r#"{"max_output_tokens": 9,"model":"m"}"#),
        ] {
            let limit = Some((OutputLimit::MaxCompletionTokens, 9));
            assert_eq!(request(before).unwrap().outgoing(&Bytes::from(before), limit).unwrap(), after);
        }
    }
}
