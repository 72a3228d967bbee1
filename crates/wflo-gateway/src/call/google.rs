//! A chat in OpenAI's shape said in Google's.
//!
//! Owns the translation of a request; its answer is read back by `answer`. What has no counterpart is an error that names it; nothing is left out
//! silently. Parameters that only Google has (`safetySettings`, `thinkingConfig` …) pass as they are.

use serde_json::{Map, Value, json};

use super::given::{self, Picture, Turn};
use super::reply::text_of;
use super::{CallError, ChatCall};
use crate::dialect::Dialect;

mod answer;

pub(super) use answer::{of_answer, piece};

/// What stands between a tool call's id and the signature of the thoughts that led to it. The signature has
/// to come back with the call, and an id is the one thing of a call that programs give back unchanged.
const SIGNATURE: &str = "__thought__";

/// Parameters of `generationConfig` by their names here and there.
const CONFIG: [(&str, &str); 8] = [
    ("max_tokens", "maxOutputTokens"),
    ("max_completion_tokens", "maxOutputTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
];

/// Google's own parameters of a request.
const OWN: [&str; 4] = ["safetySettings", "cachedContent", "serviceTier", "labels"];

fn cannot(what: impl Into<String>) -> CallError {
    given::cannot(Dialect::Google, what)
}

/// The path and the query of the endpoint.
pub(super) fn address(call: &ChatCall) -> Result<(String, Option<String>), CallError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._@".contains(c);
    if call.model.is_empty() || !call.model.chars().all(plain) || call.model.contains("..") {
        return Err(cannot(format!("the model name `{}`", call.model)));
    }
    Ok(if call.stream {
        (format!("/models/{}:streamGenerateContent", call.model), Some("alt=sse".to_owned()))
    } else {
        (format!("/models/{}:generateContent", call.model), None)
    })
}

pub(super) fn request(call: &ChatCall) -> Result<Map<String, Value>, CallError> {
    let mut body = Map::new();
    let mut config = match call.request.get("generationConfig") {
        Some(Value::Object(config)) => config.clone(),
        _ => Map::new(),
    };
    for (name, value) in &call.request {
        if let Some((_, theirs)) = CONFIG.iter().find(|(ours, _)| ours == name) {
            if !value.is_null() {
                config.insert((*theirs).to_owned(), value.clone());
            }
            continue;
        }
        match name.as_str() {
            "model" | "stream" | "stream_options" | "messages" | "generationConfig" => {}
            _ if value.is_null() => {}
            "n" if *value == json!(1) => {}
            "parallel_tool_calls" if *value == json!(true) => {}
            "stop" => {
                let list = if value.is_string() { json!([value]) } else { value.clone() };
                config.insert("stopSequences".to_owned(), list);
            }
            "thinkingConfig" => {
                config.insert("thinkingConfig".to_owned(), value.clone());
            }
            "response_format" => format(value, &mut config)?,
            "tools" => {
                body.insert("tools".to_owned(), tools(value)?);
            }
            "tool_choice" => {
                let choice = json!({ "functionCallingConfig": tool_choice(value)? });
                body.insert("toolConfig".to_owned(), choice);
            }
            own if OWN.contains(&own) => {
                body.insert(own.to_owned(), value.clone());
            }
            other => return Err(cannot(format!("the parameter `{other}`"))),
        }
    }
    let (system, contents) = contents(call)?;
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({ "parts": system }));
    }
    body.insert("contents".to_owned(), contents.into());
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), config.into());
    }
    Ok(body)
}

fn format(wanted: &Value, config: &mut Map<String, Value>) -> Result<(), CallError> {
    match wanted["type"].as_str() {
        Some("text") => return Ok(()),
        Some("json_object") => {}
        Some("json_schema") => {
            config.insert("responseJsonSchema".to_owned(), wanted["json_schema"]["schema"].clone());
        }
        _ => return Err(cannot(format!("the response format {}", wanted["type"]))),
    }
    config.insert("responseMimeType".to_owned(), "application/json".into());
    Ok(())
}

fn tools(given: &Value) -> Result<Value, CallError> {
    let list = given.as_array().ok_or_else(|| cannot("`tools` that is no list"))?;
    let declared = list.iter().map(|tool| {
        let function = given::function(tool, "parametersJsonSchema");
        function.ok_or_else(|| cannot(format!("the tool type {}", tool["type"])))
    });
    Ok(json!([{ "functionDeclarations": declared.collect::<Result<Vec<Value>, CallError>>()? }]))
}

fn tool_choice(given: &Value) -> Result<Value, CallError> {
    match given.as_str() {
        Some("auto") => Ok(json!({ "mode": "AUTO" })),
        Some("none") => Ok(json!({ "mode": "NONE" })),
        Some("required") => Ok(json!({ "mode": "ANY" })),
        None if given["type"] == "function" => {
            Ok(json!({ "mode": "ANY", "allowedFunctionNames": [given["function"]["name"]] }))
        }
        _ => Err(cannot(format!("the tool choice {given}"))),
    }
}

type Parts = Vec<Value>;

/// The system's parts and the turns.
fn contents(call: &ChatCall) -> Result<(Parts, Vec<Value>), CallError> {
    let (given, turns) = given::turns(call, Dialect::Google)?;
    let mut system = Vec::new();
    for message in given {
        system.extend(parts(&message["content"])?);
    }
    // The tool that each call named: a result here names its call, there its tool.
    let mut called: Vec<(String, Value)> = Vec::new();
    let mut said = Vec::with_capacity(turns.len());
    for turn in turns {
        let (role, parts) = match turn {
            Turn::User(message) => ("user", parts(&message["content"])?),
            Turn::Assistant(message) => ("model", assistant(message, &mut called)?),
            Turn::Results(results) => {
                let results = results.into_iter().map(|message| result(message, &called));
                ("user", results.collect::<Result<_, _>>()?)
            }
        };
        said.push(json!({ "role": role, "parts": parts }));
    }
    Ok((system, said))
}

fn assistant(message: &Value, called: &mut Vec<(String, Value)>) -> Result<Parts, CallError> {
    let mut out = given::said(message, Dialect::Google, part)?;
    for call in given::calls(message, Dialect::Google)? {
        let id = text_of(call.id);
        let mut part = json!({ "functionCall": { "name": call.name, "args": call.arguments } });
        if let Some((_, signature)) = id.split_once(SIGNATURE) {
            part["thoughtSignature"] = signature.into();
        }
        called.push((id, call.name.clone()));
        out.push(part);
    }
    Ok(out)
}

fn result(message: &Value, called: &[(String, Value)]) -> Result<Value, CallError> {
    let id = text_of(&message["tool_call_id"]);
    let (_, name) = called
        .iter()
        .rev()
        .find(|(call, _)| *call == id)
        .ok_or_else(|| cannot(format!("a tool's result whose call `{id}` is not among the messages")))?;
    let text: String = parts(&message["content"])?.iter().filter_map(|part| part["text"].as_str()).collect();
    let response = match serde_json::from_str::<Value>(&text) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({ "result": text }),
    };
    Ok(json!({ "functionResponse": { "name": name, "response": response } }))
}

fn parts(content: &Value) -> Result<Parts, CallError> {
    given::content(content, Dialect::Google, part)
}

fn part(part: &Value) -> Result<Value, CallError> {
    match part["type"].as_str() {
        Some("text") => Ok(json!({ "text": part["text"] })),
        Some("refusal") => Ok(json!({ "text": part["refusal"] })),
        Some("image_url") => {
            let Picture::Data(kind, data) = given::picture(part) else {
                return Err(cannot("an image that is no base64 data URL"));
            };
            Ok(json!({ "inlineData": { "mimeType": kind, "data": data } }))
        }
        // Google's own parts.
        None if part["inlineData"].is_object() || part["fileData"].is_object() => Ok(part.clone()),
        _ => Err(cannot(format!("content of the type {}", part["type"]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::reply::Gathered;

    fn translated(request: Value) -> Result<Value, CallError> {
        let Value::Object(request) = request else { panic!("not an object") };
        let call = ChatCall { model: "gemini".into(), request, stream: false, positional: None };
        super::request(&call).map(Value::Object)
    }

    #[test]
    fn a_tool_conversation_is_translated_whole() {
        let body = translated(json!({
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "a__thought__SIG==", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"id": "b", "name": "g", "arguments": ""}]},
                {"role": "tool", "tool_call_id": "a__thought__SIG==", "content": "{\"y\":2}"},
                {"role": "tool", "tool_call_id": "b", "content": "two"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
            "tool_choice": "required", "stop": "END", "temperature": 0, "n": 1, "max_tokens": 64,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        }))
        .unwrap();
        assert_eq!(
            body,
            json!({
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
                    {"role": "model", "parts": [
                        {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "SIG=="},
                        {"functionCall": {"name": "g", "args": {}}}]},
                    {"role": "user", "parts": [
                        {"functionResponse": {"name": "f", "response": {"y": 2}}},
                        {"functionResponse": {"name": "g", "response": {"result": "two"}}}]},
                ],
                "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
                "generationConfig": {"maxOutputTokens": 64, "temperature": 0, "stopSequences": ["END"],
                    "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
            })
        );
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        for (request, what) in [
            (json!({"messages": [], "logit_bias": {}}), "logit_bias"),
            (json!({"messages": [], "n": 2}), "`n`"),
            (json!({"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}), "`x`"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}),
                "image",
            ),
            (json!({}), "messages"),
        ] {
            assert!(translated(request).unwrap_err().to_string().contains(what), "{what}");
        }
        let call = |model: &str| ChatCall {
            model: model.into(),
            request: Map::new(),
            stream: true,
            positional: None,
        };
        assert!(address(&call("a/b")).is_err() && address(&call("..")).is_err());
        assert_eq!(
            address(&call("gemini-2.5-pro")).unwrap().0,
            "/models/gemini-2.5-pro:streamGenerateContent"
        );
    }

    #[test]
    fn thoughts_are_not_said_and_a_calls_signature_is_kept_in_its_id() {
        let raw = json!({"candidates": [{"content": {"parts": [
            {"text": "hm", "thought": true}, {"text": "yes"},
            {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "SIG"}]}, "finishReason": "STOP"}], "modelVersion": "g-1"});
        let reply = of_answer(raw.clone(), "g").unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish_reason.as_deref(), reply.model.as_str()),
            ("yes", Some("tool_calls"), "g-1")
        );
        assert_eq!(reply.tool_calls[0].id, "call_2__thought__SIG");
        let mut gathered = Gathered::default();
        assert_eq!(piece(&mut gathered, raw.to_string().as_bytes()).len(), 2);
        let streamed = gathered.reply("g");
        assert_eq!((streamed.text, streamed.finish_reason), (reply.text, reply.finish_reason));
        let blocked = of_answer(json!({"promptFeedback": {"blockReason": "SAFETY"}}), "g").unwrap();
        assert_eq!(blocked.finish_reason.as_deref(), Some("content_filter"));
        assert!(of_answer(json!({}), "g").is_err());
    }
}
