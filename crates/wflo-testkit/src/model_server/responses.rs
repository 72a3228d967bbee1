//! OpenAI's responses: the object and the typed events, in the order in which api.openai.com sends them.

use super::openai::headers;
use super::prompt::{Prompt, Rendered, literal, words};

const CREATED: u64 = 1_763_700_000;

fn usage(prompt: &Prompt<'_>, input: u64, output: u64) -> String {
    let (cached, reasoning) = (prompt.answer.cached_tokens, prompt.answer.reasoning_tokens.min(output));
    prompt.usage_object(format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{}}}"#,
        input + output
    ))
}

/// The events of one stream, numbered.
struct Events {
    pieces: Vec<String>,
}

impl Events {
    fn push(&mut self, kind: &str, rest: &str) {
        let number = self.pieces.len();
        self.pieces.push(format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{rest}}}\n\n"
        ));
    }
}

pub(super) fn responses(prompt: &Prompt<'_>) -> Rendered {
    let model = literal(prompt.request["model"].as_str().unwrap_or_default());
    let (serial, id) = (prompt.serial, format!("resp_{:048x}", prompt.serial));
    let tool = prompt.tool_call();
    let text = prompt.text();
    let said = tool.as_ref().map_or_else(|| text.clone(), |(_, arguments)| arguments.to_string());
    let (input, output) = (prompt.input_tokens(), prompt.output_tokens(&said));
    let usage = if prompt.usage { usage(prompt, input, output) } else { "null".to_owned() };
    let object = |status: &str, items: &str, usage: &str| {
        format!(
            r#"{{"id":"{id}","object":"response","created_at":{CREATED},"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":{model},"output":[{items}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":null,"summary":null}},"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}}}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#
        )
    };
    let item = |status: &str, said: &str| match &tool {
        Some((name, _)) => format!(
            r#"{{"id":"fc_{serial:048x}","type":"function_call","status":"{status}","arguments":{},"call_id":"call_{serial:024x}","name":{}}}"#,
            literal(said),
            literal(name)
        ),
        None if status == "in_progress" => format!(
            r#"{{"id":"msg_{serial:048x}","type":"message","status":"in_progress","content":[],"role":"assistant"}}"#
        ),
        None => format!(
            r#"{{"id":"msg_{serial:048x}","type":"message","status":"completed","content":[{}],"role":"assistant"}}"#,
            part(said)
        ),
    };
    let streams = prompt.request["stream"] == true;
    let whole = object("completed", &item("completed", &said), &usage);
    let pieces = if streams {
        let mut events = Events { pieces: Vec::new() };
        let begun = object("in_progress", "", "null");
        events.push("response.created", &format!(r#""response":{begun}"#));
        events.push("response.in_progress", &format!(r#""response":{begun}"#));
        let added = format!(r#""output_index":0,"item":{}"#, item("in_progress", ""));
        events.push("response.output_item.added", &added);
        if tool.is_some() {
            let at = format!(r#""item_id":"fc_{serial:048x}","output_index":0"#);
            for half in [&said[..said.len() / 2], &said[said.len() / 2..]] {
                let delta = format!(r#"{at},"delta":{}"#, literal(half));
                events.push("response.function_call_arguments.delta", &delta);
            }
            let done = format!(r#"{at},"arguments":{}"#, literal(&said));
            events.push("response.function_call_arguments.done", &done);
        } else {
            let at = format!(r#""item_id":"msg_{serial:048x}","output_index":0,"content_index":0"#);
            events.push("response.content_part.added", &format!(r#"{at},"part":{}"#, part("")));
            for word in words(&said) {
                let delta = format!(r#"{at},"delta":{},"logprobs":[]"#, literal(&word));
                events.push("response.output_text.delta", &delta);
            }
            let done = format!(r#"{at},"text":{},"logprobs":[]"#, literal(&said));
            events.push("response.output_text.done", &done);
            events.push("response.content_part.done", &format!(r#"{at},"part":{}"#, part(&said)));
        }
        let done = format!(r#""output_index":0,"item":{}"#, item("completed", &said));
        events.push("response.output_item.done", &done);
        if prompt.usage_after_done {
            events.pieces.push("data: [DONE]\n\n".to_owned());
        }
        events.push("response.completed", &format!(r#""response":{whole}"#));
        events.pieces
    } else {
        vec![whole]
    };
    Rendered {
        content_type: if streams { "text/event-stream; charset=utf-8" } else { "application/json" },
        headers: headers(serial),
        streams,
        pieces,
        input_tokens: input,
        output_tokens: output,
        error_event: "event: error\ndata: {\"type\":\"error\",\"sequence_number\":3,\"error\":{\"type\":\"server_error\",\"code\":\"server_error\",\"message\":\"The server had an error while processing your request. Sorry about that!\",\"param\":null}}\n\n".to_owned(),
    }
}

fn part(text: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":{}}}"#, literal(text))
}
