//! OpenAI's bytes: field order, nulls and headers as api.openai.com sends them.

use std::fmt::Write as _;

use super::prompt::{Prompt, Rendered, literal, words};

const CREATED: u64 = 1_763_700_000;
const FINGERPRINT: &str = "fp_560af6e559";

pub(super) fn headers(serial: u64) -> Vec<(&'static str, String)> {
    vec![
        ("x-request-id", format!("req_{serial:032x}")),
        ("openai-processing-ms", "21".to_owned()),
        ("openai-version", "2020-10-01".to_owned()),
        ("openai-organization", "org-mock".to_owned()),
        ("x-ratelimit-remaining-requests", "9999".to_owned()),
        ("set-cookie", "__cf_bm=mock; path=/".to_owned()),
    ]
}

fn usage(prompt: u64, cached: u64, completion: u64, reasoning: u64) -> String {
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        prompt + completion
    )
}

pub(super) fn chat(prompt: &Prompt<'_>) -> Rendered {
    let model = literal(prompt.request["model"].as_str().unwrap_or_default());
    let id = format!("chatcmpl-{:024x}", prompt.serial);
    let choices = prompt.request["n"].as_u64().unwrap_or(1);
    let tool = prompt.tool_call();
    let text = prompt.text();
    let said = tool.as_ref().map_or_else(|| text.clone(), |(_, arguments)| arguments.to_string());
    let (input, output) = (prompt.input_tokens(), prompt.output_tokens(&said) * choices);
    let usage = prompt.usage_object(usage(
        input,
        prompt.answer.cached_tokens,
        output,
        prompt.answer.reasoning_tokens,
    ));
    let streams = prompt.request["stream"] == true;
    let pieces = if streams {
        stream(prompt, &model, &id, choices, tool.as_ref(), &text, &usage)
    } else {
        let mut body = format!(
            r#"{{"id":"{id}","object":"chat.completion","created":{CREATED},"model":{model},"choices":["#
        );
        for index in 0..choices {
            let message = match &tool {
                Some((name, arguments)) => format!(
                    r#""content":null,"tool_calls":[{{"id":"call_{:024x}","type":"function","function":{{"name":{},"arguments":{}}}}}]"#,
                    prompt.serial,
                    literal(name),
                    literal(&arguments.to_string())
                ),
                None => format!(r#""content":{}"#, literal(&text)),
            };
            let finish = if tool.is_some() { "tool_calls" } else { "stop" };
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(
                body,
                r#"{comma}{{"index":{index},"message":{{"role":"assistant",{message},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{finish}"}}"#
            );
        }
        body.push(']');
        if prompt.usage {
            let _ = write!(body, r#","usage":{usage}"#);
        }
        let _ = write!(body, r#","service_tier":"default","system_fingerprint":"{FINGERPRINT}"}}"#);
        vec![body]
    };
    Rendered {
        content_type: if streams { "text/event-stream; charset=utf-8" } else { "application/json" },
        headers: headers(prompt.serial),
        streams,
        pieces,
        input_tokens: input,
        output_tokens: output,
        error_event: "data: {\"error\":{\"message\":\"The server had an error while processing your request. Sorry about that!\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n".to_owned(),
    }
}

fn stream(
    prompt: &Prompt<'_>,
    model: &str,
    id: &str,
    choices: u64,
    tool: Option<&(String, serde_json::Value)>,
    text: &str,
    usage: &str,
) -> Vec<String> {
    let asked = prompt.request["stream_options"]["include_usage"] == true && prompt.usage;
    let null = if asked { r#","usage":null"# } else { "" };
    let head = format!(
        r#"data: {{"id":"{id}","object":"chat.completion.chunk","created":{CREATED},"model":{model},"service_tier":"default","system_fingerprint":"{FINGERPRINT}","choices":["#
    );
    let chunk = |index: u64, delta: &str, finish: &str| {
        format!(
            "{head}{{\"index\":{index},\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]{null}}}\n\n"
        )
    };
    let mut pieces = Vec::new();
    for index in 0..choices {
        pieces.push(chunk(index, r#"{"role":"assistant","content":"","refusal":null}"#, "null"));
        match tool {
            Some((name, arguments)) => {
                pieces.push(chunk(
                    index,
                    &format!(
                        r#"{{"tool_calls":[{{"index":0,"id":"call_{:024x}","type":"function","function":{{"name":{},"arguments":""}}}}]}}"#,
                        prompt.serial,
                        literal(name)
                    ),
                    "null",
                ));
                let arguments = arguments.to_string();
                for half in [&arguments[..arguments.len() / 2], &arguments[arguments.len() / 2..]] {
                    let delta = format!(
                        r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{}}}}}]}}"#,
                        literal(half)
                    );
                    pieces.push(chunk(index, &delta, "null"));
                }
            }
            None => {
                for word in words(text) {
                    pieces.push(chunk(index, &format!(r#"{{"content":{}}}"#, literal(&word)), "null"));
                }
            }
        }
    }
    for index in 0..choices {
        let finish = if tool.is_some() { "\"tool_calls\"" } else { "\"stop\"" };
        pieces.push(chunk(index, "{}", finish));
    }
    let usage_chunk = format!("{head}],\"usage\":{usage}}}\n\n");
    let done = "data: [DONE]\n\n".to_owned();
    match (asked, prompt.usage_after_done) {
        (true, false) => pieces.extend([usage_chunk, done]),
        (true, true) => pieces.extend([done, usage_chunk]),
        (false, _) => pieces.push(done),
    }
    pieces
}

pub(super) fn embeddings(prompt: &Prompt<'_>) -> Rendered {
    let inputs = prompt.request["input"].as_array().map_or(1, Vec::len);
    let model = literal(prompt.request["model"].as_str().unwrap_or_default());
    let input = prompt.input_tokens();
    let mut body = r#"{"object":"list","data":["#.to_owned();
    for index in 0..inputs {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            body,
            r#"{comma}{{"object":"embedding","index":{index},"embedding":[0.0023064255,-0.009327292]}}"#
        );
    }
    let _ = write!(body, r#"],"model":{model},"usage":{{"prompt_tokens":{input},"total_tokens":{input}}}}}"#);
    Rendered {
        content_type: "application/json",
        headers: headers(prompt.serial),
        streams: false,
        pieces: vec![body],
        input_tokens: input,
        output_tokens: 0,
        error_event: String::new(),
    }
}

pub(super) fn models() -> Rendered {
    Rendered {
        content_type: "application/json",
        headers: headers(0),
        streams: false,
        pieces: vec![r#"{"object":"list","data":[{"id":"gpt-5-mini","object":"model","created":1754425928,"owned_by":"system"}],"has_more":false,"first_id":"gpt-5-mini","last_id":"gpt-5-mini"}"#.to_owned()],
        input_tokens: 0,
        output_tokens: 0,
        error_event: String::new(),
    }
}
