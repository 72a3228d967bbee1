//! A change as text, in unified form, safe to print and bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use similar::{Algorithm, TextDiff};

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
    /// At most so many lines; then a line says how many are missing.
    pub lines: usize,
    /// After this time the diff becomes coarser.
    pub patience: Duration,
}

impl Default for TextLimits {
    fn default() -> Self {
        TextLimits { file_bytes: 1024 * 1024, lines: 2_000, patience: Duration::from_millis(500) }
    }
}

/// The text of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Unified diff, or one line that says what changed.
    pub body: String,
    /// Whether something was left out.
    pub shortened: bool,
}

impl Change {
    /// The change in unified form with three lines of context. Control characters, other than tab
    /// and newline, are escaped.
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
            return Ok(Text { body: head, shortened: false });
        }
        let old = side(store, self.before_from, &self.path, self.before.as_ref(), limits)?;
        let new = side(store, self.after_from, &self.path, self.after.as_ref(), limits)?;
        let (Side::Text(old), Side::Text(new)) = (&old, &new) else {
            let body = format!("{head}{} -> {}\n", old.summary(), new.summary());
            return Ok(Text { body, shortened: true });
        };
        if self.binary {
            let body = format!("{head}binary, {} -> {} bytes\n", old.len(), new.len());
            return Ok(Text { body, shortened: true });
        }
        let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
        let diff = TextDiff::configure()
            .algorithm(Algorithm::Myers)
            .timeout(limits.patience)
            .diff_lines(old.as_ref(), new.as_ref());
        let unified = diff.unified_diff().context_radius(3).to_string();
        let total = unified.lines().count();
        let mut body = head;
        for line in unified.lines().take(limits.lines) {
            push_plain(&mut body, line);
            body.push('\n');
        }
        if total > limits.lines {
            body.push_str(&format!("({} more lines)\n", total - limits.lines));
        }
        Ok(Text { body, shortened: total > limits.lines })
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
        (_, Some(Kind::File { size, .. })) => Side::Summary(format!("{size} bytes")),
        (_, Some(Kind::Symlink { target })) => Side::Text([b"link to ", target.0.as_slice(), b"\n"].concat()),
        (_, Some(Kind::Dir { .. })) => Side::Text(b"folder\n".to_vec()),
        (_, Some(Kind::Whiteout) | None) => Side::Text(Vec::new()),
    })
}

/// Appends a line that a program in a sandbox chose, so that it cannot act on a terminal.
fn push_plain(out: &mut String, line: &str) {
    for c in line.chars() {
        if c == '\t'
            || !(c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
}
