//! How messages are written down for people.
//!
//! What a program or a provider wrote stands behind a bar, on every line, and is broken before a line of the terminal ends;
//! what wflo says of it stands behind a dot. A line begins with a bar, a bent bar or a dot at one column, and nothing
//! else decides that:
//!
//! ```text
//!   user      │ the first line of a text
//!             ┆ what of it does not fit into a line of the terminal
//!             │ its second line
//!             · 1200 more bytes; --full shows them
//! ```
//!
//! **Architecture Invariant:** no content makes a line that does not begin with wflo's own prefix of contents, and whatever is left
//! out is said behind a dot.

use serde_json::Value;

use super::super::messages::{Message, Part, is_label};
use crate::plain;
use crate::printer::{Paint, size};

/// What is shown of one text.
const LINES: usize = 12;
const CHARACTERS: usize = 1_200;
/// What is shown of arguments, and of a result.
const SHORT: usize = 400;
/// So many parts of one call are shown, and so many of one that is shown whole.
const PARTS: usize = 200;
const ALL_PARTS: usize = 5_000;
/// So many bytes of one call that is shown whole.
const BYTES: usize = 1 << 20;
/// Columns, where nobody says how many there are.
const COLUMNS: usize = 100;
/// Columns before a text: two, a label, and the bar between blanks.
const LABEL: usize = 9;
const BEFORE: usize = 2 + LABEL + 3;

/// One call, written down.
pub(super) struct Page {
    paint: Paint,
    /// Columns for a text.
    columns: usize,
    full: bool,
    lines: Vec<String>,
    parts: usize,
    bytes: usize,
    /// Messages, and bytes, that there was no room for.
    more: (u64, u64),
}

/// How a line begins.
#[derive(Clone, Copy)]
enum Mark {
    /// What others wrote.
    Line,
    /// The rest of such a line.
    Rest,
    /// What wflo says of it.
    Note,
}

impl Page {
    pub(super) fn new(paint: Paint, width: Option<usize>, full: bool) -> Page {
        let columns = width.unwrap_or(COLUMNS).saturating_sub(BEFORE).max(8);
        Page { paint, columns, full, lines: Vec::new(), parts: 0, bytes: 0, more: (0, 0) }
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Something that wflo says of the whole call.
    pub(super) fn aside(&mut self, text: &str) {
        for piece in broken(text, self.columns + BEFORE - 2) {
            self.lines.push(format!("  {}", self.paint.faint(piece)));
        }
    }

    /// Why it failed.
    pub(super) fn failed(&mut self, message: &str) {
        self.text("failed", message);
    }

    /// What stands beside the messages.
    pub(super) fn beside(&mut self, what: &str, bytes: u64) {
        self.note("beside", &format!("not shown: {what} ({}); see --json", size(bytes)));
    }

    pub(super) fn message(&mut self, message: &Message) {
        let role = match message.role.as_str() {
            role @ ("system" | "developer" | "user" | "assistant" | "tool" | "function") => role,
            other => {
                let quoted = Value::from(other.chars().take(80).collect::<String>());
                self.note("other", &format!("role {quoted}"));
                ""
            }
        };
        if message.parts.is_empty() {
            self.note(role, "(empty)");
        }
        for (nth, part) in message.parts.iter().enumerate() {
            let most = if self.full { ALL_PARTS } else { PARTS };
            if self.parts >= most || self.bytes >= BYTES {
                let left = message.parts.iter().skip(nth);
                self.more.0 += 1;
                self.more.1 += left.map(Part::bytes).sum::<u64>();
                return;
            }
            self.parts += 1;
            self.part(role, part);
        }
    }

    /// All messages are there, of which there are so many more that were not read.
    pub(super) fn end(&mut self, unread: u64) {
        let (messages, bytes) = std::mem::take(&mut self.more);
        if messages + unread > 0 {
            let more = quantity(messages + unread, "more message");
            let at_least = if unread > 0 { "at least " } else { "" };
            self.note("", &format!("… {more} ({at_least}{bytes} bytes), see --json"));
        }
    }

    fn part(&mut self, role: &str, part: &Part) {
        match part {
            Part::Text { content } => self.text(role, content),
            Part::Reasoning { content } => self.text("thought", content),
            Part::Error { content } => self.text("error", content),
            Part::ToolCall { name, arguments, .. } => {
                let arguments = if arguments.is_null() { String::new() } else { arguments.to_string() };
                self.short("calls", &format!("{} {arguments}", label(name)));
            }
            Part::ToolCallResponse { response: Value::String(text), .. } => self.text("result", text),
            Part::ToolCallResponse { response, .. } => self.short("result", &response.to_string()),
            Part::NotKept { bytes } => self.note(role, &format!("not kept: {}", size(*bytes))),
            Part::NotShown { what, bytes } => {
                self.note(role, &format!("not shown: {what} ({})", size(*bytes)))
            }
        }
    }

    /// A text of lines.
    fn text(&mut self, label: &str, text: &str) {
        let (lines, characters) = if self.full { (usize::MAX, usize::MAX) } else { (LINES, CHARACTERS) };
        self.shown(label, text, lines, characters);
    }

    /// JSON, which has one line.
    fn short(&mut self, label: &str, text: &str) {
        self.shown(label, text, usize::MAX, if self.full { usize::MAX } else { SHORT });
    }

    fn shown(&mut self, label: &str, text: &str, lines: usize, characters: usize) {
        let room = BYTES.saturating_sub(self.bytes);
        // The first character beyond what may be shown, by either measure.
        let beyond = |(nth, (at, c)): &(usize, (usize, char))| *nth >= characters || at + c.len_utf8() > room;
        let end = text.char_indices().enumerate().find(beyond).map_or(text.len(), |(_, (at, _))| at);
        let shown = text.get(..end).unwrap_or_default();
        let shown = match shown.match_indices('\n').nth(lines.saturating_sub(1)) {
            Some((at, _)) => shown.get(..at).unwrap_or_default(),
            None => shown,
        };
        self.bytes += shown.len();
        let mut label = label;
        for line in shown.trim_end_matches('\n').split('\n') {
            let line = plain::block(line).replace('\t', "    ");
            for (nth, piece) in broken(&line, self.columns).into_iter().enumerate() {
                let mark = if nth == 0 { Mark::Line } else { Mark::Rest };
                self.line(std::mem::take(&mut label), mark, &piece);
            }
        }
        let left = text.get(shown.len()..).unwrap_or_default();
        if !left.trim_end_matches('\n').is_empty() {
            let how = if self.full { ", see --json" } else { "; --full shows them" };
            self.note("", &format!("… {} more bytes{how}", left.len()));
        }
    }

    fn note(&mut self, label: &str, text: &str) {
        let mut label = label;
        for piece in broken(&plain::line(text), self.columns) {
            self.line(std::mem::take(&mut label), Mark::Note, &piece);
        }
    }

    fn line(&mut self, label: &str, mark: Mark, text: &str) {
        let (mark, text) = match mark {
            Mark::Line => ("│", text.to_owned()),
            Mark::Rest => ("┆", text.to_owned()),
            Mark::Note => ("·", self.paint.faint(text)),
        };
        let label = self.paint.faint(format!("{} {mark}", plain::padded(label, LABEL)));
        let line = format!("  {label} {text}");
        self.lines.push(line.trim_end().to_owned());
    }
}

/// `1 message`, `2 messages`.
pub(super) fn quantity(count: u64, of: &str) -> String {
    if count == 1 { format!("1 {of}") } else { format!("{count} {of}s") }
}

/// A name of others as it is where it is one, else as a text in quotation marks.
pub(super) fn label(name: &str) -> String {
    let is_name = |name: &str| name.split(' ').count() <= 2 && name.split(' ').all(is_label);
    match is_name(name) {
        true => plain::short(name, 60),
        false => plain::line(&Value::from(plain::short(name, 60)).to_string()),
    }
}

/// A text of one line, in pieces that fit into so many columns. Each character has one at least: what has no width of its
/// own could be heaped up otherwise.
fn broken(text: &str, columns: usize) -> Vec<String> {
    let (mut pieces, mut piece, mut used) = (Vec::new(), String::new(), 0);
    for c in text.chars() {
        let wide = console::measure_text_width(c.encode_utf8(&mut [0; 4])).max(1);
        if used + wide > columns && used > 0 {
            pieces.push(std::mem::take(&mut piece));
            used = 0;
        }
        used += wide;
        piece.push(c);
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests;
