//! Google's bytes: field order, line ends and indentation as generativelanguage.googleapis.com sends them.

use std::fmt::Write as _;

use super::prompt::{Prompt, Rendered, literal, words};

fn headers() -> Vec<(&'static str, String)> {
    vec![
        ("vary", "Origin".to_owned()),
        ("server", "scaffolding on HTTPServer2".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("server-timing", "gfet4t7; dur=21".to_owned()),
        ("alt-svc", "h3=\":443\"; ma=2592000".to_owned()),
    ]
}

/// Usage after `output` tokens, of which the thoughts come first.
fn usage(prompt: &Prompt<'_>, input: u64, output: u64) -> String {
    let thoughts = prompt.answer.reasoning_tokens.min(output);
    let mut text = format!(r#"{{"promptTokenCount":{input},"candidatesTokenCount":{}"#, output - thoughts);
    let _ = write!(text, r#","totalTokenCount":{}"#, input + output);
    if prompt.answer.cached_tokens > 0 {
        let _ = write!(text, r#","cachedContentTokenCount":{}"#, prompt.answer.cached_tokens);
    }
    let _ = write!(text, r#","promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]"#);
    if thoughts > 0 {
        let _ = write!(text, r#","thoughtsTokenCount":{thoughts}"#);
    }
    prompt.usage_object(text + "}")
}

pub(super) fn generate(prompt: &Prompt<'_>, streams: bool) -> Rendered {
    let config = [&prompt.request["generationConfig"], &prompt.request["generation_config"]];
    let count = |name: &str| config.iter().find_map(|config| config[name].as_u64());
    let candidates = count("candidateCount").or(count("candidate_count")).unwrap_or(1);
    let tool = prompt.tool_call();
    let text = prompt.text();
    let said = tool.as_ref().map_or_else(|| text.clone(), |(_, arguments)| arguments.to_string());
    let (input, output) = (prompt.input_tokens(), prompt.output_tokens(&said) * candidates);
    let parts: Vec<String> = match &tool {
        Some((name, arguments)) => {
            vec![format!(r#"{{"functionCall":{{"name":{},"args":{arguments}}}}}"#, literal(name))]
        }
        None if streams => {
            words(&text).iter().map(|word| format!(r#"{{"text":{}}}"#, literal(word))).collect()
        }
        None => vec![format!(r#"{{"text":{}}}"#, literal(&text))],
    };
    let last = parts.len().saturating_sub(1);
    let mut answers: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let finish = if at == last { r#""finishReason":"STOP","# } else { "" };
            let all: Vec<String> = (0..candidates)
                .map(|index| {
                    format!(r#"{{"content":{{"parts":[{part}],"role":"model"}},{finish}"index":{index}}}"#)
                })
                .collect();
            let used = if at == last { output } else { (at as u64 + 1).min(output) };
            let late = prompt.usage_after_done && at == last;
            let counted = if prompt.usage && !late {
                format!(r#","usageMetadata":{}"#, usage(prompt, input, used))
            } else {
                String::new()
            };
            rest(prompt, &format!(r#""candidates":[{}]{counted}"#, all.join(",")))
        })
        .collect();
    if prompt.usage_after_done {
        answers.push(rest(prompt, &format!(r#""usageMetadata":{}"#, usage(prompt, input, output))));
    }
    let error = r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;
    let (content_type, pieces, error_event) = if streams && prompt.sse {
        let pieces = answers.iter().map(|answer| format!("data: {answer}\r\n\r\n")).collect();
        ("text/event-stream", pieces, format!("data: {error}\r\n\r\n"))
    } else if streams {
        let mut pieces: Vec<String> =
            answers.iter().map(|answer| format!(",\r\n{}", indented(answer))).collect();
        if let Some(first) = pieces.first_mut() {
            first.replace_range(..3, "[");
        }
        pieces.push("]\n".to_owned());
        ("application/json; charset=UTF-8", pieces, format!(",\r\n{}]\n", indented(error)))
    } else {
        let whole = answers.iter().map(|answer| indented(answer)).collect();
        ("application/json; charset=UTF-8", whole, String::new())
    };
    Rendered {
        content_type,
        headers: headers(),
        streams,
        pieces,
        input_tokens: input,
        output_tokens: output,
        error_event,
    }
}

fn rest(prompt: &Prompt<'_>, front: &str) -> String {
    let model = literal(prompt.model_of_path());
    format!(r#"{{{front},"modelVersion":{model},"responseId":"resp{:020x}"}}"#, prompt.serial)
}

fn whole(body: &str, input_tokens: u64) -> Rendered {
    Rendered {
        content_type: "application/json; charset=UTF-8",
        headers: headers(),
        streams: false,
        pieces: vec![indented(body)],
        input_tokens,
        output_tokens: 0,
        error_event: String::new(),
    }
}

pub(super) fn count_tokens(prompt: &Prompt<'_>) -> Rendered {
    let input = prompt.input_tokens();
    let body = format!(
        r#"{{"totalTokens":{input},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]}}"#
    );
    whole(&body, 0)
}

pub(super) fn embed(prompt: &Prompt<'_>) -> Rendered {
    let input = prompt.input_tokens();
    let one = r#"{"values":[0.0023064255,-0.009327292]}"#;
    let embeddings = match prompt.request["requests"].as_array() {
        Some(requests) => format!(r#""embeddings":[{}]"#, vec![one; requests.len()].join(",")),
        None => format!(r#""embedding":{one}"#),
    };
    let counted = if prompt.usage {
        format!(r#","usageMetadata":{}"#, prompt.usage_object(format!(r#"{{"promptTokenCount":{input}}}"#)))
    } else {
        String::new()
    };
    whole(&format!("{{{embeddings}{counted}}}"), input)
}

/// Compact JSON with Google's line breaks: two spaces a level, an empty list as `[]`.
fn indented(compact: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let mut all = compact.chars().peekable();
    while let Some(c) = all.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' if matches!(all.peek(), Some('}' | ']')) => {
                out.push(c);
                out.extend(all.next());
            }
            '{' | '[' => {
                depth += 1;
                let _ = write!(out, "{c}\n{}", "  ".repeat(depth));
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                let _ = write!(out, "\n{}{c}", "  ".repeat(depth));
            }
            ',' => {
                let _ = write!(out, ",\n{}", "  ".repeat(depth));
            }
            ':' => out.push_str(": "),
            other => {
                quoted = other == '"';
                out.push(other);
            }
        }
    }
    out + "\n"
}
