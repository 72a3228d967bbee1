//! Text that came out of a sandbox or a database, made safe to print.

use wflo_core::legible::{self, Blanks, acts};

/// The text on one line: what could act on a terminal is escaped, line ends become spaces.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c => push(&mut out, c),
        }
    }
    out
}

/// The text with its lines: what could act on a terminal is escaped.
pub(crate) fn block(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c => push(&mut out, c),
        }
    }
    out
}

/// As [`block`], with each line two columns in, so that none can be taken for a line of wflo's own.
pub(crate) fn set_in(text: &str) -> String {
    let text = block(text);
    match text.lines().all(|line| line.is_empty() || line.starts_with("  ")) {
        true => text,
        false => text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"),
    }
}

/// As [`block`], with each line but the first two columns in.
pub(crate) fn hanging(text: &str) -> String {
    match text.trim_end().split_once('\n') {
        Some((first, rest)) => format!("{}\n{}", block(first), set_in(rest)),
        None => block(text),
    }
}

/// At most so many columns of a terminal, with a mark where something is missing.
pub(crate) fn short(text: &str, most: usize) -> String {
    console::truncate_str(&line(text), most, "…").into_owned()
}

/// The text with each whole hash (64 digits) as its beginning, as other commands name it.
pub(crate) fn hashes(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let shown = words.map(|word| {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hash = digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match is_hash {
            true => format!("{}{}", &digits[..12], &word[digits.len()..]),
            false => word.to_owned(),
        }
    });
    shown.collect()
}

/// The text, of one line, in pieces of at most so many columns of a terminal, with nothing left out.
pub(crate) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let (mut pieces, mut columns) = (vec![String::new()], 0);
    for c in text.chars() {
        let wide = console::measure_text_width(c.encode_utf8(&mut [0; 4]));
        if columns + wide > most && columns > 0 {
            pieces.push(String::new());
            columns = 0;
        }
        columns += wide;
        pieces.last_mut().into_iter().for_each(|piece| piece.push(c));
    }
    pieces
}

/// The text with blanks behind it, to so many columns of a terminal.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    console::pad_str(text, columns, console::Alignment::Left, None).into_owned()
}

/// A JSON value on one line: text without its quotes, anything else as JSON.
pub(crate) fn value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => line(text),
        other => line(&other.to_string()),
    }
}

fn push(out: &mut String, c: char) {
    if acts(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// A word as a shell takes it, so that two words are never read as one, nor one as two.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-^~".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", legible::visible(&word.replace('\'', r"'\''"), Blanks::COMMAND)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_can_act_on_a_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb c");
        assert_eq!(line("user\u{202e}txt"), "user\\u{202e}txt");
        assert_eq!(line("bob\u{200b} \u{feff}x\u{e0041}"), "bob\\u{200b} \\u{feff}x\\u{e0041}");
        assert_eq!(block("a\n\tb\u{7}\n"), "a\n\tb\\u{7}");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("山田太郎", 5), "山田…", "a wide character has two columns");
        assert_eq!(padded("山田", 6), "山田  ");
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(
            hashes(&format!("of {hash} (tree {hash}): 山 {hash}")),
            "of 0123456789ab (tree 0123456789ab): 山 0123456789ab"
        );
        assert_eq!(hashes(&format!("a{hash} {}", &hash[1..])), format!("a{hash} {}", &hash[1..]));
        assert_eq!(wrapped("ab山田c", 4), ["ab山", "田c"], "nothing is lost");
        assert_eq!(value(&serde_json::json!("x")), "x");
        assert_eq!(value(&serde_json::json!({"a": [1]})), r#"{"a":[1]}"#);
    }
}
