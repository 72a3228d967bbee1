//! Where in a condition something is wrong, and what, in words for who wrote it.
//!
//! Owns the line with its caret, and the parser's messages, which speak of tokens, in plain words.

use cel::ParseErrors;

/// How the parser begins to say that something stands where it must not.
const MISPLACED: [&str; 3] = ["mismatched input", "extraneous input", "no viable alternative"];

/// A place in a condition: shown as its line with a caret below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// From 1.
    row: usize,
    /// From 1, in characters.
    column: usize,
    /// How many lines the condition has.
    rows: usize,
    /// The line's text.
    line: String,
}

impl Spot {
    /// The place at a line and a column, both from 1; what lies outside is its nearest end.
    pub(super) fn at(source: &str, row: usize, column: usize) -> Self {
        let rows = source.lines().count().max(1);
        let row = row.clamp(1, rows);
        let line = source.lines().nth(row - 1).unwrap_or_default().to_owned();
        let column = column.clamp(1, line.chars().count() + 1);
        Spot { row, column, rows, line }
    }

    /// The place of a byte, from 0.
    pub(super) fn of_byte(source: &str, index: usize) -> Self {
        let before = source.get(..index).unwrap_or(source);
        let (row, line) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default());
        Spot::at(source, row, line.chars().count() + 1)
    }

    /// `column 8`, or `line 2, column 8` of a condition with several lines.
    pub(super) fn words(&self) -> String {
        match self.rows {
            1 => format!("column {}", self.column),
            _ => format!("line {}, column {}", self.row, self.column),
        }
    }

    /// What stands there: a word, or one sign.
    fn word(&self) -> String {
        let rest = self.line.chars().skip(self.column - 1);
        let word: String = rest.clone().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if word.is_empty() { rest.take(1).collect() } else { word }
    }
}

/// The line, and the caret on a line below it.
impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A tab is as wide as the terminal likes: the caret needs the same one above it.
        let before = self.line.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' });
        write!(f, "  {}\n  {}^", self.line, before.collect::<String>())
    }
}

/// The first mistake that the parser found, and where.
pub(super) fn first(source: &str, errors: &ParseErrors) -> (String, Option<Spot>) {
    let Some(error) = errors.errors.first() else { return ("it does not parse".to_owned(), None) };
    let (Ok(row), Ok(column)) = (usize::try_from(error.pos.0), usize::try_from(error.pos.1)) else {
        return (error.msg.clone(), None);
    };
    if row == 0 {
        return (error.msg.clone(), None);
    }
    let spot = Spot::at(source, row, column);
    (plain(&error.msg, &spot.word()), Some(spot))
}

/// A parser's message less what it would have expected, which is everything.
fn plain(message: &str, word: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting ").next().unwrap_or(message);
    if message.contains("'<EOF>'") {
        return "it ends where more is expected".to_owned();
    }
    let instead = match word {
        "=" => Some("=="),
        "and" | "AND" | "&" => Some("&&"),
        "or" | "OR" | "|" => Some("||"),
        "not" | "NOT" => Some("!"),
        _ => None,
    };
    match instead {
        Some(sign) => format!("`{word}` is not CEL; write `{sign}`"),
        None if message.starts_with("token recognition error") => format!("`{word}` is not CEL"),
        None if MISPLACED.iter().any(|start| message.starts_with(start)) => {
            format!("`{word}` is not expected here")
        }
        None => message.replace('\n', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(source: &str) -> String {
        crate::condition::Condition::parse(source, &["cost", "inputs"]).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        for (source, told) in [
            ("cost > > 1", "column 8: `>` is not expected here\n  cost > > 1\n         ^"),
            ("cost >", "column 7: it ends where more is expected\n  cost >\n        ^"),
            ("cost = 1", "column 6: `=` is not CEL; write `==`\n  cost = 1\n       ^"),
            ("cost > 1 and cost < 2", "column 10: `and` is not CEL; write `&&`\n"),
            ("cost > 1 &&\n  cost # 2", "line 2, column 8: `#` is not CEL\n    cost # 2\n         ^"),
            ("\tcost # 2", "column 7: `#` is not CEL\n  \tcost # 2\n  \t     ^"),
            ("'ü' == inputs.x # 2", "column 17: `#` is not CEL\n"),
        ] {
            let message = said(source);
            assert!(
                message.starts_with(&format!("the condition is not valid CEL, at {told}")),
                "{source}: {message}"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_pointed_at() {
        let message = said("cost > 1 &&\n 'ü' == mystery.x");
        assert!(message.ends_with("\n   'ü' == mystery.x\n          ^"), "{message}");
    }

    #[test]
    fn a_place_outside_is_the_nearest_end() {
        assert_eq!(Spot::at("ab", 9, 9).to_string(), "  ab\n    ^");
        assert_eq!(Spot::at("", 0, 0).to_string(), "  \n  ^");
        assert_eq!(Spot::of_byte("a\nb", 2), Spot::at("a\nb", 2, 1));
    }
}
