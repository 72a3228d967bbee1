//! The words of a shell's command. Nothing is run, and what a shell would put in is not known but for `$HOME`.

use std::iter::Peekable;
use std::str::Chars;

/// Stands in a word for what a shell would put there.
pub(super) const UNKNOWN: char = '\0';

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) quoted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(Word),
    /// `<`
    Input,
    /// `>`
    Output,
    /// `|`
    Pipe,
    /// What else ends a command.
    End,
}

/// What a command is made of.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) tokens: Vec<Token>,
    /// The commands whose output is put in.
    pub(super) inner: Vec<String>,
}

/// Takes a command apart. What a shell would refuse is read as far as it goes.
pub(super) fn parse(command: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut word: Option<Word> = None;
    let mut double = false;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                double = !double;
                word.get_or_insert_default().quoted = true;
            }
            '\'' if !double => {
                let word = word.get_or_insert_default();
                word.quoted = true;
                word.text.extend(chars.by_ref().take_while(|&c| c != '\''));
            }
            '\\' => {
                let next = chars.next();
                let text = &mut word.get_or_insert_default().text;
                if double && !next.is_some_and(|next| "$`\"\\\n".contains(next)) {
                    text.push('\\');
                }
                text.extend(next.filter(|&next| next != '\n'));
            }
            '$' => put_in(&mut chars, &mut word.get_or_insert_default().text, &mut parsed.inner),
            '`' => {
                parsed.inner.push(chars.by_ref().take_while(|&c| c != '`').collect());
                word.get_or_insert_default().text.push(UNKNOWN);
            }
            c if double => word.get_or_insert_default().text.push(c),
            '#' if word.is_none() => {
                chars.by_ref().find(|&c| c == '\n');
                parsed.tokens.push(Token::End);
            }
            c if c.is_whitespace() || ";&()|<>".contains(c) => {
                parsed.tokens.extend(word.take().map(Token::Word));
                match c {
                    '<' => parsed.tokens.push(Token::Input),
                    '>' => parsed.tokens.push(Token::Output),
                    '|' if chars.next_if_eq(&'|').is_none() => parsed.tokens.push(Token::Pipe),
                    c if c.is_whitespace() && c != '\n' => {}
                    _ => parsed.tokens.push(Token::End),
                }
            }
            c => word.get_or_insert_default().text.push(c),
        }
    }
    parsed.tokens.extend(word.map(Token::Word));
    parsed
}

/// What comes after a `$`.
fn put_in(chars: &mut Peekable<Chars<'_>>, text: &mut String, inner: &mut Vec<String>) {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let name: String = match chars.peek() {
        Some('(') => {
            let mut open = 0;
            let command = chars.by_ref().take_while(|&c| {
                open += i32::from(c == '(') - i32::from(c == ')');
                open > 0
            });
            inner.push(command.skip(1).collect());
            String::new()
        }
        Some('{') => {
            let name: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
            name.chars().take_while(is_name).collect()
        }
        Some(c) if is_name(c) => std::iter::from_fn(|| chars.next_if(is_name)).collect(),
        Some('@' | '*' | '#' | '?' | '$' | '!') => {
            chars.next();
            String::new()
        }
        _ => return text.push('$'),
    };
    match std::env::var("HOME") {
        Ok(home) if name == "HOME" => text.push_str(&home),
        _ => text.push(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        let tokens = parse(command).tokens.into_iter();
        tokens
            .filter_map(|token| if let Token::Word(word) = token { Some(word.text) } else { None })
            .collect()
    }

    #[test]
    fn words_lose_their_quotes_and_keep_their_blanks() {
        assert_eq!(words(r#"a 'b c'"d e"\ f "\"g\x" #h"#), ["a", "b cd e f", "\"g\\x"]);
        assert_eq!(words("a;b|c&&d(e)\nf<g>h"), ["a", "b", "c", "d", "e", "f", "g", "h"]);
        assert_eq!(
            words("$PWD/x \"${X:-y}\"/z '$A' $(f \"$(g)\")/h `i`j $@"),
            ["\0/x", "\0/z", "$A", "\0/h", "\0j", "\0"]
        );
        assert_eq!(parse("$(f $(g))/h `i`").inner, ["f $(g)", "i"]);
        let home = std::env::var("HOME").unwrap();
        assert_eq!(words("$HOME/x ${HOME}"), [format!("{home}/x"), home]);
        for cut in ["'", "\"", "$", "${", "$(", "`", "\\", "$(\"", "|", "<"] {
            let _ = parse(cut);
        }
    }
}
