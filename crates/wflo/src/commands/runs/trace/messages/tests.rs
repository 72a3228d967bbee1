use serde_json::json;

use super::*;

fn call(id: &str, name: &str, arguments: Value) -> Part {
    Part::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments }
}

fn said_parts(body: &str) -> Vec<Part> {
    answered(body).into_iter().flat_map(|message| message.parts).collect()
}

fn sse(events: &[Value]) -> String {
    let events = events.iter().map(|event| format!("event: x\ndata: {event}\n\n"));
    events.collect::<String>() + "data: [DONE]\n\n"
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
    let left_out = json!({"messages": [{NOT_KEPT: {"bytes": 7, "blake3": "x"}}]});
    let wanted = Part::Other { content: "7 bytes, which were not kept".to_owned() };
    assert_eq!(asked(&left_out)[0].parts, [wanted]);
}

#[test]
fn a_body_like_no_other_has_no_messages() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "\"x\"",
        "not json",
        "data: {\ndata: 7\n",
        "{\"choices\": 7, \"output\": {}}",
    ] {
        assert!(answered(body).iter().all(|message| message.parts.len() <= 1), "{body}");
        assert!(results(body).is_empty());
    }
    assert_eq!(
        said_parts("{\"error\": {\"message\": \"no\"}}"),
        [Part::Other { content: "error: no".to_owned() }]
    );
}
