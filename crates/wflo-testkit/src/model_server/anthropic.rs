//! Anthropic's bytes: event names, field order and headers as api.anthropic.com sends them.

use super::prompt::{Prompt, Rendered, literal, words};

fn headers(serial: u64) -> Vec<(&'static str, String)> {
    vec![
        ("request-id", format!("req_{serial:024x}")),
        ("anthropic-ratelimit-requests-remaining", "49".to_owned()),
        ("anthropic-organization-id", "0f0f0f0f-mock".to_owned()),
    ]
}

fn usage(prompt: &Prompt<'_>, output: u64) -> String {
    let cached = prompt.answer.cached_tokens;
    prompt.usage_object(format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":{cached},"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}"#,
        prompt.input_tokens() - cached
    ))
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

pub(super) fn messages(prompt: &Prompt<'_>) -> Rendered {
    let model = literal(prompt.request["model"].as_str().unwrap_or_default());
    let id = format!("msg_{:024x}", prompt.serial);
    let tool = prompt.tool_call();
    let text = prompt.text();
    let said = tool.as_ref().map_or_else(|| text.clone(), |(_, arguments)| arguments.to_string());
    let (input, output) = (prompt.input_tokens(), prompt.output_tokens(&said));
    let stop = if tool.is_some() { "tool_use" } else { "end_turn" };
    let streams = prompt.request["stream"] == true;
    let pieces = if streams {
        let start_usage = if prompt.usage {
            format!(r#","usage":{}"#, usage(prompt, output.min(1)))
        } else {
            String::new()
        };
        let end_usage = if prompt.usage {
            format!(r#","usage":{}"#, prompt.usage_object(format!(r#"{{"output_tokens":{output}}}"#)))
        } else {
            String::new()
        };
        let mut pieces = vec![event(
            "message_start",
            &format!(
                r#"{{"type":"message_start","message":{{"model":{model},"id":"{id}","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null{start_usage}}}}}"#
            ),
        )];
        match &tool {
            Some((name, arguments)) => {
                pieces.push(event("content_block_start", &format!(
                    r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"toolu_{:024x}","name":{},"input":{{}}}}}}"#,
                    prompt.serial, literal(name)
                )));
                pieces.push(event("ping", r#"{"type": "ping"}"#));
                let arguments = arguments.to_string();
                for half in [&arguments[..arguments.len() / 2], &arguments[arguments.len() / 2..]] {
                    pieces.push(event("content_block_delta", &format!(
                        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":{}}}}}"#,
                        literal(half)
                    )));
                }
            }
            None => {
                pieces.push(event(
                    "content_block_start",
                    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                ));
                pieces.push(event("ping", r#"{"type": "ping"}"#));
                for word in words(&text) {
                    pieces.push(event("content_block_delta", &format!(
                        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{}}}}}"#,
                        literal(&word)
                    )));
                }
            }
        }
        pieces.push(event("content_block_stop", r#"{"type":"content_block_stop","index":0}"#));
        pieces.push(event("message_delta", &format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{stop}","stop_sequence":null}}{end_usage}}}"#
        )));
        pieces.push(event("message_stop", r#"{"type":"message_stop"}"#));
        pieces
    } else {
        let content = match &tool {
            Some((name, arguments)) => format!(
                r#"{{"type":"tool_use","id":"toolu_{:024x}","name":{},"input":{arguments}}}"#,
                prompt.serial,
                literal(name)
            ),
            None => format!(r#"{{"type":"text","text":{}}}"#, literal(&text)),
        };
        let usage =
            if prompt.usage { format!(r#","usage":{}"#, usage(prompt, output)) } else { String::new() };
        vec![format!(
            r#"{{"model":{model},"id":"{id}","type":"message","role":"assistant","content":[{content}],"stop_reason":"{stop}","stop_sequence":null{usage}}}"#
        )]
    };
    Rendered {
        content_type: if streams { "text/event-stream; charset=utf-8" } else { "application/json" },
        headers: headers(prompt.serial),
        streams,
        pieces,
        input_tokens: input,
        output_tokens: output,
        error_event: event(
            "error",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
    }
}

pub(super) fn count_tokens(prompt: &Prompt<'_>) -> Rendered {
    Rendered {
        content_type: "application/json",
        headers: headers(prompt.serial),
        streams: false,
        pieces: vec![format!(r#"{{"input_tokens":{}}}"#, prompt.input_tokens())],
        input_tokens: 0,
        output_tokens: 0,
        error_event: String::new(),
    }
}
