//! Text that a program or a model wrote, as a person can read it before they answer for it.
//!
//! Owns which characters do something else than be read, and how what reads as nothing is named: characters without
//! a width, long blanks, empty lines. One table for all that shows such text: held commands, diffs, names of files.
//! What is shown is not the text any more; nothing here is for machines.

/// So many empty lines in a row are counted instead of shown.
pub const EMPTY_LINES: usize = 2;
/// So many columns a tab counts for.
const TAB: usize = 4;

/// Whether a character does something else than be read.
pub fn acts(c: char) -> bool {
    // Direction marks reorder what a person reads (CVE-2021-42574).
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders || is_invisible(c)
}

/// Characters without a width that are no part of one: two texts that differ by them look the same.
/// Joiners and variation selectors are among them: an emoji of several parts is shown in its parts.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a character reads as nothing, or as something else: all that [`acts`], and blanks of other widths.
pub fn misleads(c: char) -> bool {
    acts(c) || (c.is_whitespace() && c != ' ')
}

/// How many columns of blanks in a row are shown as they are; more are counted.
#[derive(Debug, Clone, Copy)]
pub struct Blanks {
    /// Within a line.
    most: usize,
    /// At its beginning.
    indent: usize,
    /// At its end.
    at_end: usize,
    /// Whether a tab is a blank; else it is shown as an escape.
    tabs: bool,
}

impl Blanks {
    /// Of the words of a command: indentation is less, and blanks at the end of a line cannot be seen at all.
    pub const COMMAND: Blanks = Blanks { most: 16, indent: 16, at_end: 0, tabs: false };
    /// Of the lines of a file.
    pub const FILE: Blanks = Blanks { most: 16, indent: 80, at_end: 16, tabs: true };

    fn are(self, c: char) -> bool {
        c == ' ' || (self.tabs && c == '\t')
    }
}

/// The text with its line ends, and with everything named that reads as nothing or as something else.
pub fn visible(text: &str, blanks: Blanks) -> String {
    let (mut out, mut run) = (String::with_capacity(text.len()), String::new());
    let mut begins = true;
    let flush = |run: &mut String, begins: bool, ends: bool, out: &mut String| {
        let columns: usize = run.chars().map(|c| if c == '\t' { TAB } else { 1 }).sum();
        let room = match (begins, ends) {
            (_, true) => blanks.at_end,
            (true, _) => blanks.indent,
            _ => blanks.most,
        };
        match columns > room {
            true => out.push_str(&format!("⟨{} blanks⟩", run.chars().count())),
            false => out.push_str(run),
        }
        run.clear();
    };
    for c in text.chars() {
        if blanks.are(c) {
            run.push(c);
            continue;
        }
        flush(&mut run, begins, c == '\n', &mut out);
        begins = c == '\n';
        match c {
            '\n' => out.push(c),
            // What this here uses itself.
            '⟨' | '⟩' => out.extend(c.escape_unicode()),
            c if misleads(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    flush(&mut run, begins, true, &mut out);
    out
}

/// A line that is longer than so many characters, without its middle: neither end can be pushed out of sight.
pub fn ends(line: &str, most: usize) -> String {
    let count = line.chars().count();
    if count <= most {
        return line.to_owned();
    }
    let tail = most / 3;
    let head: String = line.chars().take(most - tail).collect();
    let end: String = line.chars().skip(count - tail).collect();
    format!("{head}⟨{} characters NOT SHOWN⟩{end}", count - most)
}

/// What stands for so many empty lines.
pub fn empty_lines(count: usize) -> String {
    format!("⟨{count} empty lines⟩")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_as_nothing_is_named_and_the_rest_is_as_it_is() {
        for hidden in [
            '\u{e0041}',
            '\u{fe0f}',
            '\u{2800}',
            '\u{ad}',
            '\u{200b}',
            '\u{2028}',
            '\u{202e}',
            '\u{1b}',
            '\u{3164}',
            '\u{a0}',
            '\u{85}',
            '\u{2003}',
            '\u{115f}',
        ] {
            let text = format!("a{hidden}b");
            for blanks in [Blanks::FILE, Blanks::COMMAND] {
                assert_eq!(visible(&text, blanks), format!("a{}b", hidden.escape_default()), "{hidden:?}");
            }
        }
        let file = "\tif x:\n\t\treturn \"山田 é\"  # 8 → 9\n";
        assert_eq!(visible(file, Blanks::FILE), file);
        assert_eq!(
            visible("⟨9 blanks⟩", Blanks::FILE),
            r"\u{27e8}9 blanks\u{27e9}",
            "nobody writes such a word"
        );
    }

    #[test]
    fn both_ends_of_a_long_line_are_there() {
        assert_eq!(ends("abcdef", 6), "abcdef");
        assert_eq!(ends("abcd山fgh", 6), "abcd⟨2 characters NOT SHOWN⟩gh");
    }

    #[test]
    fn long_blanks_are_counted_wherever_they_are() {
        let of = |count: usize| " ".repeat(count);
        assert_eq!(visible(&format!("a{}b", of(17)), Blanks::FILE), "a⟨17 blanks⟩b");
        assert_eq!(visible(&format!("{}b", of(80)), Blanks::FILE), format!("{}b", of(80)));
        assert_eq!(visible(&format!("x\n{}b", of(81)), Blanks::FILE), "x\n⟨81 blanks⟩b");
        assert_eq!(visible(&format!("a{}", "\t".repeat(200)), Blanks::FILE), "a⟨200 blanks⟩");
        assert_eq!(visible("a  \nb", Blanks::FILE), "a  \nb");
        assert_eq!(visible("a  \nb ", Blanks::COMMAND), "a⟨2 blanks⟩\nb⟨1 blanks⟩");
        assert_eq!(visible("a\tb", Blanks::COMMAND), r"a\tb");
    }
}
