//! Bodies that rules judge: what is let through asks for what is named, as another reader has it.
#![no_main]

use wflo_egress::rules::Calls;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let tools = Calls::parse("tools=search").expect("a rule");
    if tools.judge("POST", &headers, bytes).is_ok() {
        let read: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
        let messages = read.as_array().cloned().unwrap_or_else(|| vec![read]);
        for message in messages {
            if message["method"] == "tools/call" {
                assert_eq!(message["params"]["name"], "search");
            }
        }
    }
    let graphql = Calls::parse("graphql=query:a").expect("a rule");
    let body = serde_json::json!({ "query": String::from_utf8_lossy(bytes) }).to_string();
    if graphql.judge("POST", &headers, body.as_bytes()).is_ok() {
        assert!(bytes.contains(&b'a'));
    }
});
