//! That pieces put together are what was cut, and that what is kept has bounds.

use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What is kept of one run's requests.
#[derive(Default)]
struct Contents {
    texts: HashMap<Name, String>,
    links: HashMap<Name, Link>,
}

impl Contents {
    fn request(&self, outline: &Outline) -> Option<String> {
        let link = |name: &Name| Ok::<_, Infallible>(self.links.get(name).copied());
        let Ok(found) = together(outline, link, |name| Ok(self.texts.get(name).cloned()));
        found
    }
}

/// Keeps requests as a store does; how many bytes that takes.
fn keep(contents: &mut Contents, pieces: &[Piece]) -> u64 {
    let mut new = 0;
    for piece in pieces {
        let is_new = match piece {
            Piece::Text { name, text } => contents.texts.insert(*name, text.to_string()).is_none(),
            Piece::Link { name, before, text } => {
                let link = Link { name: *name, before: *before, text: *text };
                contents.links.insert(*name, link).is_none()
            }
        };
        new += if is_new { piece.bytes() } else { 0 };
    }
    new
}

fn back(text: &str) -> String {
    let (outline, pieces) = cut(text);
    let outline = serde_json::from_str(&serde_json::to_string(&outline).unwrap()).unwrap();
    let mut contents = Contents::default();
    keep(&mut contents, &pieces);
    contents.request(&outline).unwrap()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[a-z\"\\\\é]{300,700}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 60, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,8}", inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_cut_is_put_together_byte_for_byte(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        prop_assert_eq!(back(&text), text);
    }

    #[test]
    fn anything_at_all_is_put_together(text in ".{0,2000}") {
        let (outline, pieces) = cut(&text);
        let mut contents = Contents::default();
        keep(&mut contents, &pieces);
        prop_assert_eq!(contents.request(&outline).unwrap_or_default(), text);
    }
}

#[test]
fn a_conversation_takes_what_is_new_in_it() {
    let message = |n: usize| json!({"role": "user", "content": format!("{n} {}", "word ".repeat(400))});
    let tools: Vec<Value> =
        (0..20).map(|n| json!({"name": format!("t{n}"), "description": "x".repeat(600)})).collect();
    let (mut contents, mut total, mut asked, mut said) = (Contents::default(), 0, 0, Vec::new());
    for n in 0..200 {
        said.push(message(n));
        let body = json!({"model": "m", "seed": n, "messages": said, "tools": tools}).to_string();
        let (outline, pieces) = cut(&body);
        let new = keep(&mut contents, &pieces);
        if n > 0 {
            assert!(new < 3_000, "call {n} took {new}");
        }
        total += new;
        asked += body.len() as u64;
        assert!(serde_json::to_string(&outline).unwrap().len() < 400);
        assert_eq!(contents.request(&outline).unwrap(), body);
    }
    assert!(total < 600_000 && asked > 40_000_000, "{total} of {asked}");
}

#[test]
fn what_is_too_large_is_a_note_and_the_rest_stays() {
    let picture = "A".repeat(MOST_OF_ELEMENT);
    let body = json!({"messages": [{"content": "one"}, {"image": picture}, {"content": "three"}]});
    let (outline, pieces) = cut(&body.to_string());
    assert_eq!(outline.not_kept, 1);
    let mut contents = Contents::default();
    assert!(keep(&mut contents, &pieces) < 1_000);
    let read: Value = serde_json::from_str(&contents.request(&outline).unwrap()).unwrap();
    assert_eq!(read["messages"][0]["content"], "one");
    assert_eq!(read["messages"][1][NOT_KEPT]["bytes"], json!({"image": picture}).to_string().len());
    assert_eq!(read["messages"][2]["content"], "three");
    // All of it is bounded too, and stays JSON.
    let many: Vec<Value> = (0..60).map(|_| json!("y".repeat(MOST_OF_ELEMENT - 2))).collect();
    let (outline, pieces) = cut(&json!({"input": many}).to_string());
    let mut contents = Contents::default();
    assert!(keep(&mut contents, &pieces) <= MOST_OF_REQUEST as u64 + 10_000);
    let read: Value = serde_json::from_str(&contents.request(&outline).unwrap()).unwrap();
    assert!(read["input"].as_array().unwrap().last().unwrap()[NOT_KEPT].is_object());
    // What is nothing but space between two is bounded like the rest, and stays JSON.
    let space = " ".repeat(30_000_000);
    for body in [
        format!(r#"{{"messages":[{{"content":"one"}},{space}{{"content":"two"}}]}}"#),
        format!(r#"{{"messages":[{space}{{"content":"two"}}]}}"#),
        format!(r#"{{"messages":[{{"content":"{}"}}{space}]}}"#, "one".repeat(100)),
        format!(r#"{{"messages":{space}[{{"content":"one"}}]}}"#),
    ] {
        let (outline, pieces) = cut(&body);
        let mut contents = Contents::default();
        assert!(keep(&mut contents, &pieces) <= MOST_OF_REQUEST as u64 + 10_000);
        let read = contents.request(&outline).unwrap();
        assert!(read.len() <= MOST_OF_REQUEST + 10_000);
    }
    // One that is too large takes nothing from those behind it.
    let image = "B".repeat(5 << 20);
    let body = json!({"messages": [{"image": image}, {"content": "behind"}]}).to_string();
    let (outline, pieces) = cut(&body);
    let mut contents = Contents::default();
    keep(&mut contents, &pieces);
    assert!(contents.request(&outline).unwrap().contains("behind"));
    let numbers: Vec<u32> = (0..3_000_000).collect();
    let (_, pieces) = cut(&json!({"input": [numbers]}).to_string());
    assert_eq!(pieces.len(), 2);
    let (_, pieces) = cut(&json!({"input": numbers}).to_string());
    assert!(pieces.len() < 20_000);
}

#[test]
fn a_circle_of_links_and_a_piece_that_is_gone_are_no_request() {
    let (outline, pieces) = cut(&json!({"messages": ["x".repeat(600), "y".repeat(600)]}).to_string());
    let mut contents = Contents::default();
    keep(&mut contents, &pieces);
    assert!(contents.request(&outline).is_some());
    let last = *contents.links.values().find(|link| link.before.is_some()).unwrap();
    contents.links.insert(last.name, Link { before: Some(last.name), ..last });
    assert_eq!(contents.request(&outline), None);
    contents.links.insert(last.name, last);
    contents.texts.remove(&last.text);
    assert_eq!(contents.request(&outline), None);
}

#[test]
fn space_behind_many_lists_is_bounded_with_the_rest() {
    let space = " ".repeat(MOST_OF_ELEMENT - 10);
    let fields: Vec<String> = (0..40).map(|n| format!(r#""f{n}":["{}"{space}]"#, "x".repeat(300))).collect();
    let body = format!("{{{}}}", fields.join(","));
    let (outline, pieces) = cut(&body);
    let mut contents = Contents::default();
    keep(&mut contents, &pieces);
    let read = contents.request(&outline).unwrap();
    assert!(read.len() <= MOST_OF_REQUEST + 30_000, "{}", read.len());
}
