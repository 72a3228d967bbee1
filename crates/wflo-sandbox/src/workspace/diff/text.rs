//! A change as text, in unified form, safe to print and bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use similar::{Algorithm, TextDiff};
use wflo_core::legible::{self, Blanks, EMPTY_LINES};

use super::super::attributes::Attributes;
use super::super::error::{IoAt, WorkspaceError};
use super::super::manifest::{Digest, Entry, Kind};
use super::super::path::{RelPath, escape};
use super::super::store::Store;
use super::super::store::blob::read_up_to;
use super::{Change, ChangeKind};

/// So much of an attribute's value is shown, in bytes.
const SHOWN: usize = 120;

/// How much text is made of one change.
#[derive(Debug, Clone, Copy)]
pub struct TextLimits {
    /// Files longer than this, in bytes, are only named.
    pub file_bytes: u64,
    /// At most so many lines, from both ends; between them a line says how many are missing.
    pub lines: usize,
    /// At most so many characters of a line, from both ends.
    pub columns: usize,
    /// After this time the diff becomes coarser.
    pub patience: Duration,
}

impl TextLimits {
    /// Of what stands above a question: neither end of it is out of sight by the length of the rest.
    #[must_use]
    pub fn above_a_question() -> Self {
        TextLimits { lines: 60, columns: 1_000, ..TextLimits::default() }
    }
}

impl Default for TextLimits {
    fn default() -> Self {
        TextLimits {
            file_bytes: 1024 * 1024,
            lines: usize::MAX,
            columns: usize::MAX,
            patience: Duration::from_millis(500),
        }
    }
}

/// The text of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Unified diff, or one line that says what changed.
    pub body: String,
    /// Whether something was left out.
    pub shortened: bool,
    /// Lines that came, shown or not.
    pub added: usize,
    /// Lines that went.
    pub removed: usize,
}

impl Change {
    /// The change in unified form with three lines of context, for people: what acts on a terminal or reads as nothing
    /// is named ([`legible`]), and what is left out says how long the whole is, with its digest.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] and [`WorkspaceError::Io`] when a content cannot be read.
    pub fn text(&self, store: &Store, limits: &TextLimits) -> Result<Text, WorkspaceError> {
        let (old_name, new_name) = self.names();
        let mut head = format!("--- {old_name}\n+++ {new_name}\n");
        if let (Some(before), Some(after)) = (&self.before, &self.after)
            && before.mode != after.mode
        {
            head.push_str(&format!("mode {:03o} -> {:03o}\n", before.mode, after.mode));
        }
        self.put_attributes(&mut head);
        if self.is_folder() {
            match (&self.before, &self.after) {
                (None, _) => head.push_str("new folder\n"),
                (_, None) => head.push_str("folder removed\n"),
                _ => {}
            }
            return Ok(Text { body: head, shortened: false, added: 0, removed: 0 });
        }
        let old = side(store, self.before_from, &self.path, self.before.as_ref(), limits)?;
        let new = side(store, self.after_from, &self.path, self.after.as_ref(), limits)?;
        let (Side::Text(old), Side::Text(new)) = (&old, &new) else {
            let body = format!("{head}NOT SHOWN: {} -> {}\n", old.summary(), new.summary());
            return Ok(Text { body, shortened: true, added: 0, removed: 0 });
        };
        if self.binary {
            let now = digest(self.after.as_ref());
            let body = format!("{head}NOT SHOWN: binary, {} -> {} bytes{now}\n", old.len(), new.len());
            return Ok(Text { body, shortened: true, added: 0, removed: 0 });
        }
        let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
        let diff = TextDiff::configure()
            .algorithm(Algorithm::Myers)
            .timeout(limits.patience)
            .diff_lines(old.as_ref(), new.as_ref());
        let unified = diff.unified_diff().context_radius(3).to_string();
        let signed = |sign: char| unified.lines().filter(|line| line.starts_with(sign)).count();
        let whole = rows(&unified);
        let mut rows: Vec<String> = whole.iter().map(|row| legible::ends(row, limits.columns)).collect();
        let mut shortened = rows != whole;
        if rows.len() > limits.lines {
            let (total, tail) = (rows.len(), limits.lines / 3);
            let head = limits.lines - tail;
            let of = self.after.as_ref().or(self.before.as_ref());
            let left = format!(
                "… {} of {total} lines are NOT SHOWN here: the file has {} bytes{}",
                total - limits.lines,
                if self.after.is_some() { new.len() } else { old.len() },
                digest(of)
            );
            rows.splice(head..total - tail, [left]);
            shortened = true;
        }
        let body = rows.into_iter().fold(head, |body, row| body + &row + "\n");
        Ok(Text { body, shortened, added: signed('+'), removed: signed('-') })
    }

    /// One line for each attribute that differs. Of what is gone nothing is said beside that.
    fn put_attributes(&self, head: &mut String) {
        let Some(after) = &self.after else { return };
        let none = Attributes::default();
        let was = self.before.as_ref().map_or(&none, |before| &before.attributes);
        let names: BTreeSet<&[u8]> =
            was.iter().chain(after.attributes.iter()).map(|(name, _)| name).collect();
        // Of a file that was written anew apply leaves them.
        let anew = self.kind == ChangeKind::Modified;
        for name in names {
            let (old, new) = (was.get(name), after.attributes.get(name));
            if old != new && !(anew && new.is_none()) {
                head.push_str(&format!("attribute {} {} -> {}\n", escape(name), value(old), value(new)));
            }
        }
    }

    fn names(&self) -> (String, String) {
        let name = |prefix: &str, side: &Option<Entry>| match side {
            Some(entry) if entry.is_dir() => format!("{prefix}/{}/", self.path),
            Some(_) => format!("{prefix}/{}", self.path),
            None => "/dev/null".to_owned(),
        };
        (name("a", &self.before), name("b", &self.after))
    }
}

/// A value as it is shown.
fn value(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "(none)".to_owned(),
        Some(bytes) if bytes.len() > SHOWN => {
            let start = escape(bytes.get(..SHOWN).unwrap_or(bytes));
            format!("\"{start}…\" ({} bytes)", bytes.len())
        }
        Some(bytes) => format!("\"{}\"", escape(bytes)),
    }
}

enum Side {
    Text(Vec<u8>),
    Summary(String),
}

impl Side {
    fn summary(&self) -> String {
        match self {
            Side::Text(content) if content.is_empty() => "nothing".to_owned(),
            Side::Text(content) => format!("{} bytes", content.len()),
            Side::Summary(text) => text.clone(),
        }
    }
}

fn side(
    store: &Store,
    from: Option<Digest>,
    path: &RelPath,
    entry: Option<&Entry>,
    limits: &TextLimits,
) -> Result<Side, WorkspaceError> {
    Ok(match (from, entry.map(|entry| &entry.kind)) {
        (Some(from), Some(Kind::File { size, .. })) if *size <= limits.file_bytes => {
            let file = store.open_content(&from, path)?;
            Side::Text(read_up_to(&file, limits.file_bytes).at("read", path.as_path())?)
        }
        (_, Some(Kind::File { size, .. })) => Side::Summary(format!("{size} bytes{}", digest(entry))),
        (_, Some(Kind::Symlink { target })) => Side::Text([b"link to ", target.0.as_slice(), b"\n"].concat()),
        (_, Some(Kind::Dir { .. })) => Side::Text(b"folder\n".to_vec()),
        (_, Some(Kind::Whiteout) | None) => Side::Text(Vec::new()),
    })
}

/// The content's digest, to be said behind its length.
fn digest(entry: Option<&Entry>) -> String {
    match entry.map(|entry| &entry.kind) {
        Some(Kind::File { hash, .. }) => format!(", BLAKE3 {hash}"),
        _ => String::new(),
    }
}

/// The lines of a diff, safe to print and to be read: empty lines of a kind that follow one another are counted.
fn rows(unified: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut empty: Vec<&str> = Vec::new();
    let shown = |line: &str| {
        let (sign, text) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        format!("{sign}{}", legible::visible(text, Blanks::FILE))
    };
    let flush = |empty: &mut Vec<&str>, rows: &mut Vec<String>| {
        match empty.first().and_then(|line| line.chars().next()) {
            Some(sign) if empty.len() > EMPTY_LINES => {
                rows.push(format!("{sign}{}", legible::empty_lines(empty.len())));
            }
            _ => rows.extend(empty.iter().map(|line| shown(line))),
        }
        empty.clear();
    };
    for line in unified.lines() {
        if empty.first().is_some_and(|first| first.chars().next() != line.chars().next()) {
            flush(&mut empty, &mut rows);
        }
        let mut rest = line.chars();
        let signed = rest.next().is_some_and(|sign| matches!(sign, '+' | '-' | ' '));
        if signed && rest.all(|c| matches!(c, ' ' | '\t')) {
            empty.push(line);
            continue;
        }
        flush(&mut empty, &mut rows);
        rows.push(shown(line));
    }
    flush(&mut empty, &mut rows);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_nothing_is_named_in_a_diff() {
        let hidden = "@@ -1,2 +1,9 @@\n same\n+a\u{e0041}\u{fe0f}\u{2800}\u{ad}\u{200b}\u{2028}b\n";
        let shown = rows(hidden);
        assert_eq!(shown[2], r"+a\u{e0041}\u{fe0f}\u{2800}\u{ad}\u{200b}\u{2028}b");
        let empty = format!("@@ -0,0 +1,2001 @@\n+x\n{}+payload\n \n \n", "+\n".repeat(2_000));
        assert_eq!(rows(&empty), ["@@ -0,0 +1,2001 @@", "+x", "+⟨2000 empty lines⟩", "+payload", " ", " "]);
        let blank = format!("+{}\n+ \t\n+\n-\n", " ".repeat(9_000));
        assert_eq!(rows(&blank), ["+⟨3 empty lines⟩", "-"], "lines of blanks are empty lines");
        let far = format!("+x = 1{}; evil()\n", " ".repeat(9_000));
        assert_eq!(rows(&far), ["+x = 1⟨9000 blanks⟩; evil()"]);
    }
}
