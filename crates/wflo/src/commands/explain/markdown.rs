//! The Markdown of error pages on a terminal: headings, paragraphs, lists, code.
//!
//! Knows what those pages hold and no more. A link's target stands behind its text, as a path from the
//! top of the documentation: a terminal has nothing to click.

use console::measure_text_width;

use crate::printer::Paint;

/// Columns before a block of code.
const CODE: &str = "    ";

/// The page's title, in as many lines as it needs.
pub(super) fn title(paint: Paint, text: &str, width: usize) -> Vec<String> {
    fill(text, width, 0).into_iter().map(|line| paint.strong(line)).collect()
}

/// The lines of a page below its title.
pub(super) fn render(paint: Paint, text: &str, width: usize) -> Vec<String> {
    let mut page = Page { paint, width, lines: Vec::new(), prose: String::new(), after_heading: false };
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            page.end_prose();
            in_code = !in_code;
        } else if in_code {
            page.push(code(paint, line));
        } else if let Some(heading) = line.strip_prefix("## ") {
            page.end_prose();
            page.push(paint.strong(heading));
            page.after_heading = true;
        } else if line.is_empty() {
            page.end_prose();
            page.blank();
        } else {
            if line.starts_with("- ") {
                page.end_prose();
            }
            page.prose.push_str(line);
            page.prose.push(' ');
        }
    }
    page.end_prose();
    page.lines
}

struct Page {
    paint: Paint,
    width: usize,
    lines: Vec<String>,
    /// The paragraph or list item being read.
    prose: String,
    /// A heading stands directly above its text.
    after_heading: bool,
}

impl Page {
    fn push(&mut self, line: String) {
        self.lines.push(line);
        self.after_heading = false;
    }

    fn blank(&mut self) {
        if !self.after_heading {
            self.lines.push(String::new());
        }
    }

    fn end_prose(&mut self) {
        let prose = std::mem::take(&mut self.prose);
        let (first, rest, text) = match prose.strip_prefix("- ") {
            Some(item) => ("  - ", "    ", item),
            None => ("  ", "  ", prose.as_str()),
        };
        let mut in_code = false;
        for (index, line) in fill(&linked(text), self.width, rest.len()).into_iter().enumerate() {
            let before = if index == 0 { first } else { rest };
            self.push(format!("{before}{}", painted(self.paint, &line, &mut in_code)));
        }
    }
}

/// A line of code; what somebody types stands out.
fn code(paint: Paint, line: &str) -> String {
    if line.is_empty() {
        return String::new();
    }
    match line.strip_prefix("$ ") {
        Some(command) => format!("{CODE}{} {}", paint.faint("$"), paint.strong(command)),
        None => format!("{CODE}{line}"),
    }
}

/// `[text](../guides/models.md)` as `text (docs/guides/models.md)`.
fn linked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, name, target, after)) = link(rest) {
        let target = match target.strip_prefix("../") {
            Some(inside) => format!("docs/{inside}"),
            None if target.contains("://") => target.to_owned(),
            None => format!("docs/errors/{target}"),
        };
        out.push_str(&format!("{before}{name} ({target})"));
        rest = after;
    }
    out + rest
}

/// What is before the first link, its text, its target, and what is after it.
fn link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, tail) = text.split_once("](")?;
    let (before, name) = head.rsplit_once('[')?;
    let (target, after) = tail.split_once(')')?;
    Some((before, name, target, after))
}

/// The words in lines of at most `width` columns, of which `indent` are taken.
fn fill(text: &str, width: usize, indent: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A line of prose with its code in colour, instead of between backticks. `in_code` goes on from line to
/// line.
fn painted(paint: Paint, line: &str, in_code: &mut bool) -> String {
    if !paint.is_on() {
        return line.to_owned();
    }
    let mut out = String::new();
    for (index, part) in line.split('`').enumerate() {
        if index > 0 {
            *in_code = !*in_code;
        }
        match (*in_code, part.is_empty()) {
            (_, true) => {}
            (true, _) => out.push_str(&paint.link(part)),
            (false, _) => out.push_str(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "## Cause\n\nA value of `a step` and\n[more](../guides/models.md).\n\n## Fix\n\n\
                        - one two three four\n- five\n\n```sh\n$ wflo run\n\nlong line that stays as it is\n```";

    #[test]
    fn prose_is_wrapped_and_code_is_not() {
        let lines = render(Paint::of(false), PAGE, 20);
        assert_eq!(
            lines.join("\n"),
            "Cause\n  A value of `a\n  step` and more\n  (docs/guides/models.md).\n\nFix\n  - one two three\n    \
             four\n  - five\n\n    $ wflo run\n\n    long line that stays as it is"
        );
    }

    #[test]
    fn code_is_coloured_instead_of_quoted() {
        let lines = render(Paint::of(true), PAGE, 20);
        let (first, second) = (&lines[1], &lines[2]);
        assert!(first.contains("\u{1b}[36ma\u{1b}[0m"), "{first:?}");
        assert!(second.contains("\u{1b}[36mstep\u{1b}[0m and"), "{second:?}");
        assert!(!lines.concat().contains('`'));
    }

    #[test]
    fn every_page_fits_a_narrow_terminal_but_for_its_code() {
        for page in crate::error_page::Page::all() {
            for line in render(Paint::of(false), page.body(), 60) {
                let is_prose = !line.starts_with(CODE) && line.split_whitespace().count() > 2;
                assert!(!is_prose || measure_text_width(&line) <= 60, "{}: {line}", page.code);
                assert!(!line.contains("```") && !line.contains("]("), "{}: {line}", page.code);
            }
        }
    }
}
