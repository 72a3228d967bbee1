//! The strings of a JSON text, as they are written.
//!
//! Owns what escapes hide: characters, and surrogates without their other half, which JSON can write and no text can
//! hold. Whoever reads such a string as a text fails, and with it all of the request that it stands in.

use std::borrow::Cow;
use std::ops::Range;

/// The length of an escape by number, in bytes.
const ESCAPE: usize = 6;

/// The text with each of its strings passed through `change`, which sees it without escapes; what is not changed
/// stays as it was written. A surrogate without its other half parts a string in two.
pub fn strings(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(start) = find(b'"', bytes, at) {
        let Some(end) = string_end(bytes, start) else { break };
        let written = text.get(start + 1..end - 1).unwrap_or_default();
        at = end;
        if !written.contains('\\') {
            continue;
        }
        let mut from = start + 1;
        let ends =
            lone_surrogates(written).into_iter().map(|lone| (start + 1 + lone.start, start + 1 + lone.end));
        for (to, next) in ends.chain([(end - 1, end)]) {
            let part = text.get(from..to).unwrap_or_default();
            if let Ok(read) = serde_json::from_str::<String>(&format!("\"{part}\""))
                && let Some(changed) = change(&read)
            {
                out.push_str(text.get(kept..from).unwrap_or_default());
                let written = serde_json::Value::String(changed).to_string();
                out.push_str(written.get(1..written.len() - 1).unwrap_or_default());
                kept = to;
            }
            from = next;
        }
    }
    out.push_str(text.get(kept..).unwrap_or_default());
    out
}

/// The JSON text with each surrogate that has no other half as U+FFFD, so that it can be read.
pub fn mended(text: &str) -> Cow<'_, str> {
    let lone = lone_surrogates(text);
    if lone.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for Range { start, end } in lone {
        out.push_str(text.get(from..start).unwrap_or_default());
        out.push_str("\\ufffd");
        from = end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// Whether a string of a JSON text has a surrogate without its other half.
pub fn has_lone_surrogate(text: &str) -> bool {
    !lone_surrogates(text).is_empty()
}

/// Where escapes of surrogates without their other half stand. JSON has no backslash outside of strings.
fn lone_surrogates(text: &str) -> Vec<Range<usize>> {
    let (bytes, mut found, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(start) = find(b'\\', bytes, at) {
        at = start + 2;
        let Some(first) = escaped(bytes, start) else { continue };
        at = start + ESCAPE;
        match (first, escaped(bytes, at)) {
            (0xD800..=0xDBFF, Some(0xDC00..=0xDFFF)) => at += ESCAPE,
            (0xD800..=0xDFFF, _) => found.push(start..at),
            _ => {}
        }
    }
    found
}

/// The number of the escape that stands at `at`, if one does.
fn escaped(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

fn find(byte: u8, bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|found| *found == byte).map(|at| from + at)
}

/// Where the string ends that begins at `start`, behind its quotation mark.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> Option<String> {
        text.contains("key\"x").then(|| text.replace("key\"x", "-"))
    }

    #[test]
    fn what_an_escape_hides_is_seen() {
        assert_eq!(strings(r#"{"a": "my key\"x.", "b": "key"}"#, change), r#"{"a": "my -.", "b": "key"}"#);
        assert_eq!(strings(r#"{"a": "\u006bey\"x\\"}"#, change), r#"{"a": "-\\"}"#);
        for odd in ["", "\"", "\"\\", "a\"b\\\"c", "\"\\u12\"", "\"\\", "\\\"\\ud8"] {
            assert_eq!(strings(odd, change), odd);
        }
    }

    #[test]
    fn half_a_surrogate_hides_nothing_and_stays() {
        let text = r#"{"a": "\ud800 my \u006bey\"x\udc00\u006bey\"x", "b": "\ud83d\ude00\n"}"#;
        assert_eq!(strings(text, change), r#"{"a": "\ud800 my -\udc00-", "b": "\ud83d\ude00\n"}"#);
        assert_eq!(strings(r#"["\ud800"]"#, change), r#"["\ud800"]"#);
    }

    #[test]
    fn half_a_surrogate_can_be_read_once_it_is_mended_and_nothing_else_changes() {
        for (text, read) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\udc00\ud800x""#, "\u{fffd}\u{fffd}x"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\uD800\u0041""#, "\u{fffd}A"),
            (r#""\\ud800""#, "\\ud800"),
            (r#""é\ud83d\ude00""#, "é😀"),
        ] {
            assert_eq!(serde_json::from_str::<String>(&mended(text)).unwrap(), read, "{text}");
            assert_eq!(has_lone_surrogate(text), read.contains('\u{fffd}'));
        }
        assert!(matches!(mended(r#""\ud83d\ude00""#), Cow::Borrowed(_)));
    }
}
