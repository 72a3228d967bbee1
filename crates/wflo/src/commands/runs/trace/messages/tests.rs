use serde_json::json;
use wflo_core::content::NOT_KEPT;

use super::*;

fn call(id: &str, name: &str, arguments: Value) -> Part {
    Part::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments }
}

fn said_parts(body: &str) -> Vec<Part> {
    answered(body).messages.into_iter().flat_map(|message| message.parts).collect()
}

fn sse(events: &[Value]) -> String {
    let events = events.iter().map(|event| format!("event: x\ndata: {event}\n\n"));
    events.collect::<String>() + "data: [DONE]\n\n"
}

/// What a request says, of which nothing was left out.
fn asked(body: &Value) -> Vec<Message> {
    super::asked(&body.to_string(), 0).unwrap().messages
}

fn words() -> Part {
    Part::Text { content: "I look.".to_owned() }
}

#[test]
fn the_tools_of_an_answer_are_found_in_each_dialect() {
    let openai = json!({"choices": [{"message": {"role": "assistant", "content": "I look.", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{\"path\": \"a\"}"}}]}}]});
    let responses = json!({"output": [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{\"path\": \"a\"}"}]});
    let anthropic = json!({"type": "message", "role": "assistant", "content": [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": "a"}}]});
    let google = json!({"candidates": [{"content": {"role": "model", "parts": [
        {"text": "I look."}, {"functionCall": {"id": "c1", "name": "read", "args": {"path": "a"}}}]}}]});
    let cohere = json!({"message": {"role": "assistant", "content": [{"type": "text", "text": "I look."}],
        "tool_calls": [{"id": "c1", "function": {"name": "read", "arguments": "{\"path\": \"a\"}"}}]}});
    for body in [openai, responses, anthropic, google, cohere] {
        let wanted = vec![words(), call("c1", "read", json!({"path": "a"}))];
        assert_eq!(said_parts(&body.to_string()), wanted, "{body}");
    }
}

#[test]
fn and_in_each_stream() {
    let openai = sse(&[
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "I lo"}}]}),
        json!({"choices": [{"index": 0, "delta": {"content": "ok."}}]}),
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 0, "id": "c1", "function": {"name": "read", "arguments": "{\"pa"}}]}}]}),
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 0, "function": {"arguments": "th\": \"a\"}"}}]}}]}),
        json!({"choices": [], "usage": {}}),
    ]);
    let responses = sse(&[
        json!({"type": "response.output_text.delta", "delta": "I"}),
        json!({"type": "response.completed", "response": {"output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{\"path\": \"a\"}"}]}}),
    ]);
    let anthropic = sse(&[
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I look."}}),
        json!({"type": "content_block_start", "index": 1,
            "content_block": {"type": "tool_use", "id": "c1", "name": "read", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{\"path\":"}}),
        json!({"type": "content_block_delta", "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "\"a\"}"}}),
    ]);
    let google = [
        json!({"candidates": [{"content": {"parts": [{"text": "I lo"}]}}]}),
        json!({"candidates": [{"content": {"parts": [{"text": "ok."}]}}]}),
        json!({"candidates": [{"content": {"parts": [
            {"functionCall": {"id": "c1", "name": "read", "args": {"path": "a"}}}]}}]}),
    ];
    let cohere = sse(&[
        json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "I look."}}}}),
        json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls":
            {"id": "c1", "function": {"name": "read", "arguments": ""}}}}}),
        json!({"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls":
            {"function": {"arguments": "{\"path\": \"a\"}"}}}}}),
    ]);
    for body in [openai, responses, anthropic, sse(&google), json!(google).to_string(), cohere] {
        let wanted = vec![words(), call("c1", "read", json!({"path": "a"}))];
        assert_eq!(said_parts(&body), wanted, "{body}");
    }
}

#[test]
fn what_was_asked_is_read_in_each_dialect() {
    let openai = json!({"messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "function": {"name": "read", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"}]});
    let responses = json!({"instructions": "Be kind.", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "found"}]});
    let anthropic = json!({"system": [{"type": "text", "text": "Be kind."}], "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1",
            "content": [{"type": "text", "text": "found"}]}]}]});
    for (body, last) in [(openai, "tool"), (responses, "tool"), (anthropic, "user")] {
        let found = asked(&body);
        let roles: Vec<&str> = found.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", last], "{body}");
        assert_eq!(found[0].parts, [Part::Text { content: "Be kind.".to_owned() }]);
        assert_eq!(found[1].parts, [Part::Text { content: "hello".to_owned() }]);
        assert_eq!(found[2].parts, [call("c1", "read", json!({}))]);
        let answer = Part::ToolCallResponse { id: "c1".to_owned(), response: json!("found") };
        assert_eq!(found[3].parts, [answer], "{body}");
        let list = body.get("messages").or(body.get("input")).unwrap().to_string();
        assert_eq!(results(&list), ["c1"]);
        assert_eq!(results(&list[1..]), ["c1"]);
        assert_eq!(results(&list[..list.len() - 1].replacen('[', ", ", 1)), ["c1"]);
    }
    let google = json!({"systemInstruction": {"parts": [{"text": "Be kind."}]}, "contents": [
        {"role": "user", "parts": [{"text": "hello"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "read", "response": {"a": 1}}}]}]});
    let found = asked(&google);
    assert_eq!(found[0].role, "system");
    assert_eq!(found[2].parts, [Part::ToolCallResponse { id: "read".to_owned(), response: json!({"a": 1}) }]);
    assert_eq!(asked(&json!({"input": "one"})).len(), 1);
    assert_eq!(asked(&json!({"input": ["one", "two"]})).len(), 2);
}

fn hash() -> String {
    "0a".repeat(32)
}

/// All parts of a request, what stands beside its messages included.
fn parts(body: &str, not_kept: u64) -> Vec<Part> {
    let said = super::asked(body, not_kept).unwrap();
    said.messages.into_iter().flat_map(|message| message.parts).chain(said.beside).collect()
}

fn texts(parts: &[Part]) -> Vec<&str> {
    fn text(part: &Part) -> Option<&str> {
        if let Part::Text { content } = part { Some(content) } else { None }
    }
    parts.iter().filter_map(text).collect()
}

fn names(parts: &[Part]) -> String {
    fn name(part: &Part) -> Option<&str> {
        if let Part::NotShown { what, .. } = part { Some(what) } else { None }
    }
    parts.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_note_of_what_was_not_kept_is_believed_where_wflo_wrote_them_all() {
    let note = json!({ NOT_KEPT: { "bytes": 7, "blake3": hash() } });
    let one = json!({"messages": [note, {"role": "user", "content": "x"}]}).to_string();
    assert_eq!(parts(&one, 1)[0], Part::NotKept { bytes: 7 });
    // Its program has written one of them, or all.
    assert_eq!(names(&parts(&one, 0)), format!("\"{NOT_KEPT}\""));
    let two = json!({"messages": [note, note]}).to_string();
    assert!(parts(&two, 1).iter().all(|part| matches!(part, Part::NotShown { .. })));
    // Something beside a note is something.
    for more in [json!({"content": "hidden"}), json!({"text": "hidden"}), json!({"parts": ["hidden"]})] {
        let mut note = note.clone();
        note.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({"messages": [note]}).to_string();
        for not_kept in [0, 1] {
            assert_eq!(texts(&parts(&body, not_kept)), ["hidden"], "{body}");
        }
    }
    // Where a field stands twice, one of the two is read and nobody knows of the other's.
    let twice = format!(r#"{{"messages":[{note}],"messages":[{note}]}}"#);
    assert!(super::asked(&twice, 1).unwrap().is_doubled);
    assert!(matches!(parts(&twice, 1)[..], [Part::NotShown { .. }]));
}

#[test]
fn nothing_that_a_program_writes_hides_what_stands_beside_it() {
    let call = json!({"name": "read", "arguments": "{}", "args": {}});
    for message in [
        json!({"type": "reasoning", "text": "hidden"}),
        json!({"type": "reasoning", "role": "user", "content": [{"type": "text", "text": "hidden"}]}),
        json!({"type": "reasoning", "content": "hidden"}),
        json!({"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}", "text": "hidden"}),
        json!({"type": "function_call", "call_id": "c", "name": "read", "content": "hidden"}),
        json!({"type": "function_call_output", "call_id": "c", "output": "x", "content": "hidden"}),
        json!({"type": "tool_use", "id": "c", "name": "read", "input": {}, "text": "hidden"}),
        json!({"type": "tool_result", "tool_use_id": "c", "content": "x", "text": "hidden"}),
        json!({"role": "user", "parts": [{"functionCall": call, "text": "hidden"}]}),
        json!({"role": "user", "parts": [{"functionResponse": {"name": "read", "response": 1}, "text": "hidden"}]}),
        json!({"role": "tool", "tool_call_id": "c", "content": "x", "text": "hidden"}),
        json!({"role": "user", "content": "x", "parts": [{"text": "hidden"}]}),
        json!({"role": "user", "content": {"text": "hidden"}}),
        json!({"role": "user", "content": [[["hidden"]]]}),
        json!({"function_call": call, "content": "hidden"}),
    ] {
        let parts = parts(&json!({"messages": [message]}).to_string(), 0);
        let says = |part: &Part| matches!(part, Part::Text { content } | Part::Reasoning { content } if content == "hidden");
        assert!(parts.iter().any(says), "{message}: {parts:?}");
    }
    // What is not read is named.
    for (message, name) in [
        (json!({"type": "reasoning", "encrypted_content": "hidden"}), "encrypted_content"),
        (json!({"type": "image_url", "image_url": {"url": "hidden"}}), "image_url"),
        (json!({"role": "user", "content": "x", "name": "hidden"}), "name"),
        (json!({"role": {"a": "hidden"}, "content": "x"}), "role"),
        (json!({"role": "user", "content": "x", "id": "hidden words"}), "id"),
        (json!({"type": "two words", "content": "x"}), "type"),
        (json!({"role": "assistant", "tool_calls": [{"id": "c", "custom": {"input": "hidden"}}]}), "custom"),
        (json!({"role": "assistant", "tool_calls": "hidden"}), "tool_calls"),
        (json!({"role": "assistant", "refusal": {"a": "hidden"}}), "refusal"),
        (json!({"role": "user", "content": [{"text": {"a": "hidden"}}]}), "text"),
    ] {
        let parts = parts(&json!({"messages": [message]}).to_string(), 0);
        assert!(names(&parts).contains(&format!("\"{name}\"")), "{message}: {parts:?}");
    }
    // And so is what stands beside all messages.
    let body = json!({"model": "m", "temperature": 1, "messages": [], "tools": [{"name": "x"}], "more": "words of it"});
    let beside = super::asked(&body.to_string(), 0).unwrap().beside.unwrap();
    assert_eq!(names(&[beside]), "\"more\", \"tools\"");
    // Blocks of a result are a text where they are nothing else.
    let result = json!({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "x", "more": "hidden"}]});
    let parts = parts(&json!({"messages": [{"role": "user", "content": [result]}]}).to_string(), 0);
    assert!(
        matches!(&parts[0], Part::ToolCallResponse { response, .. } if response.to_string().contains("hidden"))
    );
}

#[test]
fn a_text_beside_a_call_in_a_stream_stays() {
    let events = [
        json!({"candidates": [{"content": {"parts": [{"text": "I look."}]}}]}),
        json!({"candidates": [{"content": {"parts": [{"text": " More.", "functionCall": {"name": "read", "args": {}}}]}}]}),
    ];
    let parts = said_parts(&sse(&events));
    assert_eq!(texts(&parts), ["I look.", " More."]);
    assert_eq!(parts.last(), Some(&call("read", "read", json!({}))));
}

#[test]
fn long_lists_are_read_as_how_long_they_are() {
    let numbers: Vec<u32> = (0..100_000).collect();
    let parts = parts(&json!({"input": numbers}).to_string(), 0);
    assert!(
        matches!(&parts[..], [Part::NotShown { what, bytes }] if what == "100000 numbers" && *bytes > 400_000)
    );
    let said = super::asked(&json!({"input": [[1, 2], [3, 4]]}).to_string(), 0).unwrap();
    assert_eq!(said.messages.len(), 1);
    let said = super::asked(&json!({"input": vec!["a"; 50_000]}).to_string(), 0).unwrap();
    assert_eq!((said.messages.len(), said.more), (MOST, 40_000));
    let said =
        super::asked(&json!({"messages": [{"content": vec!["a"; 50_000]}, {"content": "b"}]}).to_string(), 0);
    let said = said.unwrap();
    assert_eq!((said.messages.len(), said.messages[0].parts.len(), said.more), (1, MOST + 1, 1));
    assert_eq!(
        said.messages[0].parts[MOST],
        Part::NotShown { what: "40000 more parts".to_owned(), bytes: 40_000 }
    );
}

#[test]
fn half_a_surrogate_and_doubled_fields_cost_no_message() {
    let said = super::asked(r#"{"messages":[{"role":"user","content":"a \ud800 b"}]}"#, 0).unwrap();
    assert_eq!(said.messages[0].parts, [Part::Text { content: "a \u{fffd} b".to_owned() }]);
    assert!(!said.is_doubled);
    let answer = r#"{"choices":[{"message":{"role":"assistant","content":"a \udc00"}}]}"#;
    assert_eq!(said_parts(answer), [Part::Text { content: "a \u{fffd}".to_owned() }]);
    assert_eq!(results(r#"[{"type":"function_call_output","call_id":"c1","output":"\ud800"}"#), ["c1"]);
    let twice = r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#;
    assert!(super::asked(twice, 0).unwrap().is_doubled);
    let arguments = r#"{"messages":[{"type":"function_call","name":"x","arguments":"{\"a\":1,\"a\":2}"}]}"#;
    let written = json!(r#"{"a":1,"a":2}"#);
    assert!(matches!(&parts(arguments, 0)[..], [Part::ToolCall { arguments, .. }] if *arguments == written));
    // Deeper than can be read.
    let deep = format!(r#"{{"messages":[{}"hidden"{}]}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(super::asked(&deep, 0), None);
}

#[test]
fn a_body_like_no_other_has_no_messages_and_is_named() {
    for body in [
        "{}",
        "[]",
        "null",
        "7",
        "\"x\"",
        "not json",
        "data: {\ndata: 7\n",
        "{\"choices\": 7, \"output\": {}}",
    ] {
        let said = answered(body);
        assert!(said.messages.is_empty(), "{body}: {said:?}");
        assert!(matches!(said.beside, Some(Part::NotShown { bytes, .. }) if bytes == body.len() as u64));
        assert!(results(body).is_empty());
    }
    assert_eq!(answered(""), Said::default());
    assert_eq!(said_parts("{\"error\": {\"message\": \"no\"}}"), [Part::Error { content: "no".to_owned() }]);
}
