//! Cohere's bytes (API v2): event names and field order as api.cohere.com sends them.

use super::prompt::{Prompt, Rendered, literal, words};

/// What the template adds to the tokens that are billed.
const TEMPLATE: u64 = 66;

fn headers(serial: u64) -> Vec<(&'static str, String)> {
    vec![
        ("x-debug-trace-id", format!("{serial:032x}")),
        ("x-api-warning", "mock".to_owned()),
        ("x-trial-endpoint-call-remaining", "999".to_owned()),
    ]
}

fn id(serial: u64) -> String {
    format!("{serial:08x}-0000-4000-8000-000000000000")
}

fn event(kind: &str, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{rest}}}\n\n")
}

fn usage(prompt: &Prompt<'_>, input: u64, output: u64) -> String {
    prompt.usage_object(format!(
        r#"{{"billed_units":{{"input_tokens":{input},"output_tokens":{output}}},"tokens":{{"input_tokens":{},"output_tokens":{output}}},"cached_tokens":{}}}"#,
        input + TEMPLATE,
        prompt.answer.cached_tokens
    ))
}

pub(super) fn chat(prompt: &Prompt<'_>) -> Rendered {
    let (serial, id) = (prompt.serial, id(prompt.serial));
    let tool = prompt.tool_call();
    let text = prompt.text();
    let said = tool.as_ref().map_or_else(|| text.clone(), |(_, arguments)| arguments.to_string());
    let (input, output) = (prompt.input_tokens(), prompt.output_tokens(&said));
    let finish = if tool.is_some() { "TOOL_CALL" } else { "COMPLETE" };
    let counted =
        if prompt.usage { format!(r#","usage":{}"#, usage(prompt, input, output)) } else { String::new() };
    let streams = prompt.request["stream"] == true;
    let call = |name: &str, arguments: &str| {
        format!(
            r#"{{"id":"tool_{serial:012x}","type":"function","function":{{"name":{},"arguments":{}}}}}"#,
            literal(name),
            literal(arguments)
        )
    };
    let pieces = if streams {
        let start = r#""delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}"#;
        let mut pieces = vec![format!(
            "event: message-start\ndata: {{\"id\":\"{id}\",\"type\":\"message-start\",{start}}}\n\n"
        )];
        if let Some((name, _)) = &tool {
            let plan = r#""delta":{"message":{"tool_plan":"I will look."}}"#;
            pieces.push(event("tool-plan-delta", plan));
            let begun = call(name, "");
            let begun = format!(r#""index":0,"delta":{{"message":{{"tool_calls":{begun}}}}}"#);
            pieces.push(event("tool-call-start", &begun));
            for half in [&said[..said.len() / 2], &said[said.len() / 2..]] {
                let arguments = format!(r#"{{"function":{{"arguments":{}}}}}"#, literal(half));
                let delta = format!(r#""index":0,"delta":{{"message":{{"tool_calls":{arguments}}}}}"#);
                pieces.push(event("tool-call-delta", &delta));
            }
            pieces.push(event("tool-call-end", r#""index":0"#));
        } else {
            let start = r#""index":0,"delta":{"message":{"content":{"type":"text","text":""}}}"#;
            pieces.push(event("content-start", start));
            for word in words(&said) {
                let delta =
                    format!(r#""index":0,"delta":{{"message":{{"content":{{"text":{}}}}}}}"#, literal(&word));
                pieces.push(event("content-delta", &delta));
            }
            pieces.push(event("content-end", r#""index":0"#));
        }
        let end = event("message-end", &format!(r#""delta":{{"finish_reason":"{finish}"{counted}}}"#));
        let done = "data: [DONE]\n\n".to_owned();
        pieces.extend(if prompt.usage_after_done { [done, end] } else { [end, done] });
        pieces
    } else {
        let message = match &tool {
            Some((name, arguments)) => {
                let call = call(name, &arguments.to_string());
                format!(r#"{{"role":"assistant","tool_plan":"I will look.","tool_calls":[{call}]}}"#)
            }
            None => {
                format!(r#"{{"role":"assistant","content":[{{"type":"text","text":{}}}]}}"#, literal(&said))
            }
        };
        vec![format!(r#"{{"id":"{id}","message":{message},"finish_reason":"{finish}"{counted}}}"#)]
    };
    Rendered {
        content_type: if streams { "text/event-stream" } else { "application/json" },
        headers: headers(serial),
        streams,
        pieces,
        input_tokens: input,
        output_tokens: output,
        error_event: event(
            "message-end",
            r#""delta":{"finish_reason":"ERROR","error":"internal server error"}"#,
        ),
    }
}

fn whole(prompt: &Prompt<'_>, front: &str, units: String, input_tokens: u64) -> Rendered {
    let billed = if prompt.usage {
        format!(r#","billed_units":{}"#, prompt.usage_object(units))
    } else {
        String::new()
    };
    let id = id(prompt.serial);
    Rendered {
        content_type: "application/json",
        headers: headers(prompt.serial),
        streams: false,
        pieces: vec![format!(
            r#"{{"id":"{id}",{front},"meta":{{"api_version":{{"version":"2"}}{billed}}}}}"#
        )],
        input_tokens,
        output_tokens: 0,
        error_event: String::new(),
    }
}

pub(super) fn embed(prompt: &Prompt<'_>) -> Rendered {
    let texts = prompt.request["texts"].as_array().map_or(1, Vec::len);
    let input = prompt.input_tokens();
    let one = "[0.0023064255,-0.009327292]";
    let front = format!(
        r#""embeddings":{{"float":[{}]}},"texts":{},"response_type":"embeddings_by_type""#,
        vec![one; texts].join(","),
        prompt.request["texts"]
    );
    whole(prompt, &front, format!(r#"{{"input_tokens":{input}}}"#), input)
}

pub(super) fn rerank(prompt: &Prompt<'_>) -> Rendered {
    let documents = prompt.request["documents"].as_array().map_or(0, Vec::len);
    let results: Vec<String> =
        (0..documents).map(|index| format!(r#"{{"index":{index},"relevance_score":0.5}}"#)).collect();
    let units = prompt.answer.input_tokens.unwrap_or((documents as u64).div_ceil(100).max(1));
    let front = format!(r#""results":[{}]"#, results.join(","));
    whole(prompt, &front, format!(r#"{{"search_units":{units}}}"#), 0)
}
