//! Answers of every dialect that are kept, and what must not be changed in them.

use http::HeaderValue;
use wflo_core::money::NanoUsd;

use super::*;
use crate::usage::Dimension;

const GOOD: &str = r#"{"choices":[{"message":{"content":"an \"error\": \"failed\""},"finish_reason":"stop"}],"error":null,"usage":{}}"#;
const KEY: &str = "sk-hidden-key";

fn recorded(content: &str, body: &str) -> Recorded {
    Recorded {
        status: 200,
        headers: vec![("content-type".to_owned(), content.to_owned())],
        body: body.to_owned().into(),
        interrupted: false,
        broke: None,
        usage: None,
        cost: NanoUsd::ZERO,
    }
}

fn judged(asked: Asked, recorded: &Recorded, uncertain: bool, usage: bool) -> bool {
    let usage = usage.then(|| Usage::of(&[(Dimension::Input, 1)]));
    is_kept(asked, recorded, usage.as_ref(), uncertain, Secret::new(KEY).as_ref())
}

fn asked(dialect: Dialect, endpoint: Endpoint) -> Asked {
    Asked { dialect, endpoint, choices: 1 }
}

const CHAT: Asked = Asked { dialect: Dialect::OpenAi, endpoint: Endpoint::Chat, choices: 1 };

fn whole(asked: Asked, body: &str) -> bool {
    judged(asked, &recorded("application/json", body), false, true)
}

fn stream(asked: Asked, events: &[&str]) -> bool {
    let body: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    judged(asked, &recorded("text/event-stream", &body), false, true)
}

#[test]
fn only_whole_answers_with_a_known_bill_are_kept() {
    let kept = |change: fn(&mut Recorded)| {
        let mut recorded = recorded("application/json", GOOD);
        change(&mut recorded);
        judged(CHAT, &recorded, false, true)
    };
    assert!(kept(|_| {}));
    assert!(!judged(CHAT, &recorded("application/json", GOOD), true, true), "uncertain");
    assert!(!judged(CHAT, &recorded("application/json", GOOD), false, false), "no usage");
    assert!(!kept(|recorded| recorded.status = 201));
    assert!(!kept(|recorded| recorded.status = 429));
    assert!(!kept(|recorded| recorded.interrupted = true));
    assert!(!kept(|recorded| recorded.broke = Some("x".to_owned())));
    assert!(!kept(|recorded| recorded.body = "".into()));
    assert!(!kept(|recorded| recorded.headers[0].1 = "text/html".to_owned()));
}

#[test]
fn an_answer_of_any_dialect_is_kept_only_if_it_came_to_a_good_end() {
    let google = asked(Dialect::Google, Endpoint::Generate);
    let cohere = asked(Dialect::Cohere, Endpoint::Chat);
    let messages = asked(Dialect::Anthropic, Endpoint::Messages);
    let responses = asked(Dialect::OpenAi, Endpoint::Responses);
    let embeddings = asked(Dialect::OpenAi, Endpoint::Embeddings);
    let rerank = asked(Dialect::Cohere, Endpoint::Rerank);
    for (asked, good, bad) in [
        (
            CHAT,
            GOOD,
            &[
                ("\"stop\"", "null"),
                ("\"stop\"", "\"error\""),
                ("\"stop\"", "\"content_filter\""),
                ("{\"choices\"", "\n {\"error\":{\"message\":\"boom\"},\"choices\""),
                ("\"error\":null", "\"error\":{\"message\":\"boom\"}"),
                ("\"error\":null", "\"errors\":[{\"message\":\"boom\"}]"),
                ("\"error\":null", "\"object\":\"error\""),
                ("\"finish_reason\"", "\"error\":{\"code\":502},\"finish_reason\""),
                ("\"error\":null", "\"note\":\"sk-hidden-\\u006bey\""),
                ("\"error\":null", "\"note\":\"[redacted]\""),
                ("\"error\":null", "\"usage\":null"),
                ("}]", "},{\"index\":1,\"message\":{},\"finish_reason\":null}]"),
                ("\"message\":{\"content\":\"an \\\"error\\\": \\\"failed\\\"\"}", "\"message\":null"),
                ("{\"choices\"", "\u{feff}{\"choices\""),
            ][..],
        ),
        (
            google,
            r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{}}"#,
            &[
                ("STOP", "OTHER"),
                ("STOP", "MALFORMED_FUNCTION_CALL"),
                ("\"STOP\"", "null"),
                ("\"usageMetadata\":{}", "\"promptFeedback\":{\"blockReason\":\"OTHER\"}"),
            ],
        ),
        (
            cohere,
            r#"{"message":{"content":[]},"finish_reason":"COMPLETE"}"#,
            &[("COMPLETE", "ERROR"), ("COMPLETE", "TIMEOUT"), ("\"COMPLETE\"", "null")],
        ),
        (
            messages,
            r#"{"type":"message","content":[{"type":"tool_use","input":{"error":"a text"}}],"stop_reason":"tool_use"}"#,
            &[("\"stop_reason\":\"tool_use\"", "\"stop_reason\":null"), ("\"message\"", "\"error\"")],
        ),
        (
            responses,
            r#"{"status":"completed","error":null,"output":[{"type":"message"}]}"#,
            &[
                ("completed", "in_progress"),
                ("completed", "queued"),
                ("completed", "incomplete"),
                ("completed", "failed"),
                ("[{\"type\":\"message\"}]", "[]"),
            ],
        ),
        (embeddings, r#"{"data":[{"embedding":[0.1]}]}"#, &[("[{\"embedding\":[0.1]}]", "[]")]),
        (
            asked(Dialect::Google, Endpoint::Embeddings),
            r#"{"embedding":{"values":[0.1]}}"#,
            &[("[0.1]", "[]")],
        ),
        (rerank, r#"{"results":[{"index":0}]}"#, &[("[{\"index\":0}]", "[]")]),
    ] {
        assert!(whole(asked, good), "{good}");
        for (from, to) in bad {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good);
            assert!(!whole(asked, &changed), "{changed}");
        }
    }
    assert!(!whole(Asked { choices: 2, ..CHAT }, GOOD), "one of two");
}

#[test]
fn a_stream_is_kept_only_if_all_of_it_is_good() {
    let text =
        r#"{"choices":[{"index":0,"delta":{"content":"\"error\": \"failed\""},"finish_reason":null}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let usage = r#"{"choices":[],"usage":{}}"#;
    assert!(stream(CHAT, &[text, end, usage, "[DONE]"]));
    assert!(!stream(CHAT, &[text, usage, "[DONE]"]), "nothing has ended");
    assert!(!stream(Asked { choices: 2, ..CHAT }, &[text, end, usage, "[DONE]"]));
    let failed = r#"{"error":{"code":502},"choices":[{"index":0,"delta":{},"finish_reason":null}]}"#;
    assert!(!stream(CHAT, &[text, failed, end, usage, "[DONE]"]));
    assert!(!stream(CHAT, &[text, "{", end, usage, "[DONE]"]));
    let named =
        format!("event: error\ndata: {{\"message\":\"overloaded\"}}\n\ndata: {end}\n\ndata: [DONE]\n\n");
    assert!(!judged(CHAT, &recorded("text/event-stream", &named), false, true));
    let responses = asked(Dialect::OpenAi, Endpoint::Responses);
    let completed = r#"{"type":"response.completed","response":{"status":"completed","output":[{}]}}"#;
    assert!(stream(responses, &[r#"{"type":"response.created","response":{"error":null}}"#, completed]));
    assert!(!stream(responses, &[&completed.replace("completed", "incomplete")]));
    let messages = asked(Dialect::Anthropic, Endpoint::Messages);
    let begun = r#"{"type":"content_block_start","content_block":{"type":"text"}}"#;
    let told = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    assert!(stream(messages, &[begun, told, stop]));
    for events in
        [&[begun, told][..], &[begun, stop], &[told, stop], &[begun, r#"{"type":"error"}"#, told, stop]]
    {
        assert!(!stream(messages, events), "{events:?}");
    }
    let google = asked(Dialect::Google, Endpoint::StreamGenerate);
    let (part, last) =
        (r#"{"candidates":[{"index":0}]}"#, r#"{"candidates":[{"index":0,"finishReason":"STOP"}]}"#);
    assert!(stream(google, &[part, last]) && !stream(google, &[part]));
    assert!(whole(google, &format!("[{part},{last}]")));
    assert!(!whole(google, &format!(r#"[{part},{last},{{"error":{{"code":503}}}}]"#)));
    let cohere = asked(Dialect::Cohere, Endpoint::Chat);
    let end = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#;
    assert!(stream(cohere, &[r#"{"type":"content-start"}"#, end]));
    assert!(!stream(cohere, &[&end.replace("COMPLETE", "ERROR")]));
}

#[test]
fn an_encoding_and_a_word_of_the_server_are_reasons_not_to_keep() {
    let may = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        may_keep(&headers)
    };
    assert!(may("content-encoding", "identity") && may("cache-control", "no-cache, private, max-age=0"));
    assert!(!may("content-encoding", "br") && !may("content-encoding", "identity, gzip"));
    assert!(!may("cache-control", "private, No-Store") && !may("cache-control", "no-store=\"x\""));
}
