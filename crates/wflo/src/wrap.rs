//! Prose broken at words, to the width that a reader has.
//!
//! A line that begins with a blank was laid out by whoever wrote it (code, a caret below it, a row of a
//! table) and stays as it is. No word is cut: a path or an address longer than a line is still one.

use console::measure_text_width;

/// The text with its longer lines broken, those behind the first of each set in by `indent` blanks.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| match line.starts_with([' ', '\t']) || measure_text_width(line) <= width {
            true => line.to_owned(),
            false => broken(line, width, indent),
        })
        .collect();
    lines.join("\n")
}

fn broken(line: &str, width: usize, indent: usize) -> String {
    let (mut text, mut column) = (String::with_capacity(line.len() + 16), 0);
    for (at, word) in line.split(' ').enumerate() {
        let wide = measure_text_width(word);
        match at {
            0 => {}
            _ if column + 1 + wide > width && column > indent => {
                text.push('\n');
                text.push_str(&" ".repeat(indent));
                column = indent;
            }
            _ => {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += wide;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrap("one two three four", 9, 0), "one two\nthree\nfour");
        assert_eq!(wrap("one two three", 9, 4), "one two\n    three");
        assert_eq!(wrap("one  two", 80, 0), "one  two");
    }

    #[test]
    fn what_is_laid_out_and_what_is_one_word_stays() {
        let code = "not an expression\n  a && b || c && d\n       ^";
        assert_eq!(wrap(code, 10, 0), "not an\nexpression\n  a && b || c && d\n       ^");
        let path = "/a/very/long/path/of/one/word";
        assert_eq!(wrap(&format!("at {path} here"), 10, 0), format!("at\n{path}\nhere"));
    }

    #[test]
    fn colours_have_no_width() {
        assert_eq!(wrap("\u{1b}[31merror:\u{1b}[0m one two", 14, 0), "\u{1b}[31merror:\u{1b}[0m one two");
        assert_eq!(wrap("山田 太郎 山田", 9, 0), "山田 太郎\n山田", "a wide character has two columns");
    }
}
