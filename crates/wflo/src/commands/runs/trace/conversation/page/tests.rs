use proptest::prelude::*;
use serde_json::json;

use super::*;

const LABELS: [&str; 13] = [
    "",
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
    "other",
    "thought",
    "calls",
    "result",
    "error",
    "failed",
];

fn page(width: usize, full: bool) -> Page {
    Page::new(Paint::of(false), Some(width), full)
}

fn text(content: &str) -> Part {
    Part::Text { content: content.to_owned() }
}

fn said(role: &str, part: Part, width: usize, full: bool) -> Vec<String> {
    let mut page = page(width, full);
    page.message(&Message { role: role.to_owned(), parts: vec![part] });
    page.lines
}

/// What stands on a line behind a mark, and which mark that is.
fn read(line: &str) -> (char, String) {
    let columns: Vec<char> = line.chars().collect();
    let label: String = columns[..12].iter().collect();
    assert!(label.starts_with("  ") && LABELS.contains(&label.trim()), "{line:?}");
    let rest = columns.get(13..).unwrap_or_default();
    assert!(rest.is_empty() || rest[0] == ' ', "{line:?}");
    (columns[12], rest.iter().skip(1).collect())
}

fn any_part() -> impl Strategy<Value = Part> {
    // With what a terminal obeys, what has no width, what has two columns, and what looks like wflo's own.
    let content = prop_oneof![
        "(\\PC|[\\x00-\\x1f]|\u{202e}|\u{301}|\u{200b}|山|\n|│|·| {2,14}){0,60}",
        "[a-z ]{0,400}",
        "( {2}user {6}│ |\n| {2}\\(3 messages as before\\)| {12}· ){0,12}",
    ];
    prop_oneof![
        content.clone().prop_map(|content| Part::Text { content }),
        content.clone().prop_map(|content| Part::Reasoning { content }),
        content.clone().prop_map(|content| Part::Error { content }),
        (content.clone(), content.clone()).prop_map(|(name, text)| Part::ToolCall {
            id: String::new(),
            name,
            arguments: json!({ "a": text }),
        }),
        content
            .clone()
            .prop_map(|text| Part::ToolCallResponse { id: String::new(), response: json!([text]) }),
        content.prop_map(|what| Part::NotShown { what, bytes: 7 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_content_makes_a_line_that_looks_like_another(
        role in prop_oneof![Just("user".to_owned()), Just("calls".to_owned()), "\\PC{0,30}", Just("a\nb │ c".to_owned())],
        parts in prop::collection::vec(any_part(), 0..4),
        width in 24..140_usize,
        full: bool,
    ) {
        let mut page = page(width, full);
        page.message(&Message { role, parts });
        page.end(0);
        for line in &page.lines {
            prop_assert!(matches!(read(line).0, '│' | '┆' | '·'), "{line:?}");
            prop_assert!(console::measure_text_width(line) <= width, "{line:?}");
            prop_assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
        }
    }

    #[test]
    fn all_of_a_text_that_is_shown_whole_is_there(
        content in "([a-z│·┆ ]|\n){0,300}[a-z]",
        width in 24..140_usize,
    ) {
        let mut back = String::new();
        for line in said("user", text(&content), width, true) {
            let (mark, text) = read(&line);
            prop_assert!(mark != '·', "{line:?}");
            if mark == '│' && !back.is_empty() {
                back.push('\n');
            }
            back.push_str(&text);
        }
        // Blanks at the end of a line cannot be seen.
        let seen = |text: &str| text.lines().map(|line| line.replace(' ', "")).collect::<Vec<_>>().concat();
        prop_assert_eq!(seen(&back), seen(&content));
    }
}

#[test]
fn what_is_cut_says_so_behind_a_dot() {
    let long = said("user", text(&"line\n".repeat(40)), 80, false);
    assert_eq!(long.len(), LINES + 1);
    assert_eq!(long.last().unwrap(), "            · … 141 more bytes; --full shows them");
    assert_eq!(said("user", text(&"line\n".repeat(40)), 80, true).len(), 40);
    assert_eq!(said("user", text("short"), 80, false), ["  user      │ short"]);
    // What a text says itself is behind a bar.
    assert_eq!(said("user", text("… 9 more bytes"), 80, false), ["  user      │ … 9 more bytes"]);
    let wide = said("assistant", text(&"山".repeat(50)), 40, false);
    assert_eq!(wide[0], format!("  assistant │ {}", "山".repeat(13)));
    assert_eq!(wide[1], format!("            ┆ {}", "山".repeat(13)));
    // A text of two megabytes is not shown whole even where all are.
    let most = said("user", text(&"x".repeat(2 << 20)), 200, true);
    assert_eq!(most.last().unwrap(), "            · … 1048576 more bytes, see --json");
}

#[test]
fn messages_beyond_the_most_are_counted() {
    let mut page = page(80, false);
    for n in 0..300 {
        page.message(&Message { role: "user".to_owned(), parts: vec![text(&format!("{n:03}"))] });
    }
    page.end(0);
    assert_eq!(page.lines.len(), PARTS + 1);
    assert_eq!(page.lines.last().unwrap(), "            · … 100 more messages (300 bytes), see --json");
}

#[test]
fn names_that_are_none_are_quoted() {
    assert_eq!(said("calls", text("x"), 80, false), ["  other     · role \"calls\"", "            │ x"]);
    let call =
        |name: &str| Part::ToolCall { id: String::new(), name: name.to_owned(), arguments: json!({"a": 1}) };
    assert_eq!(said("assistant", call("read"), 80, false), ["  calls     │ read {\"a\":1}"]);
    assert_eq!(said("assistant", call("read {} │"), 80, false), ["  calls     │ \"read {} │\" {\"a\":1}"]);
    assert_eq!(label("chat gpt-5-mini"), "chat gpt-5-mini");
    assert_eq!(label("chat m  +1 s · $9"), "\"chat m  +1 s · $9\"");
    let empty = Message { role: "user".to_owned(), parts: Vec::new() };
    let mut page = page(80, false);
    page.message(&empty);
    assert_eq!(page.lines, ["  user      · (empty)"]);
}
