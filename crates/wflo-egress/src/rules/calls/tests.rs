use super::*;
use proptest::prelude::*;

fn judged(calls: &str, body: &str) -> Result<(), CallError> {
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    Calls::parse(calls).unwrap().judge("POST", &headers, body.as_bytes())
}

#[test]
fn tools_are_called_by_the_names_that_a_rule_has() {
    let rule = "tools=search,read_*";
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"a":1}}}"#,
        r#"{"method":"tools/call","params":{"name":"read_file"}}"#,
        r#"{"method":"initialize","params":{}}"#,
        r#"{"method":"notifications/initialized"}"#,
        r#"[{"method":"ping"},{"method":"tools/call","params":{"name":"search"}}]"#,
        r#"{"id":1,"result":{}}"#,
    ] {
        assert_eq!(judged(rule, body), Ok(()), "{body}");
    }
    for body in [
        r#"{"method":"tools/call","params":{"name":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"searching"}}"#,
        r#"{"method":"resources/read","params":{"uri":"file:///etc/passwd"}}"#,
        r#"[{"method":"ping"},{"method":"tools/call","params":{"name":"delete"}}]"#,
        // What another reader takes for another name.
        r#"{"method":"ping","method":"tools/call","params":{"name":"delete"}}"#,
        r#"{"method":"ping","Method":"tools/call","params":{"name":"delete"}}"#,
        r#"{"Method":"tools/call","params":{"name":"search"}}"#,
        r#"{"method":"tools/call","params":{"name":"search","Name":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"search","\u006eame":"delete"}}"#,
        r#"{"method":"tools/call","params":{"name":"search","\u212aey":1}}"#,
        r#"{"method":"tools/call","params":{"name":["search"]}}"#,
        r#"{"method":["ping"]}"#,
        r#"[[{"method":"ping"}]]"#,
        r#"{"method":"ping"} {"method":"tools/call","params":{"name":"delete"}}"#,
        "[]",
        "{}",
        "\"ping\"",
        "",
    ] {
        assert!(judged(rule, body).is_err(), "{body}");
    }
}

#[test]
fn operations_are_known_by_the_fields_at_their_root() {
    let rule = "graphql=query,mutation:addStar";
    let query = |text: &str| judged(rule, &serde_json::json!({ "query": text, "variables": {} }).to_string());
    for text in [
        "{ viewer { login } }",
        "query { viewer { login } }",
        "query Q($a: Int = 1, $b: [String!]) @live { a: viewer(x: {y: [1, \"}\"]}) @include(if: true) { login ... on User { id } } b }",
        "mutation { addStar(input: {id: \"x\"}) { id } }",
        "fragment F on User { delete } query { viewer { ...F } }",
        "# mutation { delete }\n{ a }",
        "mutation { addStar(a: \"\\\") { id } deleteRepository { id } #\") }",
        "mutation { x: addStar(text: \"\"\"} delete { \\\"\"\" \"\"\") { id } }",
    ] {
        assert_eq!(query(text), Ok(()), "{text}");
    }
    for text in [
        "mutation { deleteRepository(input: {}) { id } }",
        "mutation { addStar: deleteRepository { id } }",
        "mutation { addStar { id } deleteRepository { id } }",
        "query { a } mutation { deleteRepository { id } }",
        "mutation { ...F } fragment F on Mutation { deleteRepository { id } }",
        "mutation { ... on Mutation { deleteRepository { id } } }",
        "subscription { a }",
        "mutation { addStar(a: \"\") { id } # }\n deleteRepository }",
        "# a\rmutation { deleteRepository }",
        "{ a ",
        "{ a ) }",
        "",
        "type A { b: C }",
        "{ \u{fe0f}a }",
    ] {
        assert!(query(text).is_err(), "{text}");
    }
    for body in [
        r#"{"query":"{a}","operationName":"Q","variables":{"query":"{b}"},"extensions":{"tracing":{}}}"#,
        r#"{"query":"{a}","operationName":null,"variables":null,"extensions":null}"#,
    ] {
        assert_eq!(judged(rule, body), Ok(()), "{body}");
    }
    for body in [
        r#"{"extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#,
        r#"{"query":"{a}","extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#,
        r#"{"query":"{a}","extensions":{"persistedquery":{"sha256Hash":"x"}}}"#,
        r#"{"query":"{a}","extensions":"x"}"#,
        r#"{"query":"{a}","Extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#,
        // Names by which servers find a document that they have kept.
        r#"{"query":"{a}","documentId":"x"}"#,
        r#"{"query":"{a}","doc_id":"x"}"#,
        r#"{"query":"{a}","id":"x"}"#,
        r#"{"query":"{a}","mutation":"{b}"}"#,
    ] {
        assert!(judged(rule, body).is_err(), "{body}");
    }
    assert!(judged(rule, r#"[{"query":"{a}"}]"#).is_err());
    assert!(judged(rule, r#"{"query":"{a}","Query":"mutation{d}"}"#).is_err());
    let calls = Calls::parse(rule).unwrap();
    assert!(calls.judge("GET", &[], b"").is_err());
    let odd = [("content-type".to_owned(), b"application/json; charset=utf-16".to_vec())];
    assert!(calls.judge("POST", &odd, br#"{"query":"{a}"}"#).is_err());
}

#[test]
fn what_names_nothing_is_no_rule() {
    for text in [
        "tools",
        "tools=",
        "tools=a,,b",
        "tools=a b",
        "tools=*a",
        "graphql=",
        "graphql=x:y",
        "graphql=query:",
        "other=a",
    ] {
        assert_eq!(Calls::parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_query_breaks_it(text in "[ {}()\"#.:@a-z\\\\\n,\\[\\]$-]{0,60}") {
        let _ = graphql::roots(&text);
    }

    #[test]
    fn a_field_that_is_let_through_is_named(field in "[a-z]{1,8}", other in "[a-z]{1,8}") {
        prop_assume!(field != other);
        let body = serde_json::json!({ "query": format!("mutation {{ {other} }}") }).to_string();
        let rule = format!("graphql=mutation:{field}");
        prop_assert!(judged(&rule, &body).is_err());
    }
}
