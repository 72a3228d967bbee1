//! Google's Gemini API: generateContent and streamGenerateContent, countTokens; `embed` has its embeddings.
//!
//! Owns reading a request's facts and which pieces of a stream may be its last. That server reads every
//! name in camelCase and in snake_case, so both count here, and a name in both is refused; the model stands
//! in the path.

mod embed;
mod stream;

pub(super) use self::embed::Embed;
use self::stream::Stream;

use super::errors::{self, Told};
use super::json::{BodyError, Edit, Fields};
use super::limit::{OutputLimit, Stated};
use super::request::{Request, RequestError, Tools, WantedTier};
use super::wire::{Asked, Events, Wire};
use super::{Dialect, facts, query};
use crate::framing::Framing;
use crate::price::Tier;

/// Every field of a request that is known.
const FIELDS: [&str; 10] = [
    "contents",
    "systemInstruction",
    "generationConfig",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "serviceTier",
    "model",
    "labels",
];

/// Every field of `generationConfig` that is known.
const CONFIG: [&str; 26] = [
    "maxOutputTokens",
    "candidateCount",
    "thinkingConfig",
    "responseModalities",
    "responseSchema",
    "responseJsonSchema",
    "responseMimeType",
    "responseLogprobs",
    "responseFormat",
    "logprobs",
    "speechConfig",
    "imageConfig",
    "mediaResolution",
    "stopSequences",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "enableEnhancedCivicAnswers",
    "enableAffectiveDialog",
    "audioTimestamp",
    "routingConfig",
    "modelSelectionConfig",
    "translationConfig",
];

/// Fields of `generationConfig` by which the provider picks the model.
const ROUTING: [&str; 2] = ["routingConfig", "modelSelectionConfig"];

/// Parts of the query that hold a client's credential: none of them is passed on.
pub(crate) const CREDENTIALS: [&str; 5] = ["key", "$key", "access_token", "oauth_token", "$access_token"];

/// `generateContent` and `streamGenerateContent`.
pub(super) struct Generate {
    pub(super) streams: bool,
}

impl Wire for Generate {
    fn dialect(&self) -> Dialect {
        Dialect::Google
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        readable(asked.query)?;
        let fields = Fields::read_proto(body)?;
        fields.refuse_other_spellings(&FIELDS)?;
        let config = fields.get("generationConfig").filter(|field| field.value != "null");
        let config = Fields::read_proto(config.map_or("{}", |field| field.value).as_bytes())?;
        config.refuse_other_spellings(&CONFIG)?;
        if let Some(name) = ROUTING.iter().find(|name| is_set(&config, name)) {
            return Err(RequestError::Unboundable {
                what: format!("`{name}` is set, and the provider picks who serves the model"),
                instead: format!("Leave `{name}` out, and name the model."),
            });
        }
        let model = model(asked)?;
        if let Some(repeated) = fields.text("model")? {
            is_of_the_path(&repeated, &model)?;
        }
        let max_output = config.count("maxOutputTokens")?;
        let thinking = match config.get("thinkingConfig").filter(|field| field.value != "null") {
            Some(field) => thinking(field.value)?,
            None => 0,
        };
        let unknown = fields
            .iter()
            .map(|field| (field, &FIELDS[..]))
            .chain(config.iter().map(|field| (field, &CONFIG[..])))
            .find(|(field, known)| field.value != "null" && !known.contains(&field.name.as_str()));
        let mut request = Request {
            stream: self.streams,
            max_output,
            stated: Stated { max_tokens: max_output.is_some(), max_completion_tokens: false },
            unknown_field: unknown.map(|(field, _)| field.name.clone()),
            // Thoughts are within the limit; a budget above it is not trusted to be.
            extra_output: thinking.saturating_sub(max_output.unwrap_or(thinking)),
            choices: config.count("candidateCount")?.unwrap_or(1),
            messages: fields.get("contents").map_or(0, |field| facts::elements(field.value)),
            tools: tools(&fields, &config)?,
            tier: tier(&fields)?,
            ..Request::of(asked, model, body)?
        };
        if is_set(&fields, "cachedContent") {
            request.facts.unsizable = Some("cached content by its name");
            request.facts.cached = true;
        }
        Ok(request)
    }

    fn end_at(&self, body: &[u8], _: OutputLimit, limit: u64) -> Result<Edit, BodyError> {
        let (fields, limit) = (Fields::read_proto(body)?, limit.to_string());
        match fields.get("generationConfig").filter(|field| field.value != "null") {
            None => Ok(fields.set("generationConfig", &format!("{{\"maxOutputTokens\":{limit}}}"))),
            Some(config) => {
                let inner = Fields::read_proto(config.value.as_bytes())?;
                Ok(inner.set("maxOutputTokens", &limit).within(config))
            }
        }
    }

    fn lowered(&self, body: &[u8], name: OutputLimit, limit: u64) -> Result<Vec<Edit>, BodyError> {
        Ok(vec![self.end_at(body, name, limit)?])
    }

    fn framing(&self, content_type: &str) -> Option<Framing> {
        let content_type = content_type.trim_start();
        if content_type.starts_with("text/event-stream") {
            Some(Framing::Events)
        } else {
            (self.streams && content_type.starts_with("application/json")).then_some(Framing::Array)
        }
    }

    fn events(&self, choices: u64) -> Box<dyn Events> {
        Box::new(Stream::new(choices))
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        let body = errors::body(Dialect::Google, told);
        match framing {
            Framing::Events => format!("data: {body}\r\n\r\n"),
            // The array is left open: nobody takes it for whole.
            Framing::Array => format!(",\r\n{body}\n"),
        }
    }
}

/// `countTokens`: the model is all that is read of it.
pub(super) struct CountTokens;

impl Wire for CountTokens {
    fn dialect(&self) -> Dialect {
        Dialect::Google
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        readable(asked.query)?;
        Fields::read_proto(body)?;
        Ok(Request::of(asked, model(asked)?, body)?)
    }

    fn events(&self, choices: u64) -> Box<dyn Events> {
        Box::new(Stream::new(choices))
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        Generate { streams: false }.error_event(framing, told)
    }
}

fn is_set(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|field| !matches!(field.value, "null" | "{}" | "\"\""))
}

/// `M` of `/v1beta/models/M:verb`.
fn model(asked: &Asked<'_>) -> Result<String, RequestError> {
    let last = asked.suffix.rsplit('/').next().unwrap_or_default();
    let model = last.rsplit_once(':').map_or(last, |(model, _)| model);
    if model.is_empty() { Err(RequestError::Missing("model")) } else { Ok(model.to_owned()) }
}

/// Refuses a body that names another model than the path, which is the one that is priced.
fn is_of_the_path(named: &str, model: &str) -> Result<(), BodyError> {
    let same = named.strip_prefix("models/").unwrap_or(named) == model;
    if same { Ok(()) } else { Err(BodyError::Ambiguous("model".to_owned())) }
}

/// Refuses a query that asks for an answer whose usage could not be read.
fn readable(query: Option<&str>) -> Result<(), RequestError> {
    let mut forms = 0;
    for (_, name, value) in query::parts(query.unwrap_or_default()) {
        let name = name.strip_prefix('$').unwrap_or(&name);
        let refused = match name {
            "alt" => {
                forms += 1;
                forms > 1 || !matches!(value.as_str(), "json" | "sse")
            }
            "fields" | "callback" => true,
            _ => false,
        };
        if refused {
            return Err(RequestError::Unreadable { what: format!("`{name}` of the query") });
        }
    }
    Ok(())
}

/// The thinking budget; -1 leaves it to the model, which its limit bounds.
fn thinking(config: &str) -> Result<u64, BodyError> {
    let fields = Fields::read_proto(config.as_bytes())?;
    fields.refuse_other_spellings(&["thinkingBudget", "thinkingLevel", "includeThoughts"])?;
    let Some(field) = fields.get("thinkingBudget").filter(|field| field.value != "null") else {
        return Ok(0);
    };
    let budget: i64 = serde_json::from_str(field.value)
        .map_err(|_| BodyError::WrongKind { field: "thinkingBudget".to_owned(), wanted: "a whole number" })?;
    Ok(u64::try_from(budget).unwrap_or(0))
}

/// The service tier that is asked for; none means the standard one.
fn tier(fields: &Fields<'_>) -> Result<WantedTier, BodyError> {
    let named = fields.text("serviceTier")?.unwrap_or_default().to_ascii_lowercase();
    Ok(match named.strip_prefix("service_tier_").unwrap_or(&named) {
        "" | "unspecified" => WantedTier::Named(Tier::Standard),
        name => WantedTier::of(name),
    })
}

fn tools(fields: &Fields<'_>, config: &Fields<'_>) -> Result<Tools, RequestError> {
    let mut tools = Tools::default();
    for name in ["responseSchema", "responseJsonSchema", "responseFormat"] {
        let Some(field) = config.get(name).filter(|field| field.value != "null") else { continue };
        tools.bytes += field.value.len() as u64;
        tools.count += 1;
    }
    let Some(field) = fields.get("tools").filter(|field| field.value != "null") else { return Ok(tools) };
    tools.bytes += field.value.len() as u64;
    let wrong = || BodyError::WrongKind { field: "tools".to_owned(), wanted: "a list of tools" };
    let all: Vec<&serde_json::value::RawValue> = serde_json::from_str(field.value).map_err(|_| wrong())?;
    for tool in all {
        let kinds = Fields::read_proto(tool.get().as_bytes()).map_err(|_| wrong())?;
        for kind in kinds.iter().filter(|kind| kind.value != "null") {
            // Whether its searches are billed by the prompt, so that they are bounded, is the price's to say.
            if kind.name == "googleSearch" {
                tools.grounded = true;
                continue;
            }
            if kind.name != "functionDeclarations" {
                return Err(RequestError::Unboundable {
                    what: format!("the tool `{}` runs at the provider and is billed by use", kind.name),
                    instead: "Use `functionDeclarations`, which your program runs.".to_owned(),
                });
            }
            tools.count += facts::elements(kind.value);
        }
    }
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Endpoint;
    use bytes::Bytes;

    fn at<'a>(query: &'a str) -> Asked<'a> {
        Asked {
            dialect: Dialect::Google,
            endpoint: Endpoint::Generate,
            suffix: "/v1beta/models/gemini-2.5-flash:generateContent",
            query: Some(query),
            beta: "",
        }
    }

    fn request(body: &str) -> Result<Request, RequestError> {
        Request::read(&at(""), body.as_bytes())
    }

    #[test]
    fn both_spellings_count_and_together_they_are_refused() {
        for body in [
            r#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":2,"thinkingConfig":{"thinkingBudget":9}}}"#,
            r#"{"generation_config":{"max_output_tokens":7,"candidate_count":2,"thinking_config":{"thinking_budget":9}}}"#,
        ] {
            let read = request(body).unwrap();
            assert_eq!((read.max_output, read.choices, read.extra_output), (Some(7), 2, 2), "{body}");
            assert_eq!((read.model.as_str(), read.unknown_field), ("gemini-2.5-flash", None));
        }
        for body in [
            r#"{"generationConfig":{},"generation_config":{"max_output_tokens":9}}"#,
            r#"{"generationConfig":{"maxOutputTokens":7,"max_output_tokens":9}}"#,
            r#"{"generationConfig":{"MaxOutputTokens":7}}"#,
            r#"{"generationConfig":{"maxOutputTokens":"7"}}"#,
            r#"{"generationConfig":{"maxOutputTokens":0}}"#,
        ] {
            assert!(request(body).is_err(), "{body}");
        }
        let unknown = request(r#"{"generationConfig":{"x":1}}"#).unwrap().unknown_field;
        assert_eq!(unknown.as_deref(), Some("x"));
    }

    #[test]
    fn what_the_body_does_not_show_is_unsizable_and_what_runs_there_is_refused() {
        for body in [
            r#"{"cachedContent":"cachedContents/x"}"#,
            r#"{"contents":[{"parts":[{"fileData":{"fileUri":"https://x"}}]}]}"#,
            r#"{"contents":[{"parts":[{"file_data":{"file_uri":"https://x"}}]}]}"#,
            r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"application/pdf","data":"AAAA"}}]}]}"#,
            r#"{"contents":[{"parts":[{"inline_data":{"mime_type":"audio/wav","data":"AAAA"}}]}]}"#,
        ] {
            assert!(request(body).unwrap().facts.unsizable.is_some(), "{body}");
        }
        let image = r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}]}"#;
        let facts = request(image).unwrap().facts;
        assert_eq!((facts.inline_images, facts.unsizable), (1, None));
        for tool in ["codeExecution", "urlContext", "googleMaps", "googleSearchRetrieval", "unheardOf"] {
            assert!(request(&format!(r#"{{"tools":[{{"{tool}":{{}}}}]}}"#)).is_err(), "{tool}");
        }
        assert!(request(r#"{"generationConfig":{"routingConfig":{"autoMode":{}}}}"#).is_err());
        let grounded = request(r#"{"tools":[{"google_search":{}}]}"#).unwrap();
        assert!(grounded.tools.grounded, "the price says whether that is bounded");
        let ours = r#"{"tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]}]}"#;
        assert_eq!(request(ours).unwrap().tools.count, 2);
    }

    #[test]
    fn a_query_that_hides_the_usage_is_refused() {
        for query in
            ["alt=proto", "$alt=media", "alt=sse&alt=json", "fields=candidates", "%66ields=x", "callback=f"]
        {
            let read = Request::read(&at(query), b"{}");
            assert!(matches!(read, Err(RequestError::Unreadable { .. })), "{query}");
        }
        assert!(Request::read(&at("alt=sse&prettyPrint=false&key=x"), b"{}").is_ok());
    }

    #[test]
    fn the_limit_is_written_where_the_server_reads_it() {
        for (before, after) in [
            (r#"{"contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":9},"contents":[]}"#),
            (r#"{"generationConfig": null}"#, r#"{"generationConfig": {"maxOutputTokens":9}}"#),
            (
                r#"{"generation_config": {"temperature":1.0}}"#,
                r#"{"generation_config": {"maxOutputTokens":9,"temperature":1.0}}"#,
            ),
            (
                r#"{"x":1,"generationConfig":{"max_output_tokens":99}}"#,
                r#"{"x":1,"generationConfig":{"max_output_tokens":9}}"#,
            ),
        ] {
            let limit = Some((OutputLimit::MaxTokens, 9));
            assert_eq!(request(before).unwrap().outgoing(&Bytes::from(before), limit).unwrap(), after);
        }
    }
}
